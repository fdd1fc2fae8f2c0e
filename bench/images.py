"""Upload and download of an image beside what the machine allows: the same bytes hashed, written and sent by hand.

python bench/images.py [--mib 256] [--rounds 5] [--real]. Each round measures by hand, then through the API, with the
same data and (with --real, as root) the same flush; medians, and CPU of the serving process for each MiB.

By hand: what arrives on a socket is hashed (md5 and sha512, a thread each) and written, as a program would that does
nothing else; and a file is read and sent. The client is the same on both sides.
"""

import argparse
import hashlib
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cloud import admin, cloud, nutshell

MIB = 1 << 20


def cpu_s(pids: list[int]) -> float:
    """CPU seconds of processes, user and system."""
    total = 0
    for pid in pids:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(found[11]) + int(found[12])
    return total / os.sysconf("SC_CLK_TCK")


def serve_by_hand(port: "Queue[int]", folder: str, flush: bool) -> None:
    """Answers connections one after the other: "P<size>" takes data, "G" sends the file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port.put(server.getsockname()[1])
        while True:
            connection, _ = server.accept()
            with connection:
                line = connection.recv(32)
                if not line:
                    return
                if line[:1] == b"P":
                    connection.sendall(b"+")
                    _take(connection, folder, int(line[1:]), flush)
                    connection.sendall(b"+")
                else:
                    with open(f"{folder}/by-hand", "rb", buffering=0) as file:
                        while data := file.read(MIB):
                            connection.sendall(data)


def _take(connection: socket.socket, folder: str, size: int, flush: bool) -> None:
    hashes = [hashlib.md5(usedforsecurity=False), hashlib.sha512()]
    with ThreadPoolExecutor(2) as threads, open(f"{folder}/by-hand", "wb", buffering=0) as out:
        busy: list[Any] = []
        while size:
            data = bytearray(min(MIB, size))
            view, at = memoryview(data), 0
            while at < len(data):
                at += connection.recv_into(view[at:])
            size -= at
            wait(busy)
            busy = [threads.submit(one.update, data) for one in hashes]
            out.write(data)
        wait(busy)
        if flush:
            os.fsync(out.fileno())


def send(connection: socket.socket, data: bytes, count: int) -> None:
    for _ in range(count):
        connection.sendall(data)


def receive(connection: socket.socket, size: int) -> None:
    into = memoryview(bytearray(MIB))
    while size:
        got = connection.recv_into(into)
        assert got, "the answer ended early"
        size -= got


def head(connection: socket.socket) -> tuple[int, int]:
    """(status, body bytes that came along) of an answer."""
    found = b""
    while b"\r\n\r\n" not in found:
        more = connection.recv(4096)
        assert more, found
        found += more
    first, _, rest = found.partition(b"\r\n\r\n")
    return int(first.split()[1]), len(rest)


class Ours:
    def __init__(self, base: str, state: Path) -> None:
        self.client = admin(base, state)
        self.address = ("127.0.0.1", int(base.rpartition(":")[2]))
        self.image_id = ""

    def _open(self, method: str, more: str = "") -> socket.socket:
        connection = socket.create_connection(self.address)
        connection.sendall(
            f"{method} /image/v2/images/{self.image_id}/file HTTP/1.1\r\nHost: x\r\n"
            f"X-Auth-Token: {self.client.token}\r\n{more}\r\n".encode()
        )
        return connection

    def upload(self, data: bytes, count: int) -> float:
        if self.image_id:
            self.client.call("DELETE", f"/image/v2/images/{self.image_id}")
        body = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
        self.image_id = self.client.call("POST", "/image/v2/images", body)[2]["id"]
        size = len(data) * count
        began = time.perf_counter()
        with self._open("PUT", f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n") as connection:
            send(connection, data, count)
            assert head(connection)[0] == 204
        return time.perf_counter() - began

    def download(self, size: int) -> float:
        began = time.perf_counter()
        with self._open("GET") as connection:
            status, got = head(connection)
            assert status == 200
            receive(connection, size - got)
        return time.perf_counter() - began


class ByHand:
    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)

    def upload(self, data: bytes, count: int) -> float:
        began = time.perf_counter()
        with socket.create_connection(self.address) as connection:
            connection.sendall(f"P{len(data) * count}".encode())
            connection.recv(1)
            send(connection, data, count)
            assert connection.recv(1) == b"+"
        return time.perf_counter() - began

    def download(self, size: int) -> float:
        began = time.perf_counter()
        with socket.create_connection(self.address) as connection:
            connection.sendall(b"G")
            receive(connection, size)
        return time.perf_counter() - began


def measured(work: Callable[[], float], pids: list[int]) -> tuple[float, float]:
    """(seconds, CPU seconds)."""
    before = cpu_s(pids)
    seconds = work()
    return seconds, cpu_s(pids) - before


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=256)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--real", action="store_true", help="flushed to disk on both sides (root and QEMU)")
    given = options.parse_args()
    data, size = os.urandom(MIB), given.mib * MIB
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with cloud(simulate=not given.real) as (base, state), tempfile.TemporaryDirectory(dir=state) as folder:
        port: Queue[int] = Queue()
        hand_process = Process(target=serve_by_hand, args=(port, folder, given.real), daemon=True)
        hand_process.start()
        pids = json.loads(nutshell("status", "--json", "--state", str(state)).stdout)["pids"]
        serving = list(pids.values()) if isinstance(pids, dict) else list(pids)
        sides: list[tuple[str, Any, list[int]]] = [
            ("by hand", ByHand(port.get()), [hand_process.pid or 0]),
            ("ours", Ours(base, state), serving),
        ]
        for _ in range(given.rounds):
            for name, side, of in sides:
                for what, work in (
                    ("upload", lambda side=side: side.upload(data, given.mib)),
                    ("download", lambda side=side: side.download(size)),
                ):
                    found.setdefault((what, name), []).append(measured(work, of))
        hand_process.terminate()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {given.mib} MiB, {given.rounds} rounds, "
          f"{'flushed' if given.real else 'not flushed'}")  # fmt: skip
    for what in ("upload", "download"):
        speed, cost = {}, {}
        for name in ("by hand", "ours"):
            speed[name] = given.mib / statistics.median(s for s, _ in found[what, name])
            cost[name] = statistics.median(c for _, c in found[what, name]) * 1000 / given.mib
            print(f"{what:<9} {name:<8} {speed[name]:7.0f} MiB/s   {cost[name]:6.2f} ms of CPU a MiB")
        print(f"{what:<9} ours / by hand: {speed['ours'] / speed['by hand']:.0%} of the speed, "
              f"{cost['ours'] / cost['by hand']:.2f} times the CPU")  # fmt: skip


if __name__ == "__main__":
    main()
