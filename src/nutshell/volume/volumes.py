"""Volumes: made, listed, shown, changed and deleted (Block Storage API v3, "Volumes")."""

import ast
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nutshell.core.clock import iso_micros, parse_iso
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.json_columns import has_member
from nutshell.core.render import OMIT, Context
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.core.versions import Span
from nutshell.volume.making import Wish, boot_snapshot, delete, make
from nutshell.volume.service import (
    InvalidInput,
    check_metadata,
    is_admin,
    list_counted,
    list_page,
    scope,
    text,
    volume,
)
from nutshell.volume.states import Link
from nutshell.volume.tables import Volume, VolumeAttachment, VolumeType, save


@dataclass(frozen=True)
class Related:
    """What a page of volumes needs to be shown."""

    attachments: dict[str, list[VolumeAttachment]]
    types: dict[str, str]


@Volume.preloads
def related(tx: Tx, rows: list[Volume]) -> Related:
    busy = [r.id for r in rows if r.status not in ("available", "creating")]
    attachments: dict[str, list[VolumeAttachment]] = {}
    if busy:
        for a in tx.find(VolumeAttachment, volume_id=busy, order="created_at, id"):
            attachments.setdefault(a.volume_id, []).append(a)
    ids = {r.type_id for r in rows if r.type_id}
    types = {t.id: t.name for t in tx.find(VolumeType, id=list(ids), deleted=True)} if ids else {}
    return Related(attachments, types)


def times(noun: Any, *, brief: bool = False) -> None:
    """Creation and change as this service shows them."""
    noun.shows("created_at", brief=brief)(lambda row, ctx: iso_micros(row.created_at))
    noun.shows("updated_at", brief=brief)(lambda row, ctx: iso_micros(row.updated_at) if row.updated_at else None)


times(Volume)


@Volume.shows("links", brief=True)
def links(row: Volume, ctx: Context) -> list[dict[str, str]]:
    ask = ctx.ask
    project_id = ask.params.get("project_id", ask.who.project_id)
    bookmark = f"{ask.base}/volume/{project_id}/volumes/{row.id}"
    return [{"rel": "self", "href": ctx.link("volumes", row.id)}, {"rel": "bookmark", "href": bookmark}]


@Volume.shows("attachments")
def attachments(row: Volume, ctx: Context) -> list[dict[str, Any]]:
    return [
        {
            "id": row.id,
            "attachment_id": a.id,
            "volume_id": row.id,
            "server_id": a.instance,
            "host_name": a.host if is_admin(ctx.ask) else None,
            "device": a.device,
            "attached_at": iso_micros(a.attached_since) if a.attached_since else None,
        }
        for a in ctx.rel.attachments.get(row.id, ())
        if a.status in (Link.ATTACHED, Link.DETACHING)
    ]


@Volume.shows("metadata")
def metadata(row: Volume, ctx: Context) -> dict[str, str]:
    shown = {} if row.read_only is None else {"readonly": str(row.read_only)}
    return {**row.user_metadata, **shown}


@Volume.shows("volume_image_metadata", views="detail", see="volume_extension:volume_image_metadata:show")
def volume_image_metadata(row: Volume, ctx: Context) -> Any:
    return row.image_metadata if row.image_metadata else OMIT


