"""Taking bytes in: little ones wait in memory for the log, large ones go to a file on each device as they come."""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nutshell.object_store.engine.devices import Device
from nutshell.object_store.engine.sealing import Seal, Sealer
from nutshell.object_store.engine.segments import refusal
from nutshell.object_store.errors import EngineError
from nutshell.object_store.rows import Place

INLINE = 64 << 10  # up to here bytes go to the log
MOST_HELD, LEAST_HELD = 12 << 20, 128 << 10  # in memory, of all uploads and of each; as much again is being written
CHUNK = 1 << 20  # large ones are summed in pieces of this size
MOST_DRAWN = 16 << 20  # by a thread, before another upload has its turn
DIRECT = 4 << 20  # files from here on do not go through the page cache, nor do those of which the size is not known
BLOCK = 4096  # what O_DIRECT wants lengths and offsets to be multiples of, at most


def sum_of(data: bytes) -> bytes:
    """The checksum of a chunk: XXH3, 64 bits (an order of magnitude faster than the disk)."""
    import xxhash

    return xxhash.xxh3_64_digest(data)


def sums_of(data: bytes) -> bytes:
    if len(data) <= CHUNK:
        return sum_of(data)
    return b"".join(sum_of(data[i : i + CHUNK]) for i in range(0, len(data), CHUNK))


@dataclass
class StagedBytes:
    """Implements `Staged`. `data`: what goes to the log; else the file's places."""

    size: int
    md5: str
    sums: bytes
    policy: int
    key: int
    data: bytes = b""
    blob_id: int = 0
    places: list[Place] = field(default_factory=list)
    sealed: bytes = b""
    kept: bool = False


