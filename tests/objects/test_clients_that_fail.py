"""Clients that are slow or vanish: they are told so or forgotten, keep nothing, and hold up nobody."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from nutshell.server.files import send_file
from nutshell.testing.client import Client
from tests.ports import free_port

PATIENCE_S = 1.5  # the store's; Swift's and our default is 60
LARGE = os.urandom(1 << 20) * 24


@dataclass
class Store:
    state: Path
    port: int
    client: Client
    pid: int

    @property
    def root(self) -> str:
        return f"/object-store/v1/AUTH_{self.client.project_id}/c"

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def begin(self, method: str, name: str, **headers: object) -> socket.socket:
        """A request's head is sent, and nothing after it."""
        wire = self.open()
        said = {"Host": "cloud", "X-Auth-Token": self.client.token, **headers}
        lines = [f"{method} {self.root}/{name} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in said.items())]
        wire.sendall("\r\n".join([*lines, "", ""]).encode())
        return wire

    def call(self, method: str, name: str, body: bytes = b"") -> tuple[int, bytes]:
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        wire.request(method, f"{self.root}/{name}", body or None, {"X-Auth-Token": self.client.token})
        answer = wire.getresponse()
        found = answer.status, answer.read()
        wire.close()
        return found

    def logged(self, method: str, name: str) -> list[int]:
        """The statuses that the log says such requests had."""
        lines = (json.loads(line) for line in (self.state / "log/api.log").read_text().splitlines() if line[:1] == "{")
        said = [line["request"] for line in lines if line["log"] == "nutshell.access"]
        return [one["status"] for one in said if (one["method"], one["path"]) == (method, f"{self.root}/{name}")]

    def files(self) -> list[str]:
        """Files of large objects and of uploads."""
        return sorted(p.name for p in (self.state / "objects/d1/data").glob("??/*"))

    def handles(self) -> list[str]:
        """Such files that the process has open."""
        found = []
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                target = os.readlink(fd)
            except OSError:
                continue
            if "/objects/d1/data/" in target:
                found.append(target)
        return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    directory = tmp_path_factory.mktemp("clients")
    state, port = directory / "c", free_port()
    env = {
        **os.environ,
        "OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NUTSHELL_OBJECT_STORE_CLIENT_TIMEOUT_S": str(PATIENCE_S),
    }
    command, at = [sys.executable, "-m", "nutshell.cli"], ["--state", str(state)]
    subprocess.run([*command, "up", "--simulate", "--port", str(port), *at], env=env, check=True, timeout=120)
    try:
        password = json.loads((state / "credentials.json").read_text())["admin"]["password"]
        client = Client(f"http://127.0.0.1:{port}", "admin", password, "admin")
        client.login()
        made = Store(state, port, client, json.loads((state / "run/api.json").read_text())["pid"])
        assert made.call("PUT", "")[0] == 201
        yield made
    finally:
        subprocess.run([*command, "down", *at], env=env, check=False, timeout=120)


@pytest.fixture
def kept(store: Store) -> Iterator[list[str]]:
    """The files there were; there are no others afterwards, and none is open."""
    before = store.files()
    yield before
    until(lambda: store.files() == before, "files of broken uploads are gone")
    until(lambda: not store.handles(), "files are closed")


def until(check: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def status_of(wire: socket.socket) -> int:
    """Of the answer; 0 when the connection ended without one."""
    said = b""
    while b"\r\n" not in said:
        try:
            piece = wire.recv(4096)
        except ConnectionResetError:
            return 0
        if not piece:
            return 0
        said += piece
    return int(said.split(b" ", 2)[1])


@pytest.mark.parametrize("sent", [0, 100, 3 << 20])
def test_a_body_that_stops_coming_is_answered_408(store: Store, kept: list[str], sent: int) -> None:
    with store.begin("PUT", "stopped", Content_Length=8 << 20) as wire:
        wire.sendall(LARGE[:sent])
        began = time.monotonic()
        assert status_of(wire) == 408
        assert PATIENCE_S * 0.9 < time.monotonic() - began < 20
    assert store.call("GET", "stopped")[0] == 404


def test_a_body_that_comes_slowly_is_taken(store: Store) -> None:
    with store.begin("PUT", "steady", Content_Length=60) as wire:
        began = time.monotonic()
        for n in range(6):
            time.sleep(PATIENCE_S / 4)
            wire.sendall(b"%010d" % n)
        assert status_of(wire) == 201
        assert time.monotonic() - began > PATIENCE_S
    assert store.call("GET", "steady") == (200, b"".join(b"%010d" % n for n in range(6)))


def test_many_slow_clients_hold_up_nobody(store: Store, kept: list[str]) -> None:
    with ExitStack() as slow:
        waiting = [slow.enter_context(store.begin("PUT", f"slow{n}", Content_Length=4 << 20)) for n in range(150)]
        for wire in waiting[:20]:
            wire.sendall(LARGE[: 2 << 20])
        for _ in range(150):
            half = slow.enter_context(store.open())
            half.sendall(b"GET /object-store/v1/AUTH_x HTTP/1.1\r\nHost: cl")
        began = time.monotonic()
        for n in range(20):
            assert store.call("PUT", f"quick{n}", b"quick")[0] == 201
            assert store.call("GET", f"quick{n}") == (200, b"quick")
        assert time.monotonic() - began < 10
        assert {status_of(wire) for wire in waiting} == {408}


@pytest.mark.parametrize("sent", [100, 3 << 20])
def test_an_upload_whose_client_vanishes_leaves_nothing(store: Store, kept: list[str], sent: int) -> None:
    name = f"vanished-{sent}"
    with store.begin("PUT", name, Content_Length=8 << 20, Expect="100-continue") as wire:
        assert status_of(wire) == 100, "the body is awaited"
        wire.sendall(LARGE[:sent])
        if sent > 1 << 20:
            until(lambda: store.files() != kept, "the upload is under way")
    until(lambda: store.logged("PUT", name) == [499], "499 in the log")
    assert store.call("GET", name)[0] == 404


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=1-"}], ids=["file", "pieces"])
def test_downloads_whose_client_vanishes_leave_no_file_open(store: Store, headers: dict[str, str]) -> None:
    assert store.call("PUT", "large", LARGE)[0] == 201
    for _ in range(8):
        with store.begin("GET", "large", **headers) as wire:
            assert status_of(wire) in (200, 206)
    until(lambda: not store.handles(), "files are closed")
    until(lambda: set(store.logged("GET", "large")[-8:]) == {499}, "499 in the log")
    assert store.call("GET", "large") == (200, LARGE)


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=1-"}, {"Range": "bytes=1-,2-"}])
def test_a_client_that_takes_nothing_is_left(store: Store, asked: dict[str, str]) -> None:
    assert store.call("PUT", "large", LARGE)[0] == 201
    with store.begin("GET", "large", **asked) as wire:
        assert status_of(wire) == (206 if asked else 200)
        time.sleep(PATIENCE_S * 2)
        got = 0
        try:
            while piece := wire.recv(1 << 20):
                got += len(piece)
        except ConnectionResetError:
            pass
        assert got < len(LARGE) - 1
    until(lambda: not store.handles(), "files are closed")


def test_a_client_that_takes_nothing_of_a_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(LARGE)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    gives_up = pytest.raises(ConnectionResetError, match="takes nothing")
    with ours, theirs, (tmp_path / "f").open("rb") as file, gives_up:
        asyncio.run(send_file(ours.fileno(), (file.fileno(), 0.2), len(LARGE)))
