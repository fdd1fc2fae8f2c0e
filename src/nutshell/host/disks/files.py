"""Drives as raw files, snapshots as qcow2 files, below one directory (qemu-img(1), QMP blockdev-backup).

A file gets its name only when it is whole, so every call may be repeated after a kill. Raw, because a raw file can
grow while a guest has it open. A copy is a full copy: nothing depends on its source.
"""

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from nutshell.core.drivers import DriverFault
from nutshell.host.qemu import images
from nutshell.volume.capability import Connection, PoolFacts


class Attached(Protocol):
    """What the hypervisor of this machine does for drives its guests have open. Both answer False when none has."""

    def copy_attached(self, disk_id: str, target: Path) -> bool:
        """The drive as it is at this moment, as a qcow2, while the guest writes on."""
        ...

    def resize_attached(self, disk_id: str, size: int) -> bool:
        """Grow the drive and tell the guest."""
        ...


class NoGuests:
    """Where no hypervisor shares the machine."""

    def copy_attached(self, disk_id: str, target: Path) -> bool:
        return False

    def resize_attached(self, disk_id: str, size: int) -> bool:
        return False


class FileVolumes:
    """One directory of drives. Safe to call from any thread; calls about one drive wait for each other."""

    name = "file"

    def __init__(self, directory: Path, host: str, guests: Attached | None = None) -> None:
        self._directory = directory.absolute()
        self._snapshots = self._directory / "snapshots"
        self._snapshots.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._host = host
        self._guests = guests or NoGuests()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        images.sweep(self._directory)

    # VolumeDriver

    def pools(self) -> Sequence[PoolFacts]:
        space = shutil.disk_usage(self._directory)
        return [PoolFacts(f"{self._host}@file#pool", space.total, space.free)]

    def existing(self, volume_ids: Sequence[str] | None) -> Sequence[str]:
        found = {path.stem for path in self._directory.glob("*.raw")}
        return sorted(found) if volume_ids is None else [v for v in volume_ids if v in found]

    def create(self, volume_id: str, size: int) -> None:
        self._make(volume_id, lambda fresh: _truncate(fresh, size))

    def create_from_image(self, volume_id: str, size: int, image_path: str, image_format: str) -> None:
        source = Path(image_path)
        if not source.is_file():
            raise DriverFault(f"there is no image at {image_path}", final=True)
        format = "raw" if image_format in ("iso", "ami", "ari", "aki") else image_format
        if images.virtual_size(source, format) > size:
            raise DriverFault(f"the image is larger than {size} bytes", final=True)

        def write(fresh: Path) -> None:
            images.convert(source, format, fresh, "raw")
            _truncate(fresh, size)

        self._make(volume_id, write)

    def create_from_volume(self, volume_id: str, size: int, source_id: str) -> None:
        def write(fresh: Path) -> None:
            copied = fresh.with_name(fresh.name + ".live.tmp")
            try:
                if self._guests.copy_attached(source_id, copied):
                    images.convert(copied, "qcow2", fresh, "raw")
                else:
                    images.convert(self._need(source_id), "raw", fresh, "raw")
            finally:
                copied.unlink(missing_ok=True)
            _truncate(fresh, size)

        self._make(volume_id, write)

    def delete(self, volume_id: str) -> None:
        with self._held(volume_id):
            self._volume(volume_id).unlink(missing_ok=True)

    def connect(self, volume_id: str) -> Connection:
        return Connection(str(self._need(volume_id)), "raw")

    # Growable

    def grow(self, volume_id: str, size: int) -> None:
        with self._held(volume_id):
            path = self._need(volume_id)
            if path.stat().st_size < size and not self._guests.resize_attached(volume_id, size):
                _truncate(path, size)

    # Snapshotting

    def snapshot(self, volume_id: str, snapshot_id: str) -> None:
        with self._held(volume_id):
            path = self._need(volume_id)
            target = self._snapshots / f"{snapshot_id}.qcow2"
            if target.exists() or self._guests.copy_attached(volume_id, target):
                return
            images.make(target, lambda fresh: images.convert(path, "raw", fresh, "qcow2"))

    def create_from_snapshot(self, volume_id: str, size: int, snapshot_id: str) -> None:
        source = self._need_snapshot(snapshot_id)

        def write(fresh: Path) -> None:
            images.convert(source, "qcow2", fresh, "raw")
            _truncate(fresh, size)

        self._make(volume_id, write)

    def revert(self, volume_id: str, snapshot_id: str) -> None:
        source = self._need_snapshot(snapshot_id)
        with self._held(volume_id):
            path = self._need(volume_id)
            size = path.stat().st_size

            def write(fresh: Path) -> None:
                images.convert(source, "qcow2", fresh, "raw")
                _truncate(fresh, size)

            images.make(path, write)

    def delete_snapshot(self, snapshot_id: str) -> None:
        (self._snapshots / f"{snapshot_id}.qcow2").unlink(missing_ok=True)

    # ImageMaking

    def write_image(self, volume_id: str, target_path: str, format: str) -> int:
        if format not in ("raw", "qcow2", "vmdk", "vdi", "vhdx"):
            raise DriverFault(f"cannot write an image of format {format}", final=True)
        target = Path(target_path)
        with self._held(volume_id):
            copied = self._directory / f".{volume_id}.image.tmp"
            try:
                source, source_format = (
                    (copied, "qcow2")
                    if self._guests.copy_attached(volume_id, copied)
                    else (self._need(volume_id), "raw")
                )
                images.make(target, lambda fresh: images.convert(source, source_format, fresh, format))
            finally:
                copied.unlink(missing_ok=True)
        return target.stat().st_size

    # inside

    def _volume(self, volume_id: str) -> Path:
        return self._directory / f"{volume_id}.raw"

    def _need(self, volume_id: str) -> Path:
        path = self._volume(volume_id)
        if not path.exists():
            raise DriverFault(f"there is no volume {volume_id}", final=True)
        return path

    def _need_snapshot(self, snapshot_id: str) -> Path:
        path = self._snapshots / f"{snapshot_id}.qcow2"
        if not path.exists():
            raise DriverFault(f"there is no snapshot {snapshot_id}", final=True)
        return path

    def _make(self, volume_id: str, write: Callable[[Path], None]) -> None:
        with self._held(volume_id):
            path = self._volume(volume_id)
            if not path.exists():
                images.make(path, write)

    def _held(self, volume_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(volume_id, threading.Lock())


def _truncate(path: Path, size: int) -> None:
    """Give the file this size; never shorter than it is."""
    try:
        with open(path, "ab") as file:
            if os.fstat(file.fileno()).st_size > size:
                raise DriverFault(f"the content is larger than {size} bytes", final=True)
            file.truncate(size)
            os.fsync(file.fileno())
    except OSError as why:
        raise DriverFault(f"cannot write {path}: {why.strerror}") from why
