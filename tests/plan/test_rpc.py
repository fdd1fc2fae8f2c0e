"""Drivers over the socket: values, faults, capabilities, concurrency, and the host's death in mid call."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest

from nutshell.core.drivers import DriverFault
from nutshell.host.rpc import OPERATION, REQUEST, Client, Server, proxy


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Thing:
    name: str
    size: int
    tags: tuple[str, ...] = ()
    colour: Colour | None = None


@runtime_checkable
class Store(Protocol):
    """What is served here."""

    name: str

    def put(self, thing: Thing, count: int = 1) -> None: ...
    def list(self, names: Sequence[str] | None) -> Sequence[Thing]: ...
    def write(self, files: dict[str, bytes]) -> int: ...


@runtime_checkable
class Waiting(Protocol):
    def wait(self, seconds: float) -> str: ...
    def fail(self, final: bool) -> None: ...
    def crash(self) -> None: ...
    def ids(self) -> tuple[str, str]: ...


@runtime_checkable
class Absent(Protocol):
    def never(self) -> None: ...


class Memory:
    name = "memory"

    def __init__(self) -> None:
        self.things: list[tuple[Thing, int]] = []
        self.waits = 0

    def put(self, thing: Thing, count: int = 1) -> None:
        self.things.append((thing, count))

    def list(self, names: Sequence[str] | None) -> Sequence[Thing]:
        return [thing for thing, _ in self.things if names is None or thing.name in names]

    def write(self, files: dict[str, bytes]) -> int:
        return sum(map(len, files.values()))

    def wait(self, seconds: float) -> str:
        self.waits += 1
        time.sleep(seconds)
        return "done"

    def fail(self, final: bool) -> None:
        raise DriverFault("no room", final=final)

    def crash(self) -> None:
        raise KeyError("lost")

    def ids(self) -> tuple[str, str]:
        return OPERATION.get(), REQUEST.get()


CAPABILITIES = (Store, Waiting, Absent)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def address(tmp_path: Path, memory: Memory) -> Iterator[Path]:
    server = Server(tmp_path / "s", {"store": (CAPABILITIES, memory)})
    yield tmp_path / "s"
    server.close()


def test_values_cross_as_their_types(address: Path, memory: Memory) -> None:
    far = proxy(address, "store", CAPABILITIES)
    thing = Thing("a", 5, ("x", "y"), Colour.RED)
    far.put(thing)
    far.put(Thing("b", 2**40), count=3)
    assert memory.things == [(thing, 1), (Thing("b", 2**40), 3)]
    assert isinstance(memory.things[0][0].colour, Colour)
    assert far.list(None) == [thing, Thing("b", 2**40)]
    assert far.list(("b",)) == [Thing("b", 2**40)]
    assert far.write({"p": b"\0\xff" * 1000}) == 2000
    assert far.name == "memory"


def test_isinstance_tells_the_capabilities_of_the_far_side(address: Path) -> None:
    far = proxy(address, "store", CAPABILITIES)
    assert isinstance(far, Store)
    assert isinstance(far, Waiting)
    assert not isinstance(far, Absent)
    only = proxy(address, "store", (Store,))
    assert not isinstance(only, Waiting)


def test_faults_cross_as_themselves(address: Path) -> None:
    far = proxy(address, "store", CAPABILITIES)
    for final in (True, False):
        with pytest.raises(DriverFault) as caught:
            far.fail(final)
        assert (caught.value.why, caught.value.final) == ("no room", final)


def test_other_exceptions_name_their_type_and_are_logged(address: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DriverFault, match="KeyError: 'lost'") as caught:
        proxy(address, "store", CAPABILITIES).crash()
    assert not caught.value.final
    assert "KeyError" in caplog.text


def test_a_wrong_argument_is_refused_and_nothing_is_called(address: Path, memory: Memory) -> None:
    far = proxy(address, "store", CAPABILITIES)
    with pytest.raises(DriverFault, match="Expected") as caught:
        far.put("no thing")
    assert caught.value.final
    assert memory.things == []
    with pytest.raises(TypeError):
        far.put()


def test_an_unknown_driver_is_named(address: Path) -> None:
    with pytest.raises(DriverFault, match="it serves store"):
        proxy(address, "network", CAPABILITIES)


def test_a_long_call_does_not_hold_up_a_short_one(address: Path) -> None:
    far = proxy(address, "store", CAPABILITIES)
    long = threading.Thread(target=far.wait, args=(1.0,))
    long.start()
    began = time.monotonic()
    assert far.list(None) == []
    assert time.monotonic() - began < 0.5
    assert long.is_alive()
    long.join()


def test_many_threads_share_one_proxy(address: Path) -> None:
    far = proxy(address, "store", CAPABILITIES)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda n=n: seen.append(far.write({"f": b"x" * n}))) for n in range(1, 40)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(seen) == list(range(1, 40))


def test_the_ids_of_the_caller_reach_the_driver(address: Path) -> None:
    OPERATION.set("op-1")
    REQUEST.set("req-2")
    try:
        assert proxy(address, "store", CAPABILITIES).ids() == ("op-1", "req-2")
    finally:
        OPERATION.set("")
        REQUEST.set("")


def test_a_repeat_of_a_running_operation_joins_it(address: Path, memory: Memory) -> None:
    far = proxy(address, "store", CAPABILITIES)
    answers: list[str] = []

    def ask() -> None:
        OPERATION.set("op-7")
        answers.append(far.wait(0.5))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == ["done", "done"]
    assert memory.waits == 1


def test_the_socket_is_its_owners_alone(address: Path) -> None:
    assert address.stat().st_mode & 0o777 == 0o600


def test_without_a_host_the_call_fails_but_not_for_good(tmp_path: Path) -> None:
    with pytest.raises(DriverFault, match="no host process answers") as caught:
        proxy(tmp_path / "none", "store", CAPABILITIES, patience_s=0.2)
    assert not caught.value.final


def test_calls_wait_for_a_restarted_server(tmp_path: Path, memory: Memory) -> None:
    server = Server(tmp_path / "s", {"store": (CAPABILITIES, memory)})
    far = proxy(tmp_path / "s", "store", CAPABILITIES)
    far.put(Thing("a", 1))
    server.close()
    began = time.monotonic()
    timer = threading.Timer(0.5, lambda: restarted.append(Server(tmp_path / "s", {"store": (CAPABILITIES, memory)})))
    restarted: list[Server] = []
    timer.start()
    assert far.list(None) == [Thing("a", 1)]
    assert time.monotonic() - began >= 0.4
    timer.join()
    restarted[0].close()


HOST = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_rpc import CAPABILITIES, Memory
from nutshell.host.rpc import Server
class Slow(Memory):
    def wait(self, seconds):
        Path({mark!r}).write_text("called")
        return super().wait(seconds)
Server(Path({path!r}), {{"store": (CAPABILITIES, Slow())}})
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start_host(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    script = HOST.format(tests=str(Path(__file__).parent), path=str(tmp_path / "s"), mark=str(tmp_path / "mark"))

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_a_call_cut_off_by_kill_9_is_made_again(
    tmp_path: Path, start_host: Callable[[], subprocess.Popen[str]]
) -> None:
    first = start_host()
    far: Any = Client(tmp_path / "s").proxy("store", CAPABILITIES)
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(far.wait(1.0)))
    caller.start()
    while not (tmp_path / "mark").exists():
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (tmp_path / "mark").unlink()
    start_host()
    caller.join(timeout=10)
    assert answers == ["done"]
    assert (tmp_path / "mark").exists()


def test_a_call_cut_off_by_kill_9_fails_when_nobody_comes_back(
    tmp_path: Path, start_host: Callable[[], subprocess.Popen[str]]
) -> None:
    process = start_host()
    far: Any = Client(tmp_path / "s", patience_s=0.5).proxy("store", CAPABILITIES)
    threading.Timer(0.3, process.kill).start()
    began = time.monotonic()
    with pytest.raises(DriverFault) as caught:
        far.wait(30.0)
    assert not caught.value.final
    assert time.monotonic() - began < 5
