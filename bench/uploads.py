"""Memory of the object store while many upload large objects at once (as root).

python bench/uploads.py [--clients 64] [--mib 64]
A real cloud, one device, bytes flushed. The most that its API process had (proportional set size, looked up twenty
times a second), and every object's ETag compared.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from cloud import admin, cloud, pss_mib

PIECE = 1 << 16


async def upload(base: str, token: str, path: str, body: bytes, digest: str) -> None:
    """RuntimeError unless it is answered 201 with this hash."""
    at = urlsplit(base)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    head = f"PUT {at.path}{path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Length: {len(body)}"
    writer.write(f"{head}\r\n\r\n".encode())
    view = memoryview(body)
    for start in range(0, len(body), PIECE):
        writer.write(view[start : start + PIECE])
        await writer.drain()
    said = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
    writer.close()
    if not said.startswith("http/1.1 201") or digest not in said:
        raise RuntimeError(said)


async def most_memory(base: str, token: str, pid: int, clients: int, mib: int) -> tuple[float, float, float]:
    """MiB of the process before, at its most, and afterwards."""
    body = os.urandom(1 << 20) * mib
    digest = hashlib.md5(body).hexdigest()  # once: a busy client is a slow one
    await upload(base, token, "/uploads/first", body[:1], hashlib.md5(body[:1]).hexdigest())
    before = most = pss_mib([pid])
    running = asyncio.gather(*(upload(base, token, f"/uploads/{n}", body, digest) for n in range(clients)))
    while not running.done():
        most = max(most, await asyncio.to_thread(pss_mib, [pid]))
        await asyncio.sleep(0.05)
    await running
    return before, most, pss_mib([pid])


def in_a_fresh_cloud(clients: int, mib: int) -> tuple[float, float, float]:
    """As `most_memory`."""
    with cloud(simulate=False) as (base, state):
        client = admin(base, state)
        root = f"{base}/object-store/v1/AUTH_{client.project_id}"
        client.call("PUT", f"{urlsplit(root).path}/uploads")
        pid = json.loads((state / "run/api.json").read_text())["pid"]
        return asyncio.run(most_memory(root, client.token, pid, clients, mib))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--mib", type=int, default=64)
    given = parser.parse_args()
    before, most, after = in_a_fresh_cloud(given.clients, given.mib)
    what = f"{given.clients} uploads of {given.mib} MiB at once"
    print(f"{what}: {most:.0f} MiB at most ({before:.0f} before, {after:.0f} after)")


if __name__ == "__main__":
    main()
