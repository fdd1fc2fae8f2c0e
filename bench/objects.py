"""The object store beside real Swift and nginx, in one run: rates, listings, memory (as root).

python bench/objects.py [--seconds 5] [--names 10000] [--million 1000000] [--without-peers]
Ours flushes bytes and index before it answers a PUT (a real cloud, one device); Swift as bench/peers/swift_peer.py
says; nginx serves files of the same sizes. wrk asks for what is small, bare sockets for what is large, on the same
machine, connections kept. What the disk and MD5 do without a server is measured in the same run, before and after.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "peers"))
import load
import uploads
from cloud import admin, cloud, nutshell, pss_mib


@dataclass
class Store:
    name: str
    base: str  # the account's URL
    token: str

    @property
    def address(self) -> tuple[str, int, str]:
        parts = urlsplit(self.base)
        return parts.hostname or "", parts.port or 80, parts.path


class Connection:
    """One keep-alive connection; requests are bytes prepared beforehand."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.status = 0

    async def open(self) -> None:
        host, port, _ = self._store.address
        self._r, self._w = await asyncio.open_connection(host, port, limit=1 << 22)

    async def send(self, method: str, path: str, body: bytes = b"") -> int:
        """Bytes of the answer's body."""
        _, _, base = self._store.address
        head = f"{method} {base}{path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {self._store.token}\r\n"
        self._w.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        if body:
            self._w.write(body)
            await self._w.drain()
        raw = (await self._r.readuntil(b"\r\n\r\n")).lower()
        self.status = int(raw[9:12])
        if self.status in (204, 304):
            return 0
        at = raw.find(b"content-length:")
        if at < 0:
            raise RuntimeError(f"{self._store.name}: {method} {path}: {raw!r}")
        length = left = int(raw[at + 15 : raw.index(b"\r\n", at)])
        while left:
            left -= len(await self._r.read(min(left, 1 << 20)))
        return length

    def close(self) -> None:
        self._w.close()


async def listing(store: Store, names: int) -> dict[str, float]:
    """A page of 10,000 names at the end of so many."""
    connections = [Connection(store) for _ in range(16)]
    for connection in connections:
        await connection.open()
    await connections[0].send("PUT", "/bench")
    await connections[0].send("PUT", "/names")

    async def fill(connection: Connection, start: int) -> None:
        for n in range(start, names, len(connections)):
            await connection.send("PUT", f"/names/n{n:08d}", b"x")

    await asyncio.gather(*(fill(c, i) for i, c in enumerate(connections)))
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        await connections[0].send("GET", f"/names?limit=10000&marker=n{max(0, names - 10001):08d}")
        taken.append((time.perf_counter() - began) * 1000)
    return {f"a page at the end of {names:,} names, ms": statistics.median(taken)}


PAGES = {
    "from a marker": "marker=f{at:07d}/",
    "with a prefix": "prefix=f{at:07d}/",
    "up to an end_marker": "marker=f{at:07d}/&end_marker=f{last:07d}/",
    "in reverse": "reverse=true&marker=f{last:07d}/",
    "folders": "delimiter=/",
    "folders from a marker": "delimiter=/&marker=f{at:07d}/",
    "folders in reverse": "delimiter=/&reverse=true&marker=f{last:07d}/",
}
IN_A_FOLDER = 50


