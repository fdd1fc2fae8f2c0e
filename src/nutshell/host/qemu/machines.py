"""One guest: its record on disk and, while it lives, its process and monitor.

The record is written after an effect where the living process tells the truth (it runs), and before it where nothing
will be left to ask (it was told to end).
"""

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nutshell.compute.capability import Guest, Power
from nutshell.core.drivers import DriverFault
from nutshell.host.qemu import processes
from nutshell.host.qemu.accelerators import Accelerator
from nutshell.host.qemu.boots import Boots
from nutshell.host.qemu.command import UEFI_VARIABLES, Launch, build_command, guest_name
from nutshell.host.qemu.devices import needs_port
from nutshell.host.qemu.monitors import Loop, Monitor
from nutshell.host.qemu.records import GuestFiles, Left, Record, last_words, with_slot

_SPARE_PORTS = 8
_MOST_PORTS = 32
_GREETING_S = 60.0  # for QEMU to set itself up on a busy host
_GREETING_AGAIN_S = 3.0  # for one that has been running
_PRESS_AGAIN_S = 5.0  # a guest in early boot does not hear its power button
_LEFT_AS = {
    Left.OFF: Power.SHUTDOWN,
    Left.RUNNING: Power.CRASHED,
    Left.SUSPENDED: Power.SUSPENDED,
    Left.CRASHED: Power.CRASHED,
}


@dataclass(frozen=True)
class Surroundings:
    """What every machine of a driver shares."""

    cloud: str
    loop: Loop
    boots: Boots
    workers: ThreadPoolExecutor
    changed: Callable[[str], None]
    open_tap: Callable[[str], int] | None
    accelerator: Callable[[], Accelerator]


