"""How a volume begins and ends: the checks and the rows, for this service's users and for other services."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.image.port import Images
from nutshell.volume.service import InvalidInput, InvalidSnapshot, InvalidVolume, give_back, take
from nutshell.volume.states import Want
from nutshell.volume.tables import DEFAULT_TYPE, ZONE, Snapshot, TypeAccess, Volume, VolumeAttachment, VolumeType, save

GIB = 2**30
LARGEST = 2**31 - 1
PATIENCE_S = 3600.0  # copying a large image over a slow disk
DELETABLE = ("available", "error", "error_restoring", "error_extending", "error_managing", "error_deleting")
UUID = re.compile(r"^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", re.IGNORECASE)
BASICS = ("container_format", "disk_format", "min_disk", "min_ram", "size", "checksum")


@dataclass(frozen=True)
class Wish:
    """A volume somebody wants. `size` in GiB."""

    size: int | None = None
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    volume_type: str | None = None
    image_id: str | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    zone: str | None = None


@dataclass(frozen=True)
class Source:
    """What a volume begins with."""

    size: int = 0  # GiB at least
    type_id: str | None = None
    bootable: bool = False
    image_metadata: Mapping[str, str] | None = None


def make(cloud: Cloud, tx: Tx, who: Who, wish: Wish) -> Volume:
    """A new row, to be made by the loop; quota is taken. 400, 404, 413."""
    sources = [s for s in (wish.image_id, wish.snapshot_id, wish.source_volid) if s]
    if len(sources) > 1 and not (wish.image_id and len(sources) == 1):
        raise BadRequest("May specify only one of snapshot, imageRef or source volume")
    source = find_source(cloud, tx, who, wish)
    size = wish.size if wish.size is not None else (source.size if not wish.image_id else None)
    if size is None or isinstance(size, bool) or not 0 < size <= LARGEST:
        raise InvalidInput(
            f"Invalid volume size provided for create request: {size} (size argument must be an integer (or string"
            " representation of an integer) and greater than zero)."
        )
    if size < source.size:
        what = "image" if wish.image_id else ("snapshot" if wish.snapshot_id else "source volume")
        raise InvalidInput(f"Volume size '{size}'GB cannot be smaller than the {what} size {source.size}GB.")
    if wish.zone not in (None, "", ZONE):
        raise InvalidInput(f"Availability zone '{wish.zone}' is invalid.")
    kind = find_type(cloud, tx, who, wish.volume_type, source.type_id)
    take(cloud, tx, who.project_id, {"volumes": 1, "gigabytes": size})
    return tx.add(
        Volume(
            id=cloud.clock.new_id(),
            name=wish.name,
            description=wish.description,
            project_id=who.project_id,
            user_id=who.user_id,
            size=size,
            snapshot_id=wish.snapshot_id,
            source_volid=wish.source_volid,
            image_id=wish.image_id,
            type_id=kind.id,
            multiattach=kind.extra_specs.get("multiattach") == "<is> True",
            bootable=source.bootable,
            image_metadata=dict(source.image_metadata) if source.image_metadata else None,
            user_metadata=dict(wish.metadata),
            deadline=tx.now + PATIENCE_S,
            request_id=tx.request.id,
            due_at=tx.now,
        )
    )


def find_source(cloud: Cloud, tx: Tx, who: Who, wish: Wish) -> Source:
    """Where the content comes from, checked. 404, 400."""
    if wish.snapshot_id:
        snapshot = tx.get(Snapshot, wish.snapshot_id)
        if snapshot is None or not cloud.rules.allows("volume:get_snapshot", who, snapshot.policy_target()):
            raise NotFound(kind="Snapshot", id=wish.snapshot_id)
        if snapshot.status not in ("available", "backing-up"):
            raise InvalidSnapshot("Originating snapshot status must be one of 'available' values")
        origin = tx.find(Volume, id=snapshot.volume_id, deleted=True)
        return _like(origin[0] if origin else None, snapshot.size)
    if wish.source_volid:
        row = tx.get(Volume, wish.source_volid)
        if row is None or not cloud.rules.allows("volume:get", who, row.policy_target()):
            raise NotFound(kind="Volume", id=wish.source_volid)
        if row.status not in ("available", "in-use"):
            raise InvalidVolume(f"Unable to create a volume from an originating source volume when its status is not"
                                f" one of 'available', 'in-use' values, but is {row.status}")  # fmt: skip
        return _like(row, row.size)
    if wish.image_id:
        return _of_image(cloud, tx, who, wish.image_id)
    return Source()


def boot_snapshot(cloud: Cloud, tx: Tx, who: Who, image_id: str) -> str | None:
    """The snapshot that an image of a server that booted from a volume names; None for an image with data."""
    image = cloud.port(Images).find(tx, who, image_id)
    inside = image.properties.get("block_device_mapping") if image else None
    if not inside:
        return None
    try:  # users may write this property too
        items = json.loads(inside) if isinstance(inside, str) else inside
        roots = [i for i in items if i.get("source_type") == "snapshot" and i.get("boot_index") == 0]
        return str(roots[0]["snapshot_id"]) if roots else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadRequest("The image's property block_device_mapping is not valid.") from None


def _like(origin: Volume | None, size: int) -> Source:
    if origin is None:
        return Source(size)
    return Source(size, origin.type_id, origin.bootable, origin.image_metadata)


def _of_image(cloud: Cloud, tx: Tx, who: Who, image_id: str) -> Source:
    image = cloud.port(Images).find(tx, who, image_id)
    if image is None:
        raise BadRequest("Invalid image identifier or unable to access requested image.")
    if image.status != "active":
        raise InvalidInput(f"Image {image_id} is not active.")
    if image.disk_format not in ("raw", "qcow2", "iso", "ami", "ari", "aki"):
        raise InvalidInput(f"Image {image_id} is of format {image.disk_format}, which volumes cannot be made from.")
    facts = {
        "image_id": image_id,
        "image_name": image.name,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_disk": str(image.min_disk_gib),
        "min_ram": str(image.min_ram_mib),
        "size": str(image.size),
        **{k: str(v) for k, v in image.properties.items()},
    }
    size = max(image.min_disk_gib, -(-max(image.virtual_size, 1) // GIB))
    return Source(size, image.properties.get("cinder_img_volume_type") or None, True, facts)


def find_type(cloud: Cloud, tx: Tx, who: Who, wanted: str | None, inherited: str | None) -> VolumeType:
    """The type named, else the source's, else the default. 404."""
    named = wanted or inherited or DEFAULT_TYPE
    row = tx.one(VolumeType, name=named) or tx.get(VolumeType, named)
    if row is None and not wanted:
        row = tx.one(VolumeType, name=DEFAULT_TYPE)
    if row is None or not may_use(cloud, tx, who, row):
        if UUID.match(named):
            raise NotFound(kind="Volume type", id=named)
        raise _NoSuchType(name=named)
    if tx.sql("SELECT 1 FROM volume_encryptions WHERE volume_type_id = ?", row.id).fetchone() is not None:
        raise EncryptionUnavailable(name=row.name)
    return row


