"""Backups: copies of volumes kept apart from them, and what is made of them (Block Storage API v3, "Backups")."""

import base64
import json
from pathlib import Path
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.drivers import DriverFault
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.render import OMIT, Context, render_row
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.volume.capability import ImageMaking, Snapshotting, VolumeDriver
from nutshell.volume.making import GIB, PATIENCE_S
from nutshell.volume.policies import ADMIN, MEMBER, READER
from nutshell.volume.service import (
    InvalidInput,
    InvalidSnapshot,
    InvalidVolume,
    check_metadata,
    give_back,
    list_counted,
    list_page,
    take,
    text,
    volume,
)
from nutshell.volume.snapshots import need_snapshot
from nutshell.volume.states import Hold, Task, Want
from nutshell.volume.tables import ZONE, Volume, save
from nutshell.volume.volumes import by_time, need_volume, times

SERVICE = "cinder.backup.drivers.nutshell.files"
STATES = ("available", "creating", "deleting", "restoring", "error", "error_deleting")
volume.policy(
    {
        "backup:get_all": READER,
        "backup:get": READER,
        "backup:backup_project_attribute": ADMIN,
        "backup:create": MEMBER,
        "backup:update": MEMBER,
        "backup:delete": MEMBER,
        "backup:restore": MEMBER,
        "backup:backup-import": ADMIN,
        "backup:export-import": ADMIN,
        "volume_extension:backup_admin_actions:reset_status": ADMIN,
        "volume_extension:backup_admin_actions:force_delete": ADMIN,
    }
)


class InvalidBackup(BadRequest):
    """Invalid backup: {why}"""


class Backup(
    Resource,
    service="volume",
    one="backup",
    many="backups",
    tombstone=True,
    visible="backup:get",
    indexes=(("project_id",), ("volume_id",)),
):
    """A copy of a volume."""

    name: str | None = field(default=None, brief=True, filter=True, sort=True)
    description: str | None = field(default=None)
    volume_id: str = field(default="", filter=True, sort=True)
    snapshot_id: str | None = field(default=None)
    status: str = field(default="creating", filter=True, sort=True)
    size: int = field(default=0, sort=True)
    container: str | None = field(default=None)
    fail_reason: str | None = field(default=None)
    object_count: int = field(default=0)
    availability_zone: str | None = field(default=ZONE)
    project_id: str = field(default="", hidden=True)
    user_id: str = field(default="", since="3.56")
    user_metadata: dict[str, str] = field(factory=dict, wire="metadata", since="3.43", brief=False)
    parent_id: str | None = field(default=None, hidden=True, index=True)
    object_name: str = field(default="", hidden=True, index=True)  # two records may name one copy (import)
    taken_at: float = field(default=0.0, hidden=True)
    about: dict[str, Any] = field(factory=dict, hidden=True)  # what of the volume a new one gets back
    want: Want = field(default=Want.PRESENT, hidden=True)
    deadline: float = field(default=0.0, hidden=True)
    request_id: str = field(default="", hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)


@Backup.preloads
def parents(tx: Tx, rows: list[Backup]) -> set[str]:
    return {r.parent_id for r in tx.find(Backup, parent_id=[b.id for b in rows]) if r.parent_id}


times(Backup)
by_time(Backup, "created_at")
Backup.shows("is_incremental")(lambda row, ctx: row.parent_id is not None)
Backup.shows("has_dependent_backups")(lambda row, ctx: row.id in ctx.rel)


@Backup.shows("data_timestamp")
def data_timestamp(row: Backup, ctx: Context) -> str:
    return ctx.ask.service.time(row.taken_at or row.created_at)


@Backup.shows("os-backup-project-attr:project_id", since="3.18", see="backup:backup_project_attribute")
def project_attribute(row: Backup, ctx: Context) -> Any:
    return row.project_id or OMIT


@Backup.shows("links", brief=True)
def links(row: Backup, ctx: Context) -> list[dict[str, str]]:
    ask = ctx.ask
    bookmark = f"{ask.base}/volume/{ask.who.project_id}/backups/{row.id}"
    return [{"rel": "self", "href": ctx.link("backups", row.id)}, {"rel": "bookmark", "href": bookmark}]


def brief(ask: Ask[Any], row: Backup) -> Answer:
    """What a backup's maker is told."""
    members = ("id", "name", "links", "metadata")
    shown = {k: v for k, v in render_row(ask, row, "detail").items() if k in members}
    return Answer(ask.route.http, {"backup": shown})


