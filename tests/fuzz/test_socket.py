"""Bytes at the socket that are no proper HTTP, or proper and odd: the server goes on, and says no 5xx."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from tests.ports import free_port

SEED = int(os.environ.get("FUZZ_SEED", "1"))
ROUNDS = 300 + int(float(os.environ.get("FUZZ_MINUTES", "0")) * 3000)
LOGIN = b"/identity/v3/auth/tokens"


@dataclass(frozen=True)
class Server:
    """A simulated cloud in a process of its own."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    def talk(self, raw: bytes, wait_s: float = 5.0, end: bool = False) -> bytes:
        """What comes back until the other side closes, or has answered and says no more."""
        found = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as s:
            try:
                s.sendall(raw)
                if end:
                    s.shutdown(socket.SHUT_WR)
                s.settimeout(wait_s)
                while part := s.recv(65536):
                    found += part
                    s.settimeout(0.05)
            except OSError:  # closed on us, or silent
                pass
        return found

    def alive(self) -> bool:
        said = self.talk(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 20)
        return said.startswith(b"HTTP/1.1 200")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("socket")
    port = free_port()
    command = [sys.executable, "-m", "nutshell.cli", "up", "--simulate", "--foreground", "--port", str(port)]
    environment = os.environ | {"OS_CLIENT_CONFIG_FILE": str(home / "clouds.yaml"), "PYTHONPATH": "src"}
    log = home / "output"
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "--state", str(home / "state")], stdout=out, stderr=out, env=environment)
    made = Server(port, home / "state" / "log" / "api.log", process)
    try:
        end = time.monotonic() + 60
        while True:
            assert time.monotonic() < end, log.read_text()
            try:
                if made.alive():
                    break
            except OSError:
                time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait(timeout=30)


