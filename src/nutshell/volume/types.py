"""Volume types, their extra specs and who may use private ones (Block Storage API v3, "Volume types")."""

import ast
import re
from typing import Any

import sqlalchemy as sa

from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.json_columns import has_member
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import OMIT, Context
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.volume.making import may_use
from nutshell.volume.service import is_admin, text, volume
from nutshell.volume.tables import DEFAULT_TYPE, TypeAccess, Volume, VolumeType

ACCESS = "volume_extension:volume_type_access"
SPECS = "volume_extension:types_extra_specs"
USER_VISIBLE = ("RESKEY:availability_zones", "multiattach", "replication_enabled")
KEY = re.compile(r"^[\w\.\-:]{1,255}$")


class InUse(BadRequest):
    """Volume Type {id} deletion is not allowed with volumes present with the type."""


@VolumeType.shows("extra_specs")
def extra_specs(row: VolumeType, ctx: Context) -> Any:
    if not ctx.ask.may("volume_extension:access_types_extra_specs", _everybody(ctx.ask)):
        return OMIT
    return _shown_specs(ctx.ask, row)


def _shown_specs(ask: Ask[Any], row: VolumeType) -> dict[str, str]:
    """Those that are for users, and all for those who may read all."""
    if ask.may(f"{SPECS}:read_sensitive", {}):
        return row.extra_specs
    return {k: v for k, v in row.extra_specs.items() if k in USER_VISIBLE}


@VolumeType.shows("os-volume-type-access:is_public")
def access_is_public(row: VolumeType, ctx: Context) -> Any:
    return row.is_public if ctx.ask.route.view != "plain" else OMIT


@VolumeType.filters_by("is_public")
def by_public(ask: Ask[Any], values: list[str]) -> Any:
    return None  # looked at with who may see what


@VolumeType.filters_by("extra_specs")
def by_specs(ask: Ask[Any], values: list[str]) -> Any:
    try:
        wanted = {str(k): str(v) for k, v in ast.literal_eval(values[-1]).items()}
    except (ValueError, SyntaxError, AttributeError, MemoryError, RecursionError):
        raise BadRequest(f"Invalid extra_specs filter {values[-1][:100]}") from None
    column = VolumeType.c("extra_specs")
    return sa.and_(sa.true(), *(has_member(column, k, v) for k, v in wanted.items()))


@volume.verb(VolumeType, "list", rule="volume_extension:type_get_all")
def list_types(ask: Ask[Any]) -> Answer:
    """Public types and the caller's own private ones; an administrator chooses by `is_public`."""
    word = ask.asked("is_public", "").strip().lower()
    is_public = VolumeType.c("is_public")
    if is_admin(ask):
        if word == "none":
            return page_answer(ask, VolumeType, select_page(ask, VolumeType))
        if word not in ("", "true", "false", "1", "0"):
            raise BadRequest(f"Invalid is_public filter [{word}]")
        return page_answer(ask, VolumeType, select_page(ask, VolumeType, is_public=word not in ("false", "0")))
    a = TypeAccess.table.c
    mine = sa.select(a.volume_type_id).where(a.project_id == ask.who.project_id)
    seen = sa.or_(is_public == sa.true(), VolumeType.c("id").in_(mine))
    return page_answer(ask, VolumeType, select_page(ask, VolumeType, seen))


@volume.route("GET", "/types/default", rule="volume_extension:type_get", noun=VolumeType)
def show_default(ask: Ask[Any]) -> VolumeType:
    row = ask.tx.one(VolumeType, name=DEFAULT_TYPE)
    if row is None:
        raise NotFound(kind="Default volume type", id="")
    return row


def _visible(ask: Ask[VolumeType]) -> VolumeType:
    row = ask.target
    if not may_use(ask.cloud, ask.tx, ask.who, row):
        raise NotFound(kind="Volume type", id=row.id)
    return row


