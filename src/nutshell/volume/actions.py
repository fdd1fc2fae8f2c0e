"""Actions on volumes (Block Storage API v3, "Volume actions")."""

from typing import Any

from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.image.port import Images
from nutshell.volume.attaching import attach_old, connect_info, detach_old, refuse_behind_compute
from nutshell.volume.making import PATIENCE_S, delete, find_type
from nutshell.volume.service import InvalidInput, InvalidVolume, check_metadata, take, volume
from nutshell.volume.snapshots import need_snapshot
from nutshell.volume.states import Hold, Link, Seen, Task, status_of
from nutshell.volume.tables import Snapshot, Volume, VolumeAttachment, VolumeType, links_of, save

Target = Ask[Volume]
BASE = "volume_extension:volume_actions"
ADMIN = "volume_extension:volume_admin_actions"
RESETTABLE = (
    "creating", "available", "deleting", "error", "error_deleting", "error_managing", "managing", "attaching", "in-use",
    "detaching", "maintenance", "reserved", "restoring-backup", "backing-up", "awaiting-transfer", "retyping",
    "extending", "uploading", "downloading", "error_backing-up", "error_extending", "error_restoring",
)  # fmt: skip


def begin(ask: Target, task: Task, **args: Any) -> Volume:
    return save(ask.tx, ask.target, verb=str(task), task=task, task_args=args, due_at=ask.now, failed="",
                deadline=ask.now + PATIENCE_S, request_id=ask.request_id)  # fmt: skip


class Extension(Body):
    new_size: int = field(lo=1)


def _extend(ask: Target, allowed: tuple[str, ...]) -> None:
    row, size = ask.target, ask.given["new_size"]
    if row.status not in allowed:
        raise InvalidVolume(
            f"Volume {row.id} status must be '{' or '.join(allowed)}' to extend, currently {row.status}."
        )
    if size <= row.size:
        raise InvalidInput(f"New size for extend must be greater than current size. (current: {row.size}, extended:"
                           f" {size}).")  # fmt: skip
    take(ask, ask.tx, row.project_id, {"gigabytes": size - row.size})
    begin(ask, Task.EXTENDING, size=size)


@volume.action(Volume, "os-extend", rule="volume:extend", body=Extension, until="3.41")
def extend_available(ask: Target) -> None:
    _extend(ask, ("available",))


@volume.action(Volume, "os-extend", rule="volume:extend", body=Extension, since="3.42")
def extend(ask: Target) -> None:
    _extend(ask, ("available", "in-use"))


@volume.action(Volume, "os-reserve", rule=f"{BASE}:reserve")
def reserve(ask: Target) -> None:
    row = ask.target
    allowed = ("available", "in-use") if row.multiattach else ("available",)
    if row.status not in allowed:
        raise InvalidVolume(f"Volume status must be {' or '.join(allowed)} to reserve, but the current status is"
                            f" {row.status}.")  # fmt: skip
    save(ask.tx, row, hold=Hold.ATTACHING)


@volume.action(Volume, "os-unreserve", rule=f"{BASE}:unreserve")
def unreserve(ask: Target) -> None:
    if ask.target.hold == Hold.ATTACHING:
        save(ask.tx, ask.target, hold=Hold.NONE)


@volume.action(Volume, "os-begin_detaching", rule=f"{BASE}:begin_detaching")
def begin_detaching(ask: Target) -> None:
    row = ask.target
    if row.status != "in-use":
        raise InvalidVolume("Unable to detach volume. Volume status must be 'in-use' and attach_status must be"
                            " 'attached' to detach.")  # fmt: skip
    save(ask.tx, row, hold=Hold.DETACHING)


@volume.action(Volume, "os-roll_detaching", rule=f"{BASE}:roll_detaching")
def roll_detaching(ask: Target) -> None:
    if ask.target.hold == Hold.DETACHING:
        save(ask.tx, ask.target, hold=Hold.NONE)


class Attach(Body):
    instance_uuid: str | None = field(default=None)
    host_name: str | None = field(default=None)
    mountpoint: str = field(min_length=1, max_length=255)
    mode: str = field(default="rw")


@volume.action(Volume, "os-attach", rule=f"{BASE}:attach", body=Attach)
def attach(ask: Target) -> None:
    given = ask.given
    mode = given.get("mode", "rw")
    if mode not in ("rw", "ro"):
        raise BadRequest(f"Invalid input for field/attribute mode. Value: {mode}. '{mode}' is not one of ['rw', 'ro']")
    if not given.get("instance_uuid") and not given.get("host_name"):
        raise BadRequest("Invalid input for field/attribute os-attach. 'instance_uuid' or 'host_name' is required")
    attach_old(ask, given.get("instance_uuid"), given.get("host_name"), given["mountpoint"], mode)


class Detach(Body):
    attachment_id: str | None = field(default=None)