def post(path: bytes, body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: " + str(size).encode()
    return b"\r\n".join([head, *headers]) + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    head = b"POST " + LOGIN + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    return head + b"\r\n\r\n" + b"".join(chunks)


GET = b"GET /identity/v3 HTTP/1.1\r\nHost: x\r\n"
CASES: dict[str, bytes] = {
    "no http": b"hello\r\n\r\n",
    "zeros": b"\0" * 4096,
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 500,
    "http 0.9": b"GET /\r\n",
    "http 3": b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
    "http 2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long line": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": GET + b"X-Auth-Token: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": GET + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\n",
    "a header without a name": GET + b": y\r\n\r\n",
    "a header with a zero": GET + b"X-Auth-Token: a\0b\r\n\r\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "a bare line feed": b"GET /identity/v3 HTTP/1.1\nHost: x\n\n",
    "bytes beyond ascii": b"GET /identity/v3/\xff\xfe?\xff=\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad percents": b"GET /identity/v3/users/%zz%00%ff%c0%af?name=%zz%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute address": b"GET http://elsewhere/identity/v3 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /identity/v3 HTTP/1.1\r\n\r\n",
    "an odd host": b"GET /identity/v3 HTTP/1.1\r\nHost: \xff<script>\r\n\r\n",
    "dots": b"GET /identity/../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "slashes": b"GET " + b"/" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW /identity/v3 HTTP/1.1\r\nHost: x\r\n\r\n",
    "websocket as a method": b"WEBSOCKET /compute/v2.1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a websocket nowhere": b"GET /identity/v3 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "a body with a get": b"GET /identity/v3 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
    "a negative length": post(LOGIN, b"{}", length=-1),
    "a huge length": post(LOGIN, b"{}", length=2**63),
    "two lengths": post(LOGIN, b"{}", b"Content-Length: 3"),
    "a length and chunks": post(LOGIN, b"0\r\n\r\n", b"Transfer-Encoding: chunked"),
    "a bad chunk size": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "a huge chunk size": chunked(b"ffffffffffffffffff\r\n{}\r\n"),
    "a chunk that does not end": chunked(b"2\r\n{}xx0\r\n\r\n"),
    "chunks of one": chunked(*(b"1\r\n%c\r\n" % c for c in b'{"auth": {}}'), b"0\r\n\r\n"),
    "a trailer": chunked(b"2\r\n{}\r\n0\r\nX-Auth-Token: x\r\n\r\n"),
    "an early end": chunked(b"10\r\n{}"),
    "a body cut off": post(LOGIN, b'{"auth"', length=100),
    "bad utf-8": post(LOGIN, b'{"auth": "\xff\xfe"}', b"Content-Type: application/json"),
    "a lone surrogate": post(LOGIN, b'{"auth": {"identity": {"methods": ["\\ud800"]}}}'),
    "a zero in a name": post(LOGIN, json.dumps({"auth": {"identity": {"methods": ["password"], "password": {
        "user": {"name": "a\0", "password": "b\0", "domain": {"id": "default"}}}}}}).encode()),
    "deep json": post(LOGIN, b"[" * 200_000),
    "deep objects": post(LOGIN, b'{"auth":' * 20_000 + b"1" + b"}" * 20_000),
    "a long number": post(LOGIN, b'{"auth": ' + b"9" * 100_000 + b"}"),
    "a number beyond": post(LOGIN, b'{"auth": 1e99999}'),
    "a name twice": post(LOGIN, b'{"auth": 1, "auth": {"identity": 2}}'),
    "another type": post(LOGIN, b"a=b", b"Content-Type: application/x-www-form-urlencoded"),
    "a type of nonsense": post(LOGIN, b"{}", b"Content-Type: \xff/;;;"),
    "compressed it says": post(LOGIN, b"{}", b"Content-Encoding: gzip"),
    "an expectation": post(LOGIN, b"{}", b"Expect: 200-maybe"),
    "a range of nonsense": GET + b"Range: bytes=9-1,,-\r\n\r\n",
    "many ranges": GET + b"Range: bytes=" + b"0-0," * 5000 + b"1-1\r\n\r\n",
    "an odd version": GET + b"OpenStack-API-Version: compute 99999999999999999999.1\r\n\r\n",
    "a token of spaces": GET + b"X-Auth-Token:    \r\n\r\n",
    "forwarded from elsewhere": GET + b"X-Forwarded-Host: a\"b\r\nX-Forwarded-Proto: \xff\r\n\r\n",
    "too large": post(LOGIN, b" " * (11 * 2**20)),
}  # fmt: skip


def judged(said: bytes) -> str:
    """Empty, or what is wrong with the answers."""
    lines = [line for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    bad = [line for line in lines if line[9:10] == b"5" and line[9:12] not in (b"501", b"505")]
    return f"{bad[0]!r}" if bad else ""


@pytest.mark.parametrize("name", CASES)
def test_odd_bytes_are_no_fault_of_the_server(server: Server, name: str) -> None:
    assert not judged(server.talk(CASES[name], 3, end=True)), f"printf '%b' {CASES[name][:300]!r} | nc 127.0.0.1 5000"


def test_mutated_requests_leave_the_server_well(server: Server) -> None:
    random, cases = Random(SEED), [c for c in CASES.values() if len(c) < 3000]
    for _ in range(ROUNDS):
        raw = bytearray(random.choice(cases))
        for _ in range(random.randrange(1, 5)):
            at = random.randrange(len(raw))
            match random.randrange(4):
                case 0:
                    raw[at] = random.randrange(256)
                case 1:
                    raw[at:at] = random.randbytes(random.randrange(1, 9))
                case 2:
                    del raw[at : at + random.randrange(1, 9)]
                case _:
                    raw[at:at] = random.choice(
                        (b"\r\n", b"\r\n\r\n", b"\0", b"%00", b'"', b"[" * 99, b"Content-Length: 3\r\n")
                    )
            raw = raw or bytearray(b"x")
        said = server.talk(bytes(raw), 1, end=True)
        assert not judged(said), f"printf '%b' {bytes(raw)!r} | nc 127.0.0.1 5000"


def test_the_server_is_still_there_and_logged_no_fault(server: Server) -> None:
    assert server.alive()
    assert server.process.poll() is None
    if server.log.exists():
        faults = [line for line in server.log.read_text().splitlines() if "Traceback" in line]
        assert not faults, faults[:3]


def test_many_slow_connections_do_not_stop_the_others(server: Server) -> None:
    """Two hundred requests that never end."""
    held = []
    try:
        for _ in range(200):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            s.sendall(b"POST " + LOGIN + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            held.append(s)
        assert server.alive()
    finally:
        for s in held:
            s.close()