Volume.shows("volume_type")(lambda row, ctx: ctx.rel.types.get(row.type_id))
Volume.shows("volume_type_id", since="3.63")(lambda row, ctx: row.type_id)
Volume.shows("bootable")(lambda row, ctx: "true" if row.bootable else "false")
Volume.shows("encrypted")(lambda row, ctx: False)
Volume.shows("replication_status")(lambda row, ctx: None)
Volume.shows("consistencygroup_id")(lambda row, ctx: None)
Volume.shows("migration_status", see="context_is_admin")(lambda row, ctx: None)
Volume.shows("group_id", since="3.13")(lambda row, ctx: None)
Volume.shows("provider_id", since="3.21", see="context_is_admin")(lambda row, ctx: None)
Volume.shows("shared_targets", since="3.48")(lambda row, ctx: False)
Volume.shows("service_uuid", since="3.48")(lambda row, ctx: None)
Volume.shows("cluster_name", since="3.61", see="context_is_admin")(lambda row, ctx: None)
Volume.shows("consumes_quota", since="3.65")(lambda row, ctx: True)
Volume.shows("os-vol-tenant-attr:tenant_id", views="detail", see="volume_extension:volume_tenant_attribute")(
    lambda row, ctx: row.project_id
)
Volume.shows("os-vol-host-attr:host", views="detail", see="volume_extension:volume_host_attribute")(
    lambda row, ctx: row.host or None
)
for _name in ("migstat", "name_id"):
    Volume.shows(f"os-vol-mig-status-attr:{_name}", views="detail", see="volume_extension:volume_mig_status_attribute")(
        lambda row, ctx: None
    )


@Volume.filters_by("metadata")
def by_metadata(ask: Ask[Any], values: list[str]) -> Any:
    """`metadata={'k': 'v'}`, as clients write it."""
    try:
        wanted = ast.literal_eval(values[-1])
        pairs = {str(k): str(v) for k, v in wanted.items()}
    except (ValueError, SyntaxError, AttributeError, MemoryError, RecursionError):
        raise BadRequest(f"Invalid metadata filter {values[-1][:100]}") from None
    column = Volume.c("user_metadata")
    return sa.and_(sa.true(), *(has_member(column, k, v) for k, v in pairs.items()))


@Volume.filters_by("bootable")
def by_bootable(ask: Ask[Any], values: list[str]) -> Any:
    word = values[-1].strip().lower()
    if word not in ("true", "false", "1", "0"):
        raise BadRequest(f"bootable={values[-1]!r} is not a boolean.")
    return Volume.c("bootable") == (word in ("true", "1"))


@Volume.filters_by("name~")
def by_part_of_name(ask: Ask[Any], values: list[str]) -> Any:
    return Volume.c("name").contains(values[-1], autoescape=True)


def by_time(noun: Any, name: str) -> None:
    """`created_at=gt:2026-01-01T00:00:00,lt:…`"""

    def condition(ask: Ask[Any], values: list[str]) -> Any:
        column, found = noun.c(name), []
        for part in values[-1].split(","):
            word, _, rest = part.partition(":")
            compare = {
                "gt": "__gt__",
                "gte": "__ge__",
                "lt": "__lt__",
                "lte": "__le__",
                "eq": "__eq__",
                "neq": "__ne__",
            }
            if word not in compare:
                raise BadRequest(f"Invalid {word} operator")
            try:
                found.append(getattr(column, compare[word])(parse_iso(rest)))
            except ValueError:
                raise BadRequest(f"Invalid {rest} value") from None
        return sa.and_(sa.true(), *found)

    noun.filters_by(name)(condition)


by_time(Volume, "created_at")
by_time(Volume, "updated_at")


@volume.verb(Volume, "list", rule="volume:get_all", path="/summary", since="3.12", view="summary")
def summary(ask: Ask[Any]) -> Answer:
    rows = ask.tx.find(Volume, **scope(ask))
    body: dict[str, Any] = {"total_count": len(rows), "total_size": sum(r.size for r in rows)}
    values: dict[str, list[str]] = {}
    for row in rows:
        for key, value in row.user_metadata.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    body["metadata"] = values
    return Answer(200, {"volume-summary": body})


for _path, _view in (("/detail", "detail"), ("", "brief")):
    volume.verb(Volume, "list", rule="volume:get_all", path=_path, view=_view, until="3.44")(list_page)
    volume.verb(Volume, "list", rule="volume:get_all", path=_path, view=_view, since="3.45")(list_counted)


@volume.verb(Volume, "show", rule="volume:get")
def show(ask: Ask[Volume]) -> Volume:
    return ask.target


