"""What a hypervisor must be able to do.

Everything that crosses is a frozen, serialisable value: the same calls go to a driver in process or over a socket
to `nutshell host`. Every call is safe to repeat after a crash, may block until done, and fails with `DriverFault`.
Sizes: MiB and bytes as named. Ids are the API's UUIDs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Power(StrEnum):
    """What a guest is seen to be doing."""

    RUNNING = "running"  # its processors execute
    PAUSED = "paused"  # in memory, its processors stopped
    SUSPENDED = "suspended"  # its memory saved to disk, no process
    SHUTDOWN = "shutdown"  # defined, no process; it powered off or was stopped
    CRASHED = "crashed"  # its process ended without being asked and without the guest powering off
    UNKNOWN = "unknown"  # its host does not answer; nothing may be concluded


@dataclass(frozen=True)
class Disk:
    """One disk of a guest. `path` was made by a disk driver; its format is pinned, never probed."""

    disk_id: str  # the volume's id, or "root", "swap", "ephemeral0", "config"
    path: str  # host path, or a URL the hypervisor opens itself (nbd+unix:…, rbd:…)
    format: str  # "qcow2" or "raw"
    device: str  # what the API shows: "vda"
    bus: str = "virtio"  # "virtio", "scsi", "sata", "ide"
    cdrom: bool = False
    read_only: bool = False
    shareable: bool = False  # multi-attached volume: no exclusive lock
    boot_index: int | None = None


@dataclass(frozen=True)
class Nic:
    """One network card, plugged into the network driver's port of the same id."""

    port_id: str
    mac: str
    mtu: int = 1500
    model: str = "virtio"
    boot_index: int | None = None


@dataclass(frozen=True)
class Guest:
    """The whole wanted shape of one virtual machine."""

    server_id: str
    name: str
    vcpus: int
    ram_mib: int
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    firmware: str = "bios"  # "bios" or "uefi"
    machine: str = ""  # empty: the driver's best
    rescue: bool = False


@dataclass(frozen=True)
class Seen:
    """What the hypervisor sees of one guest now."""

    server_id: str
    power: Power
    disk_ids: tuple[str, ...] = ()
    port_ids: tuple[str, ...] = ()
    why: str = ""  # for CRASHED: exit status and the last words of the process
    lost: bool = False  # it ran when its host or the whole cloud went down, and nobody saw it end


@dataclass(frozen=True)
class HostFacts:
    """One hypervisor host as seen by its driver."""

    name: str  # host name, stable over restarts
    hypervisor_type: str  # "QEMU", "KVM", "memory"
    hypervisor_version: int  # 7002000 is 7.2.0
    vcpus: int
    ram_mib: int
    disk_gib: int
    arch: str = "x86_64"
    cpu_model: str = ""
    traits: tuple[str, ...] = ()  # os-traits names the host has (COMPUTE_…, HW_CPU_…)
    accelerated: bool = False


@runtime_checkable
class Hypervisor(Protocol):
    """Runs guests on one or more hosts. `host` is a name out of `hosts()`."""

    def hosts(self) -> Sequence[HostFacts]:
        """Every host this driver runs guests on."""
        ...

    def observe(self, server_ids: Sequence[str] | None) -> Sequence[Seen]:
        """The named guests that exist (None: all of them). A guest never defined is absent from the answer."""
        ...

    def start(self, host: str, guest: Guest) -> None:
        """Define the guest as given and run it. A guest that runs already is left as it is; a paused one goes on;
        a suspended one resumes. Returns once its process runs."""
        ...

    def stop(self, server_id: str, timeout_s: float) -> None:
        """Power off: ask the guest (ACPI) and, after `timeout_s` (0: at once), end it. Stays defined: SHUTDOWN.
        Ends a crash or a suspension too (the saved memory is lost). Absent is success: nothing runs."""
        ...

    def reboot(self, server_id: str, hard: bool, timeout_s: float) -> None:
        """Soft: ask the guest, fall back to hard after `timeout_s`. Hard: power cycle with the shape last given."""
        ...

    def destroy(self, server_id: str) -> None:
        """End the guest and forget it, its sockets and logs. Absent is success. Disks are left alone."""
        ...


@runtime_checkable
class Watchable(Protocol):
    def wait_changes(self, after: int, timeout_s: float) -> tuple[int, list[str]]:
        """The new cursor, and the ids of guests that changed since the cursor `after` (0: every guest). Blocks up to
        `timeout_s` for the first change; a cursor from before a restart is answered with every guest."""
        ...


@runtime_checkable
class Pausable(Protocol):
    def pause(self, server_id: str) -> None: ...
    def unpause(self, server_id: str) -> None: ...
    def suspend(self, server_id: str) -> None: ...
    def resume(self, server_id: str) -> None: ...


@runtime_checkable
class HotPluggable(Protocol):
    """Changes a guest's devices, live when it runs, else in its definition. Repeats are success."""

    def plug_disk(self, server_id: str, disk: Disk) -> None: ...
    def unplug_disk(self, server_id: str, disk_id: str) -> None:
        """Returns once the guest let go; DriverFault when it did not within the driver's patience."""
        ...

    def plug_nic(self, server_id: str, nic: Nic) -> None: ...
    def unplug_nic(self, server_id: str, port_id: str) -> None: ...
    def resize_disk(self, server_id: str, disk_id: str, size: int) -> None:
        """Tell a running guest that the disk now has `size` bytes; a driver of disks has grown it already or this
        does."""
        ...


@runtime_checkable
class Consoles(Protocol):
    def console_log(self, server_id: str, lines: int | None) -> str:
        """The last lines (None: all that is kept) of the first serial port. Survives stop and reboot."""
        ...

    def console_address(self, server_id: str, kind: str) -> str:
        """Path of a unix stream socket: kind "vnc" speaks RFB, "serial" is the raw serial port."""
        ...


@runtime_checkable
class Disks(Protocol):
    """A guest's own disks (root, swap, ephemeral, config drive): made where the guest will run."""

    def create_root(self, host: str, server_id: str, image_path: str, image_format: str, size: int) -> Disk:
        """A root disk of at least `size` bytes whose content is the image's; an existing one is kept."""
        ...

    def create_blank(self, host: str, server_id: str, disk_id: str, size: int, filesystem: str) -> Disk:
        """An empty disk; filesystem "" (none), "swap", "ext4" or "vfat"."""
        ...

    def write_config_drive(self, host: str, server_id: str, files: dict[str, bytes]) -> Disk:
        """An ISO 9660 image labelled config-2 with these files (path → content); rewritten when it exists."""
        ...

    def resize_root(self, server_id: str, size: int) -> None:
        """Grow the root disk to `size` bytes; never shrinks."""
        ...

    def snapshot_root(self, server_id: str, target_path: str) -> None:
        """Write the root disk's present content as one qcow2 without a backing file; live if the guest runs."""
        ...

    def delete_disks(self, server_id: str) -> None:
        """Remove every disk made for this server. Absent is success."""
        ...
