"""Archive extraction: a tar in one PUT becomes objects (Object Storage documentation, "Auto-extract archive files").

The archive is read as it comes; nothing of it is kept but the object at hand's next piece.
"""

import asyncio
import queue
import tarfile
import zlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from nutshell.object_store.swift import checks
from nutshell.object_store.swift.bulk import line, report, report_type
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response
from nutshell.object_store.swift.site import Site

KINDS = {"tar": "", "tar.gz": "gz", "tar.bz2": "bz2"}
MOST_FAILURES, MOST_CONTAINERS = 1_000, 10_000
PIECE = 1 << 20
Outcome = tuple[dict[str, Any], list[tuple[str, str]]]  # facts, and what went wrong


class Pipe:
    """What a thread reads while the event loop fills it."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(16)
        self._rest = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and not self._ended:
            piece = self._queue.get()
            if piece is None:
                self._ended = True
            else:
                self._rest += piece
        out, self._rest = self._rest[:size], self._rest[size:]
        return out

    async def fill(self, req: Request) -> None:
        """Until the body ends; whatever happens, the reader is told."""
        try:
            async for piece in req.chunks():
                await self._put(piece)
        finally:
            await self._put(None)

    async def _put(self, piece: bytes | None) -> None:
        while True:
            try:
                self._queue.put_nowait(piece)
                return
            except queue.Full:
                await asyncio.sleep(0.002)


def archives(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        kind = req.query.get("extract-archive")
        if kind is None or req.method != "PUT":
            return await inner(req)
        mode = KINDS.get(kind.lower().strip("."))
        if mode is None:
            raise Refusal(400, "Unsupported archive format")
        facts: dict[str, Any] = {"Number Files Created": 0, "Response Body": "", "Response Status": line(201)}
        wrong: list[tuple[str, str]] = []
        pipe = Pipe()
        filling = asyncio.ensure_future(pipe.fill(req))
        try:
            if req.length is None and req.headers.get("transfer-encoding", "").lower() != "chunked":
                raise Refusal(411)
            await _Extraction(site, inner, req, pipe, (facts, wrong)).run(mode)
            if wrong:
                facts["Response Status"] = line(400)
            elif not facts["Number Files Created"]:
                facts |= {"Response Status": line(400), "Response Body": "Invalid Tar File: No Valid Files"}
        except Refusal as why:
            facts |= {"Response Status": line(why.status), "Response Body": why.response().body.decode()}
        except (tarfile.TarError, zlib.error, EOFError, OSError) as why:
            facts |= {"Response Status": line(400), "Response Body": f"Invalid Tar File: {why}"}
        finally:
            await _finish(filling, pipe)
        return report(report_type(req), facts, wrong, root="extract")

    return handle


async def _finish(filling: "asyncio.Future[None]", pipe: Pipe) -> None:
    """Take the rest of the body, unread."""
    while not filling.done():
        while not pipe._queue.empty():
            pipe._queue.get_nowait()
        await asyncio.sleep(0.002)
    filling.exception()


class _Extraction:
    def __init__(self, site: Site, inner: Handler, req: Request, pipe: Pipe, outcome: Outcome) -> None:
        self._site, self._inner, self._req, self._pipe = site, inner, req, pipe
        self._facts, self._wrong = outcome
        self._seen: set[str] = set()
        self._made = 0

    async def run(self, mode: str) -> None:
        in_thread = self._site.cloud.in_thread
        source: Any = self._pipe
        opened: Any = tarfile.open
        tar = await in_thread(lambda: opened(mode=f"r|{mode}", fileobj=source))
        base = "/".join(p for p in (self._req.container, self._req.obj) if p).rstrip("/")
        while len(self._wrong) < MOST_FAILURES:
            member = await in_thread(tar.next)
            if member is None:
                return
            if not member.isfile():
                continue
            path = member.name.removeprefix("./").lstrip("/")
            path = f"{base}/{path}" if base else path
            if "/" in path:
                await self._one(tar, member, path)

    async def _one(self, tar: Any, member: tarfile.TarInfo, path: str) -> None:
        name = quote(path[:1282], errors="surrogateescape")
        try:
            path.encode()
        except UnicodeEncodeError:
            self._wrong.append((name, line(412)))
            return
        if member.size > checks.LIMITS["max_file_size"]:
            self._wrong.append((name, line(413)))
            return
        container, _, obj = path.partition("/")
        failed = await self._container(container)
        status = await self._put(tar, member, container, obj)
        if 200 <= status < 300:
            self._facts["Number Files Created"] += 1
            return
        if failed:
            self._wrong.append((quote(f"/{self._req.version}/{self._req.account}/{container}"), line(failed)))
        self._wrong.append((name, line(status)))
        if status == 401:
            raise Refusal(401)

    async def _container(self, name: str) -> int:
        """See that it exists; the status where it cannot."""
        if name in self._seen:
            return 0
        self._seen.add(name)
        for method in ("HEAD", "PUT"):
            status = await self._status(self._req.sub(method, container=name, obj=""))
            if 200 <= status < 300:
                self._made += method == "PUT"
                if self._made > MOST_CONTAINERS:
                    raise Refusal(400, f"More than {MOST_CONTAINERS} containers to create from tar.")
                return 0
            if status == 401:
                raise Refusal(401)
            if status != 404:
                return status
        return status

    async def _put(self, tar: Any, member: tarfile.TarInfo, container: str, obj: str) -> int:
        headers = {"content-length": str(member.size)}
        for k, v in self._req.headers.items():
            if k in ("x-delete-at", "x-delete-after") or k.startswith("x-object-meta-"):
                headers[k] = v
        for key, value in member.pax_headers.items():
            name = _header_of(key)
            if name:
                headers[name] = value.encode("utf-8", "surrogateescape").decode("latin1")
        file = tar.extractfile(member)
        return await self._status(
            self._req.sub("PUT", container=container, obj=obj, headers=headers, body=self._bytes(file))
        )

    async def _bytes(self, file: Any) -> AsyncIterator[bytes]:
        while data := await self._site.cloud.in_thread(lambda: file.read(PIECE)):
            yield data

    async def _status(self, req: Request) -> int:
        try:
            return (await self._inner(req)).status
        except Refusal as why:
            return why.status


def _header_of(key: str) -> str:
    """The header that an extended attribute in the archive stands for."""
    for lead in ("SCHILY.xattr.user.", "LIBARCHIVE.xattr.user."):
        if key.startswith(lead):
            name = key[len(lead) :].lower()
            if name == "mime_type":
                return "content-type"
            if name.startswith("meta."):
                return "x-object-meta-" + name[5:]
    return ""