@volume.action(Volume, "os-detach", rule=f"{BASE}:detach", body=Detach)
def detach(ask: Target) -> None:
    detach_old(ask, ask.given.get("attachment_id"))


class ForceDetach(Body):
    attachment_id: str | None = field(default=None)
    connector: dict[str, Any] | None = field(default=None)


@volume.action(Volume, "os-force_detach", rule=f"{ADMIN}:force_detach", body=ForceDetach)
def force_detach(ask: Target) -> None:
    detach_old(ask, ask.given.get("attachment_id"))


class Connector(Body):
    connector: dict[str, Any] = field()


@volume.action(Volume, "os-initialize_connection", rule=f"{BASE}:initialize_connection", body=Connector, http=200,
               before=lambda ask: connect_info(ask.cloud, ask.target))  # fmt: skip
def initialize_connection(ask: Target) -> Answer:
    return Answer(200, {"connection_info": ask.prepared})


@volume.action(Volume, "os-terminate_connection", rule=f"{BASE}:terminate_connection", body=Connector)
def terminate_connection(ask: Target) -> None:
    """A file needs no farewell."""
    refuse_behind_compute(ask, ask.tx.find(VolumeAttachment, volume_id=ask.target.id))


class Bootable(Body):
    bootable: bool = field()


@volume.action(Volume, "os-set_bootable", rule="volume:update", body=Bootable, http=200)
def set_bootable(ask: Target) -> None:
    ask.tx.put(ask.target, bootable=ask.given["bootable"])


class ReadOnly(Body):
    readonly: bool = field()


@volume.action(Volume, "os-update_readonly_flag", rule="volume:update_readonly_flag", body=ReadOnly)
def update_readonly_flag(ask: Target) -> None:
    if ask.target.status != "available":
        raise InvalidVolume(f"Volume {ask.target.id} status must be available to update readonly flag, but current"
                            f" status is: {ask.target.status}.")  # fmt: skip
    ask.tx.put(ask.target, read_only=ask.given["readonly"])


class Reset(Body):
    status: str | None = field(default=None)
    attach_status: str | None = field(default=None)
    migration_status: str | None = field(default=None)


@volume.action(Volume, "os-reset_status", rule=f"{ADMIN}:reset_status", body=Reset)
def reset_status(ask: Target) -> None:
    given = {k: v.lower() for k, v in ask.given.items() if v is not None}
    if not given:
        raise BadRequest("Must specify 'status', 'attach_status' or 'migration_status' for update.")
    status, attached = given.get("status"), given.get("attach_status")
    if status is not None and status not in RESETTABLE:
        raise BadRequest(f"Invalid input for field/attribute status. Value: {status}. '{status}' is not a status.")
    if attached not in (None, "attached", "detached"):
        raise BadRequest(f"Invalid input for field/attribute attach_status. Value: {attached}.")
    if attached == "detached":
        ask.tx.drop_where(VolumeAttachment, volume_id=ask.target.id)
    row = ask.target
    if status is None:
        save(ask.tx, row)
        return
    cleared: dict[str, Any] = {"failed": "", "task": Task.NONE, "task_args": {}, "hold": Hold.NONE, "want": "present",
                               "due_at": None}  # fmt: skip
    plain = ask.tx.put(row, override="", quiet=True, **cleared)
    natural = status_of(plain, links_of(ask.tx, row.id))
    save(ask.tx, plain, verb="reset_status", override="" if natural == status else status)


@volume.action(Volume, "os-force_delete", rule=f"{ADMIN}:force_delete")
def force_delete(ask: Target) -> None:
    delete(ask.cloud, ask.tx, ask.target, force=True)


class Revert(Body, extras="ignore"):
    snapshot_id: str | None = field(default=None)


@volume.action(Volume, "revert", rule="volume:revert_to_snapshot", body=Revert, since="3.40")
def revert(ask: Target) -> None:
    row = ask.target
    newest = ask.tx.find(Snapshot, volume_id=row.id, order="created_at DESC", limit=1)
    if not newest:
        raise BadRequest(f"Volume {row.id} doesn't have any snapshots.")
    wanted = ask.given.get("snapshot_id")
    if wanted != newest[0].id:
        raise BadRequest(f"Specified snapshot {wanted} is None or not the latest one of volume {row.id}.")
    snapshot = need_snapshot(ask, newest[0].id)
    if row.size != snapshot.size:
        raise BadRequest(f"Can't revert volume {row.id} to its latest snapshot {snapshot.id}. The volume size must be"
                         " equal to the snapshot size.")  # fmt: skip
    if row.status != "available" or snapshot.status != "available":
        raise Conflict(f"Can't revert volume {row.id} to its latest snapshot {snapshot.id}: both must be available.")
    begin(ask, Task.REVERTING, snapshot_id=snapshot.id)


class Retype(Body):
    new_type: str = field()
    migration_policy: str | None = field(default=None)


