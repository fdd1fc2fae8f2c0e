"""A complete simulated store of drives: sizes and the first bytes of their content, kept in a journal.

Source: the Protocols of volume/capability.py. With a directory a restart (or a kill) finds its world again.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import msgspec

from nutshell.core.drivers import DriverFault
from nutshell.image.formats import write_qcow2
from nutshell.volume.capability import Connection, PoolFacts

CONTENT_LIMIT = 64 * 1024  # what is kept of a drive's content
POOL = 1024 * 2**40


class Drive(msgspec.Struct, frozen=True):
    size: int
    content: bytes = b""
    volume_id: str = ""  # of a snapshot: the volume it is of


class MemoryVolumes:
    """Volumes and snapshots in dicts. Thread-safe; a call takes microseconds."""

    name = "memory"

    def __init__(self, directory: Path | None = None, host: str = "simulated") -> None:
        self._lock = RLock()
        self._host = host
        self._drives: dict[str, dict[str, Drive]] = {"volume": {}, "snapshot": {}}
        self._failures: dict[str, list[tuple[int, bool]]] = {}
        self.calls: dict[str, int] = {}
        self._journal: int | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._open_journal(directory / "volume.journal")

    def begin_as(self, other: "MemoryVolumes") -> None:
        """Begin with another's drives: of a cloud that is a copy of another."""
        with other._lock:
            self._drives = {kind: dict(held) for kind, held in other._drives.items()}

    def fail(self, call: str, nth: int = 1, *, final: bool = False) -> None:
        """The nth call of that name from now on (1: the next) fails once with DriverFault and changes nothing."""
        with self._lock:
            self._failures.setdefault(call, []).append((self.calls.get(call, 0) + nth, final))

    def write(self, volume_id: str, content: bytes) -> None:
        """What a guest does: overwrite the beginning of a volume."""
        with self._lock:
            drive = self._need("volume", volume_id)
            self._put("volume", volume_id, Drive(drive.size, content + drive.content[len(content) :]))

    def size_of(self, volume_id: str) -> int:
        return self._need("volume", volume_id).size

    # VolumeDriver

    def pools(self) -> Sequence[PoolFacts]:
        with self._lock:
            used = sum(d.size for kind in self._drives.values() for d in kind.values())
            return [PoolFacts(f"{self._host}@memory#pool", POOL, max(0, POOL - used), protocol="memory")]

    def existing(self, volume_ids: Sequence[str] | None) -> Sequence[str]:
        with self._lock:
            held = self._drives["volume"]
            return list(held) if volume_ids is None else [v for v in volume_ids if v in held]

    def create(self, volume_id: str, size: int) -> None:
        self._make("create", volume_id, lambda: Drive(size))

    def create_from_image(self, volume_id: str, size: int, image_path: str, image_format: str) -> None:
        def read() -> Drive:
            try:
                with open(image_path, "rb") as source:
                    content = source.read(CONTENT_LIMIT)
                    if image_format != "raw":  # its layout is not read here: any two images still differ
                        content = b"image:" + hashlib.file_digest(source, "sha256").hexdigest().encode()
            except OSError as why:
                raise DriverFault(f"cannot read {image_path}: {why.strerror}", final=True) from why
            return Drive(size, content.rstrip(b"\0"))

        self._make("create_from_image", volume_id, read)

    def create_from_volume(self, volume_id: str, size: int, source_id: str) -> None:
        self._make("create_from_volume", volume_id, lambda: self._copy("volume", source_id, size))

    def delete(self, volume_id: str) -> None:
        with self._lock:
            self._begin("delete")
            self._drop("volume", volume_id)

    def connect(self, volume_id: str) -> Connection:
        with self._lock:
            self._begin("connect")
            self._need("volume", volume_id)
            return Connection(f"memory:{volume_id}", "raw")

    # Growable

    def grow(self, volume_id: str, size: int) -> None:
        with self._lock:
            self._begin("grow")
            drive = self._need("volume", volume_id)
            if size > drive.size:
                self._put("volume", volume_id, Drive(size, drive.content))

    # Snapshotting

    def snapshot(self, volume_id: str, snapshot_id: str) -> None:
        with self._lock:
            self._begin("snapshot")
            if snapshot_id not in self._drives["snapshot"]:
                drive = self._need("volume", volume_id)
                self._put("snapshot", snapshot_id, Drive(drive.size, drive.content, volume_id))

    def create_from_snapshot(self, volume_id: str, size: int, snapshot_id: str) -> None:
        self._make("create_from_snapshot", volume_id, lambda: self._copy("snapshot", snapshot_id, size))

    def revert(self, volume_id: str, snapshot_id: str) -> None:
        with self._lock:
            self._begin("revert")
            size = self._need("volume", volume_id).size
            self._put("volume", volume_id, Drive(size, self._need("snapshot", snapshot_id).content))

    def delete_snapshot(self, snapshot_id: str) -> None:
        with self._lock:
            self._begin("delete_snapshot")
            self._drop("snapshot", snapshot_id)

    # ImageMaking

    def write_image(self, volume_id: str, target_path: str, format: str) -> int:
        with self._lock:
            self._begin("write_image")
            drive = self._need("volume", volume_id)
        partial = Path(f"{target_path}.tmp")
        if format == "qcow2":
            write_qcow2(partial, [drive.content], drive.size)
        elif format == "raw":
            with open(partial, "wb") as out:
                out.write(drive.content)
                out.truncate(drive.size)
        else:
            raise DriverFault(f"cannot write an image of format {format}", final=True)
        partial.replace(target_path)
        return Path(target_path).stat().st_size

    # inside

    def _make(self, call: str, volume_id: str, content: Any) -> None:
        with self._lock:
            self._begin(call)
            if volume_id not in self._drives["volume"]:
                self._put("volume", volume_id, content())

    def _copy(self, kind: str, source_id: str, size: int) -> Drive:
        source = self._need(kind, source_id)
        if size < source.size:
            raise DriverFault(f"{kind} {source_id} is larger than {size} bytes", final=True)
        return Drive(size, source.content)

    def _need(self, kind: str, key: str) -> Drive:
        found = self._drives[kind].get(key)
        if found is None:
            raise DriverFault(f"there is no {kind} {key}", final=True)
        return found

    def _begin(self, call: str) -> None:
        count = self.calls[call] = self.calls.get(call, 0) + 1
        for failure in self._failures.get(call, ()):
            if failure[0] == count:
                self._failures[call].remove(failure)
                raise DriverFault(f"told to fail at call {count} of {call}", final=failure[1])

    # the journal

    def _put(self, kind: str, key: str, drive: Drive) -> None:
        self._write((kind, key, drive))
        self._drives[kind][key] = drive

    def _drop(self, kind: str, key: str) -> None:
        if key in self._drives[kind]:
            self._write((kind, key, None))
            del self._drives[kind][key]

    def _write(self, record: tuple[str, str, Drive | None]) -> None:
        if self._journal is not None:
            os.write(self._journal, msgspec.json.encode(record) + b"\n")

    def _open_journal(self, path: Path) -> None:
        """Replay what is there, then start afresh with one line a drive."""
        decoder = msgspec.json.Decoder(tuple[str, str, Drive | None])
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    kind, key, drive = decoder.decode(line)
                except msgspec.DecodeError:
                    break  # a line cut off by a kill: its call was never answered
                if drive is None:
                    self._drives[kind].pop(key, None)
                else:
                    self._drives[kind][key] = drive
        fresh = path.with_suffix(".new")
        rows = [(kind, key, drive) for kind, held in self._drives.items() for key, drive in held.items()]
        fresh.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        fresh.replace(path)
        self._journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def close(self) -> None:
        with self._lock:
            if self._journal is not None:
                os.close(self._journal)
                self._journal = None
