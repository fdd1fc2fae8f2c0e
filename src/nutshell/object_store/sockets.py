"""From and to the socket, as both APIs of the object store do it (ASGI specification, "HTTP connection scope")."""

import asyncio
import contextlib
import logging
import typing as t
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping

from nutshell.object_store.port import Upload
from nutshell.object_store.waiting import within

CLIENT_LEFT = 499  # in the log alone: nobody is there to be told
log = logging.getLogger("nutshell.object_store")
Receive = Callable[[], Awaitable[MutableMapping[str, t.Any]]]


class Answered(t.Protocol):
    """`body`, or `stream`, or `path` (a file; from `start` on, where the server can do that)."""

    status: int
    headers: dict[str, str]
    body: bytes
    stream: AsyncIterator[bytes] | None
    path: str
    start: int | None


class ClientSlow(Exception):
    """Nothing came, or was taken, for as long as the settings allow."""


def patient(call: Callable[..., Awaitable[t.Any]], seconds: float) -> Callable[..., Awaitable[t.Any]]:
    """The same `receive` or `send`; ClientSlow when the client lets it wait so long."""

    async def timed(*message: t.Any) -> t.Any:
        try:
            waiting = call(*message)
            if isinstance(waiting, Coroutine):
                return await within(seconds, waiting)
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError:
            raise ClientSlow(f"the client let us wait for {seconds:g} s") from None

    return timed


async def pieces_of(receive: Receive, left: Callable[[], Exception]) -> AsyncIterator[bytes]:
    """The request's body; raises what `left` makes when the connection ends before it does."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise left()
        piece = message.get("body", b"")
        if piece:
            yield piece
        if not message.get("more_body", False):
            return


async def pour(pieces: AsyncIterator[bytes], draw: t.Any, upload: Upload, too_long: Callable[[int], None]) -> None:
    """A request's body into an upload. `draw`: the scope's "nutshell.draw", if it may be used; `too_long` is told how
    much there will be, and may raise."""
    async for piece in pieces:
        too_long(upload.size + len(piece))
        await upload.feed(piece)
        with contextlib.suppress(ConnectionResetError):  # `pieces` says so, too, and in its own words
            while draw is not None and (drawn := draw()) is not None:
                with drawn:
                    await upload.draw(drawn.fill)


def draw_of(scope: MutableMapping[str, t.Any]) -> t.Any:
    """What the server offers for `pour`, or None."""
    return scope.get("extensions", {}).get("nutshell.draw")


def end_after(scope: MutableMapping[str, t.Any], answer: Answered) -> None:
    """A client that waits for leave to send its body, and is refused, shall not send its next request where the server
    may still await that body (RFC 9110, section 10.1.1)."""
    if answer.status < 400:
        return
    waits = any(name == b"expect" for name, _ in scope["headers"])
    if waits and scope.get("http_version", "1.1") < "2":
        answer.headers["connection"] = "close"


async def send_answer(
    method: str, answer: Answered, send: t.Any, encode: Callable[[str], bytes], patience_s: float
) -> int:
    """Bytes of the body that were sent. `encode`: how this API's text becomes a header value; `patience_s`: how long
    a client may take nothing of a long answer. ConnectionAbortedError, and status 499, when it left or did not."""
    try:
        return await _send(method, answer, send, encode, patience_s)
    except (ConnectionResetError, BrokenPipeError, ClientSlow) as why:
        answer.status = CLIENT_LEFT
        raise ConnectionAbortedError(str(why)) from None


def sends_parts(scope: MutableMapping[str, t.Any]) -> bool:
    """Whether the server sends a part of a file; any sends a whole one."""
    return "nutshell.descriptor" in scope.get("extensions", ())


async def _send_file(answer: Answered, send: t.Any, patience_s: float) -> None:
    if answer.start is None:
        await send({"type": "http.response.pathsend", "path": answer.path})
        return
    with open(answer.path, "rb", buffering=0) as file:
        file.seek(answer.start)
        await send({"type": "http.response.pathsend", "path": (file.fileno(), patience_s)})


async def _send(method: str, answer: Answered, send: t.Any, encode: Callable[[str], bytes], patience_s: float) -> int:
    headers, bare = answer.headers, method == "HEAD" or answer.status in (204, 304)
    if method == "HEAD" and answer.status >= 400:
        headers["content-length"] = "0"
    elif answer.stream is None and not answer.path and answer.status not in (204, 304):
        headers.setdefault("content-length", str(len(answer.body)))
    said = [(name.encode("latin1", "replace"), encode(value)) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": said})
    if bare:
        await send({"type": "http.response.body", "body": b""})
        return 0
    if answer.path:
        await _send_file(answer, send, patience_s)
        return int(headers["content-length"])
    if answer.stream is None:
        await send({"type": "http.response.body", "body": answer.body})
        return len(answer.body)
    sent, send = 0, patient(send, patience_s)
    try:
        async for piece in answer.stream:
            sent += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except Exception as why:
        log.warning("an answer was broken off after %d bytes: %s", sent, why)
        raise
    await send({"type": "http.response.body", "body": b""})
    return sent
