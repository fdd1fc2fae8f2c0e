"""Large bodies: whatever the pieces they come in, the file holds them and the sums are those of its mebibytes."""

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nutshell.object_store.engine.devices import Device
from nutshell.object_store.engine.staging import CHUNK, Inlet, LocalUpload, blob_file, sums_of


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
