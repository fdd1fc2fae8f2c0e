"""A request of the S3 API and its answer, and XML both ways."""

import typing as t
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.sax.saxutils import escape

from nutshell.core.policy import Who
from nutshell.object_store.callers import words_for
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.sockets import Receive, pieces_of

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
NOBODY = Who()
DISCARDED = 128 << 20
Node = tuple[str, t.Any]  # (element, text or its children)


@dataclass
class Answer:
    """`body`, or `stream`, or `path` (a file; from `start` on, where the server can do that). Header names
    in lower case."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    path: str = ""
    start: int | None = None


@dataclass
class Request:
    """Header names in lower case; `bucket` and `key` are text; `query` holds the first value of each name."""

    method: str
    raw_path: str  # as it came, percent-encoded: what a signature covers
    raw_query: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    receive: Receive
    request_id: str
    client: str = ""
    secure: bool = False
    bare_path: str = ""  # the path without the mount and with the bucket, as the oldest signatures cover it
    who: Who = NOBODY
    draw: t.Any = None  # beside `receive`: the scope's "nutshell.draw"
    access: str = ""  # the access key that signed
    body: AsyncIterator[bytes] | None = None  # the content, once a signature said how it is wrapped
    length: int | None = None  # of the content
    sha256: str = ""  # what the content must digest to
    trailer: dict[str, str] = field(default_factory=dict)  # filled while the body is read
    sends_parts: bool = False  # the server can send a part of a file
    named: bool = True  # names in the lists of the bucket that is asked for mean somebody

    @property
    def account(self) -> str:
        return f"AUTH_{self.who.project_id}" if self.who.project_id else ""

    @property
    def person(self) -> str:
        """The caller as owners are shown."""
        return f"{self.who.project_name}:{self.who.user_name}" if self.who.user_id else ""

    @property
    def names(self) -> frozenset[str]:
        """Everything by which a grant or policy may mean the caller."""
        projects, users = words_for(self.who, self.named)
        mine = {self.who.project_id, self.who.user_id} - {""} if self.who.user_id else set()
        return frozenset({*mine, *(f"{p}:{u}" for p in projects for u in users)})

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content in pieces. IncompleteBody when the connection ends before it does."""
        source = self.body if self.body is not None else self.raw_chunks()
        async for piece in source:
            yield piece

    def raw_chunks(self) -> AsyncIterator[bytes]:
        return pieces_of(self.receive, lambda: S3Error("IncompleteBody"))

    async def read(self, limit: int, code: str = "EntityTooLarge") -> bytes:
        """The whole content. EntityTooLarge, or another code, past the limit."""
        parts, size = [], 0
        async for piece in self.chunks():
            size += len(piece)
            if size <= limit:
                parts.append(piece)
            elif size > DISCARDED:
                break
        if size > limit:  # said when all is read, since clients listen only then
            raise S3Error(code, f"This body may have at most {limit} bytes.")
        return b"".join(parts)


def text_of(node: Node) -> str:
    name, value = node
    if isinstance(value, str):
        return f"<{name}>{escape(value)}</{name}>" if value else f"<{name}/>"
    inner = "".join(text_of(child) for child in value)
    return f"<{name}>{inner}</{name.split(' ')[0]}>"


def xml(name: str, children: Iterable[Node], status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A document of the S3 namespace."""
    inner = "".join(text_of(child) for child in children)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">{inner}</{name}>'
    return Answer(status, {"content-type": "application/xml", **(headers or {})}, body.encode())


def error_answer(why: S3Error, request_id: str) -> Answer:
    nodes: list[Node] = [("Code", why.code), ("Message", why.message), *why.facts.items(), ("RequestId", request_id)]
    body = '<?xml version="1.0" encoding="UTF-8"?>\n' + text_of(("Error", nodes))
    return Answer(why.status, {"content-type": "application/xml", **why.headers}, body.encode())


def parse(raw: bytes, root: str, code: str = "MalformedXML") -> ET.Element:
    """The document without its namespaces. A document type (and so any entity) is refused."""
    if not raw.strip():
        raise S3Error("MissingRequestBodyError")
    try:
        words = raw.decode("utf-8-sig")  # text: what a document says of its encoding counts for nothing
        if "<!DOCTYPE" in words or "<!ENTITY" in words:
            raise S3Error(code)
        found = ET.fromstring(words)  # noqa: S314  see above
    except (ET.ParseError, ValueError, LookupError):
        raise S3Error(code) from None
    for element in found.iter():
        element.tag = element.tag.rpartition("}")[2]
    if found.tag != root:
        raise S3Error(code)
    return found


def text_in(element: ET.Element, path: str, default: str = "") -> str:
    return (element.findtext(path) or default).strip()


def header_text(value: str, name: str) -> str:
    """The value, if it can stand in a header. InvalidArgument for control characters."""
    if any((c < " " and c != "\t") or c == "\x7f" for c in value):
        raise S3Error("InvalidArgument", "Header values hold no control characters.", ArgumentName=name)
    return value


def shown(name: str, encoding: str) -> str:
    """A key as a listing writes it."""
    return quote(name, safe="/~*") if encoding == "url" else name
