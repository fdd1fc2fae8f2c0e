"""Reading objects (Object Storage API, "Get object", "Show object metadata")."""

from collections.abc import AsyncIterator
from typing import Any

from nutshell.object_store.errors import DamagedBytes
from nutshell.object_store.rows import Blob, ObjectRow, timestamp
from nutshell.object_store.swift import ranges
from nutshell.object_store.swift.checks import http_time
from nutshell.object_store.swift.messages import Refusal, Request, Response, plain
from nutshell.object_store.swift.site import Site

LARGE = 1 << 20  # from here on the server sends the file itself


def headers_of(row: ObjectRow) -> dict[str, str]:
    out = {
        "content-type": row.type,
        "etag": row.etag,
        "last-modified": http_time(row.ts),
        "x-timestamp": timestamp(row.ts),
    }
    out.update(row.meta)
    if row.delete_at:
        out["x-delete-at"] = str(row.delete_at)
    return out


async def get(site: Site, req: Request) -> Response:
    """GET and HEAD. `answer.row` is the object's row, for the filters above."""
    _, container = site.container(req)
    row: ObjectRow | None = req.notes.get("row")
    blob: Blob | None = None
    if row is None:
        found = req.notes.get("stored") or site.engine.read(lambda i: i.stored(container.id, req.obj))
        row, blob = found or (None, None)
    if row is None or (row.delete_at and row.delete_at <= site.cloud.clock.now() and not req.notes.get("expired")):
        raise Refusal(404)
    return respond(site, req, row, blob)


def respond(site: Site, req: Request, row: ObjectRow, blob: Blob | None) -> Response:
    """The answer for a row: conditions, ranges, bytes. `blob`: its bytes, if they were looked up already."""
    headers = headers_of(row)
    itself = {"slo": ("multipart-manifest", "get"), "symlink": ("symlink", "get")}.get(row.kind)
    if itself is None and "x-object-manifest" in row.meta:
        itself = ("multipart-manifest", "get")
    if itself is not None and req.query.get(itself[0]) != itself[1]:
        req = req.sub(headers={}, notes=req.notes)  # conditions and ranges are about what it stands for
    extra = req.notes.get("etags")
    tags = [row.etag, *extra(row)] if extra is not None else [row.etag]
    failed = ranges.condition(req, tags, row.ts)
    if failed:
        known = {k: headers[k] for k in ("etag", "last-modified")} | {"accept-ranges": "bytes"}
        answer = plain(failed, headers=_few(headers) if failed == 304 else known)
        answer.row = row
        return answer
    if row.blob and blob is None:
        blob = site.engine.read(lambda i: i.blob(row.blob))
    size = blob.size if blob is not None else 0
    if itself is not None:  # the filters above read it
        req.notes.pop("may_send_file", None)
    whole = _at_once(site, req, headers, blob)
    if whole is not None:
        whole.row = row
        return whole

    def pieces(start: int, end: int) -> AsyncIterator[bytes]:
        return _fetch(site, blob, start, end)

    def file(start: int, end: int) -> str:
        parts = req.notes.get("may_send_file") and req.notes.get("may_send_part")
        return (parts and blob and end - start >= LARGE and site.engine.path(blob)) or ""

    answer = ranges.answer(req, headers, size, pieces, file)
    answer.row = row
    return answer


def _few(headers: dict[str, str]) -> dict[str, str]:
    """304 says nothing of the body."""
    return {k: v for k, v in headers.items() if k != "content-type"} | {"accept-ranges": "bytes"}


def _at_once(site: Site, req: Request, headers: dict[str, str], blob: Blob | None) -> Response | None:
    """Little bytes out of memory, or a large file as such; None where they have to be read in pieces."""
    if req.method != "GET" or "range" in req.headers:
        return None
    headers["accept-ranges"] = "bytes"
    if blob is None:
        headers["content-length"] = "0"
        return Response(200, headers)
    if blob.size >= LARGE:
        path = site.engine.path(blob) if req.notes.get("may_send_file") else None
        if path is None:
            return None
        headers["content-length"] = str(blob.size)
        return Response(200, headers, path=path, start=0 if req.notes.get("may_send_part") else None)
    data = site.engine.peek(blob, 0, blob.size)
    if data is None:
        return None
    headers["content-length"] = str(blob.size)
    return Response(200, headers, data)


async def _fetch(site: Site, blob: Blob | None, start: int, end: int) -> AsyncIterator[bytes]:
    if blob is None or start >= end:
        return
    try:
        async for piece in site.engine.fetch(blob, start, end):
            yield piece
    except DamagedBytes as why:
        raise ConnectionError(str(why)) from None  # the answer has begun: all that is left is to break it off


def sysmeta(row: ObjectRow) -> dict[str, Any]:
    return {k: v for k, v in row.meta.items() if k.startswith("x-object-sysmeta-")}
