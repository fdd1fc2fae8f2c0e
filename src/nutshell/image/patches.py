"""JSON patches of images: both media types of the Image API v2, read into changes ("HTTP PATCH media types")."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nutshell.core.errors import BadRequest, Forbidden, UnsupportedMediaType
from nutshell.image import schemas

MEDIA_TYPES: Mapping[str, int] = {
    "application/openstack-images-v2.0-json-patch": 4,
    "application/openstack-images-v2.1-json-patch": 10,
}
OPERATIONS = ("add", "remove", "replace")
DISALLOWED = ("direct_url", "self", "file", "schema", "stores")
READ_ONLY = (
    "created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema",
    "id", "os_hash_algo", "os_hash_value", "stores",
)  # fmt: skip
# openstacksdk does not know of `stores` and asks, with every change, that what it does not know be removed.
FORGOTTEN = ({"op": "remove", "path": "/stores"},)
RESERVED = ("location", "deleted", "deleted_at")
RESERVED_PREFIX = "os_glance"
POINTER_FAULTS = (
    (re.compile(r"(?!/)"), 'Pointer `{}` does not start with "/".'),
    (re.compile(r"/.*/\s*?/"), 'Pointer `{}` contains adjacent "/".'),
    (re.compile(r"/.*/$"), 'Pointer `{}` end with "/".'),
    (re.compile(r"//?\s*$"), "Pointer `{}` does not contains valid token."),
    (re.compile(r".*~([^01]|$)"), 'Pointer `{}` contains "~" not part of a recognized escape sequence.'),
)


@dataclass(frozen=True)
class Change:
    op: str  # "add", "remove", "replace"
    name: str
    value: Any
    draft: int  # 4: adding what is there is a conflict; 10: it replaces
    place: str = ""  # of a location: its number, or "-" for the end


def read(content_type: str, body: Any) -> Sequence[Change]:
    """The changes a PATCH asks for. 415, 400 for what cannot be read, 403 for what nobody may change."""
    draft = MEDIA_TYPES.get(content_type.split(";")[0].strip())
    if draft is None:
        allowed = ", ".join(sorted(MEDIA_TYPES))
        raise UnsupportedMediaType(
            f"Image PATCH expects Content-Type one of: {allowed}", headers={"Accept-Patch": allowed}
        )
    if not isinstance(body, list):
        raise BadRequest("Request body must be a JSON array of operation objects.")
    return [_change(one, draft) for one in body if one not in FORGOTTEN]


def refuse_reserved(name: str) -> None:
    """403 for members that are the service's own."""
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def _change(given: Any, draft: int) -> Change:
    if not isinstance(given, dict):
        raise BadRequest("Operations must be JSON objects.")
    op, pointer = _modern(given) if draft == 10 else _old(given)
    path = parse_pointer(pointer)
    if len(path) != (2 if path[0] == "locations" and op != "replace" else 1):
        raise BadRequest(f"Invalid JSON pointer for this resource: '/{'/'.join(path)}'")
    if op != "remove" and "value" not in given:
        raise BadRequest(f'Operation "{op}" requires a member named "value".')
    name = path[0]
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    refuse_reserved(name)
    if op != "remove":
        schemas.check(name, [given["value"]] if len(path) > 1 else given["value"])
    return Change(op, name, given.get("value"), draft, path[1] if len(path) > 1 else "")


def _modern(given: Mapping[str, Any]) -> tuple[str, Any]:
    available = ", ".join(OPERATIONS)
    op = given.get("op")
    if op is None:
        raise BadRequest(f"Unable to find `op` in JSON Schema change. It must be one of the following: {available}.")
    if op not in OPERATIONS:
        raise BadRequest(f"Invalid operation: `{op}`. It must be one of the following: {available}.")
    if "path" not in given:
        raise BadRequest("Unable to find 'path' in JSON Schema change")
    return op, given["path"]


def _old(given: Mapping[str, Any]) -> tuple[str, Any]:
    found = [op for op in OPERATIONS if op in given]
    if len(found) != 1:
        word = "only" if found else "exactly"
        raise BadRequest(f'Operation objects must contain {word} one member named "add", "remove", or "replace".')
    return found[0], given[found[0]]


def parse_pointer(pointer: Any) -> list[str]:
    """A JSON pointer's segments, or 400."""
    if not isinstance(pointer, str):
        raise BadRequest(f"Pointer `{pointer}` is not text.")
    for wrong, why in POINTER_FAULTS:
        if wrong.match(pointer):
            raise BadRequest(why.format(pointer))
    return [part.replace("~1", "/").replace("~0", "~").strip() for part in pointer.lstrip("/").split("/")]
