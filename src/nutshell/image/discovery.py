"""What this service offers: versions, stores, import methods, usage (Image API v2, "Versions", "Discovery")."""

from typing import Any

from nutshell.core.service import Answer, Ask
from nutshell.image.service import image
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import Stores

CURRENT = "2.18"
NUMBERS = tuple(f"2.{n}" for n in range(18, -1, -1))


def versions(ask: Ask[Any]) -> dict[str, Any]:
    def one(number: str, status: str) -> dict[str, Any]:
        links = [{"rel": "self", "href": f"{ask.base}/image/v2/"}]
        return {"id": f"v{number}", "status": status, "links": links}

    return {"versions": [one(n, "CURRENT" if n == CURRENT else "SUPPORTED") for n in NUMBERS]}


@image.route("GET", "/", public=True, prefixes=("", "/v2"))
def list_versions(ask: Ask[Any]) -> Answer:
    return Answer(300, versions(ask))


@image.route("GET", "/versions", public=True, prefixes=("",))
def show_versions(ask: Ask[Any]) -> Answer:
    return Answer(200, versions(ask))


@image.route("GET", "/info/import", rule="get_images")
def show_import(ask: Ask[Any]) -> dict[str, Any]:
    methods = ask.cloud.settings[ImageConfig].import_methods
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": methods}}


def _stores(ask: Ask[Any]) -> list[dict[str, Any]]:
    stores, found = ask.cloud.port(Stores), []
    for one in stores.by_id.values():
        shown = {"id": one.id}
        if one is stores.default:
            shown["default"] = "true"
        if one.read_only:
            shown["read-only"] = "true"
        found.append(shown)
    return found


@image.route("GET", "/info/stores", rule="get_images")
def list_stores(ask: Ask[Any]) -> dict[str, Any]:
    return {"stores": _stores(ask)}


@image.route("GET", "/info/stores/detail", rule="stores_info_detail")
def list_stores_in_detail(ask: Ask[Any]) -> dict[str, Any]:
    stores = ask.cloud.port(Stores)
    found = []
    for shown in _stores(ask):
        one = stores.by_id[shown["id"]]
        found.append({**shown, "type": one.kind, "weight": stores.weight(one.id), "properties": one.properties()})
    return {"stores": found}
