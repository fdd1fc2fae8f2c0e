"""The metadata service's ear at 169.254.169.254: a small HTTP proxy from guests to the API.

Source: Compute metadata service (OpenStack and EC2 forms); RFC 9110 and 9112. What the API learns from us and not
from the guest: the guest's address (by the connection's peer) and its network or router (by the listening socket).
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOG = logging.getLogger("nutshell.host.net.metadata")
HEAD_BYTES, BODY_BYTES, ANSWER_BYTES = 16 << 10, 64 << 10, 16 << 20
READ_S, ANSWER_S = 15.0, 60.0
CONNECTIONS = 128
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_FORWARDED = frozenset(
    {"host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "forwarded",
     "expect", "authorization"}
)  # fmt: skip
_NOT_BELIEVED = ("proxy-", "x-forwarded-", "x-real-", "x-neutron-", "x-nutshell-", "x-instance-", "x-tenant-",
                 "x-project-", "x-ovn-")  # fmt: skip


class Refusal(Exception):
    """An answer of our own to a request that is not passed on."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass(frozen=True)
class Head:
    """The first line of a request or answer, split in three, and its headers in order."""

    first: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


def parse_head(data: bytes) -> Head:
    """Raises Refusal 400 for what is not HTTP/1.x."""
    lines = data.decode("latin-1").split("\r\n")
    first = lines[0].split(" ", 2)
    headers = []
    for line in lines[1:]:
        if line:
            name, colon, value = line.partition(":")
            if not colon or _NAME.fullmatch(name) is None or any(c in value for c in "\0\r\n"):
                raise Refusal(400, "malformed header")
            headers.append((name, value.strip()))
    if len(first) != 3:
        raise Refusal(400, "malformed request line")
    return Head((first[0], first[1], first[2]), tuple(headers))


def forwarded(request: Head, upstream: str, peer: str, facts: Mapping[str, str], body: bytes) -> bytes:
    """What the API is sent for the guest's request. Asked as HTTP/1.0: the answer ends with the connection."""
    method, target, version = request.first
    if method not in _METHODS:
        raise Refusal(405, "method not allowed")
    if not version.startswith("HTTP/1."):
        raise Refusal(505, "HTTP version not supported")
    if target.startswith("http://"):
        try:
            parts = urlsplit(target)
        except ValueError:
            raise Refusal(400, "malformed path") from None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.startswith("/") or any(ord(c) <= 32 or ord(c) > 126 for c in target):
        raise Refusal(400, "malformed path")
    where = urlsplit(upstream)
    lines = [f"{method} {where.path.rstrip('/')}{target} HTTP/1.0", f"Host: {where.netloc}", "Connection: close"]
    for name, value in request.headers:
        low = name.lower().replace("_", "-")  # WSGI-like servers take both for the same name
        if low not in _NOT_FORWARDED and not low.startswith(_NOT_BELIEVED):
            lines.append(f"{name}: {value}")
    lines.append(f"X-Forwarded-For: {peer}")
    lines += [f"{name}: {value}" for name, value in facts.items()]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def answered(head: Head) -> bytes:
    """The head of the API's answer as the guest gets it."""
    lines = [f"HTTP/1.1 {head.first[1]} {head.first[2]}"]
    for name, value in head.headers:
        if name.lower() not in ("connection", "keep-alive", "transfer-encoding", "upgrade", "trailer"):
            lines.append(f"{name}: {value}")
    return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


class MetadataProxy:
    """One listening socket's service: `facts` are headers that say which network or router it listens for."""

    def __init__(self, upstream: tuple[str, str], facts: Mapping[str, str]) -> None:
        self._upstream, secret = upstream
        self._facts = {**facts, "X-Nutshell-Metadata-Secret": secret}
        self._open = 0
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=HEAD_BYTES)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS:
                return
            peer = str(writer.get_extra_info("peername")[0]).partition("%")[0]
            try:
                async with asyncio.timeout(READ_S):
                    method, request = await self._read_request(reader, peer)
                async with asyncio.timeout(ANSWER_S):
                    await self._pass_on(request, method, writer)
            except Refusal as refusal:
                await _refuse(writer, refusal)
            except TimeoutError:
                await _refuse(writer, Refusal(504, "timed out"))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the guest went away
        finally:
            self._open -= 1
            writer.close()

    async def _read_request(self, reader: asyncio.StreamReader, peer: str) -> tuple[str, bytes]:
        try:
            head = parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
        except asyncio.LimitOverrunError:
            raise Refusal(431, "request header fields too large") from None
        if head.get("transfer-encoding"):
            raise Refusal(411, "length required")
        length = head.get("content-length") or "0"
        if not (length.isascii() and length.isdigit()) or len(length) > 18:
            raise Refusal(400, "malformed content-length")
        if int(length) > BODY_BYTES:
            raise Refusal(413, "content too large")
        body = await reader.readexactly(int(length))
        return head.first[0], forwarded(head, self._upstream, peer, self._facts, body)

    async def _pass_on(self, request: bytes, method: str, writer: asyncio.StreamWriter) -> None:
        where = urlsplit(self._upstream)
        port = where.port or (443 if where.scheme == "https" else 80)
        try:
            reader, upstream = await asyncio.open_connection(
                where.hostname, port, ssl=_tls(where.hostname) if where.scheme == "https" else None, limit=HEAD_BYTES
            )
        except OSError as error:
            _LOG.warning("metadata: the API at %s does not answer: %s", where.netloc, error.strerror or error)
            raise Refusal(503, "the metadata service is not available") from None
        try:
            upstream.write(request)
            try:
                head = parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
            except (Refusal, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
                raise Refusal(502, "the metadata service gave no answer") from None
            writer.write(answered(head))
            declared = head.get("content-length")
            left = min(int(declared), ANSWER_BYTES) if declared.isdigit() else ANSWER_BYTES
            while left > 0 and method != "HEAD":
                chunk = await reader.read(min(left, 65536))
                if not chunk:
                    break
                left -= len(chunk)
                writer.write(chunk)
                await writer.drain()
            await writer.drain()
        finally:
            upstream.close()


async def _refuse(writer: asyncio.StreamWriter, refusal: Refusal) -> None:
    body = f"{refusal.words}\n".encode()
    writer.write(
        f"HTTP/1.1 {refusal.status} {refusal.words}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()


def _tls(host: str | None) -> ssl.SSLContext:
    """Certificates are checked but for our own API on this very machine, which may have made its certificate itself."""
    context = ssl.create_default_context()
    if host in ("127.0.0.1", "::1", "localhost"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
