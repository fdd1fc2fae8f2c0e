"""The QEMU hypervisor driver: every capability of `compute/capability.py` on this machine.

Everything is kept below the state directory: `guests/` definitions and logs, `s/` sockets, `disks/`, `image-cache/`.
A new driver object finds the guests that an earlier one left running and goes on with them.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nutshell.compute.capability import Disk, Guest, HostFacts, Nic, Power, Seen
from nutshell.compute.drivers.changes import Changes
from nutshell.core.drivers import DriverFault
from nutshell.host.qemu import plugging, processes
from nutshell.host.qemu.accelerators import Accelerator, find_accelerator, qemu_version
from nutshell.host.qemu.boots import Boots
from nutshell.host.qemu.consoles import ConsoleLogs, last_lines
from nutshell.host.qemu.devices import SCSI, disk_device_id, nic_device_id
from nutshell.host.qemu.disks import DiskStore
from nutshell.host.qemu.facts import host_facts
from nutshell.host.qemu.machines import Machine, Surroundings
from nutshell.host.qemu.monitors import Loop
from nutshell.host.qemu.records import GuestFiles, Left, Record, with_slot, without_slot

_LONG_S = 3_600.0  # copying a disk, saving memory


class QemuHypervisor:
    """One host. Safe to call from any thread; calls about one guest wait for each other."""

    def __init__(self, state: Path, name: str, open_tap: Callable[[str], int] | None = None, cloud: str = "") -> None:
        self._name = name
        self._state = state.absolute()
        self._guests = self._state / "guests"
        self._sockets = self._state / "s"
        for directory, mode in ((self._guests, 0o700), (self._sockets, 0o711)):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(mode)
        self._version = qemu_version()
        self._accelerator: Accelerator | None = None
        self._probing = threading.Lock()
        self._machines: dict[str, Machine] = {}
        self._lock = threading.Lock()
        self._changes = Changes(lambda: list(self._machines))
        self._disks = DiskStore(self._state)
        self._loop = Loop()
        self._workers = ThreadPoolExecutor(16, thread_name_prefix="guest")
        self._around = Surroundings(
            cloud=cloud or hashlib.sha256(str(self._state).encode()).hexdigest()[:8],
            loop=self._loop,
            boots=Boots(lambda: not self._find_accelerator().kvm),
            workers=self._workers,
            changed=self._changes.mark,
            open_tap=open_tap,
            accelerator=self._find_accelerator,
        )
        self._adopt()
        self._logs = ConsoleLogs(self._guests)

    def close(self) -> None:
        """Let go of every guest; they run on."""
        self._logs.close()
        for machine in list(self._machines.values()):
            with machine.lock:
                machine.abandon()
        self._workers.shutdown(wait=False)
        self._loop.close()

    def stop_all(self, timeout_s: float) -> None:
        """Power off every guest, all at once, as a machine does that goes down: the next driver calls them lost."""
        self._each(lambda server_id: self._put_to_bed(self._machines[server_id], timeout_s))

    def remove_everything(self) -> None:
        """End every guest of this state directory and remove what was made for them, disks and cache included."""
        self._each(self.destroy)
        self._disks.delete_all()

    # Hypervisor

    def hosts(self) -> Sequence[HostFacts]:
        return (host_facts(self._name, self._state, self._version, self._find_accelerator()),)

    def observe(self, server_ids: Sequence[str] | None) -> Sequence[Seen]:
        wanted = list(self._machines) if server_ids is None else server_ids
        return [_render(machine) for machine in map(self._machines.get, wanted) if machine is not None]

    def start(self, host: str, guest: Guest) -> None:
        self._check_host(host)
        with self._lock:
            machine = self._machines.get(guest.server_id)
            if machine is None:
                files = GuestFiles(self._guests / guest.server_id, self._sockets, guest.server_id)
                machine = self._machines[guest.server_id] = Machine(files, Record(guest), self._around)
        with self._held(machine):
            if machine.alive and machine.power is not Power.SHUTDOWN:
                if machine.power is Power.PAUSED:
                    machine.monitor.execute("cont")
                return
            machine.end()  # one that powered itself off a moment ago
            if machine.power is Power.SUSPENDED:
                machine.resume_from_disk()
                return
            machine.define(guest)
            machine.launch()

    def stop(self, server_id: str, timeout_s: float) -> None:
        machine = self._machines.get(server_id)
        if machine is not None:
            with self._held(machine, silent=True):
                machine.stop(timeout_s)

    def reboot(self, server_id: str, hard: bool, timeout_s: float) -> None:
        with self._find(server_id) as machine:
            machine.stop(0 if hard else timeout_s)
            machine.launch()  # a new process even after a soft stop: TCG takes 10 s longer to boot after a reset

    def destroy(self, server_id: str) -> None:
        machine = self._machines.get(server_id)
        if machine is None:
            return
        machine.hurry.set()
        with machine.lock:
            if machine.gone:
                return  # the directory may be a new guest's already
            if machine.alive:
                machine.save(left=Left.OFF)
            machine.end()
            machine.gone = True
            machine.files.remove()
            with self._lock:
                if self._machines.get(server_id) is machine:
                    del self._machines[server_id]
        self._changes.mark(server_id)

    def wait_changes(self, after: int, timeout_s: float) -> tuple[int, list[str]]:
        return self._changes.wait(after, timeout_s)

    # Pausable

    def pause(self, server_id: str) -> None:
        with self._find(server_id) as machine:
            _expect(machine, "pause", Power.RUNNING, Power.PAUSED)
            machine.monitor.execute("stop")

    def unpause(self, server_id: str) -> None:
        with self._find(server_id) as machine:
            _expect(machine, "unpause", Power.PAUSED, Power.RUNNING)
            machine.monitor.execute("cont")

    def suspend(self, server_id: str) -> None:
        with self._find(server_id) as machine:
            _expect(machine, "suspend", Power.RUNNING, Power.PAUSED, Power.SUSPENDED)
            if machine.power is not Power.SUSPENDED:
                files = machine.files
                plugging.save_memory(machine.monitor, files.memory_part, _LONG_S)
                files.memory_part.replace(files.memory)
                machine.save(left=Left.SUSPENDED, why="")
                machine.end()

    def resume(self, server_id: str) -> None:
        with self._find(server_id) as machine:
            _expect(machine, "resume", Power.SUSPENDED, Power.RUNNING, Power.PAUSED)
            if machine.power is Power.SUSPENDED:
                machine.resume_from_disk()
            else:
                machine.monitor.execute("cont")

    # HotPluggable

    def plug_disk(self, server_id: str, disk: Disk) -> None:
        with self._find_pluggable(server_id) as machine:
            record = machine.record
            device_id = disk_device_id(disk.disk_id)
            if machine.alive:
                slot_of = SCSI if disk.bus == "scsi" else device_id
                record, port = with_slot(record, slot_of, plugging.port_of(machine.monitor, slot_of))
                plugging.plug_disk(machine.monitor, disk, port)
            if all(each.disk_id != disk.disk_id for each in record.guest.disks):
                record = replace(record, guest=replace(record.guest, disks=(*record.guest.disks, disk)))
            machine.save(guest=record.guest, slots=record.slots)

    def unplug_disk(self, server_id: str, disk_id: str) -> None:
        with self._find_pluggable(server_id) as machine:
            if machine.alive:
                plugging.unplug_disk(machine.monitor, disk_id, machine.hurry)
            guest = machine.record.guest
            left = tuple(disk for disk in guest.disks if disk.disk_id != disk_id)
            slots = without_slot(machine.record, disk_device_id(disk_id)).slots
            machine.save(guest=replace(guest, disks=left), slots=slots)

    def plug_nic(self, server_id: str, nic: Nic) -> None:
        open_tap = self._around.open_tap
        if open_tap is None:
            raise DriverFault("this driver was given no network: guests cannot have cards", final=True)
        with self._find_pluggable(server_id) as machine:
            record = machine.record
            device_id = nic_device_id(nic.port_id)
            if machine.alive and device_id not in plugging.devices(machine.monitor):
                record, port = with_slot(record, device_id)
                tap = open_tap(nic.port_id)
                try:
                    plugging.plug_nic(machine.monitor, nic, port, tap, self._find_accelerator().vhost)
                finally:
                    os.close(tap)
            elif machine.alive:
                record, _ = with_slot(record, device_id, plugging.port_of(machine.monitor, device_id))
            if all(each.port_id != nic.port_id for each in record.guest.nics):
                record = replace(record, guest=replace(record.guest, nics=(*record.guest.nics, nic)))
            machine.save(guest=record.guest, slots=record.slots)

    def unplug_nic(self, server_id: str, port_id: str) -> None:
        with self._find_pluggable(server_id) as machine:
            if machine.alive:
                plugging.unplug_nic(machine.monitor, port_id, machine.hurry)
            guest = machine.record.guest
            left = tuple(nic for nic in guest.nics if nic.port_id != port_id)
            machine.save(
                guest=replace(guest, nics=left), slots=without_slot(machine.record, nic_device_id(port_id)).slots
            )

    def resize_disk(self, server_id: str, disk_id: str, size: int) -> None:
        with self._find(server_id) as machine:
            disks = [disk for disk in machine.record.guest.disks if disk.disk_id == disk_id]
            if not disks:
                raise DriverFault(f"guest {server_id} has no disk {disk_id}", final=True)
            if machine.alive:
                plugging.resize(machine.monitor, disk_id, size)

    # Consoles

    def console_log(self, server_id: str, lines: int | None) -> str:
        machine = self._machines.get(server_id)
        if machine is None:
            raise DriverFault(f"there is no guest {server_id}", final=True)
        return last_lines(self._logs.read(machine.files.console), lines)

    def console_address(self, server_id: str, kind: str) -> str:
        if kind not in ("vnc", "serial"):
            raise DriverFault(f"no console of kind {kind}", final=True)
        machine = self._machines.get(server_id)
        if machine is None or not machine.alive:
            raise DriverFault(f"guest {server_id} does not run: it has no console", final=True)
        return str(machine.files.socket(kind))

    # Disks

    def create_root(self, host: str, server_id: str, image_path: str, image_format: str, size: int) -> Disk:
        self._check_host(host)
        return self._disks.create_root(server_id, Path(image_path), image_format, size)

    def create_blank(self, host: str, server_id: str, disk_id: str, size: int, filesystem: str) -> Disk:
        self._check_host(host)
        return self._disks.create_blank(server_id, disk_id, size, filesystem)

    def write_config_drive(self, host: str, server_id: str, files: dict[str, bytes]) -> Disk:
        self._check_host(host)
        return self._disks.write_config_drive(server_id, files)

    def resize_root(self, server_id: str, size: int) -> None:
        self._disks.root(server_id)
        with self._maybe(server_id) as machine:
            if machine is not None and machine.alive:
                plugging.grow(machine.monitor, "root", size)
            else:
                self._disks.grow_root(server_id, size)

    def snapshot_root(self, server_id: str, target_path: str) -> None:
        self._disks.root(server_id)
        with self._maybe(server_id) as machine:
            if machine is not None and machine.alive:
                plugging.copy_disk(machine.monitor, "root", Path(target_path), _LONG_S)
            else:
                self._disks.copy_root(server_id, Path(target_path))

    def delete_disks(self, server_id: str) -> None:
        machine = self._machines.get(server_id)
        if machine is not None and machine.alive:
            raise DriverFault(f"guest {server_id} still runs on its disks")
        self._disks.delete(server_id)

    # Drives that the store of drives on this machine keeps and a guest has open (host/disks/files.py)

    def copy_attached(self, disk_id: str, target: Path) -> bool:
        machine = self._with_disk(disk_id)
        if machine is None:
            return False
        with self._held(machine):
            if not machine.alive:
                return False
            plugging.copy_disk(machine.monitor, disk_id, target, _LONG_S)
        return True

    def resize_attached(self, disk_id: str, size: int) -> bool:
        machine = self._with_disk(disk_id)
        if machine is None:
            return False
        with self._held(machine):
            if not machine.alive:
                return False
            plugging.resize(machine.monitor, disk_id, size)
        return True

    # inside

    def _with_disk(self, disk_id: str) -> Machine | None:
        """A guest that has this disk; of several, one that runs."""
        found = [m for m in list(self._machines.values()) if any(d.disk_id == disk_id for d in m.record.guest.disks)]
        return next((m for m in found if m.alive), found[0] if found else None)

    def _check_host(self, host: str) -> None:
        if host != self._name:
            raise DriverFault(f"there is no host {host}", final=True)

    @contextmanager
    def _held(self, machine: Machine, silent: bool = False) -> Iterator[Machine]:
        """The machine to itself. One that does not answer is a fault unless it may be `silent`."""
        with machine.lock:
            if machine.gone:
                raise DriverFault(f"guest {machine.record.guest.server_id} was removed meanwhile")
            if machine.power is Power.UNKNOWN and not silent:
                machine.monitor.execute("query-status")
            yield machine

    @contextmanager
    def _find(self, server_id: str) -> Iterator[Machine]:
        machine = self._machines.get(server_id)
        if machine is None:
            raise DriverFault(f"there is no guest {server_id}", final=True)
        with self._held(machine):
            yield machine

    @contextmanager
    def _find_pluggable(self, server_id: str) -> Iterator[Machine]:
        with self._find(server_id) as machine:
            if machine.power is Power.SUSPENDED:
                raise DriverFault(f"guest {server_id} is suspended: its devices cannot change", final=True)
            yield machine

    @contextmanager
    def _maybe(self, server_id: str) -> Iterator[Machine | None]:
        machine = self._machines.get(server_id)
        if machine is None:
            yield None
            return
        with self._held(machine):
            yield machine

    def _put_to_bed(self, machine: Machine, timeout_s: float) -> None:
        with self._held(machine, silent=True):
            if machine.alive:
                machine.stop(timeout_s, Left.RUNNING)

    def _find_accelerator(self) -> Accelerator:
        with self._probing:
            if self._accelerator is None:
                self._accelerator = find_accelerator(self._state / "accelerator.json", self._version)
            return self._accelerator

    def _adopt(self) -> None:
        living = processes.find_all(self._around.cloud)
        for home in self._guests.iterdir():
            files = GuestFiles(home, self._sockets, home.name)
            record = files.load()
            if record is None:  # it was being defined or removed
                files.remove()
                continue
            self._machines[home.name] = Machine(files, record, self._around)
        found = living.keys() & self._machines.keys()
        list(self._workers.map(lambda server_id: self._machines[server_id].adopt(living[server_id]), found))
        for server_id in living.keys() - self._machines.keys():  # its removal was cut short
            _end_stray(living[server_id], f"{self._around.cloud}-{server_id}")
        for socket in self._sockets.iterdir():  # of a guest that the machine took down with it
            if socket.name.partition(".")[0] not in found:
                socket.unlink(missing_ok=True)

    def _each(self, work: Callable[[str], None]) -> None:
        faults = []
        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(work, server_id) for server_id in list(self._machines)]:
                try:
                    future.result()
                except DriverFault as fault:
                    faults.append(fault.why)
        if faults:
            raise DriverFault("; ".join(faults))


def _expect(machine: Machine, verb: str, *allowed: Power) -> None:
    if machine.power not in allowed:
        raise DriverFault(f"cannot {verb} guest {machine.record.guest.server_id}: it is {machine.power}", final=True)


def _render(machine: Machine) -> Seen:
    guest = machine.record.guest
    disk_ids = tuple(disk.disk_id for disk in guest.disks)
    return Seen(
        guest.server_id, machine.power, disk_ids, tuple(nic.port_id for nic in guest.nics), machine.why, machine.lost
    )


def _end_stray(pid: int, name: str) -> None:
    process = processes.adopt(pid, name)
    if process is not None:
        process.signal(9)
        process.wait(10)
        process.close()
