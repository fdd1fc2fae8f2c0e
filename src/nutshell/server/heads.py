"""What stands before a request's body, read strictly (RFC 9112, sections 2 to 7): whatever two readers might understand
differently is refused."""

import re
from collections.abc import Sequence
from typing import NamedTuple

MOST_BYTES, MOST_HEADERS = 256 << 10, 256
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*")  # RFC 3986, section 3.2.2, and a port
CHUNKED = -1


class BadHead(Exception):
    """Refused with this status; the connection ends."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Fields(NamedTuple):
    """The header fields, and what follows from them for the connection. length: of the body; CHUNKED: not said."""

    headers: list[tuple[bytes, bytes]]
    length: int
    close: bool
    keep: bool
    continues: bool  # the client waits for "100 Continue"
    upgrade: bool
    host: bool  # there is one


class Head(NamedTuple):
    method: str
    target: bytes
    newest: bool  # HTTP/1.1, not 1.0
    fields: Fields

    @property
    def keeps_alive(self) -> bool:
        return not self.fields.close if self.newest else self.fields.keep


def read_line(line: bytes) -> tuple[str, bytes, bool]:
    """(method, target, whether it is HTTP/1.1)."""
    m = LINE.fullmatch(line)
    if m is None:
        raise BadHead(505 if re.search(rb" HTTP/[02-9]\.[0-9]$", line) else 400, "this is no request line of HTTP/1.1")
    target = m[2]
    if not target.startswith((b"/", b"*")):
        scheme, slashes, rest = target.partition(b"://")  # as for a proxy
        if not slashes or scheme.lower() not in (b"http", b"https"):
            raise BadHead(400, "the request's target is neither a path nor an address")
        slash = re.search(rb"[/?]", rest)
        target = b"/" if slash is None else rest[slash.start() :]
        if target.startswith(b"?"):
            target = b"/" + target
    return m[1].decode(), target, m[3] == b"1"


def read_fields(lines: Sequence[bytes]) -> Fields:
    if len(lines) > MOST_HEADERS:
        raise BadHead(431, "there are too many header fields")
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        m = FIELD.fullmatch(line)
        if m is None:
            raise BadHead(400, "this is no header field")
        headers.append((m[1].lower(), m[2].rstrip(b" \t")))
    length, coded, connection, continues, upgrade = None, b"", b"", False, False
    hosts = 0
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit() or (length is not None and int(value) != length) or len(value) > 18:
                raise BadHead(400, "Content-Length is no number")
            length = int(value)
        elif name == b"host":
            hosts += 1
            if hosts > 1 or HOST.fullmatch(value) is None:
                raise BadHead(400, "Host is given twice, or is none")
        elif name == b"transfer-encoding":
            coded = coded + b"," + value.lower() if coded else value.lower()
        elif name == b"connection":
            connection += b"," + value.lower()
        elif name == b"expect":
            continues = value.lower() == b"100-continue"
        elif name == b"upgrade":
            upgrade = True
    if coded:
        if length is not None:
            raise BadHead(400, "Content-Length and Transfer-Encoding exclude each other")
        if coded.rpartition(b",")[2].strip() != b"chunked" or coded.count(b"chunked") != 1:
            raise BadHead(400, "the last Transfer-Encoding is not chunked")
        length = CHUNKED
    words = {word.strip() for word in connection.split(b",")} if connection else ()
    return Fields(headers, length or 0, b"close" in words, b"keep-alive" in words, continues,
                  upgrade and b"upgrade" in words, hosts == 1)  # fmt: skip


def check(head: Head) -> None:
    """What depends on the line and the fields together."""
    if head.newest and not head.fields.host:
        raise BadHead(400, "there is no Host")
    if head.fields.length == CHUNKED and not head.newest:
        raise BadHead(400, "HTTP/1.0 knows no chunks")
