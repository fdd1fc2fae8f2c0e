"""The loops: drives and snapshots are made, grown, copied and removed as the rows want it."""

from pathlib import Path
from typing import Any

from nutshell.compute.port import Servers
from nutshell.core.cloud import Cloud
from nutshell.core.drivers import DriverFault
from nutshell.core.store import Tx
from nutshell.image.port import Images
from nutshell.volume import backups
from nutshell.volume.capability import Growable, ImageMaking, Snapshotting, VolumeDriver
from nutshell.volume.hosts import usable
from nutshell.volume.making import GIB, UNPLACED, forget, forget_snapshot
from nutshell.volume.messages import tell
from nutshell.volume.states import Seen, Task, Want
from nutshell.volume.tables import Snapshot, Volume, VolumeType, save


class NoPool(DriverFault):
    """No pool has what the volume's type asks for."""

    def __init__(self) -> None:
        super().__init__(UNPLACED, final=True)


def specs_of(tx: Tx, row: Volume) -> dict[str, str]:
    kind = tx.find(VolumeType, id=row.type_id, deleted=True) if row.type_id else []
    return kind[0].extra_specs if kind else {}


def settle(cloud: Cloud, row: Volume) -> None:
    """The next move for one volume. A fault of the driver is tried again until the deadline, then recorded."""
    try:
        if cloud.faults is not None and cloud.faults.on and not row.failed:
            kind = _kind_of(row)
            cloud.faults.work(kind, row, f"{row.id} {kind} {row.deadline}")
        if row.want == Want.ABSENT:
            _remove(cloud, row)
        elif row.failed:
            cloud.write(lambda tx: tx.put(row, due_at=None, quiet=True, touch=False))
        elif row.seen == Seen.NOTHING:
            _create(cloud, row)
        elif row.task:
            TASKS[row.task](cloud, row)
        else:
            cloud.write(lambda tx: tx.put(row, due_at=None, quiet=True, touch=False))
    except DriverFault as fault:
        if not fault.final and cloud.clock.now() < row.deadline:
            raise
        give_up(cloud, row, fault)


def _kind_of(row: Volume | Snapshot) -> str:
    """The operation open on it, as fault rules call it."""
    if row.want == Want.ABSENT:
        return "delete"
    return "create" if row.seen == Seen.NOTHING else str(getattr(row, "task", ""))


def give_up(cloud: Cloud, row: Volume, why: DriverFault) -> None:
    """The failure is the volume's state until somebody acts."""
    if row.want == Want.ABSENT:
        failed = "error_deleting"
    elif row.seen == Seen.NOTHING:
        failed = "error"
    else:
        failed = {Task.EXTENDING: "error_extending", Task.REVERTING: "error", Task.RESTORING: "error_restoring"}.get(
            row.task, ""
        )

    def record(tx: Tx) -> None:
        if row.task == Task.UPLOADING:
            cloud.port(Images).fail(tx, row.task_args["image_id"])
        if row.task == Task.EXTENDING:
            refund = row.task_args["size"] - row.size
            cloud.quotas.give_back(tx, row.project_id, {"volume.gigabytes": refund})
        if row.backup_id or row.task == Task.RESTORING:
            backups.restored(tx, row.backup_id or row.task_args["backup_id"])
        if failed == "error" and row.seen == Seen.NOTHING:
            event_id = "VOLUME_VOLUME_001_003" if isinstance(why, NoPool) else "VOLUME_VOLUME_001_001"
            tell(tx, row, cloud.clock.new_id(), event_id)
        save(tx, row, verb="error", failed=failed, fault=why.why, task=Task.NONE, due_at=None)

    cloud.write(record)


def _remove(cloud: Cloud, row: Volume) -> None:
    snapshots = cloud.read(lambda tx: tx.count(Snapshot, volume_id=row.id))
    if snapshots:  # asked for with cascade: they go first, and tell us
        cloud.write(lambda tx: tx.put(row, due_at=tx.now + 0.5, quiet=True, touch=False))
        return
    cloud.driver(VolumeDriver).delete(row.id)
    cloud.write(lambda tx: forget(cloud, tx, row))


