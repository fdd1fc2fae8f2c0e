"""Starting the API process and knowing when it is ready."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nutshell
from nutshell.cli import processes
from nutshell.cli.places import Places
from nutshell.cli.processes import last_lines
from nutshell.cli.says import Refusal, state_option
from nutshell.cli.states import take_lock
from nutshell.cli.warm import Waiting, tell


@dataclass(frozen=True)
class Programs:
    """What is run for the two processes of a cloud."""

    api: tuple[str, ...] = (sys.executable, "-m", "nutshell.cli.api")
    host: tuple[str, ...] = (sys.executable, "-m", "nutshell.host.main")


def free_lock(places: Places) -> None:
    """See that nobody holds the lock that the API process holds as long as it lives.

    Ends one that was started by an `up` that was killed before it could note whom it started.
    """
    path = places.run / "api.lock"
    deadline = time.monotonic() + 15
    while (lock := take_lock(path)) is None:
        if time.monotonic() > deadline:
            raise Refusal(f"another process holds {path}; see nutshell status{state_option(places)}")
        for pid in processes.find_holders(path):
            start = processes.start_time(pid)
            if start is not None:
                processes.end(processes.Record(pid, start, {}))
    os.close(lock)


@dataclass(frozen=True)
class Started:
    """The API process, and the pipe on which it says that it is ready."""

    pid: int
    ready: int


def start_api(
    places: Places,
    command: Sequence[str],
    settings: str,
    user: tuple[int, int] | None,
    waiting: Waiting | None = None,
    name: str = "api",
) -> Started:
    """The API process, given its settings; `waiting` is one that has loaded its code already."""
    log, held = places.logs / f"{name}.log", places.run / f"{name}.lock"
    if waiting is not None:
        pid, told, ready = waiting
        _tell(told, settings, str(log), str(held))
        return Started(pid, ready)
    export_package()
    lock = take_lock(held)
    if lock is None:
        raise Refusal(f"another process holds {held}; see nutshell status{state_option(places)}")
    hear, told = os.pipe()
    ready, said = os.pipe()
    try:
        process = processes.spawn([*command, str(hear), str(said)], log, fds=(hear, said, lock), user=user)
    finally:
        for fd in (hear, said, lock):
            os.close(fd)
    _tell(told, settings)
    return Started(process.pid, ready)


def _tell(told: int, settings: str, log: str = "", lock: str = "") -> None:
    with suppress(BrokenPipeError):  # it ended already; its last words say why
        tell(told, settings, log, lock)


def await_ready(started: Started, log: Path, timeout_s: float) -> None:
    """Blocks until the process says "ready"; Refusal with its last words when it ends instead."""
    said = b""
    deadline = time.monotonic() + timeout_s
    try:
        while b"\n" not in said:
            readable, _, _ = select.select([started.ready], [], [], max(0.0, deadline - time.monotonic()))
            some = os.read(started.ready, 4096) if readable else b""
            if not some:
                break
            said += some
    finally:
        os.close(started.ready)
    if said.startswith(b"ready"):
        return
    if not readable:
        os.kill(started.pid, signal.SIGKILL)
        raise Refusal(f"the API process was not ready after {timeout_s:.0f} s. Its last words:\n{last_lines(log)}")
    if said.startswith(b"error: "):
        raise Refusal(said.decode(errors="replace").strip().removeprefix("error: "), 2)
    raise Refusal(f"the API process {_end_of(started.pid, 2.0)}. Its last words:\n{last_lines(log)}\n(all of {log})")


def _end_of(pid: int, patience_s: float) -> str:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return "ended"
        if done:
            return f"ended with exit code {os.waitstatus_to_exitcode(status)}"
        time.sleep(0.01)
    return "gave up"


def export_package() -> None:
    """Let child processes find this very package, wherever they are started."""
    root = str(Path(nutshell.__file__).resolve().parents[1])
    paths = [str(Path(one).resolve()) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    if "site-packages" not in root and "dist-packages" not in root and root not in paths:
        paths.insert(0, root)
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def check_port(host: str, port: int) -> None:
    """Raises Refusal, naming who has the port where that can be seen, and one that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return
        except PermissionError as error:
            raise Refusal(f"only root may listen on port {port}; choose one above 1023: --port 5000", 2) from error
        except OSError as error:
            reason = error
    if reason.errno != 98:  # EADDRINUSE
        raise Refusal(f"cannot listen on {host} port {port}: {reason.strerror}; choose another --host ADDR", 2)
    free = next((p for p in range(port + 1, min(port + 200, 65536)) if _is_free(family, host, p)), None)
    hint = f"; free is: --port {free}" if free else ""
    raise Refusal(f"port {port} is in use{_user_of(port)}{hint}", 1)


def free_port(host: str) -> int:
    """One that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_free(family: int, host: str, port: int) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _user_of(port: int) -> str:
    """ " by python (pid 7)", or "" when this user may not see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            part = row.split()
            if part[3] == "0A" and int(part[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{part[9]}]")
    for fd in processes.open_files():
        try:
            if os.readlink(fd) in inodes:
                pid = fd.parts[2]
                return f" by {Path('/proc', pid, 'comm').read_text().strip()} (pid {pid})"
        except OSError:
            continue
    return ""
