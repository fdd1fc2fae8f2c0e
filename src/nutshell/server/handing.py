"""Connections that are no HTTP/1.1, or no longer: websockets and HTTP/2 go to a second server behind a socket file.

It is loaded with the first of them.
"""

import asyncio
import logging
import typing as t
from pathlib import Path

log = logging.getLogger("nutshell.server")


class Pipe(asyncio.Protocol):
    """What one side says the other side hears; who listens too slowly makes the other wait."""

    def __init__(self, other: asyncio.Transport) -> None:
        self._other = other
        self._mine: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._mine = t.cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def pause_writing(self) -> None:
        if not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, why: Exception | None) -> None:
        self._other.close()


async def join(transport: asyncio.Transport, path: str, data: bytes) -> None:
    """The connection from here on is that of the server at a socket file, which hears `data` first. OSError."""
    inner, _ = await asyncio.get_running_loop().create_unix_connection(lambda: Pipe(transport), path)
    transport.set_protocol(Pipe(inner))
    inner.write(data)
    if transport.is_closing():
        inner.close()
    else:
        transport.resume_reading()


class Elsewhere:
    """The other server, and the connections it was given."""

    def __init__(self, application: t.Any) -> None:
        self._application = application
        self._directory: t.Any = None  # a TemporaryDirectory
        self._server: t.Any = None
        self._serving: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def take(self, transport: asyncio.Transport, data: bytes) -> None:
        """The connection from here on; `data`: what was read of it already."""
        try:
            await join(transport, await self._started(), data)
        except Exception:
            log.exception("a connection could not be handed over")
            transport.abort()

    async def _started(self) -> str:
        async with self._lock:
            if self._directory is None:
                import tempfile

                self._directory = tempfile.TemporaryDirectory(prefix="nutshell-")
            path = Path(self._directory.name, "http")
            if self._server is None:
                from granian.constants import Interfaces
                from granian.server.embed import Server

                self._server = Server(self._application, uds=path, interface=Interfaces.ASGINL, log_enabled=False)
                self._serving = asyncio.create_task(self._server.serve())
            while not path.exists():
                if self._serving is not None and self._serving.done():
                    self._serving.result()
                await asyncio.sleep(0.005)
            return str(path)

    async def stop(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.stop()
            await self._serving
        if self._directory is not None:
            self._directory.cleanup()
