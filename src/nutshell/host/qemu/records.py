"""What is kept on disk about one guest: its definition, the state it was left in, and where its files are."""

import os
import shutil
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import msgspec

from nutshell.compute.capability import Guest
from nutshell.core.drivers import DriverFault

_SOCKET_PATH_LIMIT = 107  # sun_path, unix(7)


class Left(StrEnum):
    """How the guest was left, for when no process of it is found."""

    OFF = "off"  # powered off, or not yet started
    RUNNING = "running"  # a process ran it: finding none means that it or the machine died
    SUSPENDED = "suspended"  # its memory is in the file `memory`
    CRASHED = "crashed"  # its process was seen to end


@dataclass(frozen=True)
class Record:
    guest: Guest
    left: Left = Left.OFF
    why: str = ""
    ports: int = 0  # PCIe root ports of the present machine
    slots: dict[str, int] = field(default_factory=dict)  # device id → root port; saved memory depends on it


@dataclass(frozen=True)
class GuestFiles:
    """Paths of one guest. Sockets lie in a short directory of their own, for their paths are limited."""

    home: Path
    sockets: Path
    server_id: str

    @property
    def record(self) -> Path:
        return self.home / "record.json"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    @property
    def console(self) -> Path:
        return self.home / "console.log"

    @property
    def words(self) -> Path:
        """What QEMU itself says."""
        return self.home / "qemu.log"

    @property
    def memory(self) -> Path:
        return self.home / "memory"

    @property
    def memory_part(self) -> Path:
        return self.home / "memory.part"

    @property
    def variables(self) -> Path:
        """UEFI's variables."""
        return self.home / "uefi-vars.fd"

    def socket(self, kind: str) -> Path:
        """kind: "qmp", "vnc" or "serial"."""
        path = self.sockets / f"{self.server_id}.{kind[:3]}"
        if len(str(path)) > _SOCKET_PATH_LIMIT:
            raise DriverFault(f"the state directory's path is too long for sockets: {path}", final=True)
        return path

    def save(self, record: Record) -> None:
        fresh = self.home / "record.new"
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(record))
            fresh.replace(self.record)
        except OSError as error:
            raise DriverFault(f"cannot write {self.record}: {error.strerror}") from error

    def load(self) -> Record | None:
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None  # never completely defined

    def remove_sockets(self) -> None:
        for kind in ("qmp", "vnc", "serial"):
            self.socket(kind).unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget the guest: the record first, so that a half-removed guest is an absent one."""
        self.record.unlink(missing_ok=True)
        self.remove_sockets()
        shutil.rmtree(self.home, ignore_errors=True)


def with_slot(record: Record, device_id: str, port: int | None = None) -> tuple[Record, int]:
    """The record with a root port given to the device (the lowest free one unless named)."""
    if device_id in record.slots:
        return record, record.slots[device_id]
    if port is None:
        used = set(record.slots.values())
        free = [number for number in range(record.ports) if number not in used]
        if not free:
            raise DriverFault("the guest has no free slot: stop and start it to get more", final=True)
        port = free[0]
    return replace(record, slots={**record.slots, device_id: port}), port


def without_slot(record: Record, device_id: str) -> Record:
    return replace(record, slots={key: port for key, port in record.slots.items() if key != device_id})


def last_words(path: Path, size: int = 600) -> str:
    """The end of what QEMU said, on one line."""
    try:
        with path.open("rb") as words:
            words.seek(max(0, os.fstat(words.fileno()).st_size - size))
            return " | ".join(words.read().decode(errors="replace").strip().splitlines())
    except FileNotFoundError:
        return ""
