"""DNS beyond the cloud: questions from a network's dnsmasq go on to the host's own resolvers.

Source: RFC 1035, 7766. A network's namespace has no way out, so its dnsmasq asks a socket of ours inside it, which
this relay answers from the host's side; names of the cloud's own are answered without it.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

_TIMEOUT_S, _PENDING, _TCP_BYTES = 5.0, 256, 1 << 20


def resolvers(path: Path = Path("/etc/resolv.conf")) -> list[tuple[str, int]]:
    """The host's name servers, address and port, as they are now."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []
    return [(line[1], 53) for line in words if len(line) > 1 and line[0] == "nameserver"]


class _Answer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _: object) -> None:
        if not self.received.done():
            self.received.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.received.done():
            self.received.set_exception(error)


class _Questions(asyncio.DatagramProtocol):
    """Each question goes out from a port of its own, so that answers cannot be guessed."""

    def __init__(self, servers: Callable[[], list[tuple[str, int]]]) -> None:
        self._servers = servers
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if len(self._tasks) < _PENDING and len(data) >= 12:
            task = asyncio.get_running_loop().create_task(self._ask(data, address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, question: bytes, address: tuple[str, int]) -> None:
        for server in self._servers():
            try:
                transport, answer = await asyncio.get_running_loop().create_datagram_endpoint(
                    _Answer, remote_addr=server
                )
                try:
                    transport.sendto(question)
                    data = await asyncio.wait_for(answer.received, _TIMEOUT_S)
                finally:
                    transport.close()
            except (OSError, TimeoutError):
                continue
            if data[:2] == question[:2] and self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(data, address)
                return


class DnsRelay:
    """Relays one network's questions."""

    def __init__(self, servers: Callable[[], list[tuple[str, int]]] = resolvers) -> None:
        self._servers = servers
        self._datagrams: asyncio.BaseTransport | None = None
        self._streams: asyncio.Server | None = None

    async def start(self, datagrams: socket.socket, streams: socket.socket) -> None:
        self._datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Questions(self._servers), sock=datagrams
        )
        self._streams = await asyncio.start_server(self._stream, sock=streams)

    async def stop(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        if self._streams is not None:
            self._streams.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S * 2):
                servers = self._servers()
                if servers:
                    away_reader, away_writer = await asyncio.open_connection(*servers[0])
                    try:
                        await asyncio.gather(_copy(reader, away_writer), _copy(away_reader, writer))
                    finally:
                        away_writer.close()
        except (OSError, TimeoutError):
            pass  # dnsmasq asks again
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    left = _TCP_BYTES
    while left > 0 and (data := await reader.read(min(left, 16384))):
        left -= len(data)
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
