"""The nouns of the volume service that depend on each other: volumes, attachments, snapshots and types."""

from collections.abc import Mapping
from typing import Any

from nutshell.core.resource import Resource, field
from nutshell.core.store import Tx
from nutshell.volume.states import Hold, Link, Seen, Task, Want, status_of

DEFAULT_TYPE = "__DEFAULT__"
ZONE = "nova"


class Volume(
    Resource,
    service="volume",
    one="volume",
    many="volumes",
    tombstone=True,
    extras="ignore",
    visible="volume:get",
    indexes=(("project_id", "created_at"),),
):
    """A drive."""

    name: str | None = field(default=None, brief=True, filter=True, sort=True)
    description: str | None = field(default=None, filter=True)
    project_id: str = field(default="", hidden=True, filter=True)
    user_id: str = field(default="")
    size: int = field(default=0, sort=True, filter=True)  # GiB
    status: str = field(default="creating", sort=True, filter=True)
    availability_zone: str = field(default=ZONE, sort=True, filter=True)
    snapshot_id: str | None = field(default=None)
    source_volid: str | None = field(default=None)
    multiattach: bool = field(default=False)
    bootable: bool = field(default=False, hidden=True)
    type_id: str | None = field(default=None, hidden=True)
    image_id: str | None = field(default=None, hidden=True)
    backup_id: str | None = field(default=None, hidden=True)
    user_metadata: dict[str, str] = field(factory=dict, hidden=True)
    image_metadata: dict[str, str] | None = field(default=None, hidden=True)
    read_only: bool | None = field(default=None, hidden=True)
    want: Want = field(default=Want.PRESENT, hidden=True)
    seen: Seen = field(default=Seen.NOTHING, hidden=True)
    task: Task = field(default=Task.NONE, hidden=True)
    task_args: dict[str, Any] = field(factory=dict, hidden=True)
    hold: Hold = field(default=Hold.NONE, hidden=True)
    failed: str = field(default="", hidden=True)  # the status after a failure: "error", "error_extending", …
    override: str = field(default="", hidden=True)  # the status an administrator gave it
    fault: str = field(default="", hidden=True)
    host: str = field(default="", hidden=True)  # "host@backend#pool"
    deadline: float = field(default=0.0, hidden=True)
    request_id: str = field(default="", hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)


class VolumeAttachment(
    Resource,
    service="volume",
    one="attachment",
    many="attachments",
    visible="volume:attachment_delete",
    indexes=(("volume_id",), ("instance",)),
):
    """A volume given to a server, or to a host."""

    volume_id: str = field(brief=True, filter=True)
    instance: str | None = field(default=None, brief=True)
    project_id: str = field(default="", hidden=True, filter=True)
    status: Link = field(default=Link.RESERVED, brief=True, filter=True, sort=True)
    attach_mode: str | None = field(default=None)
    device: str | None = field(default=None, hidden=True)
    host: str | None = field(default=None, hidden=True)
    connector: dict[str, Any] | None = field(default=None, hidden=True)
    connection_info: dict[str, Any] = field(factory=dict)
    attached_since: float | None = field(default=None, hidden=True)
    by_compute: bool = field(default=False, hidden=True)  # compute made it, and alone ends it


class Snapshot(
    Resource,
    service="volume",
    one="snapshot",
    many="snapshots",
    tombstone=True,
    visible="volume:get_snapshot",
    indexes=(("project_id", "created_at"), ("volume_id",)),
):
    """A volume as it was at one moment."""

    name: str | None = field(default=None, filter=True, sort=True, brief=True)
    description: str | None = field(default=None, brief=True)
    volume_id: str = field(default="", filter=True, sort=True, brief=True)
    status: str = field(default="creating", filter=True, sort=True, brief=True)
    size: int = field(default=0, sort=True, brief=True)
    user_metadata: dict[str, str] = field(factory=dict, wire="metadata", brief=True)
    project_id: str = field(default="", hidden=True, filter=True)
    user_id: str = field(default="", since="3.41")
    want: Want = field(default=Want.PRESENT, hidden=True)
    seen: Seen = field(default=Seen.NOTHING, hidden=True)
    failed: str = field(default="", hidden=True)
    fault: str = field(default="", hidden=True)
    progress: str = field(default="0%", hidden=True)
    deadline: float = field(default=0.0, hidden=True)
    request_id: str = field(default="", hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)


class VolumeType(
    Resource,
    service="volume",
    one="volume_type",
    many="volume_types",
    path="/types",
    tombstone=True,
    unique=(("name",),),
    sort="created_at desc, id desc",
):
    """A kind of volume."""

    name: str = field(sort=True, filter=True)
    description: str | None = field(default=None, filter=True)
    is_public: bool = field(default=True)
    extra_specs: dict[str, str] = field(factory=dict, hidden=True)
    qos_specs_id: str | None = field(default=None, see="volume_extension:access_types_qos_specs_id", views="detail")


class TypeAccess(
    Resource,
    service="volume",
    one="volume_type_access",
    many="volume_type_access",
    path="",
    unique=(("volume_type_id", "project_id"),),
):
    """A project that may use a private type."""

    volume_type_id: str = field()
    project_id: str = field()


def links_of(tx: Tx, volume_id: str) -> list[Link]:
    rows = tx.sql("SELECT status FROM volume_attachments WHERE volume_id = ?", volume_id).fetchall()
    return [Link(r[0]) for r in rows]


class _After:
    """A volume's columns with changes laid over them."""

    def __init__(self, row: Volume, changes: Mapping[str, Any]) -> None:
        for name in ("want", "seen", "task", "hold", "failed", "override"):
            setattr(self, name, changes.get(name, getattr(row, name)))

    want: Want
    seen: Seen
    task: Task
    hold: Hold
    failed: str
    override: str


def save(tx: Tx, row: Volume, *, verb: str = "update", **changes: Any) -> Volume:
    """Change a volume and the status that follows. An administrator's override ends with the next change of state."""
    changes.setdefault("override", "")
    changes["status"] = status_of(_After(row, changes), links_of(tx, row.id))
    return tx.put(row, verb=verb, **changes)
