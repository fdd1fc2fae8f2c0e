"""The bytes of an object, wherever they lie: its own, or the segments of a large one.

A multipart object is kept as a static large object of Swift's (its parts in the container "<bucket>+segments"), so that
both APIs read it.
"""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from nutshell.object_store.port import Index, ObjectEngine
from nutshell.object_store.rows import Blob, ContainerRow, ObjectRow
from nutshell.object_store.s3.errors import S3Error

SEGMENTS = "+segments"
UPLOAD = "x-object-sysmeta-s3-upload-id"
DEEPEST = 4


@dataclass(frozen=True)
class Piece:
    """Bytes start to end of a blob, or the bytes themselves."""

    blob: Blob | None
    start: int
    end: int
    data: bytes = b""

    @property
    def length(self) -> int:
        return self.end - self.start


async def content(engine: ObjectEngine, account_id: int, row: ObjectRow, depth: int = 0) -> list[Piece]:
    """What a row's bytes are made of. InternalError (409) where a segment is gone or another."""
    blob = engine.read(lambda index: index.blob(row.blob)) if row.blob else None
    if row.kind != "slo":
        return [Piece(blob, 0, blob.size)] if blob is not None else []
    listed = await manifest(engine, blob)
    segments = engine.read(lambda index: _segments(index, account_id, listed))
    found: list[Piece] = []
    for entry, part in zip(listed, segments, strict=True):
        if "data" in entry:
            data = base64.b64decode(entry["data"])
            found.append(Piece(None, 0, len(data), data))
            continue
        if part is None or depth >= DEEPEST:
            raise S3Error("InternalError", f"A part of this object is missing: {entry['name']}", 409)
        segment, its_blob = part
        now = segment.meta.get("x-object-sysmeta-slo-etag") if segment.kind == "slo" else segment.etag
        if entry.get("hash") not in (None, now):  # Swift refuses it, too: other bytes than its ETag speaks of
            raise S3Error("InternalError", f"A part of this object is another one now: {entry['name']}", 409)
        if segment.kind == "slo":
            pieces = await content(engine, account_id, segment, depth + 1)
        else:
            pieces = [Piece(its_blob, 0, its_blob.size)] if its_blob is not None else []
        if entry.get("range"):
            first, _, last = entry["range"].partition("-")
            pieces = cut(pieces, int(first), int(last) + 1)
        found += pieces
    return found


def _segments(
    index: Index, account_id: int, listed: Sequence[dict[str, Any]]
) -> list[tuple[ObjectRow, Blob | None] | None]:
    """The row and bytes of each entry, None where there are none; a container is looked up once."""
    homes: dict[str, ContainerRow | None] = {}
    found: list[tuple[ObjectRow, Blob | None] | None] = []
    for entry in listed:
        container, _, name = entry.get("name", "").lstrip("/").partition("/")
        if container not in homes:
            homes[container] = index.container(account_id, container)
        home = homes[container]
        row = index.object(home.id, name) if home is not None else None
        found.append(None if row is None else (row, index.blob(row.blob) if row.blob else None))
    return found


async def manifest(engine: ObjectEngine, blob: Blob | None) -> list[dict[str, Any]]:
    """The segments that a large object lists."""
    if blob is None:
        return []
    raw = engine.peek(blob, 0, blob.size)
    if raw is None:  # long, or sealed
        raw = b"".join([piece async for piece in engine.fetch(blob, 0, blob.size)])
    found: list[dict[str, Any]] = json.loads(raw)
    return found


def cut(pieces: Sequence[Piece], start: int, end: int) -> list[Piece]:
    """The pieces of this range of the whole."""
    found, at = [], 0
    for piece in pieces:
        a, b = max(start, at), min(end, at + piece.length)
        if a < b:
            first = piece.start + a - at
            found.append(Piece(piece.blob, first, first + b - a, piece.data))
        at += piece.length
    return found


async def stream(engine: ObjectEngine, pieces: Sequence[Piece]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if piece.blob is None:
            yield piece.data[piece.start : piece.end]
            continue
        async for data in engine.fetch(piece.blob, piece.start, piece.end):
            yield data


def release(index: Any, bucket: Any, row: ObjectRow) -> None:
    """Inside a change: the parts of a multipart object go with it."""
    upload = row.meta.get(UPLOAD)
    if not upload:
        return
    home = index.container(bucket.account.id, bucket.name + SEGMENTS)
    if home is not None:
        drop_all(index, home.id, f"{row.name}/{upload}/")


def drop_all(index: Any, container_id: int, prefix: str) -> None:
    while True:
        page = index.list_objects(container_id, after="", until="", prefix=prefix, limit=1000, reverse=False)
        for part in page:
            index.drop_object(part)
        if len(page) < 1000:
            return
