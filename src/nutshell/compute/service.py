"""The compute service: its place on the port, its error format, page links and version documents.

Source: the Compute API reference, "API Versions" and "Faults"
(https://docs.openstack.org/api-guide/compute/faults.html).
"""

from collections.abc import Sequence
from typing import Any

from nutshell.compute.errors import FlavorNotFound, InstanceNotFound
from nutshell.compute.policy import RULES
from nutshell.core.errors import BadRequest, Fault, NotFound, QuotaExceeded
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask, Service
from nutshell.core.versions import Versions

LOWEST, HIGHEST = (2, 1), (2, 104)

_FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def render_error(fault: Fault, request_id: str) -> Any:
    """Compute's error body: one member named after the status."""
    message = str(fault)
    if isinstance(fault, QuotaExceeded):
        f = fault.facts
        name = str(f.get("name", "")).rpartition(".")[2]
        message = (
            f"Quota exceeded for {name}: Requested {f.get('requested')}, but already used {f.get('used')} of"
            f" {f.get('limit')} {name}"
        )
    found: dict[str, Any] = {"code": fault.http, "message": message}
    if fault.http in (413, 429):
        found["retryAfter"] = "0"
    if fault.http == 406:
        found |= {k: v for k, v in fault.facts.items() if k in ("max_version", "min_version")}
    return {_FAULTS.get(fault.http, "computeFault"): found}


def page_links(ask: Ask[Any], many: str, rows: Sequence[Any], more: bool) -> dict[str, Any]:
    """The "next" link: this request again, after the page's last row."""
    if not more or not rows:
        return {}
    from urllib.parse import urlencode

    kept = [(k, v) for k, values in ask.query.items() if k != "marker" for v in values]
    kept.append(("marker", getattr(rows[-1], rows[-1].key)))
    path = ask.route.path
    for name, value in ask.params.items():
        path = path.replace("{" + name + "}", value)
    return {f"{many}_links": [{"rel": "next", "href": f"{ask.url}{path}?{urlencode(kept)}"}]}


def not_found(noun: type[Resource], key: str) -> Fault:
    known = {"server": InstanceNotFound, "flavor": FlavorNotFound}.get(noun.one)
    if known is not None:
        return known(id=key)
    return NotFound(kind=noun.one.replace("_", " ").capitalize(), id=key)


compute = Service(
    name="compute",
    mount="/compute",
    prefixes=("/v2.1", "/v2.1/{project_id}", "/v2", "/v2/{project_id}"),
    unversioned=("/v2", "/v2/{project_id}"),
    strict_slash=True,
    versions=Versions("compute", LOWEST, HIGHEST, legacy="X-OpenStack-Nova-API-Version"),
    error=render_error,
    page_links=page_links,
    detail_route=True,
    not_found=not_found,
    default_sort="created_at desc, id desc",
)
compute.policy(RULES)


def _admit(ask: Ask[Any]) -> None:
    """A project in the address must be the caller's."""
    named = ask.params.get("project_id") if "{project_id}" in ask.route.prefix else None
    if named is not None and named != ask.who.project_id:
        raise BadRequest("Malformed request url")


compute.admits = _admit


def links(ask: Ask[Any], many: str, key: str) -> list[dict[str, str]]:
    """A resource's own two links: versioned and not."""
    return [
        {"rel": "self", "href": f"{ask.url}/{many}/{key}"},
        {"rel": "bookmark", "href": bookmark(ask, many, key)},
    ]


def bookmark(ask: Ask[Any], many: str, key: str) -> str:
    prefix = f"/{ask.params['project_id']}" if "{project_id}" in ask.route.prefix else ""
    return f"{ask.base}{ask.service.mount}{prefix}/{many}/{key}"


def _old_version(ask: Ask[Any]) -> dict[str, Any]:
    """The API before microversions; its routes are those of 2.1."""
    return {
        "id": "v2.0",
        "status": "DEPRECATED",
        "version": "",
        "min_version": "",
        "updated": "2025-07-04T12:00:00Z",
        "links": [{"rel": "self", "href": f"{ask.base}{ask.service.mount}/v2/"}],
    }


def _version(ask: Ask[Any]) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"{HIGHEST[0]}.{HIGHEST[1]}",
        "min_version": f"{LOWEST[0]}.{LOWEST[1]}",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{ask.base}{ask.service.mount}/v2.1/"}],
    }


@compute.route("GET", "", public=True, prefixes=("",))
def list_versions(ask: Ask[Any]) -> Answer:
    return Answer(200, {"versions": [_old_version(ask), _version(ask)]})


@compute.route("GET", "", public=True, prefixes=("/v2.1",))
def show_version(ask: Ask[Any]) -> Answer:
    return _one_version(_version(ask), "2.1")


@compute.route("GET", "", public=True, prefixes=("/v2",))
def show_old_version(ask: Ask[Any]) -> Answer:
    return _one_version(_old_version(ask), "2")


def _one_version(found: dict[str, Any], number: str) -> Answer:
    found["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    kind = f"application/vnd.openstack.compute+json;version={number}"
    found["media-types"] = [{"base": "application/json", "type": kind}]
    return Answer(200, {"version": found})