for _path, _view in (("/detail", "detail"), ("", "brief")):
    volume.verb(Backup, "list", rule="backup:get_all", path=_path, view=_view, until="3.44")(list_page)
    volume.verb(Backup, "list", rule="backup:get_all", path=_path, view=_view, since="3.45")(list_counted)


@volume.verb(Backup, "show", rule="backup:get")
def show(ask: Ask[Backup]) -> Backup:
    return ask.target


class NewBackup(Body):
    """A backup to be made."""

    volume_id: str = field()
    name: str | None = field(default=None)
    description: str | None = field(default=None)
    container: str | None = field(default=None, max_length=255)
    incremental: bool | None = field(default=None)
    force: bool | None = field(default=None)
    snapshot_id: str | None = field(default=None)
    metadata: Any = field(default=None, since="3.43")
    availability_zone: str | None = field(default=None, since="3.51")


@volume.verb(Backup, "create", rule="backup:create", http=202, body=NewBackup)
def create(ask: Ask[Any]) -> Answer:
    given, tx = ask.given, ask.tx
    row = need_volume(ask, given["volume_id"])
    snapshot_id = given.get("snapshot_id")
    size, taken_at = row.size, ask.now
    if snapshot_id:
        snapshot = need_snapshot(ask, snapshot_id)
        if snapshot.volume_id != row.id:
            raise InvalidVolume(f"Volume {row.id} does not match with snapshot.volume_id {snapshot.volume_id}")
        if snapshot.status != "available":
            raise InvalidSnapshot(f"Snapshot to be backed up must be available, but is {snapshot.status}.")
        size, taken_at = snapshot.size, snapshot.created_at
    elif row.status not in ("available", "in-use"):
        raise InvalidVolume(f"Volume to be backed up must be available or in-use, but the current status is"
                            f' "{row.status}".')  # fmt: skip
    elif row.status == "in-use" and not given.get("force"):
        raise InvalidVolume("Backing up an in-use volume must use the force flag.")
    parent = None
    if given.get("incremental"):
        mine: dict[str, Any] = {"project_id": ask.who.project_id, "status": "available", "want": "present"}
        newest = tx.find(Backup, volume_id=row.id, order="created_at DESC", limit=1, **mine)
        if not newest:
            raise InvalidBackup("No backups available to do an incremental backup.")
        parent = newest[0]
    take(ask, tx, ask.who.project_id, {"backups": 1, "backup_gigabytes": size})
    new_id = ask.new_id()
    about = {"metadata": row.user_metadata, "bootable": row.bootable, "image_metadata": row.image_metadata,
             "name": row.name, "type_id": row.type_id}  # fmt: skip
    made = tx.add(
        Backup(
            id=new_id,
            name=text(given.get("name"), "name"),
            description=text(given.get("description"), "description"),
            volume_id=row.id,
            snapshot_id=snapshot_id,
            size=size,
            container=given.get("container"),
            project_id=ask.who.project_id,
            user_id=ask.who.user_id,
            user_metadata=check_metadata(given.get("metadata")),
            availability_zone=given.get("availability_zone") or ZONE,
            parent_id=parent.id if parent else None,
            object_name=new_id,
            taken_at=taken_at,
            about=about,
            deadline=ask.now + PATIENCE_S,
            request_id=ask.request_id,
            due_at=ask.now,
        )
    )
    if not snapshot_id:
        save(tx, row, verb="backup", hold=Hold.BACKUP)
    return brief(ask, made)


class ChangedBackup(Body):
    """What of a backup may be changed."""

    name: str | None = field(default=None)
    description: str | None = field(default=None)
    metadata: Any = field(default=None, since="3.43")


@volume.verb(Backup, "update", rule="backup:update", body=ChangedBackup, since="3.9")
def update(ask: Ask[Backup]) -> Answer:
    if not ask.given:
        raise BadRequest("Missing required element 'backup' in request body.")
    changes: dict[str, Any] = {k: text(v, k) for k, v in ask.given.items() if k != "metadata"}
    if "metadata" in ask.given:
        changes["user_metadata"] = check_metadata(ask.given["metadata"])
    return brief(ask, ask.tx.put(ask.target, **changes))


@volume.verb(Backup, "delete", rule="backup:delete", http=202)
def remove(ask: Ask[Backup]) -> None:
    if ask.target.status not in ("available", "error"):
        raise InvalidBackup("Backup status must be available or error")
    _delete(ask)


def _delete(ask: Ask[Backup]) -> None:
    if ask.tx.count(Backup, parent_id=ask.target.id):
        raise InvalidBackup("Incremental backups exist for this backup.")
    ask.tx.put(ask.target, verb="deleting", want=Want.ABSENT, status="deleting", due_at=ask.now,
               deadline=ask.now + PATIENCE_S)  # fmt: skip


