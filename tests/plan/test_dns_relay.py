"""Questions of a network's dnsmasq go on to the host's resolvers, and their answers come back."""

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from nutshell.host.net.dns_relay import DnsRelay, resolvers
from nutshell.host.net.loop import Loop


def bound(kind: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop("test")
    yield made
    made.close()


def test_a_datagram_is_asked_of_the_next_server_when_the_first_is_not_there(loop: Loop) -> None:
    with bound(socket.SOCK_DGRAM) as closed:
        absent = closed.getsockname()
    server, ears, streams = bound(socket.SOCK_DGRAM), bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)

    def answer() -> None:
        question, peer = server.recvfrom(512)
        server.sendto(question[:2] + b"answer to " + question[2:], peer)

    Thread(target=answer, daemon=True).start()
    where = ears.getsockname()
    ears.setblocking(False)
    relay = DnsRelay(lambda: [absent, server.getsockname()])
    loop.run(relay.start(ears, streams))
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.sendto(b"\x12\x34 where is example", where)
        assert asking.recv(512) == b"\x12\x34answer to  where is example"
    loop.run(relay.stop())


def test_a_stream_is_copied_both_ways(loop: Loop) -> None:
    server, ears, streams = bound(socket.SOCK_STREAM), bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)

    def answer() -> None:
        with server.accept()[0] as called:
            called.sendall(b"got " + called.recv(100))

    Thread(target=answer, daemon=True).start()
    where = streams.getsockname()
    relay = DnsRelay(lambda: [server.getsockname()])
    loop.run(relay.start(ears, streams))
    with server, socket.create_connection(where, 5) as asking:
        asking.sendall(b"question")
        asking.shutdown(socket.SHUT_WR)
        assert asking.recv(100) == b"got question"
    loop.run(relay.stop())


def test_resolvers_are_those_of_the_file_and_none_without_one(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    assert resolvers(path) == []
    path.write_text("# a comment\nsearch example\nnameserver 192.0.2.53\nnameserver ::1\n")
    assert resolvers(path) == [("192.0.2.53", 53), ("::1", 53)]
