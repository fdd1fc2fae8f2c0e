"""A process that loads the API's code while `nutshell up` still reads its command line.

Source: posix_spawn(3). It is told its settings over a pipe and says over another when it is ready; it ends when the
first pipe closes untold. This module imports next to nothing, and no dataclass, for it runs before all else.
"""

import os
import sys

# Without it glibc keeps the 16 MiB that hashing a password takes, in each thread that ever did (mallopt(3)).
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
# (pid, the end of a pipe on which it is told, the end of a pipe on which it says that it is ready)
Waiting = tuple[int, int, int]


def warm_up(command: list[str]) -> Waiting:
    """Start the command in a session of its own, silent until it is given a log."""
    hear_fd, tell_fd = os.pipe()
    ready_fd, said_fd = os.pipe()
    for fd in (hear_fd, said_fd):
        os.set_inheritable(fd, True)
    quiet = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    arguments = [*command, str(hear_fd), str(said_fd)]
    pid = os.posix_spawn(arguments[0], arguments, GIVES_BACK | os.environ, file_actions=quiet, setsid=True)
    os.close(hear_fd)
    os.close(said_fd)
    return pid, tell_fd, ready_fd


def tell(fd: int, settings: str, log: str = "", lock: str = "") -> None:
    """Give the waiting process its settings, and where it has no log and lock yet, which to open."""
    with os.fdopen(fd, "w") as told:
        told.write("\0".join((settings, log, lock, str(os.getpid()))))


def hear(fd: int) -> str:
    """Blocks until told; returns the settings. From then on this process writes to the log and holds the lock.

    Ends the process when nobody tells, or when somebody else holds the lock.
    """
    return obey(listen(fd))


def listen(fd: int) -> list[str]:
    """Blocks until told, or until it is certain that nobody will tell; what was told, for `obey`."""
    with os.fdopen(fd) as told:
        return [*told.read().split("\0"), "", "", ""][:4]


def obey(told: list[str]) -> str:
    """As `hear`, of what was listened to."""
    settings, log, lock, teller = told
    if not teller:
        raise SystemExit(0)
    if log:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        os.dup2(out, sys.stdout.fileno())
        os.dup2(out, sys.stderr.fileno())
        os.close(out)
    if lock:
        import fcntl

        fcntl.flock(os.open(lock, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until the process ends
        if os.getppid() != int(teller):  # killed meanwhile; another `up` may be at work by now
            raise SystemExit(0)
    os.chdir("/")
    return settings
