"""Giving bytes out: from whichever replica is whole, verified, opened, in pieces."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from nutshell.object_store.engine.devices import Device
from nutshell.object_store.engine.segments import Log
from nutshell.object_store.engine.staging import CHUNK, INLINE, blob_file, sum_of
from nutshell.object_store.errors import DamagedBytes
from nutshell.object_store.rows import Blob, Place

log = logging.getLogger("nutshell.object_store")
SUM_BYTES = 8


class Shelves(Protocol):
    """What the fetcher needs of its engine."""

    settings: Any

    def device(self, name: str) -> Device | None: ...

    def log_of(self, name: str) -> Log | None: ...

    def change_now(self, work: Any) -> Any: ...

    def read(self, work: Any) -> Any: ...


class Fetcher:
    def __init__(self, shelves: Shelves, threads: ThreadPoolExecutor) -> None:
        self._shelves, self._threads = shelves, threads

    def peek(self, blob: Blob, start: int, end: int) -> bytes | None:
        """Little bytes out of the page cache, at once; None: ask `stream`."""
        if blob.size > INLINE or not blob.places:
            return None
        place = blob.places[0]
        journal = self._shelves.log_of(place.device)
        if not place.segment or journal is None:
            return None
        try:
            data = journal.read(place.segment, place.offset, blob.size, waits=False)
        except OSError:
            return None
        if data is None or (self._shelves.settings.verify != "none" and sum_of(data) != blob.sums):
            return None
        if blob.sealed:
            data = self._shelves.settings.sealer.decrypt(blob.sealed, data, 0)
        return data if end - start == blob.size else data[start:end]

    async def stream(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        """Pieces of about a mebibyte; the next one is read while one is sent."""
        loop = asyncio.get_running_loop()
        at = start
        coming = loop.run_in_executor(self._threads, self._piece, blob, at, end) if at < end else None
        while coming is not None:
            data = await coming
            at += len(data)
            coming = loop.run_in_executor(self._threads, self._piece, blob, at, end) if at < end else None
            yield data

    def whole(self, blob: Blob) -> bytes:
        """All of it, verified, opened. For manifests and the like."""
        parts, at = [], 0
        while at < blob.size:
            parts.append(self._piece(blob, at, blob.size))
            at += len(parts[-1])
        return b"".join(parts)

    def _piece(self, blob: Blob, at: int, end: int) -> bytes:
        """From `at` to the end of its chunk at most."""
        number = at // CHUNK
        first = number * CHUNK
        stop = min(first + CHUNK, end)
        verify = self._shelves.settings.verify == "all" or (
            self._shelves.settings.verify == "small" and blob.size <= INLINE
        )
        for attempt in (1, 2):
            for place in blob.places:
                data = self._from(blob, place, (at, stop), number if verify or attempt == 2 else None)
                if data is not None:
                    if blob.sealed:
                        data = self._shelves.settings.sealer.decrypt(blob.sealed, data, at)
                    return bytes(data)
            fresh = self._again(blob.id)
            if fresh is None:
                break
            blob = fresh
        raise DamagedBytes(f"no replica of blob {blob.id} is whole")

    def _again(self, blob_id: int) -> Blob | None:
        """Where the bytes are now: they may have been moved meanwhile."""
        found: Blob | None = self._shelves.read(lambda index: index.blob(blob_id))
        return found

    def _from(self, blob: Blob, place: Place, span: tuple[int, int], number: int | None) -> bytes | None:
        """Bytes of one replica, None where they are not what they were."""
        at, stop = span
        try:
            if number is None:
                data = self.raw(blob, place, at, stop)
                if len(data) == stop - at:
                    return data
                self._damaged(blob, place, "is shorter than it was")
                return None
            first = number * CHUNK
            chunk = self.raw(blob, place, first, min(first + CHUNK, blob.size))
            if sum_of(chunk) != blob.sums[number * SUM_BYTES : (number + 1) * SUM_BYTES]:
                self._damaged(blob, place, "does not match its checksum")
                return None
            return chunk[at - first : stop - first]
        except OSError as why:
            self._damaged(blob, place, f"cannot be read: {why.strerror}")
            return None

    def raw(self, blob: Blob, place: Place, start: int, end: int) -> bytes:
        """Stored bytes of one replica. OSError."""
        device = self._shelves.device(place.device)
        journal = self._shelves.log_of(place.device)
        if device is None or journal is None:
            raise OSError(2, "its device is not here")
        if place.segment:
            return journal.read(place.segment, place.offset + start, end - start) or b""
        fd = os.open(blob_file(device, blob.id), os.O_RDONLY)
        try:
            return os.pread(fd, end - start, start)
        finally:
            os.close(fd)

    def _damaged(self, blob: Blob, place: Place, what: str) -> None:
        log.warning("object store: blob %d on device %s %s", blob.id, place.device, what)
        try:
            self._shelves.change_now(lambda index: index.run("repair", blob.id, f"{place.device}: {what}"))
        except Exception:
            log.exception("object store: the damage could not be noted")
