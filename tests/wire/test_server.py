"""The HTTP server: a connection's life, bodies in and out, what it refuses (RFC 9112)."""

import asyncio
import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.ports import free_port

from nutshell.server.files import OFFERED
from nutshell.server.listening import Server

FILE_BYTES = 9 << 20


class Rig:
    """A server in a thread whose application says what it was asked."""

    def __init__(self, file: Path) -> None:
        self.file, self.left, self.drawn = file, threading.Event(), 0
        self.port = free_port()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.server = Server(self.application, "127.0.0.1", self.port)
        await self.server.start()
        self._ready.set()
        await self._end.wait()
        await self.server.stop()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            said = await receive()
            await send({"type": "websocket.send", "text": said["text"][::-1]})
            await send({"type": "websocket.close", "code": 1000})
            return
        path = scope["path"]
        if path == "/early":
            await self._say(send, 413, b"too much")
        elif path == "/file":
            head = [(b"content-length", str(FILE_BYTES).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.pathsend", "path": str(self.file)})
        elif path == "/part":
            assert OFFERED in scope["extensions"]
            await send({"type": "http.response.start", "status": 206, "headers": [(b"content-length", b"5000000")]})
            with self.file.open("rb", buffering=0) as file:
                file.seek(1_000_001)
                await send({"type": "http.response.pathsend", "path": (file.fileno(), 5.0)})
                assert file.read(1), "it was left open"
        elif path == "/pieces":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"one", b"", b"two"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        elif path == "/split":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})
        elif path == "/short":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"four"})
        elif path == "/none":
            await send({"type": "http.response.start", "status": 204, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._echo(scope, receive, send)

    async def _echo(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = hashlib.md5(usedforsecurity=False), True
        size, drawn = 0, 0
        draw = scope.get("extensions", {}).get("nutshell.draw") if scope["path"] == "/draw" else None
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            body.update(message["body"])
            size += len(message["body"])
            more = message["more_body"]
            with contextlib.suppress(ConnectionResetError):
                while draw is not None and (reading := draw()) is not None:
                    with reading:
                        buffer = bytearray(100_000)
                        came = await asyncio.to_thread(reading.fill, memoryview(buffer))
                    body.update(buffer[:came])
                    drawn += came
        size += drawn
        self.drawn += drawn
        text = f"{scope['method']} {scope['path']} {scope['query_string'].decode()} {size} {body.hexdigest()}"
        await self._say(send, 200, text.encode())

    @staticmethod
    async def _say(send: Any, status: int, body: bytes) -> None:
        head = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def talk(self, *parts: bytes, end: bool = True) -> bytes:
        """Everything that comes back until the server closes, or is silent."""
        found = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s:
            for part in parts:
                s.sendall(part)
            s.settimeout(10 if end else 0.3)
            try:
                while part := s.recv(1 << 20):
                    found += part
            except TimeoutError:
                assert not end
        return found


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    file = tmp_path_factory.mktemp("server") / "file"
    file.write_bytes(os.urandom(FILE_BYTES))
    made = Rig(file)
    yield made
    made.close()


def statuses(said: bytes) -> list[int]:
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_requests_sent_ahead_are_answered_in_their_order(rig: Rig) -> None:
    said = rig.talk(
        b"GET /a?b=%63 HTTP/1.1\r\nHost: x\r\n\r\n\r\nPUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + LAST
    )
    assert statuses(said) == [200, 200, 200]
    assert said.index(b"GET /a b=%63 0") < said.index(b"PUT /b  3") < said.index(b"GET /last")


def test_a_request_in_single_bytes(rig: Rig) -> None:
    raw = b"PUT /%C3%A4 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    raw += b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n"
    said = rig.talk(*(raw[i : i + 1] for i in range(len(raw))))
    assert "PUT /ä  5 ".encode() + hashlib.md5(b"abcde", usedforsecurity=False).hexdigest().encode() in said


def test_a_large_body_arrives_whole(rig: Rig) -> None:
    body = os.urandom(20 << 20)
    said = rig.talk(b"PUT /l HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body), body)
    assert said.endswith(f"{len(body)} {hashlib.md5(body, usedforsecurity=False).hexdigest()}".encode())


def test_a_refusal_reaches_a_client_that_still_sends(rig: Rig) -> None:
    body = bytes(20 << 20)
    said = rig.talk(b"PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body), body, LAST)
    assert statuses(said) == [413, 200]


def test_who_waits_to_be_told_is_told_or_refused(rig: Rig) -> None:
    head = b"PUT %b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as s:
        s.sendall(head % b"/x")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"abc")
        assert b"PUT /x  3" in s.recv(1000)
    said = rig.talk(head % b"/early")
    assert statuses(said) == [413]
    assert b"connection: close" in said


def test_a_file_is_sent_to_the_byte_to_slow_readers_too(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)
        s.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)
        source = s.makefile("rb")
        while source.readline() != b"\r\n":
            pass
        found = source.read(1000)
        threading.Event().wait(0.1)
        assert found + source.read(FILE_BYTES - 1000) == rig.file.read_bytes()
        assert b"GET /last" in source.read()


def test_an_open_file_is_sent_from_where_it_stands(rig: Rig) -> None:
    said = rig.talk(b"GET /part HTTP/1.1\r\nHost: x\r\n\r\n", LAST)
    assert statuses(said) == [206, 200]
    at = said.index(b"\r\n\r\n") + 4
    assert said[at : at + 5_000_000] == rig.file.read_bytes()[1_000_001:6_000_001]


def test_answers_without_length_body_or_newer_protocol(rig: Rig) -> None:
    said = rig.talk(b"GET /pieces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    said = rig.talk(b"GET /pieces HTTP/1.0\r\n\r\n")
    assert said.endswith(b"\r\n\r\nonetwo")
    said = rig.talk(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\nHEAD /file HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)
    assert statuses(said) == [204, 200, 200]
    said = rig.talk(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", LAST)
    assert statuses(said) == [200, 200]


def test_an_answer_with_a_line_end_in_a_header_is_not_sent(rig: Rig) -> None:
    said = rig.talk(b"GET /split HTTP/1.1\r\nHost: x\r\n\r\n")
    assert statuses(said) == [500]
    assert b"cookie" not in said


def test_an_answer_that_is_too_short_breaks_off(rig: Rig) -> None:
    said = b""
    with contextlib.suppress(ConnectionResetError):
        said = rig.talk(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"four" not in said


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nA: b\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 300 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * (300 << 10), 431),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x/y@z\r\n\r\n", 400),
    ],
)
def test_what_may_be_understood_in_two_ways_is_refused(rig: Rig, raw: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as s:
        s.sendall(raw)
        assert statuses(s.recv(1000)) == [status]


def test_an_application_hears_that_its_client_left(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as s:
        s.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert rig.left.wait(10)


def test_a_websocket_is_handed_over(rig: Rig) -> None:
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{rig.port}/w") as socket_:
        socket_.send("abc")
        assert socket_.recv() == "cba"


def test_who_is_too_slow_with_a_head_is_cut_off(rig: Rig) -> None:
    rig.server.head_wait_s = -1.0
    with socket.create_connection(("127.0.0.1", rig.port), timeout=20) as s:
        s.sendall(b"GET / HTT")
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(100) == b""


@pytest.mark.parametrize("at_once", [64 << 20, 1 << 20, 3000])
def test_a_large_body_is_read_by_a_thread_and_the_next_request_follows(rig: Rig, at_once: int) -> None:
    data = os.urandom(9 << 20)
    put = b"PUT /draw HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data
    sent, rig.drawn = put + put + LAST, 0
    said = rig.talk(*(sent[at : at + at_once] for at in range(0, len(sent), at_once)))
    assert statuses(said) == [200, 200, 200]
    assert said.count(f"PUT /draw  {len(data)} {hashlib.md5(data, usedforsecurity=False).hexdigest()}".encode()) == 2
    assert b"GET /last  0 " in said
    if at_once > 1 << 20:
        assert rig.drawn > 1 << 20


def test_a_client_that_leaves_while_a_thread_reads(rig: Rig) -> None:
    rig.left.clear()
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as s:
        s.sendall(b"PUT /draw HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 << 20) + bytes(5 << 20))
    assert rig.left.wait(10)
