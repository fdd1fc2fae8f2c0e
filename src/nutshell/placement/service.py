"""The placement service: where it hangs, its versions, and how it says no.

Source: Placement API reference, https://docs.openstack.org/api-ref/placement/.
"""

from http import HTTPStatus
from typing import Any

from nutshell.core.errors import Fault
from nutshell.core.service import Answer, Ask, Service
from nutshell.core.versions import Versions


def error(fault: Fault, request_id: str) -> Any:
    title = HTTPStatus(fault.http).phrase
    entry = {"status": fault.http, "title": title, "detail": str(fault), "request_id": request_id}
    entry["code"] = fault.code or "placement.undefined_code"
    return {"errors": [entry]}


placement = Service(
    "placement",
    "/placement",
    versions=Versions("placement", (1, 0), (1, 39)),
    error=error,
    default_sort="name",
    max_limit=None,
)


@placement.route("GET", "", public=True)
def versions(ask: Ask[Any]) -> Answer:
    """The version document (API reference, "List Versions")."""
    version = {
        "id": "v1.0",
        "max_version": "1.39",
        "min_version": "1.0",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }
    return Answer(200, {"versions": [version]})
