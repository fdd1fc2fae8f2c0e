"""The drives a new server asks for: image, volumes, snapshots and blank ones (block_device_mapping_v2 and its
forerunner). Source: Compute API reference, "Create Server"; user guide "Block Device Mapping in Nova"."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nutshell.compute import wire
from nutshell.core.errors import BadRequest

OLD_KEYS = frozenset(
    {"virtual_name", "volume_id", "snapshot_id", "volume_size", "device_name", "delete_on_termination", "no_device",
     "connection_info"}
)  # fmt: skip
NEW_KEYS = OLD_KEYS | {
    "source_type", "uuid", "image_id", "destination_type", "guest_format", "device_type", "disk_bus", "boot_index",
}  # fmt: skip


class BadDrives(BadRequest):
    """Block Device Mapping is Invalid: {why}"""


@dataclass(frozen=True)
class Drive:
    """One drive asked for. `source`: image, volume, snapshot, blank; `destination`: local or volume."""

    source: str
    destination: str
    source_id: str = ""
    size_gib: int = 0
    boot_index: int | None = None
    delete_on_termination: bool = False
    tag: str | None = None
    volume_type: str | None = None
    device: str = ""
    guest_format: str = ""


def read_drives(old: Any, new: Any, image_id: str, more_keys: frozenset[str]) -> tuple[Drive, ...]:
    """Every drive asked for, the image's own root disk included. 400 on what cannot be."""
    if old and new:
        raise BadRequest("Using different block_device_mapping syntaxes is not allowed in the same request.")
    if old:
        drives = _old_drives(_items("block_device_mapping", old, OLD_KEYS), image_id)
    else:
        items = _items("block_device_mapping_v2", new or [], NEW_KEYS | more_keys)
        drives = [_new_drive(i, image_id) for i in items if not i.get("no_device")]
    if image_id and not any(d.boot_index == 0 for d in drives):
        drives.insert(0, Drive("image", "local", image_id, boot_index=0, delete_on_termination=True))
    return check_order(drives)


def check_order(drives: Sequence[Drive]) -> tuple[Drive, ...]:
    """The drives in boot order first. 400 when nothing or several would boot first, or one comes twice."""
    boots = sorted(d.boot_index for d in drives if d.boot_index is not None and d.boot_index >= 0)
    if boots != list(range(len(boots))) or not boots:
        if not drives:
            raise BadRequest("Invalid imageRef provided.")
        raise BadDrives("Boot sequence for the instance and image/block device mapping combination is not valid.")
    existing = [d.source_id for d in drives if d.source == "volume"]
    if len(set(existing)) != len(existing):
        raise BadDrives("The volume cannot be assigned the same device name twice.")
    tags = [d.tag for d in drives if d.tag]
    if len(set(tags)) != len(tags):
        raise BadDrives("Block device tags must be unique.")
    rest = [replace(d, boot_index=None) if d.boot_index is not None and d.boot_index < 0 else d for d in drives]
    return tuple(sorted(rest, key=lambda d: 999 if d.boot_index is None else d.boot_index))


def _items(name: str, value: Any, keys: frozenset[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(i, dict) for i in value):
        raise wire.invalid(name, value, "It is not an array of objects.")
    for item in value:
        for key in item:
            if key not in keys:
                raise BadRequest(f"Additional properties are not allowed ('{key}' was unexpected)")
    return value


def _old_drives(items: list[dict[str, Any]], image_id: str) -> list[Drive]:
    found: list[Drive] = []
    for item in items:
        if item.get("no_device"):
            continue
        source = "snapshot" if item.get("snapshot_id") else "volume" if item.get("volume_id") else "blank"
        found.append(
            Drive(
                source,
                "local" if source == "blank" else "volume",
                _uuid(source, item.get(f"{source}_id")) if source != "blank" else "",
                _size(item.get("volume_size")),
                0 if not image_id and not found else None,
                wire.truth("delete_on_termination", item.get("delete_on_termination") or False),
                device=_device(item.get("device_name")),
                guest_format="swap" if item.get("virtual_name") == "swap" else "",
            )
        )
    return found


def _new_drive(item: dict[str, Any], image_id: str) -> Drive:
    source = item.get("source_type") or _implied_source(item)
    if source not in ("volume", "image", "snapshot", "blank"):
        raise wire.invalid("source_type", source, "is not one of ['volume', 'image', 'snapshot', 'blank']")
    where = item.get("destination_type") or ("local" if source in ("image", "blank") else "volume")
    if where not in ("local", "volume"):
        raise wire.invalid("destination_type", where, "is not one of ['local', 'volume']")
    source_id = item.get("uuid") or item.get(f"{source}_id")
    if source == "blank" and source_id:
        raise BadDrives("Invalid device UUID.")
    if source != "blank" and not source_id:
        raise BadDrives("Missing device UUID.")
    index = _boot_index(item.get("boot_index"))
    if source == "image" and where == "local" and not (image_id and index == 0):
        raise BadDrives("Mapping image to local is not supported.")
    if source in ("volume", "snapshot") and where == "local":
        raise BadDrives(f"Mapping {source} to local is not supported.")
    kind = item.get("volume_type")
    if kind and (where == "local" or source == "volume"):
        raise BadDrives("Specifying volume type is not supported for a local drive or an existing volume.")
    size = _size(item.get("volume_size"))
    if where == "volume" and source == "image" and not size:
        raise BadDrives("Images with destination_type 'volume' need to have a non-zero size specified")
    if where == "volume" and source == "blank" and not size:
        raise BadDrives("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
    return Drive(
        source,
        where,
        _uuid(source, source_id) if source_id else "",
        size,
        index,
        wire.truth("delete_on_termination", item.get("delete_on_termination") or False),
        wire.check_tag(item["tag"]) if item.get("tag") else None,
        kind,
        _device(item.get("device_name")),
        str(item.get("guest_format") or ""),
    )


def _implied_source(item: dict[str, Any]) -> str:
    return next((s for s in ("image", "volume", "snapshot") if item.get(f"{s}_id")), "blank")


def _boot_index(value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        return int(value)
    except ValueError:
        raise wire.invalid("boot_index", value, "does not match '^-?[0-9]+$'") from None


def _size(value: Any) -> int:
    return 0 if value in (None, "") else wire.whole("volume_size", value, 1)


def _device(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not value or not all(c.isascii() and (c.isalnum() or c in "._/-") for c in value):
        raise wire.invalid("device_name", value, "does not match '^[a-zA-Z0-9._/-]*$'")
    return value.removeprefix("/dev/")


def _uuid(name: str, value: Any) -> str:
    if not is_uuid(value):
        raise wire.invalid(f"{name}_id", value, f"{value!r} is not a 'uuid'")
    return str(value)


def free_devices(taken: Collection[str]) -> Iterator[str]:
    """Device names in order, without those that are taken: vda, vdb, …"""
    return (name for c in "abcdefghijklmnopqrstuvwxyz" if (name := f"vd{c}") not in taken)


def is_uuid(value: Any) -> bool:
    try:
        uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        return False
    return isinstance(value, str) and len(value) >= 32