class Machine:
    """Not safe for concurrent calls but for `power`, `hurry` and events: the driver holds `lock` around the others."""

    def __init__(self, files: GuestFiles, record: Record, around: Surroundings) -> None:
        self.files = files
        self.record = record
        self.lock = threading.RLock()
        self.hurry = threading.Event()  # set: whoever waits for the guest gives up, for it shall go
        self.gone = False  # destroyed: whoever waited for the lock finds nothing
        self._around = around
        self._process: processes.Process | None = None
        self._monitor: Monitor | None = None
        self._power = Power.SHUTDOWN

    @property
    def alive(self) -> bool:
        return self._process is not None

    @property
    def power(self) -> Power:
        if self._process is None:
            return _LEFT_AS[self.record.left]
        return self._power if self._monitor is not None else Power.UNKNOWN

    @property
    def why(self) -> str:
        if self.power is not Power.CRASHED:
            return ""
        return self.record.why or "its process was found gone: the machine restarted, or it was killed"

    @property
    def lost(self) -> bool:
        """It was to run when this driver, or the machine, ended; nobody saw how it came to an end."""
        return self._process is None and self.record.left is Left.RUNNING

    @property
    def monitor(self) -> Monitor:
        """The living process's monitor, connected anew when the connection was lost."""
        if self._process is None:
            raise DriverFault(f"guest {self.record.guest.server_id} does not run", final=True)
        if self._monitor is None or self._monitor.lost:
            self._monitor = self._greet(self._process, _GREETING_AGAIN_S)
            self._learn_power()
        if self._monitor is None:
            raise DriverFault(f"guest {self.record.guest.server_id} has just ended")
        return self._monitor

    def save(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)
        self.files.save(self.record)

    # beginning

    def define(self, guest: Guest) -> None:
        """Take a new shape; for a guest that does not live. Devices get their slots anew."""
        self.save(guest=guest, left=Left.OFF, why="", ports=0, slots={})
        self.files.memory.unlink(missing_ok=True)

    def launch(self) -> None:
        """Run the guest from power-on. May wait for other guests to finish their early boot."""
        self._lay_out()
        with self._around.boots.turn(self.files.console, self._is_booting):
            self._spawn(incoming=False)
            self.monitor.execute("cont")
            self._now(Power.RUNNING, left=Left.RUNNING)

    def resume_from_disk(self) -> None:
        """Run the guest from its saved memory, which is deleted when it is loaded and before anything executes."""
        self._spawn(incoming=True)
        monitor = self.monitor
        file = os.open(self.files.memory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            monitor.execute("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
            monitor.execute("getfd", {"fdname": "memory"}, fd=file)
            with monitor.waiting("MIGRATION", fits=lambda data: data["status"] in ("completed", "failed")) as waiter:
                monitor.execute("migrate-incoming", {"uri": "fd:memory"})
                loaded = waiter.wait(600) and waiter.data["status"] == "completed"
        except DriverFault:
            self.end()
            raise
        finally:
            os.close(file)
        if not loaded:
            words = last_words(self.files.words)
            self.end()
            raise DriverFault(f"the saved memory could not be loaded: {words}")
        self.save(left=Left.RUNNING, why="")
        self.files.memory.unlink(missing_ok=True)
        monitor.execute("cont")
        self._now(Power.RUNNING)

    def _is_booting(self) -> bool:
        return self._process is not None and self._power is Power.RUNNING

    def _lay_out(self) -> None:
        wanted = needs_port(self.record.guest)
        if len(wanted) + _SPARE_PORTS > _MOST_PORTS:
            raise DriverFault(f"a guest can have {_MOST_PORTS - _SPARE_PORTS} devices, not {len(wanted)}", final=True)
        record = replace(self.record, ports=len(wanted) + _SPARE_PORTS, slots={})
        for device_id in wanted:
            record, _ = with_slot(record, device_id)
        self.record = record
        self.files.save(record)

    def _spawn(self, *, incoming: bool) -> None:
        files, guest = self.files, self.record.guest
        for disk in guest.disks:
            if disk.path.startswith("/") and not Path(disk.path).exists():
                raise DriverFault(f"disk {disk.disk_id} of guest {guest.server_id} is gone: {disk.path}", final=True)
        if guest.nics and self._around.open_tap is None:
            raise DriverFault("this driver was given no network: guests cannot have cards", final=True)
        if guest.firmware == "uefi" and not files.variables.exists():
            shutil.copyfile(UEFI_VARIABLES, files.variables)
        fds: list[int] = []
        try:
            fds.append(processes.lock(files.lock))
            files.remove_sockets()
            taps = {}
            for nic in guest.nics:
                assert self._around.open_tap is not None
                taps[nic.port_id] = self._around.open_tap(nic.port_id)
                fds.append(taps[nic.port_id])
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            fds.append(listener.detach() if _listen(listener, files.socket("qmp")) else -1)
            launch = Launch(self._around.cloud, self._around.accelerator(), fds[-1], taps, incoming)
            command = build_command(self.record, files, launch)
            process = processes.spawn(command, files.sockets, files.words, fds)
        finally:
            for file in fds:
                os.close(file)
        try:
            self._monitor = self._greet(process, _GREETING_S)
        except DriverFault as fault:
            process.signal(signal.SIGKILL)
            process.wait(10)
            process.close()
            raise DriverFault(f"QEMU did not start: {last_words(files.words) or fault.why}") from fault
        self._power = _LEFT_AS[self.record.left]  # until its processors run
        self._take(process)

    def _greet(self, process: processes.Process, timeout_s: float) -> Monitor:
        monitor = Monitor(self._around.loop, self.files.socket("qmp"), lambda *event: self._heard(process, *event))
        monitor.open(timeout_s)
        return monitor

    def _take(self, process: processes.Process) -> None:
        self._process = process

        def ended() -> None:
            self._around.workers.submit(self._process_ended, process)

        self._around.loop.watch(process.pidfd, ended)

    def adopt(self, pid: int) -> None:
        """Take over a process that an earlier life of this driver left running."""
        process = processes.adopt(pid, guest_name(self._around.cloud, self.record.guest.server_id))
        if process is None:
            return
        self._take(process)
        with suppress(DriverFault):  # it may answer later; till then nothing is known of it
            self._monitor = self._greet(process, _GREETING_AGAIN_S)
            self._learn_power()

    def _learn_power(self) -> None:
        """Bring the record in line with a process found alive, and tidy up what was interrupted."""
        assert self._monitor is not None
        status = self._monitor.execute("query-status")["status"]
        # suspended but alive: its memory is on disk, and it was not ended yet or was only loading
        half_saved = self.record.left is Left.SUSPENDED
        if half_saved or status in ("shutdown", "inmigrate"):
            left = self.record.left if half_saved or status == "inmigrate" else Left.OFF
            self.save(left=left)
            self.end()
            return
        self.files.memory.unlink(missing_ok=True)
        self.files.memory_part.unlink(missing_ok=True)
        for job in self._monitor.execute("query-jobs"):
            with suppress(DriverFault):
                self._monitor.execute("job-cancel", {"id": job["id"]})
        self._now(Power.RUNNING if status == "running" else Power.PAUSED, left=Left.RUNNING)

    # ending

    def stop(self, timeout_s: float, leave: Left = Left.OFF) -> None:
        """Power off; `leave` is what the record says of it afterwards."""
        self.ask_to_power_off(timeout_s)
        self.save(left=leave, why="")
        self.end()
        self.files.memory.unlink(missing_ok=True)
        self._around.changed(self.record.guest.server_id)

    def ask_to_power_off(self, timeout_s: float) -> None:
        """Press the power button of a running guest and give it time."""
        if self._process is not None and self._power is Power.RUNNING:
            self._press_power_button(timeout_s)

    def _press_power_button(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        monitor, process = self.monitor, self._process
        assert process is not None
        with monitor.waiting("SHUTDOWN") as waiter:
            while (remaining := until - time.monotonic()) > 0 and not self.hurry.is_set():
                monitor.execute("system_powerdown")
                pressed = time.monotonic()
                while time.monotonic() - pressed < min(_PRESS_AGAIN_S, remaining) and not self.hurry.is_set():
                    if waiter.wait(0.1) or process.wait(0):
                        return

    def end(self) -> None:
        """End the process, if there is one. The record says already how the guest was left."""
        process = self._process
        if process is None:
            return
        if self._monitor is not None:
            with suppress(DriverFault):
                self._monitor.execute("quit", timeout_s=2)
        if not process.wait(5):  # it waits for storage that does not answer
            process.signal(signal.SIGKILL)
        if not process.wait(10):
            raise DriverFault(f"process {process.pid} cannot be killed")
        self._forget_process()

    def _forget_process(self) -> None:
        process, monitor = self._process, self._monitor
        self._process = self._monitor = None
        if monitor is not None:
            monitor.close()
        if process is not None:
            self._around.loop.unwatch(process.pidfd)
            process.close()
        self.files.remove_sockets()
        self._around.changed(self.record.guest.server_id)

    def abandon(self) -> None:
        """Let go of the process without ending it: this driver closes, the guest stays."""
        process, monitor = self._process, self._monitor
        self._process = self._monitor = None
        if monitor is not None:
            monitor.close()
        if process is not None:
            self._around.loop.unwatch(process.pidfd)
            process.close()

    # what it hears

    def _heard(self, process: processes.Process, name: str, data: dict[str, Any]) -> None:
        """On the monitor's thread: must not block."""
        if name == "STOP" and self._power is Power.RUNNING:
            self._power = Power.PAUSED
        elif name == "RESUME":
            self._power = Power.RUNNING
        elif name == "SHUTDOWN" and data.get("guest"):
            self._power = Power.SHUTDOWN
            self._around.workers.submit(self._guest_powered_off, process)
        elif name not in ("RESET", "SHUTDOWN"):
            return
        self._around.changed(self.record.guest.server_id)

    def _guest_powered_off(self, process: processes.Process) -> None:
        with self.lock, suppress(DriverFault):
            if self._process is process and self.monitor.execute("query-status")["status"] == "shutdown":
                self.save(left=Left.OFF, why="")
                self.end()

    def _process_ended(self, process: processes.Process) -> None:
        with self.lock:
            if self._process is not process:
                return  # we ended it ourselves
            process.wait(0)
            if self.record.left is Left.RUNNING:
                words = last_words(self.files.words)
                why = ": ".join(part for part in (process.how_it_ended(), words) if part)
                self.save(left=Left.CRASHED, why=why)
            self._forget_process()

    def _now(self, power: Power, left: Left | None = None) -> None:
        self._power = power
        if left is not None and (self.record.left is not left or self.record.why):
            self.save(left=left, why="")
        self._around.changed(self.record.guest.server_id)


def _listen(listener: socket.socket, path: Path) -> bool:
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(4)
    return True