def _set_direct(fd: int, wanted: bool) -> None:
    """Whether writes pass the page cache by from now on (O_DIRECT, open(2)), where the file system can: large files are
    seldom read at once, and what they would drive out of memory is."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)


def _write_all(fd: int, data: memoryview) -> None:
    if len(data) % BLOCK:
        _set_direct(fd, False)
    done = 0
    while done < len(data):
        try:
            done += os.write(fd, data[done:])
        except OSError as why:
            if why.errno != errno.EINVAL or not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
                raise
            _set_direct(fd, False)  # blocks of another size, or the rest of a write that was cut


def blob_file(device: Device, blob_id: int) -> Path:
    name = f"{blob_id:016x}"
    return device.directory / "data" / name[-2:] / name


@dataclass
class Crowd:
    """How many uploads run, and how much each may hold before it goes to the disk: little where there are many."""

    running: int = 0

    @property
    def share(self) -> int:
        return max(LEAST_HELD, min(CHUNK, MOST_HELD // max(1, self.running)))


@dataclass(frozen=True)
class Inlet:
    """What an upload needs of its engine."""

    threads: ThreadPoolExecutor
    durable: bool
    new_id: Callable[[], int]
    targets: Callable[[int, int, int], list[Device]]  # (key, policy, bytes) → devices; NoRoom
    failed: Callable[[str, EngineError], None]  # a device refused
    sealer: Sealer | None  # of what comes in
    crowd: Crowd = field(default_factory=Crowd)


class LocalUpload:
    """Implements `Upload`."""

    def __init__(
        self, inlet: Inlet, name: tuple[int, str], policy: int, size: int | None, hashes: Sequence[Any]
    ) -> None:
        """`name`: where the bytes belong, and whose key seals them."""
        self.size = 0
        self._inlet, self._policy, self._expected = inlet, policy, size
        self._key, self._scope = name
        self._hashes = [hashlib.md5(usedforsecurity=False), *hashes]
        self._parts: list[bytes] = []
        self._held = 0
        self._file: _Files | None = None
        self._busy: asyncio.Future[None] | None = None
        self._staged: StagedBytes | None = None

    async def __aenter__(self) -> "LocalUpload":
        self._inlet.crowd.running += 1
        return self

    async def __aexit__(self, *why: object) -> None:
        self._inlet.crowd.running -= 1
        if self._busy is not None:
            with contextlib.suppress(Exception):
                await self._busy
        if self._file is not None and (self._staged is None or not self._staged.kept):
            self._file.throw_away()

    async def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)
        self._held += len(data)
        if self._held >= self._inlet.crowd.share or (
            self._file is None and self.size > INLINE and self._held > 4 * INLINE
        ):
            await self._pass_on(False)

    async def draw(self, fill: Callable[[memoryview], int]) -> None:
        parts = await self._handed()
        assert self._file is not None
        loop = asyncio.get_running_loop()
        drawing = loop.run_in_executor(self._inlet.threads, self._file.draw, parts, fill)
        try:
            self.size += await asyncio.shield(drawing)
        finally:
            if not drawing.done():  # nobody takes the buffer or the socket from a thread at work
                await asyncio.wait([drawing])

    async def _pass_on(self, last: bool) -> None:
        """Hand what is held to a thread, when the one before is done."""
        parts = await self._handed()
        if parts or last:
            assert self._file is not None
            loop = asyncio.get_running_loop()
            self._busy = loop.run_in_executor(self._inlet.threads, self._file.take, parts, last)

    async def _handed(self) -> list[bytes]:
        """What is held, for the thread that does what comes next: the one before is done, and there is a file."""
        if self._busy is not None:
            busy, self._busy = self._busy, None
            await busy
        if self._file is None:
            targets = self._inlet.targets(self._key, self._policy, self._expected or self.size)
            size = self._expected if self._expected is not None else DIRECT
            direct = self._inlet.durable and size >= DIRECT
            self._file = _Files(self._inlet, targets, self._hashes, self._scope, direct)
        parts, self._parts, self._held = self._parts, [], 0
        return parts

    async def finish(self) -> StagedBytes:
        if self._file is None and self.size <= INLINE:
            self._staged = self._small()
            return self._staged
        await self._pass_on(True)
        assert self._busy is not None
        assert self._file is not None
        busy, self._busy = self._busy, None
        await busy
        done = self._file
        self._staged = StagedBytes(
            self.size,
            self._hashes[0].hexdigest(),
            b"".join(done.sums),
            self._policy,
            self._key,
            blob_id=done.blob_id,
            places=[Place(d.name, 0, 0) for d in done.devices],
            sealed=done.seal.sealed if done.seal is not None else b"",
        )
        return self._staged

    def _small(self) -> StagedBytes:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        for one in self._hashes:
            one.update(data)
        sealed = b""
        if self._inlet.sealer is not None and data:
            seal = self._inlet.sealer.new_seal(self._scope)
            data, sealed = seal.encrypt(data), seal.sealed
        return StagedBytes(self.size, self._hashes[0].hexdigest(), sum_of(data) if data else b"", self._policy,
                           self._key, data=data, sealed=sealed)  # fmt: skip


class _Files:
    """The files of one upload, one a device; used by one thread at a time."""

    def __init__(self, inlet: Inlet, devices: list[Device], hashes: Sequence[Any], scope: str, direct: bool) -> None:
        """`direct`: past the page cache."""
        self._inlet, self.devices, self._hashes, self._direct = inlet, devices, hashes, direct
        self.blob_id = inlet.new_id()
        self.seal: Seal | None = inlet.sealer.new_seal(scope) if inlet.sealer is not None else None
        import xxhash

        self.sums: list[bytes] = []  # of whole chunks
        self._sum, self._summed = xxhash.xxh3_64(), 0
        self._out: dict[str, int] = {}
        self._buffer, self._filled = memoryview(b""), 0

    def take(self, parts: list[bytes], last: bool) -> None:
        """The next bytes; flushed after the last."""
        for part in parts:
            left = memoryview(part)
            while left:
                room = self._room()
                some, left = left[: len(room)], left[len(room) :]
                room[: len(some)] = some
                self._came(len(some))
        if last:
            self._pass_on()
            if self._summed:
                self.sums.append(self._sum.digest())
            self._flush()

    def draw(self, parts: list[bytes], fill: Callable[[memoryview], int]) -> int:
        """What was fed before, then bytes straight from their source; how many came from there."""
        self.take(parts, False)
        drawn = 0
        while drawn < MOST_DRAWN:
            room = self._room()
            came = fill(room)
            self._came(came)
            drawn += came
            if came < len(room):
                break
        return drawn

    def _room(self) -> memoryview:
        """What is free of the buffer: some of it always is."""
        if not self._buffer:
            # Page-aligned, as O_DIRECT wants it; a power of two, so that no buffer goes beyond its chunk.
            self._buffer = memoryview(mmap.mmap(-1, 1 << (self._inlet.crowd.share.bit_length() - 1)))
        return self._buffer[self._filled :]

    def _came(self, size: int) -> None:
        self._filled += size
        if self._filled == len(self._buffer):
            self._pass_on()

    def _pass_on(self) -> None:
        """What the buffer holds is hashed, sealed, summed and written."""
        if not self._out:
            self._open()
        data = self._buffer[: self._filled]
        for one in self._hashes:
            one.update(data)
        if self.seal is not None:
            data[:] = self.seal.encrypt(data)
        self._sum.update(data)
        self._summed += len(data)
        if self._summed == CHUNK:
            self.sums.append(self._sum.digest())
            self._sum.reset()
            self._summed = 0
        self._write(data)
        self._filled = 0

    def _open(self) -> None:
        for device in list(self.devices):
            path = blob_file(device, self.blob_id)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._out[device.name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            except OSError as why:
                self._leave_out(device, why)
                continue
            if self._direct:
                _set_direct(self._out[device.name], True)

    def _leave_out(self, device: Device, why: OSError) -> None:
        """Go on where there are other devices; the copy is made up for later. Raises when this was the last."""
        refused = refusal(device.name, why)
        self._inlet.failed(device.name, refused)
        self._forget(device)
        self.devices.remove(device)
        if not self.devices:
            raise refused from why

    def _write(self, data: memoryview) -> None:
        for device in list(self.devices):
            try:
                _write_all(self._out[device.name], data)
            except OSError as why:
                self._leave_out(device, why)

    def _flush(self) -> None:
        for device in list(self.devices):
            try:
                if self._inlet.durable:
                    os.fsync(self._out[device.name])
                    parent = os.open(blob_file(device, self.blob_id).parent, os.O_RDONLY)
                    try:
                        os.fsync(parent)
                    finally:
                        os.close(parent)
                os.close(self._out.pop(device.name))
            except OSError as why:
                self._leave_out(device, why)

    def throw_away(self) -> None:
        for device in self.devices:
            self._forget(device)

    def _forget(self, device: Device) -> None:
        out = self._out.pop(device.name, None)
        with contextlib.suppress(OSError):
            if out is not None:
                os.close(out)
        with contextlib.suppress(OSError):
            blob_file(device, self.blob_id).unlink(missing_ok=True)
