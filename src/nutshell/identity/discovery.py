"""Which versions there are: the documents that clients ask for first (Identity API v3, "Versions")."""

from typing import Any

from nutshell.core.service import Answer, Ask
from nutshell.identity.service import identity

HOME = "application/json-home"


def _version(ask: Ask[Any]) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{ask.base}{ask.service.mount}/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


@identity.route("GET", "", public=True, prefixes=("",))
def list_versions(ask: Ask[Any]) -> Answer:
    if HOME in ask.headers.get("accept", ""):
        return _home("/v3")
    here = f"{ask.base}{ask.service.mount}/v3/"
    return Answer(300, {"versions": {"values": [_version(ask)]}}, {"Location": here})


@identity.route("GET", "", public=True)
def show_version(ask: Ask[Any]) -> Any:
    if HOME in ask.headers.get("accept", ""):
        return _home("")
    return {"version": _version(ask)}


def _home(prefix: str) -> Answer:
    from nutshell.identity.json_home import document

    return Answer(200, document(prefix), {"Content-Type": HOME})