@volume.verb(VolumeType, "show", rule="volume_extension:type_get", against=lambda ask: _everybody(ask))
def show(ask: Ask[VolumeType]) -> VolumeType:
    return _visible(ask)


def _everybody(ask: Ask[Any]) -> dict[str, str]:
    """Types belong to nobody: whoever reads something of his own may read them."""
    return {"project_id": ask.who.project_id}


class NewType(Body):
    """A type to be made."""

    name: str = field(min_length=1, max_length=255)
    description: str | None = field(default=None, max_length=255)
    extra_specs: Any = field(default=None)
    is_public: bool = field(default=True, wire="os-volume-type-access:is_public")


@volume.verb(VolumeType, "create", rule="volume_extension:type_create", body=NewType, http=200, view="created")
def create(ask: Ask[Any]) -> VolumeType:
    name = text(ask.given["name"], "name")
    if not name:
        raise BadRequest("Invalid input for field/attribute name. Value: . It is empty.")
    _check_free(ask, name)
    return ask.tx.add(
        VolumeType(
            id=ask.new_id(),
            name=name,
            description=ask.given.get("description"),
            is_public=ask.given.get("is_public", True),
            extra_specs=check_specs(ask.given.get("extra_specs") or {}),
        )
    )


def _check_free(ask: Ask[Any], name: str) -> None:
    if ask.tx.count(VolumeType, name=name):
        raise Conflict(f"Volume Type {name} already exists.")


def check_specs(given: Any) -> dict[str, str]:
    """Extra specs as they are kept: keys of letters, digits and .-_: with text or null values. 400."""
    if not isinstance(given, dict):
        raise BadRequest(f"Invalid input for field/attribute extra_specs. Value: {given}. It is not an object.")
    for key, value in given.items():
        if not KEY.match(key) or not isinstance(value, str) or len(value) > 255:
            raise BadRequest(f"Invalid input for field/attribute extra_specs. Value: {key}={value}. Keys hold letters,"
                             " digits and .-_: and values are text.")  # fmt: skip
    return dict(given)


class ChangedType(Body):
    """What of a type may be changed."""

    name: str | None = field(default=None, max_length=255)
    description: str | None = field(default=None, max_length=255)
    is_public: bool | None = field(default=None)


@volume.verb(VolumeType, "update", rule="volume_extension:type_update", body=ChangedType, view="plain")
def update(ask: Ask[VolumeType]) -> VolumeType:
    given = {k: v for k, v in ask.given.items() if v is not None}
    if not given:
        raise BadRequest("Specify volume type name, description, is_public or a combination thereof.")
    if "name" in given:
        given["name"] = text(given["name"], "name")
        if not given["name"]:
            raise BadRequest("Volume type name can not be empty.")
        if given["name"] != ask.target.name:
            _check_free(ask, given["name"])
    return ask.tx.put(ask.target, **given)


@volume.verb(VolumeType, "delete", rule="volume_extension:type_delete", http=202)
def remove(ask: Ask[VolumeType]) -> None:
    row = ask.target
    if ask.tx.count(Volume, type_id=row.id):
        raise InUse(id=row.id)
    if row.name == DEFAULT_TYPE:
        raise BadRequest(f"The volume type {row.id} is the default volume type and cannot be deleted.")
    ask.tx.drop_where(TypeAccess, volume_type_id=row.id)
    ask.tx.sql("DELETE FROM volume_encryptions WHERE volume_type_id = ?", row.id)
    ask.tx.drop(row)


@volume.verb(VolumeType, "specs", rule=f"{SPECS}:index", method="GET", path="/{id}/extra_specs", against=_everybody)
def list_specs(ask: Ask[VolumeType]) -> Answer:
    return Answer(200, {"extra_specs": _shown_specs(ask, _visible(ask))})


