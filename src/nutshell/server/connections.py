"""A client's connection: one request after another (RFC 9112, section 9)."""

# house: protocol-size waived 2026-11-22: asyncio's Protocol is no driver's

import asyncio
import logging
import typing as t
from pathlib import Path
from urllib.parse import unquote

from nutshell.server.exchanges import LINES, Application, Exchange
from nutshell.server.files import File, send_file
from nutshell.server.heads import MOST_BYTES, BadHead, Fields, Head, check, read_fields, read_line
from nutshell.server.passing import LONGEST_INTRODUCTION, Passing, introduced

log = logging.getLogger("nutshell.server")
MOST_HELD = 256 << 10  # bytes of further requests that wait for the answer to this one
ASGI = {"version": "3.0", "spec_version": "2.4"}


class House(t.Protocol):
    """The server whose connections these are."""

    application: Application
    ending: bool
    idle: dict["Connection", None]  # the longest idle first
    passing: Passing | None

    def admit(self, connection: "Connection") -> bool: ...

    def left(self, connection: "Connection") -> None: ...

    def date(self) -> bytes: ...

    def hand_over(self, connection: "Connection", data: bytes) -> None: ...

    def pass_on(self, connection: "Connection", data: bytes, to: Path) -> None: ...


class Connection(asyncio.Protocol):
    __slots__ = ("_block", "_drain", "_exchange", "_fields", "_held", "_house", "_loop", "_paused", "_stopped",
                 "_strange", "_task", "client", "gone", "server", "since", "transport")  # fmt: skip
    transport: asyncio.Transport

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop, strange: bool = False) -> None:
        self._house, self._loop = house, loop
        self._strange = strange  # another process of the cloud has yet to say who the client is
        self.gone = False
        self.since = loop.time()  # when it began to owe us something; 0 when it does not
        self._held = b""  # a head that is not whole, or requests whose turn has not come
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = False  # writing: the client does not read
        self._drain: asyncio.Future[None] | None = None
        self._stopped = False  # reading: it sends ahead too much
        self._block, self._fields = b"", read_fields(())  # of the last request: most are like the one before

    # -- told by the event loop
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = t.cast(asyncio.Transport, transport)
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        if not self._house.admit(self):
            self.refuse(BadHead(503, "there are too many connections"))

    def connection_lost(self, why: Exception | None) -> None:
        self.gone = True
        self._house.left(self)
        if self._exchange is not None:
            self._exchange.wake()
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            if exchange.more:
                try:
                    data = exchange.take(data)
                except BadHead as why:
                    self.refuse(why)
                    return
                if exchange.done and not exchange.more:
                    self._held = data
                    self._next()
                    return
            if data:
                self._held += data
                if len(self._held) > MOST_HELD and not self._stopped:
                    self._stopped = True
                    self.transport.pause_reading()
            return
        self._read(self._held + data if self._held else data)

    # -- requests
    def _read(self, data: bytes) -> None:
        """The next request, if its head is whole."""
        if self._strange and not (data := self._introduce(data)):
            return
        while data.startswith(b"\r\n"):
            data = data[2:]
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._held = data
            if len(data) > MOST_BYTES:
                self.refuse(BadHead(431, "the head is too long"))
            elif data and not self.since:
                self.since = self._loop.time()
            return
        self._held = b""
        line_end = data.index(b"\r\n")
        block = data[line_end + 2 : end]
        try:
            if data.startswith(b"PRI * HTTP/2.0"):
                self._house.hand_over(self, data)
                return
            if block != self._block:
                self._fields = read_fields(block.split(b"\r\n")) if block else read_fields(())
                self._block = block
            head = Head(*read_line(data[:line_end]), self._fields)
            check(head)
        except BadHead as why:
            self._block, self._fields = b"", read_fields(())
            self.refuse(why)
            return
        if self._fields.upgrade:
            self._house.hand_over(self, data)
            return
        passing = self._house.passing
        if passing is not None and (to := passing.where(head.target)) is not None:
            self._house.pass_on(self, data, to)
            return
        self._serve(head, data[end + 4 :])

    def _introduce(self, data: bytes) -> bytes:
        """What follows the line that names the client; b"" while there is nothing."""
        line, end, rest = data.partition(b"\n")
        if not end and len(data) <= LONGEST_INTRODUCTION:
            self._held = data
            return b""
        try:
            self.client = introduced(line)
        except ValueError:
            self.transport.abort()
            return b""
        self._strange, self._held = False, b""
        return rest

    def _serve(self, head: Head, rest: bytes) -> None:
        self.since = 0.0
        self._house.idle.pop(self, None)
        exchange = self._exchange = Exchange(self, head)
        if exchange.more and rest:
            try:
                rest = exchange.take(rest)
            except BadHead as why:
                self.refuse(why)
                return
        self._held = rest
        scope = self._scope(head, head.fields)
        if exchange.large:
            scope["extensions"] = {"nutshell.draw": exchange.draw}
        self._task = self._loop.create_task(self._run(exchange, scope))

    def _scope(self, head: Head, fields: Fields) -> dict[str, t.Any]:
        raw, _, query = head.target.partition(b"?")
        path = raw.decode("utf-8", "replace")
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": "1.1" if head.newest else "1.0",
            "method": head.method,
            "scheme": "http",
            "path": unquote(path, errors="replace") if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": list(fields.headers),
            "client": self.client,
            "server": self.server,
        }

    async def _run(self, exchange: Exchange, scope: dict[str, t.Any]) -> None:
        try:
            await self._house.application(scope, exchange.receive, exchange.send)
            if not exchange.done and not self.gone:
                raise RuntimeError("the application ended before its answer")
        except ConnectionError:  # the client left, or its connection is to be cut
            self.transport.abort()
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if exchange.started or self.gone:
                self.transport.abort()
            else:
                self.refuse(BadHead(500, "the server has erred"))

    # -- what exchanges ask
    def date(self) -> bytes:
        return self._house.date()

    async def drained(self) -> None:
        if self._paused and not self.gone:
            self._drain = self._loop.create_future()
            await self._drain
            if self.gone:
                raise ConnectionResetError("the client has left")

    async def send_file(self, file: File, size: int) -> None:
        self.transport.set_write_buffer_limits(high=0)
        try:
            await self.drained()
            if self.gone:
                raise ConnectionResetError("the client has left")
            await send_file(self.transport.get_extra_info("socket").fileno(), file, size)
        finally:
            if not self.gone:
                self.transport.set_write_buffer_limits()

    def answered(self, exchange: Exchange) -> None:
        if exchange.unwanted:
            self.transport.close()
        elif exchange.more:  # what is left of the body is read and thrown away: else the answer might be lost
            self.since = self._loop.time()
            self.transport.resume_reading()
        else:
            self._next()

    def _next(self) -> None:
        exchange, self._exchange = self._exchange, None
        if self.gone:
            return
        if self._house.ending or (exchange is not None and not exchange.keeps_alive):
            self.transport.close()
            return
        self._house.idle[self] = None
        self.since = 0.0
        if self._stopped:
            self._stopped = False
            self.transport.resume_reading()
        if self._held:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._exchange is None and self._held and not self.transport.is_closing():
            held, self._held = self._held, b""
            self._read(held)

    def refuse(self, why: BadHead) -> None:
        """Say so, and end the connection."""
        if self._exchange is not None and self._exchange.started:
            self.transport.abort()
            return
        said = f"{why}\n".encode()
        line = LINES.get(why.status, LINES[400])
        self.transport.write(b"%bcontent-type: text/plain\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
                             % (line, len(said), self.date(), said))  # fmt: skip
        self.transport.close()


def _address(said: t.Any) -> tuple[str, int]:
    return (said[0], said[1]) if isinstance(said, tuple) else ("", 0)
