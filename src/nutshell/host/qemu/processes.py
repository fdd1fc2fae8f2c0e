"""QEMU processes: started in sessions of their own, found again by their names, watched by pidfd (pidfd_open(2)).

A process inherits an open file on which its guest's lock (flock(2)) is held. So the lock is held exactly as long as
the process lives, whoever started it: no guest can ever run twice.
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nutshell.core.drivers import DriverFault


@dataclass(frozen=True)
class Process:
    """A living or ended QEMU."""

    pid: int
    pidfd: int
    child: subprocess.Popen[bytes] | None  # None: adopted, started by an earlier life of ours

    def wait(self, timeout_s: float) -> bool:
        """True once it has ended."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        ended = bool(poll.poll(timeout_s * 1000))
        if ended and self.child is not None:
            self.child.wait()  # reaped: no zombie
        return ended

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        os.close(self.pidfd)

    def how_it_ended(self) -> str:
        status = self.child.returncode if self.child is not None else None
        if status is None:
            return "its process ended"
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def lock(path: Path) -> int:
    """A file descriptor that holds the guest's lock. DriverFault while a process of it lives."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise DriverFault(f"another process runs this guest ({path})") from None
    return file


def spawn(command: Sequence[str], directory: Path, words: Path, fds: Sequence[int]) -> Process:
    """Run QEMU with nothing of ours but `fds`; what it says goes to the file `words`."""
    with words.open("wb") as said:
        try:
            child = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=fds,
                start_new_session=True,
            )
        except OSError as error:
            raise DriverFault(f"cannot run {command[0]}: {error.strerror}", final=True) from error
    return Process(child.pid, os.pidfd_open(child.pid), child)


def adopt(pid: int, name: str) -> Process | None:
    """The process if it lives and is the guest called `name`."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if name_of(pid) != name:  # looked up after the pidfd is held: the pid cannot pass to another any more
        os.close(pidfd)
        return None
    return Process(pid, pidfd, None)


def name_of(pid: int) -> str:
    """The guest= part of a QEMU's -name; "" for any other process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    if b"-name" not in words or b"qemu-system" not in words[0]:
        return ""
    option = words[words.index(b"-name") + 1].decode(errors="replace")
    return option.removeprefix("guest=").partition(",")[0]


def find_all(cloud: str) -> dict[str, int]:
    """Server id → pid of every QEMU of this cloud on this machine."""
    prefix = f"{cloud}-"
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            name = name_of(int(entry))
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = int(entry)
    return found
