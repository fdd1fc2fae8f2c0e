"""Attachments, the way compute attaches since 3.27 (Block Storage API v3, "Attachments")."""

from typing import Any

from nutshell.core.clock import iso_micros
from nutshell.core.errors import NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.volume import attaching
from nutshell.volume.service import InvalidVolume, list_page, volume
from nutshell.volume.states import Link
from nutshell.volume.tables import Volume, VolumeAttachment
from nutshell.volume.volumes import need_volume

SINCE = "3.27"

VolumeAttachment.shows("attached_at")(lambda row, ctx: iso_micros(row.attached_since) if row.attached_since else "")
VolumeAttachment.shows("detached_at")(lambda row, ctx: "")


@VolumeAttachment.filters_by("instance_id")
def by_server(ask: Ask[Any], values: list[str]) -> Any:
    return VolumeAttachment.c("instance") == values[-1]


@VolumeAttachment.filters_by("attach_status")
def by_status(ask: Ask[Any], values: list[str]) -> Any:
    return VolumeAttachment.c("status") == values[-1]


for _path, _view in (("/detail", "detail"), ("", "brief")):
    volume.verb(VolumeAttachment, "list", rule="volume:get_all", path=_path, view=_view, since=SINCE)(list_page)


@volume.verb(VolumeAttachment, "show", rule="volume:attachment_delete", since=SINCE)
def show(ask: Ask[VolumeAttachment]) -> VolumeAttachment:
    return ask.target


class NewAttachment(Body):
    """A volume for a server; without a connector it is only reserved."""

    volume_uuid: str = field()
    instance_uuid: str | None = field(default=None)
    connector: dict[str, Any] | None = field(default=None)
    mode: str | None = field(default=None, since="3.54", pattern="^(rw|ro)$")


def _where(ask: Ask[Any]) -> Any:
    """Before the transaction: where the volume is, if the attacher named itself."""
    connector = ask.given.get("connector")
    if not connector:
        return None
    volume_id = ask.given.get("volume_uuid") or ask.target.volume_id
    row = ask.cloud.read(lambda tx: tx.get(Volume, volume_id))
    if row is None or not ask.may("volume:get", row.policy_target()):
        raise NotFound(kind="Volume", id=volume_id)
    return attaching.connect_info(ask.cloud, row)


@volume.verb(VolumeAttachment, "create", rule="volume:attachment_create", body=NewAttachment, http=200, since=SINCE,
             before=_where)  # fmt: skip
def create(ask: Ask[Any]) -> VolumeAttachment:
    row = need_volume(ask, ask.given["volume_uuid"])
    ask.must("volume:attachment_create", row.policy_target())
    connector, server_id, mode = (ask.given.get(n) for n in ("connector", "instance_uuid", "mode"))
    if row.bootable and row.multiattach:
        ask.must("volume:multiattach_bootable_volume", row.policy_target())
    made = attaching.reserve(ask.tx, row, ask.new_id(), server_id, mode=mode, connector=connector)
    return attaching.initialise(ask.tx, made, connector, ask.prepared) if connector else made


class ChangedAttachment(Body):
    """Who attaches."""

    connector: dict[str, Any] = field()


@volume.verb(VolumeAttachment, "update", rule="volume:attachment_update", body=ChangedAttachment, since=SINCE,
             before=_where)  # fmt: skip
def update(ask: Ask[VolumeAttachment]) -> VolumeAttachment:
    connector = ask.given["connector"]
    if not connector:
        raise InvalidVolume("Invalid connector: it is empty.")
    return attaching.initialise(ask.tx, ask.target, connector, ask.prepared)


@volume.verb(VolumeAttachment, "delete", rule="volume:attachment_delete", http=200, since=SINCE, view="brief")
def remove(ask: Ask[VolumeAttachment]) -> list[VolumeAttachment]:
    attaching.refuse_behind_compute(ask, [ask.target])
    attaching.let_go(ask.tx, ask.target)
    return ask.tx.find(VolumeAttachment, volume_id=ask.target.volume_id)


@volume.action(VolumeAttachment, "os-complete", rule="volume:attachment_complete", http=204, since="3.44")
def complete(ask: Ask[VolumeAttachment]) -> None:
    row = ask.tx.get(Volume, ask.target.volume_id)
    if row is None or ask.target.status == Link.RESERVED:
        raise InvalidVolume("An attachment without a connector cannot be completed.")
    attaching.complete(ask.tx, ask.target)