def fill(state: Path, account: str, sizes: Sequence[int]) -> None:
    """Containers `names-SIZE` of a stopped cloud, with the rows that PUTs of empty objects make."""
    from nutshell.object_store.engine.devices import Policy
    from nutshell.object_store.engine.local import EngineSettings, LocalEngine
    from nutshell.object_store.rows import ContainerRow, ObjectRow, stamp

    directory = state / "objects"
    engine = LocalEngine(EngineSettings(directory, [Policy(0, "standard", 2), Policy(1, "silver", 1)]))
    empty = hashlib.md5(b"").hexdigest()

    def contain(index: Any, size: int) -> ContainerRow:
        row = ContainerRow(index.new_id(), index.account(account).id, f"names-{size}", 0, stamp(), stamp(), {})
        index.put_container(row)
        return row

    def some(index: Any, container: int, numbers: range) -> None:
        now = stamp()
        for n in numbers:
            name = f"f{n // IN_A_FOLDER:07d}/n{n:08d}"
            index.put_object(ObjectRow(container, name, now, 0, empty, "application/octet-stream", 0, {}), None)

    for size in sizes:
        container = engine.change_now(lambda i: contain(i, size)).id  # noqa: B023 - called at once
        for at in range(0, size, 5000):
            numbers = range(at, min(size, at + 5000))
            engine.change_now(lambda i: some(i, container, numbers))  # noqa: B023 - called at once
    engine.close()
    owner = directory.stat()
    for path in (directory, *directory.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


async def pages(store: Store, sizes: Sequence[int]) -> dict[str, float]:
    """Pages of 50 names or folders, in milliseconds, in the middle of so many."""
    connection = Connection(store)
    await connection.open()
    out = {}
    for what, query in PAGES.items():
        for size in sizes:
            at = size // IN_A_FOLDER // 2
            asked = query.format(at=at, last=at + 1) if "delimiter" not in query else query.format(at=0, last=at * 2)
            taken = []
            for _ in range(31):
                began = time.perf_counter()
                await connection.send("GET", f"/names-{size}?format=json&limit=20&{asked}")
                taken.append((time.perf_counter() - began) * 1000)
            if connection.status != 200:
                raise RuntimeError(f"{what}: {connection.status}")
            out[f"20 of {size:,}, {what}, ms"] = statistics.median(taken)
    connection.close()
    return out


def measure(store: Store, seconds: float, names: int) -> dict[str, float]:
    host, port, path = store.address
    base = f"http://{host}:{port}"
    out: dict[str, float] = asyncio.run(listing(store, names))
    for clients in (1, 8, 32):
        out |= load.small(base, f"{path}/bench", store.token, clients, seconds)
    for what, method, lasts in (("PUT 64 MiB", "PUT", seconds), ("GET 64 MiB just written", "GET", 0.01),
                                ("GET 64 MiB", "GET", seconds)):  # fmt: skip
        rate = load.large_rate(base, method, lambda n: f"{path}/bench/large-{n}", store.token, lasts)
        out[f"{what}, 4 clients, MiB/s"] = rate
    return out


def measure_nginx(base: str, seconds: float) -> dict[str, float]:
    out = {}
    for clients in (1, 8, 32):
        out[f"GET 4 KiB, {clients} clients, /s"], _ = load.run_wrk(base, "GET", "/small", "", clients, seconds)
    out["GET 64 MiB, 4 clients, MiB/s"] = load.large_rate(base, "GET", lambda n: "/large", "", seconds)
    return out


def swift_login(port: int) -> Store:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/auth/v1.0", headers={"X-Auth-User": "test:tester", "X-Auth-Key": "testing"})
    answer = connection.getresponse()
    answer.read()
    return Store("swift", answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"])


def peers(seconds: float, names: int) -> list[dict[str, float]]:
    """Swift's figures and nginx's."""
    import swift_peer
    from settings import Layout

    at = Layout(Path("/var/tmp/swift-peer"), 17200)
    command = [sys.executable, str(Path(__file__).parent / "peers/swift_peer.py")]
    subprocess.run([*command, "install"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "start"], check=True, stdout=subprocess.DEVNULL)
    try:
        www = at.state / "www"
        (www / "small").write_bytes(load.LARGE[: load.SMALL])
        (www / "large").write_bytes(load.LARGE)
        theirs = measure(swift_login(at.port), seconds, names)
        return [theirs, measure_nginx(f"http://127.0.0.1:{at.port + swift_peer.NGINX}", seconds)]
    finally:
        subprocess.run([*command, "stop"], check=False, stdout=subprocess.DEVNULL)


def ours(seconds: float, names: int, million: int) -> tuple[dict[str, float], float]:
    """Our figures, and the memory after them. `million`: how many names the pages are looked up among."""
    with cloud(simulate=False) as (base, state):
        client = admin(base, state)
        store = Store("nutshell", f"{base}/object-store/v1/AUTH_{client.project_id}", client.token)
        found = measure(store, seconds, names)
        pids = json.loads(nutshell("status", "--json", "--state", str(state)).stdout)["pids"]
        memory = pss_mib(list(pids.values()) if isinstance(pids, dict) else pids)
        if million:
            nutshell("down", "--state", str(state))
            fill(state, f"AUTH_{client.project_id}", (1000, million))
            nutshell("up", "--state", str(state), "--port", str(store.address[1]))
            found |= asyncio.run(pages(store, (1000, million)))
    found["64 uploads of 64 MiB at once, most memory, MiB"] = uploads.in_a_fresh_cloud(64, 64)[1]
    return found, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--names", type=int, default=10_000, help="in the listing")
    parser.add_argument("--million", type=int, default=1_000_000, help="names that pages are looked up among; 0: none")
    parser.add_argument("--without-peers", action="store_true")
    given = parser.parse_args()
    before = load.raw(given.seconds)
    mine, memory = ours(given.seconds, given.names, given.million)
    after = load.raw(given.seconds)
    print("ours: " + ", ".join(f"{k}: {v:.4g}" for k, v in mine.items()), f"{memory:.0f} MiB", flush=True)
    columns = [{}, {}] if given.without_peers else peers(given.seconds, given.names)
    print(
        f"| {'what':<46} | {'nutshell':>10} | {'swift':>10} | {'nginx':>10} | ratio to swift |\n|---|---|---|---|---|"
    )
    for what, value in mine.items():
        swift, nginx = (column.get(what) for column in columns)
        ratio = "" if not swift else f"{swift / value if what.endswith('ms') else value / swift:.1f}"
        cells = [f"{v:>10,.4g}" if v is not None else f"{'-':>10}" for v in (value, swift, nginx)]
        print(f"| {what:<46} | {' | '.join(cells)} | {ratio:>14} |")
    print(f"memory of ours afterwards (PSS): {memory:.0f} MiB")
    print_shares(mine, columns[1], {what: (before[what] + after[what]) / 2 for what in before})


def print_shares(mine: dict[str, float], nginx: dict[str, float], raw: dict[str, float]) -> None:
    """How near ours comes to what the machine can do."""
    for what, value in raw.items():
        print(f"{what}: {value:,.4g}")
    flushes, *large, by_hand = raw.values()
    print(f"PUT 4 KiB, 1 client: {mine['PUT 4 KiB, 1 clients, /s'] / flushes:.0%} of the raw flush rate (aim 70 %)")
    print(f"PUT 64 MiB: {mine['PUT 64 MiB, 4 clients, MiB/s'] / min(large):.0%} of min(disk, MD5) (aim 80 %), "
          f"{mine['PUT 64 MiB, 4 clients, MiB/s'] / by_hand:.0%} of the same by hand")  # fmt: skip
    got = "GET 64 MiB, 4 clients, MiB/s"
    if got in nginx:
        print(f"GET 64 MiB: {mine[got] / nginx[got]:.0%} of nginx (aim 90 %)")


if __name__ == "__main__":
    main()
