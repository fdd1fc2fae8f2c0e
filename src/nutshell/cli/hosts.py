"""The other process, `nutshell host`: started with the rights it needs, told to end, asked to leave nothing behind."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nutshell.cli import processes
from nutshell.cli.launch import Programs, export_package
from nutshell.cli.places import Places
from nutshell.cli.says import Refusal

START_S = 60.0


def privileged() -> list[str] | None:
    """What stands before a command that needs root: nothing for root, sudo where it asks no password; else None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        export_package()
        return ["sudo", "-n", "env", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}"]
    return None


def start(places: Places, programs: Programs, identity: str, user: tuple[int, int] | None, api: str) -> str:
    """Start the host process unless it runs; returns, once it serves, what guests run on ("KVM", "QEMU").

    `api` is where the API answers on this machine. A host process that was told another address is started anew.
    """
    before = _as_root()
    export_package()
    owner = user or (os.geteuid(), os.getegid())
    log = places.logs / "host.log"
    arguments = ["serve", "--state", str(places.state), "--cloud", identity]
    arguments += ["--api-user", f"{owner[0]}:{owner[1]}", "--metadata", api.rstrip("/") + "/metadata"]
    running = processes.find(places.run / "host.json")
    if running is not None and running.facts.get("arguments") != arguments:
        stop(places, programs, clear=False)
    return _serving(places, [*before, *programs.host, *arguments], log)


def start_world(places: Places, programs: Programs) -> None:
    """Start the process of the simulated world unless it runs; returns once it serves."""
    export_package()
    _serving(places, [*programs.host, "simulate", "--state", str(places.state)], places.logs / "host.log")


def stop_world(places: Places) -> None:
    """End it, noted or not. Absent is success."""
    record = processes.find(places.run / "host.json")
    pids = {record.pid} if record else set()
    for pid in pids | set(processes.find_holders(places.run / "host.lock")):
        start = processes.start_time(pid)
        if start is not None:
            processes.end(processes.Record(pid, start, {}))


def _serving(places: Places, command: Sequence[str], log: Path) -> str:
    """Start the host process unless it runs. One that runs may be dying of a `kill -9`: then another is started."""
    record = places.run / "host.json"
    while processes.find(record) is not None:
        served = _await(places, lambda: processes.find(record) is None, log)
        if served is not None:
            return served
    process = processes.spawn(command, log)
    served = _await(places, lambda: process.poll() is not None, log)
    if served is None:
        raise Refusal(f"the host process ended. Its last words:\n{processes.last_lines(log)}")
    return served


def _await(places: Places, ended: Callable[[], bool], log: Path) -> str | None:
    """What guests run on, once the host process serves; None when it ends instead."""
    from nutshell.compute.capability import Hypervisor
    from nutshell.core.drivers import DriverFault
    from nutshell.host.rpc import Client

    deadline = time.monotonic() + START_S
    while True:
        client = Client(places.host_socket, patience_s=0.2)
        try:
            hosts = client.proxy("hypervisor", (Hypervisor,)).hosts()
            client.close()
            return hosts[0].hypervisor_type if hosts else "no host"
        except DriverFault as fault:
            if ended():
                return None
            if fault.final or time.monotonic() > deadline:
                raise Refusal(f"the host process is not ready: {fault.why}\n{processes.last_lines(log)}") from fault


def stop(places: Places, programs: Programs, clear: bool, erase: bool = False) -> None:
    """End the host process; with `clear`, every guest and network of this cloud too, with `erase` also the disks.

    Absent is success.
    """
    arguments = ["clear" if clear else "stop", "--state", str(places.state), *(["--erase"] if erase else [])]
    as_root = _as_root()
    export_package()
    done = subprocess.run([*as_root, *programs.host, *arguments], capture_output=True, text=True, cwd="/")
    if done.returncode != 0:
        raise Refusal(f"could not {arguments[0]} the host side: {done.stderr.strip() or done.stdout.strip()}")


def build_tiny_once(places: Places, say: Callable[[str], None]) -> None:
    """Build the tiny image on the first real start; it is kept. Takes some ten seconds."""
    if not places.tiny_image.exists():
        say("building the tiny image, once: about ten seconds")
        build_tiny(places.tiny_image, places.tiny_image.parent / "packages")


def build_tiny(target: Path, downloads: Path | None = None) -> None:
    """Write the tiny image: a qcow2 that boots from its own disk. Raises Refusal when something is missing."""
    from nutshell.host.tiny.build import BuildFailed
    from nutshell.host.tiny.build import build_tiny as build

    try:
        build(target, lambda _step, _part: None, downloads)
    except BuildFailed as failure:
        raise Refusal(f"the tiny image was not built: {failure}", 2) from failure


def _as_root() -> Sequence[str]:
    before = privileged()
    if before is None:
        raise Refusal(
            "real servers need root for their networks: run it as root, let this user use sudo without a password, "
            f"or take: nutshell up --simulate (python: {sys.executable})",
            2,
        )
    return before
