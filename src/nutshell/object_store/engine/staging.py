"""Taking bytes in: little ones wait in memory for the log, large ones go to a file on each device as they come."""

import asyncio
import contextlib
import hashlib
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
MOST_PIECES = 512  # at once, by writev(2), which takes 1,024


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

    async def _pass_on(self, last: bool) -> None:
        """Hand what is held to a thread, when the one before is done."""
        if self._busy is not None:
            busy, self._busy = self._busy, None
            await busy
        if self._file is None:
            targets = self._inlet.targets(self._key, self._policy, self._expected or self.size)
            self._file = _Files(self._inlet, targets, self._hashes, self._scope)
        parts, self._parts, self._held = self._parts, [], 0
        if parts or last:
            loop = asyncio.get_running_loop()
            self._busy = loop.run_in_executor(self._inlet.threads, self._file.take, parts, last)

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

    def __init__(self, inlet: Inlet, devices: list[Device], hashes: Sequence[Any], scope: str) -> None:
        self._inlet, self.devices, self._hashes = inlet, devices, hashes
        self.blob_id = inlet.new_id()
        self.seal: Seal | None = inlet.sealer.new_seal(scope) if inlet.sealer is not None else None
        import xxhash

        self.sums: list[bytes] = []  # of whole chunks
        self._sum, self._filled = xxhash.xxh3_64(), 0
        self._out: dict[str, int] = {}

    def take(self, parts: list[bytes], last: bool) -> None:
        """Hash, seal, sum and write the next bytes, in the pieces they came in; flush after the last."""
        if not self._out:
            self._open()
        pieces: list[bytes] = []
        for part in parts:
            while len(part) > CHUNK - self._filled:
                room = CHUNK - self._filled
                pieces.append(self._seen(part[:room]))
                part = part[room:]
            pieces.append(self._seen(part))
        self._write(pieces)
        if last:
            if self._filled:
                self.sums.append(self._sum.digest())
            self._flush()

    def _seen(self, piece: bytes) -> bytes:
        """As it will lie on the disk: hashed, sealed, summed. It does not go beyond its chunk."""
        for one in self._hashes:
            one.update(piece)
        if self.seal is not None:
            piece = self.seal.encrypt(piece)
        self._sum.update(piece)
        self._filled += len(piece)
        if self._filled == CHUNK:
            self.sums.append(self._sum.digest())
            self._sum.reset()
            self._filled = 0
        return piece

    def _open(self) -> None:
        for device in list(self.devices):
            path = blob_file(device, self.blob_id)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._out[device.name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            except OSError as why:
                self._leave_out(device, why)

    def _leave_out(self, device: Device, why: OSError) -> None:
        """Go on where there are other devices; the copy is made up for later. Raises when this was the last."""
        refused = refusal(device.name, why)
        self._inlet.failed(device.name, refused)
        self._forget(device)
        self.devices.remove(device)
        if not self.devices:
            raise refused from why

    def _write(self, pieces: list[bytes]) -> None:
        total = sum(map(len, pieces))
        if not total:
            return
        for device in list(self.devices):
            out = self._out[device.name]
            try:
                done = os.writev(out, pieces[:MOST_PIECES])
                if done < total:
                    rest = memoryview(b"".join(pieces))
                    while done < total:
                        done += os.write(out, rest[done:])
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
