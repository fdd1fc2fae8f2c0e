"""A complete simulated hypervisor: any number of hosts, guests that take microseconds.

Its guests are "in the world": with a directory they outlive the process, as real ones do (`journal.py`).
`faults` lets tests break chosen calls.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from nutshell.compute.capability import Disk, Guest, HostFacts, Nic, Power, Seen
from nutshell.compute.drivers.changes import Changes
from nutshell.compute.drivers.faults import Faults
from nutshell.compute.drivers.journal import Journal
from nutshell.compute.drivers.screens import Screens
from nutshell.core.drivers import DriverFault
from nutshell.image.formats.qcow2 import write_qcow2

_BOOTS_KEPT = 8  # the console log goes back so many boots
_ALIVE = (Power.RUNNING, Power.PAUSED)


@dataclass(frozen=True)
class _Known:
    """One defined guest."""

    host: str
    guest: Guest
    power: Power
    why: str = ""
    log: tuple[tuple[float, str], ...] = ()  # (when, what): "boot", "off" or "crash"
    lost: bool = False


@dataclass(frozen=True)
class _OwnDisk:
    """A disk made here for a server."""

    host: str
    disk: Disk
    size: int
    files: dict[str, bytes] | None = None  # of a config drive


def one_host() -> HostFacts:
    """The host that is simulated when none is named."""
    return HostFacts(
        name=f"{socket.gethostname().partition('.')[0]}-sim",
        hypervisor_type="memory",
        hypervisor_version=1_000_000,
        vcpus=1024,
        ram_mib=262_144,
        disk_gib=10_240,
        cpu_model="simulated",
        traits=("COMPUTE_NODE", "COMPUTE_VOLUME_ATTACH", "COMPUTE_VOLUME_EXTEND", "COMPUTE_VOLUME_MULTI_ATTACH"),
        accelerated=False,
    )


class MemoryHypervisor:
    """Implements every capability of `compute/capability.py`. Safe to call from any thread."""

    def __init__(self, directory: Path | None = None, hosts: Sequence[HostFacts] | None = None) -> None:
        self._hosts = {facts.name: facts for facts in (hosts if hosts is not None else [one_host()])}
        self._lock = threading.RLock()
        self._known: dict[str, _Known] = {}
        self._disks: dict[str, dict[str, _OwnDisk]] = {}
        self._journal = Journal(directory / "world.jsonl") if directory is not None else None
        self._screens = Screens(directory / "consoles" if directory is not None else None)
        self._changes = Changes(lambda: list(self._known))
        self.faults = Faults()
        for kind, key, value in self._journal.records() if self._journal else ():
            if kind == "guest":
                self._known[key] = msgspec.json.decode(value, type=_Known)
            else:
                self._disks[key] = msgspec.json.decode(value, type=dict[str, _OwnDisk])

    # knobs for tests

    def begin_as(self, other: "MemoryHypervisor") -> None:
        """Begin with another's guests and disks: of a cloud that is a copy of another."""
        with other._lock:
            self._known, self._disks = dict(other._known), {key: dict(held) for key, held in other._disks.items()}

    def crash(self, server_id: str, why: str = "simulated crash: killed by signal 9") -> None:
        """Let a running guest's process die."""
        with self._lock:
            self._see(server_id, Power.CRASHED, why, "crash")

    def power_off_from_inside(self, server_id: str) -> None:
        """Let the guest power itself off, as its user may."""
        with self._lock:
            self._see(server_id, Power.SHUTDOWN, event="off")

    def host_names(self) -> Sequence[str]:
        """Every host, those that do not answer too."""
        return tuple(self._hosts)

    def lose_host(self, host: str) -> None:
        """Let a host stop answering; `find_host` brings it back with its guests."""
        self.faults.gone_hosts.add(host)
        self._mark_host(host)

    def restart_host(self, host: str) -> None:
        """Let a host go down and come back: its guests are lost."""
        with self._lock:
            for server_id, known in list(self._known.items()):
                if known.host == host and known.power in _ALIVE:
                    log = _logged(known.log, "crash")
                    self._put(
                        server_id, replace(known, power=Power.CRASHED, why="its host restarted", log=log, lost=True)
                    )

    def find_host(self, host: str) -> None:
        self.faults.gone_hosts.discard(host)
        self._mark_host(host)

    def close(self) -> None:
        """Close sockets and files, let go who waits; guests stay in the world."""
        self._changes.end()
        self._screens.close()
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # Hypervisor

    def hosts(self) -> Sequence[HostFacts]:
        gone = self.faults.gone_hosts
        return tuple(facts for facts in self._hosts.values() if facts.name not in gone)

    def observe(self, server_ids: Sequence[str] | None) -> Sequence[Seen]:
        self.faults.enter("observe")
        with self._lock:
            wanted = list(self._known) if server_ids is None else [i for i in server_ids if i in self._known]
            return [self._render(server_id, self._known[server_id]) for server_id in wanted]

    def start(self, host: str, guest: Guest) -> None:
        self.faults.enter("start")
        with self._lock:
            self._reach(host)
            known = self._known.get(guest.server_id)
            if known is not None and known.power in (*_ALIVE, Power.SUSPENDED):
                if known.host != host:
                    raise DriverFault(f"guest {guest.server_id} is alive on host {known.host}", final=True)
                if known.power is not Power.RUNNING:
                    self._see(guest.server_id, Power.RUNNING)
                return
            log = known.log if known is not None else ()
            self._put(guest.server_id, _Known(host, guest, Power.RUNNING, "", _logged(log, "boot")))

    def stop(self, server_id: str, timeout_s: float) -> None:
        self.faults.enter("stop")
        with self._lock:
            known = self._known.get(server_id)
            if known is None:
                return
            self._reach(known.host)
            if known.power is not Power.SHUTDOWN:
                self._see(server_id, Power.SHUTDOWN, event="off" if known.power in _ALIVE else "")

    def reboot(self, server_id: str, hard: bool, timeout_s: float) -> None:
        self.faults.enter("reboot")
        with self._lock:
            self._find(server_id)
            self._see(server_id, Power.RUNNING, event="boot")

    def destroy(self, server_id: str) -> None:
        self.faults.enter("destroy")
        with self._lock:
            known = self._known.get(server_id)
            if known is None:
                return
            self._reach(known.host)
            self._put(server_id, None)
        self._screens.close(server_id)

    def wait_changes(self, after: int, timeout_s: float) -> tuple[int, list[str]]:
        return self._changes.wait(after, timeout_s)

    # Pausable

    def pause(self, server_id: str) -> None:
        self._move("pause", server_id, Power.PAUSED, from_=(Power.RUNNING,))

    def unpause(self, server_id: str) -> None:
        self._move("unpause", server_id, Power.RUNNING, from_=(Power.PAUSED,))

    def suspend(self, server_id: str) -> None:
        self._move("suspend", server_id, Power.SUSPENDED, from_=_ALIVE)

    def resume(self, server_id: str) -> None:
        self._move("resume", server_id, Power.RUNNING, from_=(Power.SUSPENDED, Power.PAUSED))

    # HotPluggable

    def plug_disk(self, server_id: str, disk: Disk) -> None:
        self.faults.enter("plug_disk")
        with self._lock:
            guest = self._find_pluggable(server_id)
            if all(each.disk_id != disk.disk_id for each in guest.disks):
                self._define(replace(guest, disks=(*guest.disks, disk)))

    def unplug_disk(self, server_id: str, disk_id: str) -> None:
        self.faults.enter("unplug_disk")
        with self._lock:
            guest = self._find_pluggable(server_id)
            if any(each.disk_id == disk_id for each in guest.disks):
                self._define(replace(guest, disks=tuple(d for d in guest.disks if d.disk_id != disk_id)))

    def plug_nic(self, server_id: str, nic: Nic) -> None:
        self.faults.enter("plug_nic")
        with self._lock:
            guest = self._find_pluggable(server_id)
            if all(each.port_id != nic.port_id for each in guest.nics):
                self._define(replace(guest, nics=(*guest.nics, nic)))

    def unplug_nic(self, server_id: str, port_id: str) -> None:
        self.faults.enter("unplug_nic")
        with self._lock:
            guest = self._find_pluggable(server_id)
            if any(each.port_id == port_id for each in guest.nics):
                self._define(replace(guest, nics=tuple(n for n in guest.nics if n.port_id != port_id)))

    def resize_disk(self, server_id: str, disk_id: str, size: int) -> None:
        self.faults.enter("resize_disk")
        with self._lock:
            guest = self._find(server_id).guest
            if all(each.disk_id != disk_id for each in guest.disks):
                raise DriverFault(f"guest {server_id} has no disk {disk_id}", final=True)

    # Consoles

    def console_log(self, server_id: str, lines: int | None) -> str:
        self.faults.enter("console_log")
        with self._lock:
            known = self._find(server_id)
        text = "".join(_log_text(known.guest, when, what) for when, what in known.log)
        return last_lines(text, lines)

    def console_address(self, server_id: str, kind: str) -> str:
        self.faults.enter("console_address")
        if kind not in ("vnc", "serial"):
            raise DriverFault(f"no console of kind {kind}", final=True)
        with self._lock:
            known = self._find(server_id)
            if known.power not in _ALIVE:
                raise DriverFault(f"guest {server_id} is {known.power}: it has no console", final=True)
        return self._screens.address(server_id, kind, known.guest.name)

    # Disks

    def create_root(self, host: str, server_id: str, image_path: str, image_format: str, size: int) -> Disk:
        disk = Disk("root", f"memory:{server_id}/root", "qcow2", "vda", boot_index=0)
        return self._make_disk("create_root", host, server_id, disk, size)

    def create_blank(self, host: str, server_id: str, disk_id: str, size: int, filesystem: str) -> Disk:
        if filesystem not in ("", "swap", "ext4", "vfat"):
            raise DriverFault(f"no file system {filesystem}", final=True)
        with self._lock:
            virtio = sum(own.disk.bus == "virtio" for own in self._disks.get(server_id, {}).values())
        disk = Disk(disk_id, f"memory:{server_id}/{disk_id}", "qcow2", f"vd{chr(ord('a') + virtio)}")
        return self._make_disk("create_blank", host, server_id, disk, size)

    def write_config_drive(self, host: str, server_id: str, files: dict[str, bytes]) -> Disk:
        disk = Disk("config", f"memory:{server_id}/config", "raw", "sda", bus="scsi", cdrom=True, read_only=True)
        return self._make_disk("write_config_drive", host, server_id, disk, sum(map(len, files.values())), files)

    def config_drive(self, server_id: str) -> dict[str, bytes] | None:
        """What was last written for this server; for tests."""
        own = self._disks.get(server_id, {}).get("config")
        return own.files if own is not None else None

    def resize_root(self, server_id: str, size: int) -> None:
        self.faults.enter("resize_root")
        with self._lock:
            own = self._own(server_id, "root")
            if own.size < size:
                self._put_disk(server_id, replace(own, size=size))

    def snapshot_root(self, server_id: str, target_path: str) -> None:
        self.faults.enter("snapshot_root")
        with self._lock:
            own = self._own(server_id, "root")
        try:
            _write_empty_image(Path(target_path), own.size)
        except OSError as error:
            raise DriverFault(f"cannot write {target_path}: {error.strerror}") from error

    def delete_disks(self, server_id: str) -> None:
        self.faults.enter("delete_disks")
        with self._lock:
            own = self._disks.get(server_id)
            if own is None:
                return
            for each in own.values():
                self._reach(each.host)
            self._disks.pop(server_id)
            if self._journal is not None:
                self._journal.put("disks", server_id, None)

    # inside, with the lock held

    def _reach(self, host: str) -> None:
        if host not in self._hosts:
            raise DriverFault(f"there is no host {host}", final=True)
        if host in self.faults.gone_hosts:
            raise DriverFault(f"host {host} does not answer")

    def _find(self, server_id: str) -> _Known:
        known = self._known.get(server_id)
        if known is None:
            raise DriverFault(f"there is no guest {server_id}", final=True)
        self._reach(known.host)
        return known

    def _find_pluggable(self, server_id: str) -> Guest:
        known = self._find(server_id)
        if known.power is Power.SUSPENDED:
            raise DriverFault(f"guest {server_id} is suspended: its devices cannot change", final=True)
        return known.guest

    def _move(self, method: str, server_id: str, to: Power, from_: tuple[Power, ...]) -> None:
        self.faults.enter(method)
        with self._lock:
            known = self._find(server_id)
            if known.power is to:
                return
            if known.power not in from_:
                raise DriverFault(f"cannot {method} guest {server_id}: it is {known.power}", final=True)
            self._see(server_id, to)

    def _see(self, server_id: str, power: Power, why: str = "", event: str = "") -> None:
        known = self._find(server_id)
        log = _logged(known.log, event) if event else known.log
        self._put(server_id, replace(known, power=power, why=why, log=log, lost=False))

    def _define(self, guest: Guest) -> None:
        self._put(guest.server_id, replace(self._known[guest.server_id], guest=guest))

    def _put(self, server_id: str, known: _Known | None) -> None:
        if self._journal is not None:
            self._journal.put("guest", server_id, known)
        if known is None:
            self._known.pop(server_id, None)
        else:
            self._known[server_id] = known
        self._changes.mark(server_id)

    def _own(self, server_id: str, disk_id: str) -> _OwnDisk:
        own = self._disks.get(server_id, {}).get(disk_id)
        if own is None:
            raise DriverFault(f"server {server_id} has no disk {disk_id} here", final=True)
        self._reach(own.host)
        return own

    def _make_disk(
        self, method: str, host: str, server_id: str, disk: Disk, size: int, files: dict[str, bytes] | None = None
    ) -> Disk:
        self.faults.enter(method)
        with self._lock:
            self._reach(host)
            own = self._disks.get(server_id, {}).get(disk.disk_id)
            if own is None or files is not None:
                own = _OwnDisk(host, disk, size, files)
                self._put_disk(server_id, own)
            return own.disk

    def _put_disk(self, server_id: str, own: _OwnDisk) -> None:
        disks = {**self._disks.get(server_id, {}), own.disk.disk_id: own}
        if self._journal is not None:
            self._journal.put("disks", server_id, disks)
        self._disks[server_id] = disks

    def _mark_host(self, host: str) -> None:
        for server_id in [i for i, known in list(self._known.items()) if known.host == host]:
            self._changes.mark(server_id)

    def _render(self, server_id: str, known: _Known) -> Seen:
        power = Power.UNKNOWN if known.host in self.faults.gone_hosts else known.power
        disk_ids = tuple(disk.disk_id for disk in known.guest.disks)
        return Seen(server_id, power, disk_ids, tuple(nic.port_id for nic in known.guest.nics), known.why, known.lost)