def _create(cloud: Cloud, row: Volume) -> None:
    driver = cloud.driver(VolumeDriver)
    pool = cloud.read(lambda tx: usable(tx, driver.pools(), specs_of(tx, row)))
    if pool is None:
        raise NoPool()
    size = row.size * GIB
    if row.snapshot_id:
        cloud.driver(Snapshotting).create_from_snapshot(row.id, size, row.snapshot_id)
    elif row.source_volid:
        driver.create_from_volume(row.id, size, row.source_volid)
    elif row.image_id:
        images = cloud.port(Images)
        image_id = row.image_id
        image = cloud.read(lambda tx: images.facts(tx, image_id))
        if image is None:
            raise DriverFault(f"image {image_id} was deleted meanwhile", final=True)
        try:
            path = images.path(image_id)
        except OSError as why:  # its store does not answer
            raise DriverFault(str(why)) from why
        driver.create_from_image(row.id, size, str(path), image.disk_format)
    elif row.backup_id:
        driver.create_from_image(row.id, size, str(backups.path_of(cloud, row.backup_id)), "raw")
    else:
        driver.create(row.id, size)

    def record(tx: Tx) -> None:
        if row.backup_id:
            backups.restored(tx, row.backup_id)
        save(tx, row, verb="created", seen=Seen.PRESENT, host=pool.name, due_at=None, fault="")

    cloud.write(record)


def _extend(cloud: Cloud, row: Volume) -> None:
    size = row.task_args["size"]
    cloud.driver(Growable).grow(row.id, size * GIB)

    def record(tx: Tx) -> None:
        save(tx, row, verb="extended", size=size, task=Task.NONE, task_args={}, due_at=None)
        servers: Servers | None = cloud.ports.get(Servers)
        if servers is not None:
            servers.volume_extended(tx, row.id)

    cloud.write(record)


def _upload(cloud: Cloud, row: Volume) -> None:
    images = cloud.port(Images)
    image_id = row.task_args["image_id"]
    image = cloud.read(lambda tx: images.facts(tx, image_id))
    if image is not None and image.status != "active":
        target: Path = images.staging_path(image_id)
        cloud.driver(ImageMaking).write_image(row.id, str(target), row.task_args["format"])
        try:
            images.complete(image_id)
        except Exception as why:
            raise DriverFault(f"image {image_id} was not accepted: {why}", final=True) from why
    cloud.write(lambda tx: save(tx, row, verb="uploaded", task=Task.NONE, task_args={}, due_at=None))


def _revert(cloud: Cloud, row: Volume) -> None:
    cloud.driver(Snapshotting).revert(row.id, row.task_args["snapshot_id"])
    cloud.write(lambda tx: save(tx, row, verb="reverted", task=Task.NONE, task_args={}, due_at=None))


def _restore(cloud: Cloud, row: Volume) -> None:
    """The drive is made anew from the backup; a repeat after a kill begins again."""
    driver, backup_id = cloud.driver(VolumeDriver), row.task_args["backup_id"]
    path = backups.path_of(cloud, backup_id)
    driver.delete(row.id)
    driver.create_from_image(row.id, row.size * GIB, str(path), "raw")

    def record(tx: Tx) -> None:
        backups.restored(tx, backup_id)
        save(tx, row, verb="restored", task=Task.NONE, task_args={}, due_at=None)

    cloud.write(record)


def _retype(cloud: Cloud, row: Volume) -> None:
    args: dict[str, Any] = row.task_args
    cloud.write(
        lambda tx: save(
            tx,
            row,
            verb="retyped",
            type_id=args["type_id"],
            multiattach=args["multiattach"],
            task=Task.NONE,
            task_args={},
            due_at=None,
        )
    )


TASKS = {
    Task.EXTENDING: _extend,
    Task.UPLOADING: _upload,
    Task.REVERTING: _revert,
    Task.RETYPING: _retype,
    Task.RESTORING: _restore,
}


def settle_snapshot(cloud: Cloud, row: Snapshot) -> None:
    """The next move for one snapshot."""
    driver = cloud.driver(Snapshotting)
    try:
        if cloud.faults is not None and cloud.faults.on and not row.failed:
            cloud.faults.work(_kind_of(row), row, f"{row.id} {_kind_of(row)} {row.deadline}")
        if row.want == Want.ABSENT:
            driver.delete_snapshot(row.id)
            cloud.write(lambda tx: _gone(cloud, tx, row))
        elif row.seen == Seen.NOTHING and not row.failed:
            driver.snapshot(row.volume_id, row.id)
            done: dict[str, Any] = {"seen": Seen.PRESENT, "status": "available", "progress": "100%", "due_at": None}
            cloud.write(lambda tx: tx.put(row, verb="created", **done))
        else:
            cloud.write(lambda tx: tx.put(row, due_at=None, quiet=True, touch=False))
    except DriverFault as fault:
        if not fault.final and cloud.clock.now() < row.deadline:
            raise
        failed, why = "error_deleting" if row.want == Want.ABSENT else "error", fault.why
        cloud.write(lambda tx: tx.put(row, verb="error", failed=failed, status=failed, fault=why, due_at=None))


def _gone(cloud: Cloud, tx: Tx, row: Snapshot) -> None:
    forget_snapshot(cloud, tx, row)
    waiting = tx.get(Volume, row.volume_id)
    if waiting is not None and waiting.want == Want.ABSENT:
        tx.put(waiting, due_at=tx.now, touch=False)