class ResetBackup(Body):
    """The status to give a backup."""

    status: str = field()


@volume.action(Backup, "os-reset_status", rule="volume_extension:backup_admin_actions:reset_status", body=ResetBackup)
def reset_status(ask: Ask[Backup]) -> None:
    status = ask.given["status"].lower()
    if status not in ("available", "error"):
        raise BadRequest(f"Invalid input for field/attribute status. Value: {status}. It is not available or error.")
    ask.tx.put(ask.target, status=status)


@volume.action(Backup, "os-force_delete", rule="volume_extension:backup_admin_actions:force_delete")
def force_delete(ask: Ask[Backup]) -> None:
    _delete(ask)


class Restore(Body):
    """Where to."""

    volume_id: str | None = field(default=None)
    name: str | None = field(default=None)


@volume.verb(Backup, "restore", rule="backup:restore", path="/{id}/restore", http=202, body=Restore, wrap="restore")
def restore(ask: Ask[Backup]) -> Answer:
    row, tx = ask.target, ask.tx
    if row.status != "available":
        raise InvalidBackup("Backup status must be available")
    target_id = ask.given.get("volume_id")
    if target_id:
        target = need_volume(ask, target_id)
        if target.status != "available":
            raise InvalidVolume("Volume to be restored to must be available")
        if target.size < row.size:
            raise InvalidVolume(f"volume size {target.size} is too small to restore backup of size {row.size}.")
        made = save(tx, target, verb="restore", task=Task.RESTORING, task_args={"backup_id": row.id}, due_at=ask.now,
                    deadline=ask.now + PATIENCE_S, request_id=ask.request_id)  # fmt: skip
    else:
        name = text(ask.given.get("name"), "name") or f"restore_backup_{row.id}"
        made = _new_volume(ask, row, row.size, name)
    tx.put(row, verb="restore", status="restoring")
    return Answer(202, {"restore": {"backup_id": row.id, "volume_id": made.id, "volume_name": made.name or ""}})


def volume_from(ask: Ask[Any], backup_id: str, size: int | None, name: str | None) -> Volume:
    """A volume made from a backup. 404, 400."""
    row = ask.tx.get(Backup, backup_id)
    if row is None or not ask.may("backup:get", row.policy_target()):
        raise NotFound(kind="Backup", id=backup_id)
    if row.status != "available":
        raise InvalidInput(f"Backup {backup_id} must be available.")
    if size is not None and size < row.size:
        raise InvalidInput(f"Volume size {size}GB cannot be smaller than the backup size {row.size}GB.")
    ask.tx.put(row, verb="restore", status="restoring")
    return _new_volume(ask, row, size or row.size, name)


def _new_volume(ask: Ask[Any], row: Backup, size: int, name: str | None) -> Volume:
    take(ask, ask.tx, ask.who.project_id, {"volumes": 1, "gigabytes": size})
    return ask.tx.add(
        Volume(
            id=ask.new_id(),
            name=name,
            description="auto-created_from_restore_from_backup",
            project_id=ask.who.project_id,
            user_id=ask.who.user_id,
            size=size,
            backup_id=row.id,
            type_id=row.about.get("type_id"),
            bootable=bool(row.about.get("bootable")),
            image_metadata=row.about.get("image_metadata"),
            user_metadata=row.about.get("metadata") or {},
            deadline=ask.now + PATIENCE_S,
            request_id=ask.request_id,
            due_at=ask.now,
        )
    )


@volume.verb(Backup, "export", rule="backup:export-import", method="GET", path="/{id}/export_record")
def export_record(ask: Ask[Backup]) -> Answer:
    row = ask.target
    if row.status != "available":
        raise InvalidBackup(f"Backup status must be available and not {row.status}.")
    names = ("id", "name", "description", "volume_id", "size", "container", "project_id", "user_id", "object_name",
             "taken_at", "about", "availability_zone", "object_count")  # fmt: skip
    packed = json.dumps({n: getattr(row, n) for n in names})
    url = base64.b64encode(packed.encode()).decode()
    return Answer(200, {"backup-record": {"backup_service": SERVICE, "backup_url": url}})


class Record(Body):
    """An exported backup."""

    backup_service: str = field(min_length=1, max_length=255)
    backup_url: str = field(min_length=1)


@volume.verb(Backup, "import", rule="backup:backup-import", method="POST", path="/import_record", http=201, body=Record,
             wrap="backup-record")  # fmt: skip
