"""A request and its answer, as the parts of the Swift API hand them to each other.

Header names are in lower case; header values are text of one character a byte (Latin-1), as they came; names from the
path are real text.
"""

import dataclasses
import typing as t
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from nutshell.core.policy import Who
from nutshell.object_store.numbers import count
from nutshell.object_store.sockets import Receive, pieces_of

Handler = Callable[["Request"], Awaitable["Response"]]
NOBODY = Who()

REASONS: Mapping[int, tuple[str, str]] = {
    200: ("OK", ""),
    201: ("Created", ""),
    202: ("Accepted", "The request is accepted for processing."),
    204: ("No Content", ""),
    206: ("Partial Content", ""),
    301: ("Moved Permanently", "The resource has moved permanently."),
    303: ("See Other", "The response to the request can be found under a different URI."),
    304: ("Not Modified", ""),
    307: ("Temporary Redirect", "The resource has moved temporarily."),
    400: (
        "Bad Request",
        "The server could not comply with the request since it is either malformed or otherwise incorrect.",
    ),
    401: (
        "Unauthorized",
        "This server could not verify that you are authorized to access the document you requested.",
    ),
    403: ("Forbidden", "Access was denied to this resource."),
    404: ("Not Found", "The resource could not be found."),
    405: ("Method Not Allowed", "The method is not allowed for this resource."),
    406: ("Not Acceptable", "The resource is not available in a format acceptable to your browser."),
    408: ("Request Timeout", "The server has waited too long for the request to be sent by the client."),
    409: ("Conflict", "There was a conflict when trying to complete your request."),
    410: ("Gone", "This resource is no longer available."),
    411: ("Length Required", "Content-Length header required."),
    412: ("Precondition Failed", "A precondition for this request was not met."),
    413: ("Request Entity Too Large", "The body of your request was too large for this server."),
    416: ("Requested Range Not Satisfiable", "The Range requested is not available."),
    422: ("Unprocessable Entity", "Unable to process the contained instructions"),
    498: ("Rate Limited", "Slow down"),
    499: ("Client Disconnect", "The client was disconnected during request."),
    500: ("Internal Error", "The server has either erred or is incapable of performing the requested operation."),
    501: ("Not Implemented", "The requested method is not implemented by this server."),
    503: ("Service Unavailable", "The server is currently unavailable. Please try again at a later time."),
    507: ("Insufficient Storage", "There was not enough space to save the resource."),
}


class ClientLeft(Exception):
    """The connection ended before the body did."""


@dataclass
class Response:
    """`body`, or `stream`, or `path` (a file; from `start` on, where the server can do that). Header names
    in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    path: str = ""
    start: int | None = None
    entries: list[dict[str, t.Any]] | None = None  # a listing that is yet to be rendered
    row: t.Any = None  # the object that was found or written
    notes: dict[str, t.Any] = field(default_factory=dict)  # what filters tell each other

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    async def read(self, limit: int = 1 << 40) -> bytes:
        """The whole body."""
        if self.path:
            raise AssertionError("sub-requests are not given files")
        if self.stream is None:
            return self.body
        parts = []
        size = 0
        async for piece in self.stream:
            parts.append(piece)
            size += len(piece)
            if size > limit:
                break
        return b"".join(parts)


class Refusal(Exception):
    """An answer that ends a request."""

    def __init__(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.status, self.text, self.headers = status, text, headers or {}

    def response(self) -> Response:
        return plain(self.status, self.text, self.headers)


def plain(status: int, text: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """The usual body of a status, or a sentence as plain text."""
    out = dict(headers or {})
    if text:
        out.setdefault("content-type", "text/plain")
        return Response(status, out, text.encode())
    out.setdefault("content-type", "text/html; charset=UTF-8")
    title, sentence = REASONS.get(status, ("", ""))
    body = f"<html><h1>{title}</h1><p>{sentence}</p></html>".encode() if sentence else b""
    return Response(status, out, body)


@dataclass
class Request:
    """One request, or one that a filter makes of it (`sub`)."""

    method: str
    path: str  # as it came, percent-encoded, with the mount
    mount: str  # "/object-store" or "": what stands before /v1
    version: str
    account: str
    container: str
    obj: str
    headers: dict[str, str]
    query: dict[str, str]
    receive: Receive | None = None
    draw: t.Any = None  # beside `receive`: the scope's "nutshell.draw"
    body: AsyncIterator[bytes] | None = None  # instead of both
    who: Who = NOBODY
    token: str = ""
    owner: bool = False  # may see what only owners see
    trusted: bool = False  # a filter vouches for it: not authorised again
    allow: Callable[["Request"], bool] | None = None  # instead of the usual rules (temp URLs)
    base: str = ""
    client: str = ""  # the caller's address
    trans_id: str = ""
    notes: dict[str, t.Any] = field(default_factory=dict)

    @property
    def length(self) -> int | None:
        """Content-Length; None where it is not said. 400 when it is no number."""
        text = self.headers.get("content-length")
        if text is None:
            return None
        found = count(text)
        if found is None:
            raise Refusal(400, "Invalid Content-Length header value")
        return found

    def flag(self, name: str) -> bool:
        return is_true(self.query.get(name, ""))

    def sub(self, method: str = "", **changes: t.Any) -> "Request":
        """Another request of the same caller: no body and none of the conditions, unless they are given."""
        given: dict[str, t.Any] = {
            "headers": {},
            "query": {},
            "body": None,
            "receive": None,
            "draw": None,
            "notes": {},
            **changes,
        }
        return dataclasses.replace(self, method=method or self.method, **given)

    @property
    def here(self) -> str:
        """The path without the mount, encoded anew."""
        return location(self.version, self.account, self.container, self.obj)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces, as long as was announced. ClientLeft when it ends early."""
        if self.body is not None:
            async for piece in self.body:
                yield piece
            return
        if self.receive is None:
            return
        async for piece in pieces_of(self.receive, ClientLeft):
            yield piece

    async def read(self, limit: int) -> bytes:
        """The whole body, or 413."""
        parts, size = [], 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit:
                raise Refusal(413)
            parts.append(piece)
        return b"".join(parts)


async def one_piece(data: bytes) -> AsyncIterator[bytes]:
    """A body that is already there."""
    if data:
        yield data


def location(version: str, account: str, container: str = "", obj: str = "") -> str:
    return "/" + "/".join(quote(part, safe="/~" if i == 3 else "~") for i, part in
                          enumerate((version, account, container, obj)) if part)  # fmt: skip


def is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes", "on", "t", "y")


def unquote(text: str) -> str:
    """Text from a path or query. 412 for what is no UTF-8 or holds a NUL."""
    if "%" not in text and text.isascii():
        return text
    try:
        found = unquote_to_bytes(text.encode("latin1")).decode()
    except UnicodeDecodeError:
        raise Refusal(412, "Invalid UTF8 or contains NULL") from None
    if "\0" in found:
        raise Refusal(412, "Invalid UTF8 or contains NULL")
    return found


def wire(text: str) -> str:
    """Text as a header value carries it: one character a byte."""
    return text if text.isascii() else text.encode().decode("latin1")


def unwire(value: str) -> str:
    """What a header value says, as text."""
    return value if value.isascii() else value.encode("latin1").decode("utf-8", "replace")
