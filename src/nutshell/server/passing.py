"""Connections that another process of the same cloud has to answer: what only one of them has, all of them offer.

Each process listens at a socket file beside those of the others. A connection that is passed on begins there with
a line that says who its client is; from then on the two ends speak with each other through this process.
"""

import asyncio
import contextlib
import logging
import os
import socket
import typing as t
from collections.abc import Callable
from pathlib import Path

from nutshell.server.handing import join

log = logging.getLogger("nutshell.server")
LONGEST_INTRODUCTION = 100


class Passing(t.NamedTuple):
    """mine: where this process listens for the others. where: the socket of the one that answers such a target (the
    request line's), None when it is this one."""

    mine: Path
    where: Callable[[bytes], Path | None]


def introduction(client: tuple[str, int]) -> bytes:
    return f"{client[0]} {client[1]}\n".encode()


def introduced(line: bytes) -> tuple[str, int]:
    """The client that an introduction names. ValueError."""
    host, _, port = line.decode("ascii").partition(" ")
    return host, int(port)


def listen_at(path: Path) -> socket.socket:
    """A socket file that only this user can enter. The directory is named by its descriptor: socket paths are short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with _short(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    return listener


async def pass_on(transport: asyncio.Transport, client: tuple[str, int], data: bytes, path: Path) -> None:
    """The connection from here on is the other's; `data`: what was read of it already."""
    try:
        with _short(path) as address:
            await join(transport, address, introduction(client) + data)
    except OSError as why:  # it dies just now; the client may ask again
        log.warning("a connection could not be passed on to %s: %s", path.name, why)
        transport.abort()


@contextlib.contextmanager
def _short(path: Path) -> t.Iterator[str]:
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
