"""One request and its answer: the application's `receive` and `send` (ASGI specification, "HTTP connection scope")."""

import asyncio
import typing as t
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus

from nutshell.server.chunks import Chunks
from nutshell.server.drawing import LARGE, LEAST, Draw, waiting_in
from nutshell.server.files import File
from nutshell.server.heads import CHUNKED, BadHead, Head

Message = MutableMapping[str, t.Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[t.Any, Receive, Send], Awaitable[None]]
MOST_PENDING = 256 << 10  # bytes of a body that wait for the application; then the client waits
JOINED = 32 << 10  # an answer up to here goes out in one write with its head
LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class Wire(t.Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport
    gone: bool

    def date(self) -> bytes: ...

    async def drained(self) -> None: ...

    async def send_file(self, file: File, size: int) -> None: ...

    def answered(self, exchange: "Exchange") -> None:
        """The last byte of the answer was written."""
        ...

    def refuse(self, why: BadHead) -> None: ...


class Exchange:
    __slots__ = ("_bare", "_body", "_chunks", "_continues", "_due", "_head", "_left", "_pending", "_said", "_stopped",
                 "_told", "_waiter", "_wire", "done", "keeps_alive", "more", "started")  # fmt: skip

    def __init__(self, wire: Wire, head: Head) -> None:
        self._wire, self._head = wire, head
        self._continues = head.fields.continues and head.newest
        self.keeps_alive = head.keeps_alive
        self._left = head.fields.length  # of the request's body
        self._chunks = Chunks() if self._left == CHUNKED else None
        self.more = self._left != 0
        self._body: deque[bytes] = deque()
        self._pending = 0
        self._stopped = False  # reading, until the application has caught up
        self._told = False  # the application knows where the body ends
        self._waiter: asyncio.Future[None] | None = None
        self.started = False  # answering
        self._said = b""  # the answer's head, until it is written
        self._bare = False  # the answer has no body
        self._due: int | None = None  # bytes of its body yet to come, where that was said
        self.done = False

    # -- the request's body
    def take(self, data: bytes) -> bytes:
        """Bytes from the socket; returns those behind the body. BadHead when its chunks are none."""
        if self._chunks is not None:
            pieces, rest = self._chunks.feed(data)
            self.more = not self._chunks.done
        else:
            rest = b"" if len(data) <= self._left else data[self._left :]
            pieces = [data[: self._left]] if rest else [data]
            self._left -= len(pieces[0])
            self.more = self._left > 0
        if not self.done:
            for piece in pieces:
                self._body.append(piece)
                self._pending += len(piece)
            if self._pending > MOST_PENDING and not self._stopped and self.more:
                self._stopped = True
                self._wire.transport.pause_reading()
            self.wake()
        return rest

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        while True:
            if self._body:
                piece = self._body.popleft()
                self._pending -= len(piece)
                if self._stopped and self._pending < MOST_PENDING // 2:
                    self._stopped = False
                    self._wire.transport.resume_reading()
                self._told = not self._body and not self.more
                return {"type": "http.request", "body": piece, "more_body": not self._told}
            if self._wire.gone or self.done:
                return {"type": "http.disconnect"}
            if not self.more and not self._told:
                self._told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self._continues and self.more:
                self._continues = False
                self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    @property
    def large(self) -> bool:
        """The request has a body that a thread may better read."""
        return self._left >= LARGE

    def draw(self) -> Draw | None:
        """Where so much of the body waits that a thread should read it. Until the Draw ends, nobody else reads."""
        transport = self._wire.transport
        if self._body or self._stopped or self.done or self._left < LEAST or self._wire.gone or transport.is_closing():
            return None
        fd = transport.get_extra_info("socket").fileno()
        if waiting_in(fd) < LEAST:
            return None
        transport.pause_reading()
        return Draw(fd, self._left, self._drawn)

    def _drawn(self, came: int) -> None:
        self._left -= came
        self.more = self._left > 0
        if not self._wire.gone:
            self._wire.transport.resume_reading()

    # -- the answer
    @property
    def unwanted(self) -> bool:
        """The client may or may not send the body it announced: it was not told to."""
        return self._continues and self.more

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            last = not message.get("more_body", False)
            if last and self._wire.gone:  # nobody hears it; the application ends as it would have
                self.done = True
                return
            self._write(message.get("body", b""), last)
            if last:
                self.done = True
                self._wire.answered(self)
            else:
                await self._wire.drained()
        elif kind == "http.response.start":
            self._begin(message["status"], message["headers"])
        elif kind == "http.response.pathsend":
            await self._send_file(message["path"])

    def _begin(self, status: int, headers: t.Iterable[tuple[bytes, bytes]]) -> None:
        if self.started:
            raise RuntimeError("the answer has begun already")
        lines = [LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
        bare = status in (204, 304) or status < 200
        dated = False
        for name, value in headers:
            if name == b"content-length":
                if bare:
                    continue
                self._due = int(value)
            elif name == b"connection":
                self.keeps_alive = self.keeps_alive and value.lower() != b"close"
                continue
            elif name == b"transfer-encoding":
                continue
            elif name == b"date":
                dated = True
            lines.append(b"%b: %b\r\n" % (name, value))
        if not dated:
            lines.append(self._wire.date())
        self._bare = bare or self._head.method == "HEAD"
        if self.unwanted or (self._due is None and not self._bare and not self._head.newest):
            self.keeps_alive = False
        if not self.keeps_alive:
            lines.append(b"connection: close\r\n")
        elif not self._head.newest:
            lines.append(b"connection: keep-alive\r\n")
        said = b"".join(lines)
        if said.count(b"\n") != len(lines) or said.count(b"\r") != len(lines) or b"\0" in said:
            raise ValueError("a header of the answer holds a line's end")
        self._said, self.started = said, True

    def _write(self, data: bytes, last: bool) -> None:
        if not self.started or self.done:
            raise RuntimeError("the answer's body comes before its head, or after its end")
        if self._wire.gone:
            raise ConnectionResetError("the client has left")
        said, self._said = self._said, b""
        if self._bare:
            data = b""
        elif self._due is not None:
            self._due -= len(data)
            if self._due < 0 or (last and self._due):
                raise RuntimeError("the answer's body is not as long as was said")
        elif said and last:  # the only piece
            said += b"content-length: %d\r\n" % len(data)
        elif self._head.newest:  # else it ends with the connection
            if said:
                said += b"transfer-encoding: chunked\r\n"
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if last:
                data += b"0\r\n\r\n"
        if said and len(data) <= JOINED:
            self._wire.transport.write(b"%b\r\n%b" % (said, data))
            return
        if said:
            self._wire.transport.write(said + b"\r\n")
        if data:
            self._wire.transport.write(data)

    async def _send_file(self, file: File) -> None:
        size = self._due
        if not self._said or size is None:
            raise RuntimeError("a file is sent with its length")
        if self._bare or not size:
            self._due = None
            self._bare = True
            self._write(b"", True)
        else:
            self._wire.transport.write(self._said + b"\r\n")
            await self._wire.send_file(file, size)
        self.done = True
        self._wire.answered(self)
