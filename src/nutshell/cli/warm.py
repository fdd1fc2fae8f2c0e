"""A process that loads the API's code while `nutshell up` still reads its command line.

Source: posix_spawn(3). It is told what to do over a socket (unix(7), SCM_RIGHTS), or ends when the socket closes.
"""

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A process that waits at the other end of the channel for its settings."""

    pid: int
    channel: socket.socket


def warm_up(command: Sequence[str]) -> Waiting:
    """Start the command in a session of its own, silent until it is given a log."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    os.set_inheritable(theirs.fileno(), True)
    quiet = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    arguments = [*command, "--channel", str(theirs.fileno())]
    pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=quiet, setsid=True)
    theirs.close()
    return Waiting(pid, ours)


def tell(channel: socket.socket, settings: str, log: int, lock: int, ready: int) -> None:
    """Give the waiting process its settings and its open files."""
    body = settings.encode()
    socket.send_fds(channel, [len(body).to_bytes(4, "big")], [log, lock, ready])
    channel.sendall(body)
    channel.close()


@dataclass(frozen=True)
class Told:
    """What the process was told. `lock` stays open as long as it lives; `ready` is where it says that it is."""

    settings: str
    lock: int
    ready: int


def hear(fd: int) -> Told:
    """Blocks until told; from then on this process writes to the log. Ends the process when nobody tells."""
    channel = socket.socket(fileno=fd)
    try:
        head, fds, _, _ = socket.recv_fds(channel, 4, 3)
        if len(head) < 4 or len(fds) < 3:
            raise SystemExit(0)
        body = b""
        while len(body) < int.from_bytes(head, "big"):
            some = channel.recv(65536)
            if not some:
                raise SystemExit(0)
            body += some
    except ConnectionError:
        raise SystemExit(0) from None
    channel.close()
    log, lock, ready = fds
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    os.chdir("/")
    return Told(body.decode(), lock, ready)
