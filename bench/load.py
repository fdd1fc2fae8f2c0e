"""Clients that cost little, so that a benchmark on one machine measures the server: wrk for small requests, threads on
bare sockets for large ones; and what the disk and MD5 do without any server.
"""

import hashlib
import mmap
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")
SMALL = 4096
LARGE = os.urandom(1 << 20) * 64


def run_wrk(
    base: str, method: str, path: str, token: str, clients: int, seconds: float, names: tuple[int, int] = (0, 0)
) -> tuple[float, int]:
    """(requests a second, how many were done). `names`: (the first number, how many). Refusals raise."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT), base, "--"]
    said = subprocess.run([*command, method, path, token, *map(str, names)], capture_output=True, text=True, check=True)
    found, done = re.search(r"Requests/sec:\s+([\d.]+)", said.stdout), re.search(r"(\d+) requests in", said.stdout)
    if found is None or done is None or "Non-2xx" in said.stdout:
        raise RuntimeError(f"{method} {base}{path}: {said.stdout}{said.stderr}")
    return float(found[1]), int(done[1])


def small(base: str, path: str, token: str, clients: int, seconds: float) -> dict[str, float]:
    """PUT, GET and DELETE of 4 KiB objects below a container's path, so many a second."""
    at = f"{path}/{clients}-"
    puts, done = run_wrk(base, "PUT", at, token, clients, seconds)
    certain = done - clients - 1  # wrk asks its script for one request that it does not send
    gets, _ = run_wrk(base, "GET", at, token, clients, seconds, (2, certain))
    deletes, _ = run_wrk(base, "DELETE", at, token, clients, min(1, seconds / 4), (1, 0))
    return {
        f"PUT 4 KiB, {clients} clients, /s": puts,
        f"GET 4 KiB, {clients} clients, /s": gets,
        f"DELETE 4 KiB, {clients} clients, /s": deletes,
    }


def large_rate(
    base: str, method: str, path: Callable[[int], str], token: str, seconds: float, clients: int = 4
) -> float:
    """MiB a second, of bodies of 64 MiB."""
    host, _, port = base.removeprefix("http://").partition(":")
    done, wrong, lock = [0], [""], threading.Lock()
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        scratch = bytearray(1 << 20)
        with socket.create_connection((host, int(port or 80))) as s:
            while time.perf_counter() < end:
                length = len(LARGE) if method == "PUT" else 0
                head = f"{method} {path(number)} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {token}\r\n"
                s.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
                if length:
                    s.sendall(LARGE)
                answer = b""
                while b"\r\n\r\n" not in answer:
                    part = s.recv(65536)
                    if not part:
                        break
                    answer += part
                said, _, rest = answer.partition(b"\r\n\r\n")
                found = re.search(rb"\r\ncontent-length: (\d+)", said.lower())
                left = (int(found[1]) if found else 0) - len(rest)
                while left > 0:
                    left -= s.recv_into(scratch, min(left, len(scratch)))
                if said[9:10] != b"2":
                    wrong[0] = said.decode()
                    return
                with lock:
                    done[0] += 1

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong[0]:
        raise RuntimeError(f"{method}: {wrong[0]}")
    return 64 * done[0] / (time.perf_counter() - began)


def raw(seconds: float) -> dict[str, float]:
    """What the machine does without a server: flushed appends of a small object's record, MD5, flushed large files."""
    with tempfile.TemporaryDirectory(prefix="nutshell-bench-") as name:
        fd = os.open(f"{name}/log", os.O_RDWR | os.O_CREAT)
        record, at, done = os.urandom(SMALL + 600), 0, 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.pwrite(fd, record, at)
            os.fdatasync(fd)
            at, done = at + len(record), done + 1
        os.close(fd)
        return {
            "raw: pwrite and fdatasync, /s": done / seconds,
            "raw: MD5 on all cores, MiB/s": _both(seconds, os.cpu_count() or 1, lambda n: hashlib.md5(LARGE)),
            "raw: flushed files of 64 MiB, 4 writers, MiB/s": _both(seconds, 4, lambda n: _write(f"{name}/{n}")),
            "raw: 64 MiB sent, received, MD5, written past the cache, 4 at once, MiB/s": _both(
                seconds, 4, lambda n: _by_hand(f"{name}/{n}")
            ),
        }


def _write(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for at in range(0, len(LARGE), 1 << 20):
        os.write(fd, memoryview(LARGE)[at : at + (1 << 20)])
    os.fsync(fd)
    os.close(fd)


def _by_hand(path: str) -> None:
    """What a large PUT cannot do without, client and all, on a buffer at a time."""
    sender, receiver = socket.socketpair()
    sending = threading.Thread(target=sender.sendall, args=(LARGE,))
    sending.start()
    digest, buffer = hashlib.md5(usedforsecurity=False), memoryview(mmap.mmap(-1, 1 << 20))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT)
    for _ in range(0, len(LARGE), len(buffer)):
        receiver.recv_into(buffer, len(buffer), socket.MSG_WAITALL)
        digest.update(buffer)
        os.write(fd, buffer)
    os.fsync(fd)
    os.close(fd)
    sending.join()
    sender.close()
    receiver.close()


def _both(seconds: float, threads: int, work: Callable[[int], object]) -> float:
    done = [0] * threads
    began = time.perf_counter()

    def repeat(n: int) -> None:
        while time.perf_counter() < began + seconds:
            work(n)
            done[n] += 1

    all_of_them = [threading.Thread(target=repeat, args=(n,)) for n in range(threads)]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()
    return 64 * sum(done) / (time.perf_counter() - began)