def import_record(ask: Ask[Any]) -> Answer:
    try:
        given = json.loads(base64.b64decode(ask.given["backup_url"], validate=True))
        found = {k: given[k] for k in ("id", "volume_id", "size", "object_name", "taken_at")}
    except (ValueError, KeyError, TypeError):
        raise InvalidInput("Can't parse backup record.") from None
    if ask.given["backup_service"] != SERVICE:
        raise NotFound(kind="Service", id=ask.given["backup_service"])
    if not all(isinstance(found[k], str) for k in ("id", "volume_id", "object_name")) or type(found["size"]) is not int:
        raise InvalidInput("The backup record does not hold what a record holds.")
    if ask.tx.find(Backup, id=found["id"]):
        raise InvalidBackup("Backup already exists in database.")
    if (
        not ask.tx.find(Backup, object_name=found["object_name"])
        and not _object(ask.cloud, found["object_name"]).exists()
    ):
        raise InvalidBackup("The copy that the record names is not there.")
    take(ask, ask.tx, ask.who.project_id, {"backups": 1, "backup_gigabytes": found["size"]})
    about = given.get("about") if isinstance(given.get("about"), dict) else {}
    made = ask.tx.add(
        Backup(
            name=text(given.get("name"), "name"),
            description=text(given.get("description"), "description"),
            container=text(given.get("container"), "container"),
            project_id=ask.who.project_id,
            user_id=ask.who.user_id,
            status="available",
            object_count=1,
            about=about,
            **found,
        )
    )
    return brief(ask, made)


def _object(cloud: Cloud, name: str) -> Path:
    """Where a copy lies. NotFound for a name that is no plain one."""
    state = cloud.settings[CloudConfig].state
    if state is None or not name.replace("-", "").isalnum():
        raise NotFound(kind="Backup object", id=name)
    folder = state / "backups"
    folder.mkdir(exist_ok=True)
    return folder / name


def path_of(cloud: Cloud, backup_id: str) -> Path:
    """The copy of a backup, for a volume made from it. DriverFault when it is gone."""
    row = cloud.read(lambda tx: tx.get(Backup, backup_id))
    if row is None or not _object(cloud, row.object_name).exists():
        raise DriverFault(f"backup {backup_id} is gone", final=True)
    return _object(cloud, row.object_name)


def restored(tx: Tx, backup_id: str) -> None:
    """A volume has the backup's content, or gave up: the backup is free again."""
    row = tx.get(Backup, backup_id)
    if row is not None and row.status == "restoring":
        tx.put(row, status="available", verb="restored")


def settle(cloud: Cloud, row: Backup) -> None:
    """The next move for one backup."""
    try:
        if row.want == Want.ABSENT:
            others = cloud.read(lambda tx: tx.count(Backup, object_name=row.object_name))
            if others <= 1:
                _object(cloud, row.object_name).unlink(missing_ok=True)
            cloud.write(lambda tx: _forget(cloud, tx, row))
        elif row.status == "creating":
            _copy(cloud, row)
            cloud.write(lambda tx: _done(tx, row, status="available", object_count=1))
        else:
            cloud.write(lambda tx: tx.put(row, due_at=None, quiet=True, touch=False))
    except DriverFault as fault:
        if not fault.final and cloud.clock.now() < row.deadline:
            raise
        status, why = ("error_deleting" if row.want == Want.ABSENT else "error"), fault.why
        cloud.write(lambda tx: _done(tx, row, status=status, fail_reason=why[:255]))


def _copy(cloud: Cloud, row: Backup) -> None:
    target, driver = _object(cloud, row.object_name), cloud.driver(VolumeDriver)
    if target.exists():
        return
    source = row.volume_id
    if row.snapshot_id:  # a volume of the backup's own, for as long as the copy takes
        cloud.driver(Snapshotting).create_from_snapshot(row.id, row.size * GIB, row.snapshot_id)
        source = row.id
    cloud.driver(ImageMaking).write_image(source, str(target), "raw")
    if row.snapshot_id:
        driver.delete(row.id)


def _done(tx: Tx, row: Backup, **changes: Any) -> None:
    tx.put(row, due_at=None, verb=changes["status"], **changes)
    origin = tx.get(Volume, row.volume_id)
    if origin is not None and origin.hold == Hold.BACKUP:
        save(tx, origin, verb="backed_up", hold=Hold.NONE)


def _forget(cloud: Cloud, tx: Tx, row: Backup) -> None:
    give_back(cloud, tx, row.project_id, {"backups": 1, "backup_gigabytes": row.size})
    tx.drop(tx.put(row, status="deleted", due_at=None, quiet=True))