@volume.action(Volume, "os-retype", rule="volume:retype", body=Retype)
def retype(ask: Target) -> None:
    row, named = ask.target, ask.given["new_type"]
    if ask.given.get("migration_policy") not in (None, "", "on-demand", "never"):
        raise BadRequest("migration_policy must be 'on-demand' or 'never', passed: " + ask.given["migration_policy"])
    try:
        kind: VolumeType = find_type(ask.cloud, ask.tx, ask.who, named, None)
    except NotFound:
        raise InvalidInput(f"Invalid volume_type passed: {named}.") from None
    if row.status not in ("available", "in-use") or row.seen == Seen.NOTHING:
        raise InvalidVolume("Retype needs volume to be in available or in-use state, not be part of an active migration"
                            " or a consistency group, and requested type has to be different.")  # fmt: skip
    if kind.id == row.type_id:
        raise InvalidVolume("Retype needs the requested type to be different from the one the volume has.")
    several = kind.extra_specs.get("multiattach") == "<is> True"
    if several != row.multiattach and row.status != "available":
        raise InvalidInput("Invalid volume_type passed, retypes affecting multiattach are only allowed on available"
                           " volumes.")  # fmt: skip
    begin(ask, Task.RETYPING, type_id=kind.id, multiattach=several)


class Upload(Body):
    image_name: str = field(min_length=1, max_length=255)
    force: bool | None = field(default=None)
    disk_format: str | None = field(default=None)
    container_format: str | None = field(default=None)
    visibility: str | None = field(default=None, since="3.1")
    protected: bool | None = field(default=None, since="3.1")


@volume.action(Volume, "os-volume_upload_image", rule=f"{BASE}:upload_image", body=Upload)
def upload_image(ask: Target) -> Answer:
    row, given = ask.target, ask.given
    format = given.get("disk_format") or "raw"
    if format not in ("raw", "qcow2", "vmdk", "vdi", "vhdx"):
        raise BadRequest(f"Invalid input for field/attribute disk_format. Value: {format}. A volume is not written so.")
    if (given.get("container_format") or "bare") != "bare":
        raise BadRequest("Only container_format 'bare' is written.")
    if given.get("visibility") == "public":
        ask.must(f"{BASE}:upload_public", row.policy_target())
    allowed = ("available", "in-use") if given.get("force") else ("available",)
    if row.status not in allowed:
        raise InvalidVolume(f"Volume {row.id} status must be {' or '.join(allowed)} to upload to an image, but current"
                            f" status is: {row.status}.")  # fmt: skip
    properties = {k: v for k, v in (row.image_metadata or {}).items() if k not in ("image_id", "image_name")}
    image_id = ask.cloud.port(Images).create(
        ask.tx, ask.who, name=given["image_name"], disk_format=format, properties=properties
    )
    saved = begin(ask, Task.UPLOADING, image_id=image_id, format=format)
    kind = ask.tx.find(VolumeType, id=row.type_id, deleted=True) if row.type_id else []
    shown = {
        "id": row.id,
        "updated_at": ask.service.time(ask.now),
        "status": saved.status,
        "display_description": row.description,
        "size": row.size,
        "volume_type": {"id": kind[0].id, "name": kind[0].name} if kind else None,
        "image_id": image_id,
        "container_format": "bare",
        "disk_format": format,
        "image_name": given["image_name"],
    }
    if "visibility" in given or "protected" in given:
        shown |= {"visibility": given.get("visibility") or "private", "protected": bool(given.get("protected"))}
    return Answer(202, {"os-volume_upload_image": shown})


class ImageMetadata(Body):
    metadata: Any = field()


@volume.action(Volume, "os-set_image_metadata", rule="volume_extension:volume_image_metadata:set", body=ImageMetadata,
               http=200)  # fmt: skip
def set_image_metadata(ask: Target) -> Answer:
    given = check_metadata(ask.given["metadata"])
    found = {**(ask.target.image_metadata or {}), **given}
    ask.tx.put(ask.target, image_metadata=found)
    return Answer(200, {"metadata": found})


@volume.action(Volume, "os-show_image_metadata", rule="volume_extension:volume_image_metadata:show", http=200)
def show_image_metadata(ask: Target) -> Answer:
    return Answer(200, {"metadata": ask.target.image_metadata or {}})


class ImageKey(Body):
    key: str = field(min_length=1, max_length=255)


@volume.action(Volume, "os-unset_image_metadata", rule="volume_extension:volume_image_metadata:remove", body=ImageKey,
               http=200)  # fmt: skip
def unset_image_metadata(ask: Target) -> None:
    found = dict(ask.target.image_metadata or {})
    if found.pop(ask.given["key"], None) is None:
        raise NotFound(kind="Metadata key", id=ask.given["key"])
    ask.tx.put(ask.target, image_metadata=found)


__all__ = ["Link"]
