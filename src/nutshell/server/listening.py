"""A listening port and its connections."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from nutshell.server.connections import Connection
from nutshell.server.exchanges import Application, Message, Receive, Send
from nutshell.server.files import OFFERED
from nutshell.server.handing import Elsewhere
from nutshell.server.passing import Passing, listen_at, pass_on

CONNECTIONS = 4096  # at once. Of more, the longest idle goes: idle or slow clients must not keep the others out
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
HEAD_WAIT_S = 30.0  # for a head, or for the rest of a body that nobody wants
SWEEP_S = 5.0
EXTENSIONS: Mapping[str, Mapping[str, str]] = {"http.response.pathsend": {}, OFFERED: {}}
ENDING_S = 2.0  # for requests that are being answered when the server ends


class Server:
    """`await start()`; `await stop()`."""

    def __init__(self, application: Application, host: str, port: int, passing: Passing | None = None) -> None:
        self.application = _offered(application)
        self.ending = False
        self.head_wait_s = HEAD_WAIT_S
        self.idle: dict[Connection, None] = {}
        self._address = (host, port)
        self._open: set[Connection] = set()
        self.passing = passing
        self._servers: list[asyncio.Server] = []
        self._elsewhere = Elsewhere(application)
        self._handing: set[asyncio.Task[None]] = set()
        self._date = (0, b"")
        self._sweeping: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Takes connections from now on. OSError when the port is not free."""
        loop = asyncio.get_running_loop()
        host, port = self._address
        six = ":" in host
        listener = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if six else socket.AF_INET,
            backlog=1024,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
        self._servers.append(await loop.create_server(lambda: Connection(self, loop), sock=listener, backlog=1024))
        if self.passing is not None:
            inner = listen_at(self.passing.mine)
            self._servers.append(
                await loop.create_unix_server(lambda: Connection(self, loop, True), sock=inner, backlog=1024)
            )
        self._sweep()

    async def stop(self) -> None:
        """Requests that are being answered have a little time."""
        self.ending = True
        for server in self._servers:
            server.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self.idle):
            connection.transport.close()
        end = time.monotonic() + ENDING_S
        while self._open and time.monotonic() < end:
            await asyncio.sleep(0.01)
        for connection in list(self._open):
            connection.transport.abort()
        with contextlib.suppress(asyncio.CancelledError):
            await self._elsewhere.stop()

    # -- what connections ask
    def admit(self, connection: Connection) -> bool:
        self._open.add(connection)
        if len(self._open) > CONNECTIONS:
            longest = next(iter(self.idle), None)
            if longest is None:
                return False
            self.idle.pop(longest)
            longest.transport.close()
        return True

    def left(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.idle.pop(connection, None)

    def date(self) -> bytes:
        """The line of the answers of this second."""
        now = int(time.time())
        if now != self._date[0]:
            at = time.gmtime(now)
            day, month = DAYS[at.tm_wday], MONTHS[at.tm_mon - 1]
            self._date = (now, time.strftime(f"date: {day}, %d {month} %Y %H:%M:%S GMT\r\n", at).encode())
        return self._date[1]

    def hand_over(self, connection: Connection, data: bytes) -> None:
        self._part(connection, self._elsewhere.take(connection.transport, data))

    def pass_on(self, connection: Connection, data: bytes, to: Path) -> None:
        self._part(connection, pass_on(connection.transport, connection.client, data, to))

    def _part(self, connection: Connection, how: Coroutine[Any, Any, None]) -> None:
        self.left(connection)
        connection.transport.pause_reading()
        task = asyncio.get_running_loop().create_task(how)
        self._handing.add(task)
        task.add_done_callback(self._handing.discard)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        late = loop.time() - self.head_wait_s
        for connection in list(self._open):
            if 0 < connection.since < late:
                connection.transport.abort()
        self._sweeping = loop.call_later(SWEEP_S, self._sweep)


def _offered(application: Application) -> Application:
    """The application, told what this server can do more than others."""

    def offered(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        scope.setdefault("extensions", {}).update(EXTENSIONS)
        return application(scope, receive, send)

    return offered
