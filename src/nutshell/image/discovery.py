"""What this service offers: versions, stores, import methods, usage (Image API v2, "Versions", "Discovery")."""

from typing import Any

from nutshell.core.service import Answer, Ask
from nutshell.image.images import IMPORT_METHODS, STORE, Image, Status
from nutshell.image.service import image

CURRENT = "2.17"
NUMBERS = ("2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", CURRENT, *(f"2.{n}" for n in range(7, -1, -1)))


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
    about = "Import methods available."
    return {"import-methods": {"description": about, "type": "array", "value": list(IMPORT_METHODS)}}


@image.route("GET", "/info/stores", rule="get_images")
def list_stores(ask: Ask[Any]) -> dict[str, Any]:
    return {"stores": [{"id": STORE, "default": "true"}]}


@image.route("GET", "/info/stores/detail", rule="stores_info_detail")
def list_stores_in_detail(ask: Ask[Any]) -> dict[str, Any]:
    store = {"id": STORE, "type": "file", "default": "true", "weight": 0}
    return {"stores": [{**store, "properties": {"thin_provisioning": False}}]}


@image.route("GET", "/info/usage", rule="get_images")
def show_usage(ask: Ask[Any]) -> dict[str, Any]:
    """Counts and mebibytes of the caller's project against its limits; -1 is none."""
    row = ask.tx.sql(
        f"SELECT count(*), coalesce(sum(size), 0), coalesce(sum(status IN (?, ?)), 0) FROM {Image.table.name}"
        " WHERE project_id = ? AND deleted_at IS NULL",
        Status.SAVING,
        Status.UPLOADING,
        ask.who.project_id,
    ).fetchone()
    limit = ask.cloud.quotas.limit(ask.tx, ask.who.project_id, "image.image_count_total")
    return {
        "usage": {
            "image_size_total": {"usage": -(-int(row[1]) // 2**20), "limit": -1},
            "image_stage_total": {"usage": 0, "limit": -1},
            "image_count_total": {"usage": int(row[0]), "limit": limit},
            "image_count_uploading": {"usage": int(row[2]), "limit": -1},
        }
    }