class NewVolume(Body, extras="ignore"):
    """What a volume is made from."""

    size: int | None = field(default=None)
    name: str | None = field(default=None)
    description: str | None = field(default=None)
    display_name: str | None = field(default=None)
    display_description: str | None = field(default=None)
    volume_type: str | None = field(default=None)
    metadata: Any = field(default=None)
    snapshot_id: str | None = field(default=None)
    source_volid: str | None = field(default=None)
    consistencygroup_id: str | None = field(default=None)
    group_id: str | None = field(default=None, since="3.13")
    backup_id: str | None = field(default=None, since="3.47")
    availability_zone: str | None = field(default=None)
    multiattach: bool | None = field(default=None)
    image_id: str | None = field(default=None)
    image_ref: str | None = field(default=None, wire="imageRef")


@volume.verb(Volume, "create", rule="volume:create", http=202, body=NewVolume, view="created")
def create(ask: Ask[Any]) -> Volume:
    given = ask.given
    if given.get("multiattach"):
        raise BadRequest("multiattach parameter has been removed. The default behavior is to use multiattach enabled"
                         " volume types. Contact your administrator to create a multiattach enabled volume type and"
                         " use it to create multiattach volumes.")  # fmt: skip
    if given.get("backup_id"):
        from nutshell.volume.backups import volume_from  # which needs this module

        return volume_from(ask, given["backup_id"], given.get("size"), text(given.get("name"), "name"))
    for name in ("consistencygroup_id", "group_id"):
        if given.get(name):
            raise NotFound(kind=name.removesuffix("_id").capitalize(), id=given[name])
    image_id = (given.get("image_ref") or given.get("image_id") or "").rpartition("/")[2] or None
    from_server = image_id and not given.get("snapshot_id") and ask.at in Span.of("3.46", "")
    boots = boot_snapshot(ask.cloud, ask.tx, ask.who, image_id) if image_id and from_server else None
    wish = Wish(
        size=given.get("size"),
        name=text(given.get("name", given.get("display_name")), "name"),
        description=text(given.get("description", given.get("display_description")), "description"),
        metadata=check_metadata(given.get("metadata")),
        volume_type=given.get("volume_type") or None,
        image_id=None if boots else image_id,
        snapshot_id=boots or given.get("snapshot_id"),
        source_volid=given.get("source_volid"),
        zone=given.get("availability_zone") or None,
    )
    return make(ask.cloud, ask.tx, ask.who, wish)


class ChangedVolume(Body):
    """What of a volume may be changed."""

    name: str | None = field(default=None)
    description: str | None = field(default=None)
    display_name: str | None = field(default=None)
    display_description: str | None = field(default=None)
    metadata: Any = field(default=None)


@volume.verb(Volume, "update", rule="volume:update", body=ChangedVolume, view="created")
def update(ask: Ask[Volume]) -> Volume:
    given = ask.given
    if not given:
        raise BadRequest("Must specify 'name', 'description', 'display_name', 'display_description' or 'metadata'.")
    changes: dict[str, Any] = {}
    for wire, column in (("display_name", "name"), ("display_description", "description"), ("name", "name"),
                         ("description", "description")):  # fmt: skip
        if wire in given:
            changes[column] = text(given[wire], wire)
    if "metadata" in given:
        changes["user_metadata"] = check_metadata(given["metadata"])
    return ask.tx.put(ask.target, **changes)


@volume.verb(Volume, "delete", rule="volume:delete", http=202)
def remove(ask: Ask[Volume]) -> None:
    force = ask.flag("force")
    if force:
        ask.must("volume:force_delete", ask.target.policy_target())
    delete(ask.cloud, ask.tx, ask.target, cascade=ask.flag("cascade"), force=force)


def need_volume(ask: Ask[Any], volume_id: str) -> Volume:
    """The volume if the caller may see it, else 404."""
    row = ask.tx.get(Volume, volume_id)
    if row is None or not ask.may("volume:get", row.policy_target()):
        raise NotFound(kind="Volume", id=volume_id)
    return row


__all__ = ["InvalidInput", "need_volume", "save"]
