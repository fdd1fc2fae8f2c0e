"""Large files of the cloud's own services, kept as objects; beyond a size in segments, as Swift's clients do it
(Object Storage documentation, "Dynamic large objects").

The object with the file's own name comes last: what has none is no file, whenever the process dies.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nutshell.object_store.errors import EngineError, NoRoom
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.rows import AccountRow, Blob, ContainerRow, ObjectRow, stamp

CHUNK = 1 << 20
PAGE = 200
ACCOUNT = "AUTH_.services"  # no project's: only who may see every account sees it
NOTHING = "d41d8cd98f00b204e9800998ecf8427e"  # the MD5 of no bytes
KIND = "application/octet-stream"


@dataclass(frozen=True)
class EngineDepot:
    """Implements `Depot` (port.py) on the object store's engine."""

    engine: ObjectEngine

    def put(self, container: str, name: str, source: Path, segment_bytes: int) -> None:
        self.delete(container, name)
        with _faults(), asyncio.Runner() as runner:
            runner.run(self._put(self._container(container), name, source, segment_bytes))

    def read(self, container: str, name: str, start: int, end: int) -> Iterator[bytes]:
        at = 0
        with _faults():
            for row in self._rows(container, name):
                first, last = max(start - at, 0), min(end - at, row.size)
                at += row.size
                if first < last:
                    yield from self._bytes(row, first, last)

    def size(self, container: str, name: str) -> int:
        with _faults():
            return sum(row.size for row in self._rows(container, name))

    def delete(self, container: str, name: str) -> None:
        with _faults():
            _, found = self.engine.find(ACCOUNT, container)
            if found is not None:
                while self.engine.change_now(lambda index: _drop_some(index, found.id, name)):
                    pass

    # -- writing
    def _container(self, name: str) -> ContainerRow:
        """Made when it is first needed."""
        _, found = self.engine.find(ACCOUNT, name)
        return found if found is not None else self.engine.change_now(lambda index: _make(index, name))

    async def _put(self, container: ContainerRow, name: str, source: Path, segment_bytes: int) -> None:
        with open(source, "rb") as file:
            size = source.stat().st_size
            if size <= segment_bytes:
                await self._object(container, name, file, size)
                return
            for n, start in enumerate(range(0, size, segment_bytes), 1):
                await self._object(container, f"{name}-{n:05d}", file, min(segment_bytes, size - start))
        meta = {"x-object-manifest": f"{container.name}/{name}-"}
        await self.engine.change(lambda index: _name(index, container.id, name, None, meta))

    async def _object(self, container: ContainerRow, name: str, file: Any, size: int) -> None:
        """The file's next bytes become one object. The engine writes and sums beside the reading."""
        async with self.engine.upload(f"{ACCOUNT}/{container.name}/{name}", container.policy, size) as upload:
            left = size
            while left:
                data = file.read(min(CHUNK, left))
                if not data:
                    raise OSError(errno.EIO, "the file became shorter meanwhile")
                left -= len(data)
                await upload.feed(data)
            staged = await upload.finish()
            await self.engine.change(lambda index: _name(index, container.id, name, staged, {}))

    # -- reading
    def _rows(self, container: str, name: str) -> list[ObjectRow]:
        """The objects that make up the file, in their order. FileNotFoundError."""
        _, found = self.engine.find(ACCOUNT, container)
        row = self.engine.read(lambda i: i.object(found.id, name)) if found is not None else None
        if found is None or row is None:
            raise FileNotFoundError(errno.ENOENT, f"there is no object {container}/{name}")
        if "x-object-manifest" not in row.meta:
            return [row]
        rows: list[ObjectRow] = []
        while True:
            after = rows[-1].name if rows else ""
            page = self.engine.read(
                lambda i, after=after: i.list_objects(  # type: ignore[misc]
                    found.id, after=after, until="", prefix=f"{name}-", limit=PAGE, reverse=False
                )
            )
            rows += page
            if len(page) < PAGE:
                return rows

    def _bytes(self, row: ObjectRow, start: int, end: int) -> Iterator[bytes]:
        blob = self.engine.read(lambda i: i.blob(row.blob))
        if blob is None:
            raise FileNotFoundError(errno.ENOENT, f"the bytes of {row.name} are gone")
        path = self.engine.path(blob)
        if path is None:
            yield from self._fetched(blob, start, end)
            return
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            while start < end:
                data = file.read(min(CHUNK, end - start))
                if not data:
                    raise OSError(errno.EIO, f"the bytes of {row.name} end early")
                start += len(data)
                yield data

    def _fetched(self, blob: Blob, start: int, end: int) -> Iterator[bytes]:
        """Where no file holds the bytes as they are: sealed, small, or to be verified."""
        pieces: AsyncIterator[bytes] = self.engine.fetch(blob, start, end)

        async def following() -> bytes:
            return await anext(pieces, b"")

        with asyncio.Runner() as runner:
            while data := runner.run(following()):
                yield data


class _faults:
    """What the engine refuses comes as an OSError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, why: Any, trace: Any) -> None:
        if isinstance(why, NoRoom):
            raise OSError(errno.ENOSPC, str(why)) from why
        if isinstance(why, EngineError):
            raise OSError(errno.EIO, str(why)) from why


def _make(index: Any, name: str) -> ContainerRow:
    account: AccountRow | None = index.account(ACCOUNT)
    now = stamp()
    if account is None:
        account = AccountRow(index.new_id(), ACCOUNT, now, now, {})
        index.put_account(account)
    found: ContainerRow | None = index.container(account.id, name)
    if found is None:
        found = ContainerRow(index.new_id(), account.id, name, 0, now, now, {})
        index.put_container(found)
    return found


def _name(index: Any, container_id: int, name: str, staged: Any, meta: dict[str, str]) -> None:
    """Inside a change: the staged bytes (None: no bytes) get this name."""
    old: ObjectRow | None = index.object(container_id, name)
    now = max(stamp(), old.ts + 1 if old is not None else 0)
    size, etag, blob = (staged.size, staged.md5, index.keep(staged)) if staged is not None else (0, NOTHING, 0)
    index.put_object(ObjectRow(container_id, name, now, size, etag, KIND, blob, meta), old)


def _drop_some(index: Any, container_id: int, name: str) -> bool:
    """Inside a change: the name goes first, then its segments, a page at a time. Whether there may be more."""
    row = index.object(container_id, name)
    if row is not None:
        index.drop_object(row)
    rows = index.list_objects(container_id, after="", until="", prefix=f"{name}-", limit=PAGE, reverse=False)
    for one in rows:
        index.drop_object(one)
    return len(rows) == PAGE
