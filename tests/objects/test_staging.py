"""Large bodies: whatever the pieces they come in, the file holds them and the sums are those of its mebibytes."""

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nutshell.object_store.engine.devices import Device
from nutshell.object_store.engine.sealing import Sealer
from nutshell.object_store.engine.staging import CHUNK, DIRECT, MOST_DRAWN, Inlet, LocalUpload, blob_file, sums_of


@pytest.mark.parametrize("size", [(1 << 16) + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 77])
@pytest.mark.parametrize("piece", [1000, 1 << 18, 3 * CHUNK])
def test_pieces_of_any_size(tmp_path: Path, size: int, piece: int) -> None:

    data, device = os.urandom(size), Device("d1", str(tmp_path), "z", 1.0)
    with ThreadPoolExecutor(1) as threads:
        inlet = Inlet(threads, True, lambda: 7, lambda key, policy, length: [device], lambda name, why: None, None)

        async def send() -> tuple[str, bytes]:
            async with LocalUpload(inlet, (1, "a/c"), 0, None, ()) as up:
                for at in range(0, size, piece):
                    await up.feed(data[at : at + piece])
                staged = await up.finish()
                staged.kept = True
                return staged.md5, staged.sums

        md5, sums = asyncio.run(send())
    assert blob_file(device, 7).read_bytes() == data
    assert md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert sums == sums_of(data)


class Source:
    """Gives bytes to a thread, so many at a time."""

    def __init__(self, data: bytes, *turns: int) -> None:
        self.data, self._turns, self.at = data, list(turns), 0

    def fill(self, buffer: memoryview) -> int:
        came = min(len(buffer), len(self.data) - self.at, self._turns.pop(0) if self._turns else 1 << 40)
        buffer[:came] = self.data[self.at : self.at + came]
        self.at += came
        return came


@pytest.mark.parametrize("expected", [True, False])
@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("size", [CHUNK, DIRECT, DIRECT + 1, DIRECT + 4096, MOST_DRAWN + CHUNK + 77])
@pytest.mark.parametrize("turns", [(), (1, CHUNK - 300_001, 0, 77)])
def test_bytes_that_a_thread_draws(
    tmp_path: Path, size: int, turns: tuple[int, ...], sealed: bool, expected: bool
) -> None:
    data, device = os.urandom(300_000 + size), Device("d1", str(tmp_path), "z", 1.0)
    source = Source(data[300_000:], *turns)
    sealer = Sealer({"root": bytes(32)}, "root") if sealed else None
    with ThreadPoolExecutor(2) as threads:
        inlet = Inlet(threads, True, lambda: 7, lambda key, policy, length: [device], lambda name, why: None, sealer)

        async def send() -> tuple[str, bytes, bytes]:
            async with LocalUpload(inlet, (1, "a/c"), 0, len(data) if expected else None, ()) as up:
                await up.feed(data[:300_000])
                while source.at < size:
                    await up.draw(source.fill)
                assert up.size == len(data)
                staged = await up.finish()
                staged.kept = True
                return staged.md5, staged.sums, staged.sealed

        md5, sums, seal = asyncio.run(send())
    kept = blob_file(device, 7).read_bytes()
    assert (sealer.decrypt(seal, kept, 0) if sealer is not None else kept) == data
    assert md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert sums == sums_of(kept)
