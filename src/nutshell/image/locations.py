"""Locations: addresses an image's data can be read from (Image API v2, "Locations"; the older patch of `locations`)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from nutshell.core.errors import BadRequest, Conflict, Forbidden
from nutshell.core.service import Answer, Ask
from nutshell.image import patches
from nutshell.image.fetch import FetchRefused, judge
from nutshell.image.images import Image, Status, leave_data, load, locations_shown
from nutshell.image.service import image
from nutshell.image.settings import ImageConfig
from nutshell.image.shapes import fault_in
from nutshell.image.stores import StoreFault, Stores
from nutshell.image.tasks import ImageTask, open_task

ALGORITHMS = ("sha512", "sha384", "sha256", "sha224", "sha1", "md5")
NEW = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": {"type": "string", "maxLength": 255},
        "validation_data": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "os_hash_algo": {"type": "string", "enum": list(ALGORITHMS)},
                "os_hash_value": {"type": "string", "maxLength": 128},
            },
        },
    },
}
Change = dict[str, Any]


# -- the older way: members of the image, where the operator shows them


def look(ask: Ask[Any]) -> Mapping[str, int]:
    """Before a change: the size of what its new locations hold, by address. 400 for what cannot be read."""
    wanted: list[str] = []
    for one in patches.read(ask.headers.get("content-type", ""), ask.body):
        if one.name == "locations" and one.op != "remove":
            wanted += [v["url"] for v in (one.value if isinstance(one.value, list) else [one.value])]
    known = {one["url"] for one in ask.target.locations}
    return {url: _size(ask, url) for url in wanted if url not in known} if _open(ask) else {}


def _open(ask: Ask[Any]) -> bool:
    return bool(ask.cloud.settings[ImageConfig].show_locations)


def _size(ask: Ask[Any], url: str) -> int:
    store = ask.cloud.port(Stores).for_url(url)
    if store is None:
        raise BadRequest(f"Invalid location {url}: no store of this cloud serves it")
    try:
        return store.size(url)
    except StoreFault as why:
        raise BadRequest(f"Invalid location: {why}") from None


def change(ask: Ask[Any], row: Image, new: Change, one: patches.Change) -> Change:
    """The columns after a patch of `locations`. `new`: what the patch changed before."""
    verb = {"add": "add", "remove": "remove", "replace": "update"}[one.op]
    if not _open(ask):
        raise Forbidden(f"It's not allowed to {verb} locations if locations are invisible.")
    ask.must("delete_image_location" if one.op == "remove" else "set_image_location", row.policy_target())
    status = new.get("status", row.status)
    if status not in ((Status.ACTIVE,) if one.op == "remove" else (Status.ACTIVE, Status.QUEUED)):
        raise Conflict(f"It's not allowed to {verb} locations if image status is {status}.")
    now: list[dict[str, Any]] = new.get("locations", row.locations)
    if one.op == "remove":
        if len(now) == 1:
            raise Forbidden("Cannot remove last location in the image.")
        at = _position(one.place, len(now) - 1, "removing")
        leave_data(ask.cloud, ask.tx, row.id, [now[at]])
        return {"locations": [*now[:at], *now[at + 1 :]]}
    if one.op == "replace":
        return _replace(ask, row, now, one.value, status)
    at = _position(one.place, len(now), "adding")
    if any(old["url"] == one.value["url"] for old in now):
        raise BadRequest(f"Location {one.value['url']} already set")
    made = _stored(ask, one.value)
    checks = _checked(_algorithm(ask), row, new, [one.value], status)
    return {"locations": [*now[:at], made, *now[at:]], **checks, **_activation(ask, status, one.value["url"])}


def _position(place: str, last: int, doing: str) -> int:
    if place == "-":
        return last
    if not place.isdecimal() or int(place) > last:
        raise BadRequest(f"Invalid position for {doing} a location.")
    return int(place)


def _replace(ask: Ask[Any], row: Image, now: list[dict[str, Any]], given: Sequence[Any], status: Status) -> Change:
    """Another list: of a queued image any, of an active one the same addresses, perhaps with other metadata."""
    if not given:
        raise BadRequest("Cannot set locations to empty list.")
    if now and [one["url"] for one in now] != [one["url"] for one in given]:
        raise BadRequest("Original locations is not empty: their addresses cannot be replaced.")
    if len({one["url"] for one in given}) != len(given):
        raise BadRequest("A location is given twice.")
    stored = [{**old, "metadata": _plain(one["metadata"])} for old, one in zip(now, given, strict=False)] or [
        _stored(ask, one) for one in given
    ]
    return {
        "locations": stored,
        **_checked(_algorithm(ask), row, {}, given, status),
        **_activation(ask, status, given[0]["url"]),
    }


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in metadata.items() if k != "store"}


def _stored(ask: Ask[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    store = ask.cloud.port(Stores).for_url(given["url"])
    if store is None:
        raise BadRequest(f"Invalid location {given['url']}: no store of this cloud serves it")
    return {"store": store.id, "url": given["url"], "metadata": _plain(given["metadata"])}


def _activation(ask: Ask[Any], status: Status, url: str) -> Change:
    if status != Status.QUEUED:
        return {}
    return {"status": Status.ACTIVE, "size": ask.prepared.get(url)}


def _algorithm(ask: Ask[Any]) -> str:
    return ask.cloud.settings[ImageConfig].hashing_algorithm


def _checked(algorithm: str, row: Image, new: Change, given: Sequence[Mapping[str, Any]], status: Status) -> Change:
    """What `validation_data` says of the data; 409 where it contradicts what is known."""
    found: Change = {}
    for one in given:
        for name, value in one.get("validation_data", {}).items():
            known = new.get(name, getattr(row, name))
            if found.get(name, value) != value:
                raise Conflict(f"Conflicting values for {name}")
            if known and known != value:
                raise Conflict(f"{name} is already set with a different value")
            if known != value:
                found[name] = value
    if not found:
        return {}
    if status != Status.QUEUED:
        raise Conflict(f"New value(s) for {', '.join(found)} may only be provided when image status is 'queued'")
    if found.get("os_hash_algo") != algorithm:
        raise Conflict(f"os_hash_algo must be {algorithm}, not {found.get('os_hash_algo')}")
    for name, size in (("checksum", 16), ("os_hash_value", hashlib.new(algorithm).digest_size)):
        if name in found and not _is_hex(found[name], size):
            raise Conflict(f"{name} ({found[name]}) is not a hexadecimal value of {size} bytes")
    return found


def _is_hex(text: str, size: int) -> bool:
    try:
        return len(bytes.fromhex(text)) == size
    except ValueError:
        return False


# -- the newer way (2.17): a call of its own


def judge_url(ask: Ask[Any]) -> str:
    """Before a location is added: its address must be one that may be fetched. 400."""
    fault = fault_in(ask.body, NEW)
    if fault:
        raise BadRequest(f"Provided object does not match schema 'location': {fault}")
    url, given = str(ask.body["url"]), ask.body.get("validation_data") or {}
    if given and len(given) != 2:
        raise BadRequest("validation_data needs both os_hash_algo and os_hash_value")
    _check_queued(ask.target)
    if url.partition(":")[0].lower() in ("http", "https"):
        try:
            judge(url, ask.cloud.settings[ImageConfig].fetch_rules())
        except FetchRefused as why:
            raise BadRequest(f"URI for add location does not pass filtering: {url} ({why})") from None
    return url


def _check_queued(row: Image) -> None:
    if row.status != Status.QUEUED:
        raise Conflict(f"It's not allowed to add locations if image status is {row.status}.")


@image.route("POST", "/images/{image_id}/locations", rule="add_image_location", noun=Image, verb="add_location",
             against=load, wrap="", before=judge_url)  # fmt: skip
def add_location(ask: Ask[Any]) -> Answer:
    row: Image = ask.target
    _check_queued(row)
    given = ask.body.get("validation_data") or {}
    if given and not _is_hex(given["os_hash_value"], hashlib.new(given["os_hash_algo"]).digest_size):
        raise BadRequest(
            f"os_hash_value: ({given['os_hash_value']}) is not the correct size for ({given['os_hash_algo']})"
        )
    store = ask.cloud.port(Stores).for_url(ask.prepared)
    if store is None:
        if "service" in ask.who.roles:
            raise BadRequest(f"Invalid location {ask.prepared}: no store of this cloud serves it")
        raise Forbidden("http store must be enabled to use location API by normal user.")
    if ask.tx.count(ImageTask, image_id=row.id, status=["pending", "processing"]):
        raise Conflict(f"New operation on image '{row.id}' is not permitted as prior operation is still in progress")
    order = {"image_id": row.id, "loc_url": ask.prepared, "validation_data": given}
    open_task(ask, row, order, kind="location_import")
    made = {"store": store.id, "url": ask.prepared, "metadata": {}}
    ask.tx.put(row, status=Status.IMPORTING, locations=[made], due_at=ask.now, verb="add_location")
    return Answer(202)


@image.route("GET", "/images/{image_id}/locations", rule="fetch_image_location", noun=Image, verb="locations",
             against=load)  # fmt: skip
def list_locations(ask: Ask[Any]) -> Answer:
    return Answer(200, locations_shown(ask, ask.target))
