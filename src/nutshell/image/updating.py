"""Changes of an image: its members, its users' properties and its locations (Image API v2, "Update image")."""

from collections.abc import Sequence
from typing import Any

from nutshell.core.errors import Conflict, Forbidden
from nutshell.core.service import Answer, Ask
from nutshell.image import locations, patches, schemas
from nutshell.image.images import (
    Image,
    Status,
    check_extra,
    check_number,
    check_visibility,
    load,
    read_tags,
    shown,
)
from nutshell.image.service import image, is_admin


@image.route("PATCH", "/images/{image_id}", rule="modify_image", noun=Image, verb="update", against=load, wrap="",
             before=locations.look)  # fmt: skip
def update_image(ask: Ask[Any]) -> Answer:
    row: Image = ask.target
    changes = patches.read(ask.headers.get("content-type", ""), ask.body)
    if not changes:
        return Answer(200, shown(ask, row))
    new = apply(ask, row, changes)
    return Answer(200, shown(ask, ask.tx.put(row, **new)))


def apply(ask: Ask[Any], row: Image, changes: Sequence[patches.Change]) -> dict[str, Any]:
    """The columns after the changes. 403 for what may not change, 409 for what is not there."""
    new: dict[str, Any] = {}
    extra = dict(row.extra)
    for change in changes:
        if change.name == "locations":
            new |= locations.change(ask, row, new, change)
        elif change.name in schemas.PROPERTIES:
            if change.op == "remove":
                raise Forbidden(f"Property {change.name} may not be removed.")
            if change.op == "add" and change.draft == 4:
                raise Conflict(f"Property {change.name} already present.")
            new |= _base(ask, row, change)
        elif change.op == "remove":
            if change.name not in extra:
                raise Conflict(f"Property {change.name} does not exist.")
            del extra[change.name]
        else:
            if change.op == "replace" and change.name not in extra:
                raise Conflict(f"Property {change.name} does not exist.")
            if change.op == "add" and change.draft == 4 and change.name in extra:
                raise Conflict(f"Property {change.name} already present.")
            extra[change.name] = change.value
    if len(extra) > len(row.extra):
        check_extra(extra)
    return {**new, "extra": extra}


def _base(ask: Ask[Any], row: Image, change: patches.Change) -> dict[str, Any]:
    name, value = change.name, change.value
    if name == "owner":
        if not is_admin(ask):
            raise Forbidden("Owner can't be updated by non admin.")
        return {"project_id": value}
    if name == "visibility":
        check_visibility(ask, value, row.policy_target())
    if name in ("disk_format", "container_format") and row.status not in (Status.QUEUED, Status.IMPORTING):
        raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
    if name in ("min_disk", "min_ram"):
        check_number(name, value)
    return {name: read_tags(value) if name == "tags" else value}
