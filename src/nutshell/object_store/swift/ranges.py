"""Ranges and conditions of reading requests (RFC 9110, sections 13 and 14), with Swift's bounds on greed."""

import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from email.utils import parsedate_to_datetime

from nutshell.object_store.rows import TICKS
from nutshell.object_store.swift.messages import Refusal, Request, Response

MOST_RANGES, MOST_OVERLAPS, MOST_DISORDERED = 50, 2, 8
CONDITIONS = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"))
Pieces = Callable[[int, int], AsyncIterator[bytes]]
File = Callable[[int, int], str]


def nowhere(start: int, end: int) -> str:
    return ""


def asked_ranges(header: str) -> list[tuple[int | None, int | None]] | None:
    """What a Range header says; None when it is to be ignored."""
    unit, equals, text = header.strip().replace(" ", "").partition("=")
    if not equals or unit.lower() != "bytes":
        return None
    found: list[tuple[int | None, int | None]] = []
    for item in text.split(","):
        m = re.fullmatch(r"([0-9]*)-([0-9]*)", item)
        if m is None or item == "-" or len(item) > 60:
            return None
        start, end = (int(m[1]) if m[1] else None), (int(m[2]) if m[2] else None)
        if start is not None and end is not None and end < start:
            return None
        found.append((start, end))
    return found


def ranges_in(header: str, length: int) -> list[tuple[int, int]] | None:
    """(first, after the last) of each satisfiable range; [] for 416; None for the whole."""
    asked = asked_ranges(header)
    if asked is None:
        return None
    found: list[tuple[int, int]] = []
    for start, end in asked:
        if start is None:
            if end:
                found.append((max(0, length - end), length))
        elif start < length:
            found.append((start, length if end is None else min(end + 1, length)))
    overlaps = 0
    for i, (a, b) in enumerate(found):
        overlaps += sum(1 for c, d in found[i + 1 :] if max(a, c) < min(b, d) and (a, b) != (c, d))
    disordered = found != sorted(found, key=lambda r: r[0])
    if len(found) > MOST_RANGES or overlaps > MOST_OVERLAPS or (disordered and len(found) >= MOST_DISORDERED):
        return []
    return found


def tags(header: str) -> list[str]:
    return [t.strip().removeprefix("W/").strip('"') for t in header.split(",") if t.strip()]


def seconds(header: str | None) -> float | None:
    if not header:
        return None
    try:
        return parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError, IndexError):
        return None


def condition(req: Request, etags: Sequence[str], changed: int) -> int:
    """The status that a condition of the request demands, 0 when all hold. `etags`: whatever counts as its tag."""
    headers = req.headers
    if CONDITIONS.isdisjoint(headers):
        return 0
    reads = req.method in ("GET", "HEAD")
    at = -(-changed // TICKS)
    wanted = headers.get("if-match")
    if wanted is not None and "*" not in tags(wanted) and not set(tags(wanted)) & set(etags):
        return 412
    none = headers.get("if-none-match")
    if none is not None and ("*" in tags(none) or set(tags(none)) & set(etags)):
        return 304 if reads else 412
    since = seconds(headers.get("if-unmodified-since"))
    if since is not None and at > since:
        return 412
    since = seconds(headers.get("if-modified-since"))
    if since is not None and none is None and at <= since and reads:
        return 304
    return 0


def answer(req: Request, headers: dict[str, str], size: int, pieces: Pieces, file: File = nowhere) -> Response:
    """200 or 206 with the bytes that were asked for, or 416. `file`: the path of one that is sent from there to there,
    "" where these bytes have none."""
    headers["accept-ranges"] = "bytes"
    asked = req.headers.get("range") if req.method == "GET" else None
    found = ranges_in(asked, size) if asked else None
    if found is None:
        headers["content-length"] = str(size)
        return Response(200, headers, stream=pieces(0, size) if req.method == "GET" else None)
    if not found:
        raise Refusal(
            416,
            headers={k: v for k, v in headers.items() if k in ("etag", "last-modified", "x-timestamp", "accept-ranges")}
            | {"content-range": f"bytes */{size}"},
        )
    if len(found) == 1:
        start, end = found[0]
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        headers["content-length"] = str(end - start)
        path = file(start, end)
        if path:
            return Response(206, headers, path=path, start=start)
        return Response(206, headers, stream=pieces(start, end))
    return several(headers, found, size, pieces)


def several(headers: dict[str, str], found: Sequence[tuple[int, int]], size: int, pieces: Pieces) -> Response:
    """206 with a part for each range (RFC 9110, section 14.6)."""
    boundary = os.urandom(16).hex()
    kind = headers.get("content-type", "")

    def head(start: int, end: int) -> bytes:
        said = f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {start}-{end - 1}/{size}\r\n\r\n"
        return said.encode("latin1")

    last = f"--{boundary}--".encode()

    async def stream() -> AsyncIterator[bytes]:
        for start, end in found:
            yield head(start, end)
            async for piece in pieces(start, end):
                yield piece
            yield b"\r\n"
        yield last

    headers["content-length"] = str(sum(len(head(a, b)) + b - a + 2 for a, b in found) + len(last))
    headers["content-type"] = f"multipart/byteranges;boundary={boundary}"
    return Response(206, headers, stream=stream())