class EncryptionUnavailable(BadRequest):
    """Volumes of type {name} are to be encrypted, which no driver of this cloud does; choose another type."""


class _NoSuchType(NotFound):
    """Volume type with name {name} could not be found."""


def may_use(cloud: Cloud, tx: Tx, who: Who, row: VolumeType) -> bool:
    if row.is_public or cloud.rules.allows("context_is_admin", who, {}):
        return True
    return bool(who.project_id) and tx.count(TypeAccess, volume_type_id=row.id, project_id=who.project_id) == 1


UNPLACED = "no pool has what the volume's type asks for, and is open to new volumes"


def delete(cloud: Cloud, tx: Tx, row: Volume, *, cascade: bool = False, force: bool = False) -> None:
    """Ask the loop to remove it. 400 while it is used."""
    if row.want == Want.ABSENT and not row.failed:
        return
    attached = tx.count(VolumeAttachment, volume_id=row.id)
    snapshots = tx.find(Snapshot, volume_id=row.id)
    busy = [s for s in snapshots if s.status not in ("available", "error", "deleting", "error_deleting")]
    if (not force and row.status not in DELETABLE) or attached or (snapshots and not cascade) or busy:
        raise InvalidVolume(
            "Volume status must be available or error or error_restoring or error_extending or error_managing and must"
            " not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated"
            " from snapshots after volume transfer."
        )
    for s in snapshots:
        delete_snapshot(tx, s)
    if row.failed == "error" and row.fault == UNPLACED and not row.host:  # no drive was made: it is gone at once
        forget(cloud, tx, row)
        return
    save(tx, row, verb="deleting", want=Want.ABSENT, failed="", task="", hold="", deadline=tx.now + PATIENCE_S,
         due_at=tx.now, request_id=tx.request.id)  # fmt: skip


def delete_snapshot(tx: Tx, row: Snapshot) -> None:
    tx.put(row, verb="deleting", want=Want.ABSENT, status="deleting", failed="", due_at=tx.now,
           deadline=tx.now + PATIENCE_S)  # fmt: skip


def forget(cloud: Cloud, tx: Tx, row: Volume) -> None:
    """The drive is gone: the row becomes a tombstone and the quota is given back."""
    give_back(cloud, tx, row.project_id, {"volumes": 1, "gigabytes": row.size})
    tx.drop_where(VolumeAttachment, volume_id=row.id)
    tx.drop(tx.put(row, status="deleted", due_at=None, quiet=True))


def forget_snapshot(cloud: Cloud, tx: Tx, row: Snapshot) -> None:
    give_back(cloud, tx, row.project_id, {"snapshots": 1, "gigabytes": row.size})
    tx.drop(tx.put(row, status="deleted", due_at=None, quiet=True))


def connection_of(volume_id: str, path: str, format: str, mode: str) -> dict[str, Any]:
    """What an attacher is told: a file on the host."""
    return {
        "driver_volume_type": "local",
        "access_mode": mode,
        "encrypted": False,
        "qos_specs": None,
        "cacheable": False,
        "device_path": path,
        "format": format,
        "volume_id": volume_id,
    }