@volume.verb(VolumeType, "add_specs", rule=f"{SPECS}:create", method="POST", path="/{id}/extra_specs", http=200)
def add_specs(ask: Ask[VolumeType]) -> Answer:
    body = ask.body
    if not isinstance(body, dict) or "extra_specs" not in body:
        raise BadRequest("Invalid input for field/attribute body. 'extra_specs' is a required property")
    given = check_specs(body["extra_specs"])
    ask.tx.put(ask.target, extra_specs={**ask.target.extra_specs, **given})
    return Answer(200, {"extra_specs": given})


def _spec(ask: Ask[VolumeType]) -> str:
    key = ask.params["key"]
    if key not in ask.target.extra_specs:
        raise NotFound(kind=f"Volume Type {ask.target.id} extra spec", id=key)
    return key


@volume.verb(VolumeType, "show_spec", rule=f"{SPECS}:show", method="GET", path="/{id}/extra_specs/{key}",
             against=_everybody)  # fmt: skip
def show_spec(ask: Ask[VolumeType]) -> Answer:
    shown, key = _shown_specs(ask, _visible(ask)), ask.params["key"]
    if key not in shown:
        raise NotFound(kind=f"Volume Type {ask.target.id} extra spec", id=key)
    return Answer(200, {key: shown[key]})


@volume.verb(VolumeType, "set_spec", rule=f"{SPECS}:update", method="PUT", path="/{id}/extra_specs/{key}", http=200)
def set_spec(ask: Ask[VolumeType]) -> Answer:
    if not isinstance(ask.body, dict) or ask.params["key"] not in ask.body:
        raise BadRequest("Request body and URI mismatch")
    if len(ask.body) > 1:
        raise BadRequest("Request body contains too many items")
    given = check_specs(ask.body)
    ask.tx.put(ask.target, extra_specs={**ask.target.extra_specs, **given})
    return Answer(200, given)


@volume.verb(VolumeType, "drop_spec", rule=f"{SPECS}:delete", method="DELETE", path="/{id}/extra_specs/{key}", http=202)
def drop_spec(ask: Ask[VolumeType]) -> None:
    key = _spec(ask)
    ask.tx.put(ask.target, extra_specs={k: v for k, v in ask.target.extra_specs.items() if k != key})


@volume.verb(VolumeType, "access", rule=f"{ACCESS}:get_all_for_type", method="GET", path="/{id}/os-volume-type-access")
def list_access(ask: Ask[VolumeType]) -> Answer:
    if ask.target.is_public:
        raise NotFound(kind="Access list not available for public volume types:", id=ask.target.id)
    rows = ask.tx.find(TypeAccess, volume_type_id=ask.target.id, order="created_at, id")
    shown = [{"volume_type_id": r.volume_type_id, "project_id": r.project_id} for r in rows]
    return Answer(200, {"volume_type_access": shown})


class Project(Body):
    """A project."""

    project: str = field(min_length=1, max_length=255)


@volume.action(VolumeType, "addProjectAccess", rule=f"{ACCESS}:addProjectAccess", body=Project)
def add_access(ask: Ask[VolumeType]) -> None:
    project_id = ask.given["project"]
    if ask.target.is_public:
        raise Conflict("Type access modification is not applicable to public volume type.")
    if ask.tx.count(TypeAccess, volume_type_id=ask.target.id, project_id=project_id):
        raise Conflict(f"Volume type access for {ask.target.id} / {project_id} combination already exists.")
    ask.tx.add(TypeAccess(id=ask.new_id(), volume_type_id=ask.target.id, project_id=project_id))


@volume.action(VolumeType, "removeProjectAccess", rule=f"{ACCESS}:removeProjectAccess", body=Project)
def remove_access(ask: Ask[VolumeType]) -> None:
    if ask.target.is_public:
        raise Conflict("Type access modification is not applicable to public volume type.")
    row = ask.tx.one(TypeAccess, volume_type_id=ask.target.id, project_id=ask.given["project"])
    if row is None:
        raise NotFound(kind=f"Volume type access for {ask.target.id} /", id=ask.given["project"])
    ask.tx.drop(row)
