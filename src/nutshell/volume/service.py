"""The volume service: its place, its versions, its rules and how it says no (Block Storage API v3)."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from nutshell.core.clock import iso_micros
from nutshell.core.errors import BadRequest, Fault, NotFound, QuotaExceeded, TooLarge
from nutshell.core.listing import select_page
from nutshell.core.render import render_rows
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask, Service
from nutshell.core.store import Tx
from nutshell.core.versions import Versions
from nutshell.volume.policies import RULES

NAMES = {
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


class InvalidVolume(BadRequest):
    """Invalid volume: {why}"""


class InvalidSnapshot(BadRequest):
    """Invalid snapshot: {why}"""


class InvalidInput(BadRequest):
    """Invalid input received: {why}"""


class OverLimit(TooLarge):
    """{why}"""


def error(fault: Fault, request_id: str) -> dict[str, Any]:
    name = NAMES.get(fault.http, "computeFault" if fault.http >= 500 else "badRequest")
    body: dict[str, Any] = {"code": fault.http, "message": str(fault)}
    if name == "overLimit":
        body["retryAfter"] = "0"
        fault.headers.setdefault("Retry-After", "0")
    if isinstance(fault, BadRequest) and fault.http == 404:
        name = "itemNotFound"
    return {name: body}


def page_links(ask: Ask[Any], many: str, rows: Sequence[Any], more: bool) -> dict[str, Any]:
    full = ask.asked("limit") == str(len(rows))  # a full page points on even when it was the last, as the real one
    if not rows or not (more or full):
        return {}
    pairs = [(k, v) for k, values in ask.query.items() for v in values if k not in ("marker", "offset")]
    query = urlencode([*pairs, ("marker", rows[-1].id)])
    below = ask.path.partition(ask.url.partition(ask.base)[2])[2]
    name = {"volume_types": "volume_type"}.get(many, many)
    return {f"{name}_links": [{"rel": "next", "href": f"{ask.url}{below}?{query}"}]}


def not_found(noun: type[Resource], key: str) -> NotFound:
    class_name = {"VolumeAttachment": "Volume attachment", "VolumeType": "Volume type"}.get(
        noun.__name__, noun.__name__
    )
    return NotFound(kind=class_name, id=key)


def admits(ask: Ask[Any]) -> None:
    """The project in the address must be the token's."""
    named = ask.params.get("project_id") if ask.route.prefix else None
    if named is not None and ask.who.user_id and named != ask.who.project_id:
        raise BadRequest("Malformed request url")


volume = Service(
    name="volume",
    mount="/volume",
    prefixes=("/v3/{project_id}", "/v3"),
    versions=Versions("volume", (3, 0), (3, 71)),
    error=error,
    time=iso_micros,
    page_links=page_links,
    lax=True,
    detail_route=True,
    max_limit=1000,
    default_sort_dir="desc",
    not_found=not_found,
    admits=admits,
    strict_slash=True,
)
volume.policy(RULES)


def is_admin(ask: Ask[Any]) -> bool:
    return ask.cloud.rules.allows("context_is_admin", ask.who, {})


def list_page(ask: Ask[Any]) -> Answer:
    """The usual listing: the caller's project's, or everybody's for an administrator who asks (`all_tenants`)."""
    return _listed(ask, counted=False)


def list_counted(ask: Ask[Any]) -> Answer:
    """As `list_page`, with the number of all of them when asked."""
    return _listed(ask, counted=ask.flag("with_count"))


def _listed(ask: Ask[Any], *, counted: bool) -> Answer:
    noun = ask.route.noun
    assert noun is not None
    if "sort_key" in ask.query:  # names of older clients
        ask.query = {**ask.query, "sort_key": [n.removeprefix("display_") for n in ask.query["sort_key"]]}
    equals = scope(ask)
    try:
        page = select_page(ask, noun, **equals)
    except BadRequest as why:
        if why.facts.get("field") == "marker":
            raise not_found(noun, ask.asked("marker")) from None
        raise
    body = {noun.many: render_rows(ask, noun, page.rows, ask.route.view)}
    body |= page_links(ask, noun.many, page.rows, page.more)
    if counted:
        asked = ask.query
        ask.query = {k: v for k, v in asked.items() if k not in ("limit", "marker", "offset")}
        body["count"] = len(select_page(ask, noun, **equals).rows)  # type: ignore[assignment]
        ask.query = asked
    return Answer(200, body)


def scope(ask: Ask[Any]) -> dict[str, Any]:
    """Whose things a listing shows."""
    if (ask.flag("all_tenants") or ask.flag("all_projects")) and is_admin(ask):
        project_id = ask.asked("project_id")
        return {"project_id": project_id} if project_id else {}
    return {"project_id": ask.who.project_id}


def take(ask_or_cloud: Any, tx: Tx, project_id: str, amounts: Mapping[str, int]) -> None:
    """Use a project's quota ("volumes", "gigabytes", …) or 413 as this service says it."""
    cloud = getattr(ask_or_cloud, "cloud", ask_or_cloud)
    try:
        cloud.quotas.take(tx, project_id, {f"volume.{k}": v for k, v in amounts.items()})
    except QuotaExceeded as why:
        f = why.facts
        if "gigabytes" in str(f["name"]):
            raise OverLimit(
                f"Requested volume or snapshot exceeds allowed {f['name']} quota. Requested {f['requested']}G, quota is"
                f" {f['limit']}G and {f['used']}G has been consumed."
            ) from None
        raise OverLimit(
            f"{str(f['name'])[:-1].capitalize()}LimitExceeded: Maximum number of {f['name']} allowed ({f['limit']})"
            f" exceeded for quota '{f['name']}'."
        ) from None


def give_back(cloud: Any, tx: Tx, project_id: str, amounts: Mapping[str, int]) -> None:
    cloud.quotas.give_back(tx, project_id, {f"volume.{k}": v for k, v in amounts.items()})


def text(value: Any, name: str, longest: int = 255) -> Any:
    """A name or description as it is kept: stripped; 400 when it is too long."""
    if value is None:
        return None
    found = str(value).strip()
    if len(found) > longest:
        raise BadRequest(f"Invalid input for field/attribute {name}. Value: {found[:50]}…. {name} has {len(found)}"
                         f" characters, more than {longest}.")  # fmt: skip
    return found


def check_metadata(given: Any) -> dict[str, str]:
    """Metadata as it is kept. 400 unless every key and value is text of 1 (0) to 255 characters."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadRequest(f"Invalid input for field/attribute metadata. Value: {given}. It is not an object.")
    for key, value in given.items():
        if not isinstance(value, str):
            raise BadRequest(
                f"Invalid input for field/attribute {key}. Value: {value}. {value!r} is not of type 'string'"
            )
        if not 1 <= len(key) <= 255:
            raise BadRequest(f"Metadata property key '{key[:50]}' must have 1 to 255 characters.")
        if len(value) > 255:
            raise BadRequest(f"Metadata property value of '{key}' has more than 255 characters.")
    return dict(given)