def last_lines(text: str, lines: int | None) -> str:
    """As `os-getConsoleOutput` counts: what stands behind the last newline is a line, even when empty."""
    if lines is None:
        return text
    return "\n".join(text.split("\n")[-lines:]) if lines > 0 else ""


def _logged(log: tuple[tuple[float, str], ...], event: str) -> tuple[tuple[float, str], ...]:
    return (*log, (time.time(), event))[-2 * _BOOTS_KEPT :]


def _log_text(guest: Guest, when: float, what: str) -> str:
    if what == "off":
        return "The system is going down NOW!\nRequesting system poweroff\n[   61.203311] reboot: Power down\n"
    if what == "crash":
        return "[   61.203311] Kernel panic - not syncing: simulated crash\n"
    started = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(when))
    devices = [f"virtio_blk virtio{n}: [{disk.device}] {disk.disk_id}" for n, disk in enumerate(guest.disks)]
    devices += [f"virtio_net: eth{n} {nic.mac} mtu {nic.mtu}" for n, nic in enumerate(guest.nics)]
    found = "".join(f"[    0.412{n:03d}] {device}\n" for n, device in enumerate(devices))
    return (
        f"[    0.000000] Linux version 6.1.0-sim (nutshell) #1 SMP {started}\n"
        "[    0.000000] Command line: console=ttyS0 root=/dev/vda1 ro quiet\n"
        f"[    0.018114] Memory: {guest.ram_mib * 1024}K available\n"
        f"[    0.051200] smp: Brought up 1 node, {guest.vcpus} CPU{'s' if guest.vcpus > 1 else ''}\n"
        "[    0.102311] PCI: Using ACPI for IRQ routing\n"
        "[    0.201442] Serial: 8250/16550 driver, 4 ports\n"
        f"{found}"
        "[    0.731902] EXT4-fs (vda1): mounted filesystem with ordered data mode\n"
        "[    0.902133] Run /sbin/init as init process\n"
        "Starting network: OK\n"
        "Starting sshd: OK\n"
        f"\nNutshell simulated guest {guest.name} ttyS0\n\n"
        f"{guest.name} login: \n"
    )


def _write_empty_image(path: Path, size: int) -> None:
    """A qcow2 of `size` bytes (rounded up to 512) that reads as zeros, by a temporary name and rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write_qcow2(temporary, (), -(-size // 512) * 512)
    temporary.replace(path)
