"""The metadata service: a server is told of itself alone, whatever its guest says it is.

The API believes the host's proxy, which proves itself by a secret; the proxy believes nothing but the connection.
"""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fuzz.people import COM, NET, Side, furnish
from tests.fuzz.world import Reply, World

from nutshell.compute.metadata import SECRET_HEADER, MetadataSecret, metadata
from nutshell.host.net import metadata as proxy

WORDS = {"version": "latest", "name": "meta_data.json", "number": "0000", "path": "instance-id"}
SPOOFED = ("X-Instance-ID", "X-Tenant-ID", "X-Project-ID", "X-Instance-ID-Signature", "X-Real-IP", "Forwarded",
           "X-Auth-Token", "X-Neutron-Network-Id2")  # fmt: skip


@dataclass(frozen=True)
class Guests:
    """Two projects' servers, on networks of the same addresses."""

    world: World
    victim: Side
    own: Side
    addresses: dict[str, str]

    def ask(self, path: str, headers: Mapping[str, str], method: str = "GET", body: Any = None) -> Reply:
        return self.world.call(method, "/metadata" + path, body, headers=headers)

    def facts(self, side: Side) -> dict[str, str]:
        """What the proxy of this server's network says."""
        return {SECRET_HEADER: self.world.cloud.port(MetadataSecret).value,
                "X-Forwarded-For": self.addresses[side.name], "X-Neutron-Network-ID": side.ids["network"]}  # fmt: skip


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    world = World(tmp_path_factory.mktemp("metadata"))
    try:
        sides, addresses = [], {}
        for name in ("victim", "own"):
            side = furnish(world, name)
            server = {"name": f"{name}-told", "flavorRef": side.ids["flavor"], "imageRef": side.ids["image"],
                      "networks": [{"uuid": side.ids["network"], "fixed_ip": "10.9.0.77"}],
                      "key_name": side.ids["keypair"], "config_drive": False, "metadata": {"secret": f"of-{name}"},
                      "user_data": base64.b64encode(f"secret of-{name}".encode()).decode()}  # fmt: skip
            reply = world.call("POST", f"{COM}/servers", {"server": server}, token=side.token)
            assert reply.status == 202, reply.raw
            side.ids["told"] = reply.body["server"]["id"]
            path = f"{COM}/servers/{side.ids['told']}"
            world.until(lambda path=path: world.done("GET", path)["server"]["status"] == "ACTIVE")  # type: ignore[misc]
            sides.append(side)
            addresses[name] = "10.9.0.77"
        world.running.runner.stop()
        yield Guests(world, sides[0], sides[1], addresses)
    finally:
        world.close()


def paths() -> list[tuple[str, str]]:
    """(method, path) of every route of the service, filled in."""
    found = []
    for route in metadata.routes:
        path = route.path.replace("*", "")
        for name, value in WORDS.items():
            path = path.replace("{" + name + "}", value)
        assert "{" not in path, f"say what {path} means here"
        found.append((route.method, route.prefix + path))
    return found


@pytest.mark.parametrize(("method", "path"), paths())
def test_only_the_proxy_is_answered(guests: Guests, method: str, path: str) -> None:
    right = guests.facts(guests.victim)
    without = {k: v for k, v in right.items() if k != SECRET_HEADER}
    body = b"x" if method == "POST" else None
    answers = {guests.ask(path, headers, method, body).status for headers in (
        without, {**without, SECRET_HEADER: ""}, {**without, SECRET_HEADER: "0" * 64},
        {**without, SECRET_HEADER: right[SECRET_HEADER][:-1]}, {**without, SECRET_HEADER: right[SECRET_HEADER] + "0"},
    )}  # fmt: skip
    assert answers == {403}


@pytest.mark.parametrize("path", [p for m, p in paths() if m == "GET"] + ["/openstack/latest/user_data"])
def test_a_server_is_told_of_itself_alone(guests: Guests, path: str) -> None:
    """The same address on another network is another server, nobody's address is nobody; lies change nothing."""
    told = {}
    for side, other in ((guests.victim, guests.own), (guests.own, guests.victim)):
        facts = guests.facts(side)
        told[side.name] = guests.ask(path, facts)
        for foreign in (other.ids["told"], other.ids["project"], f"of-{other.name}", other.ids["network"],
                        other.ids["user"]):  # fmt: skip
            assert foreign.encode() not in told[side.name].raw
        lies = dict.fromkeys(SPOOFED, other.ids["told"]) | {"X-Auth-Token": other.token}
        assert guests.ask(path, {**lies, **facts}).raw == told[side.name].raw
        assert guests.ask(path, {**facts, "X-Forwarded-For": "10.9.0.200"}).status == 404
        assert guests.ask(path, {**facts, "X-Neutron-Network-ID": "0" * 8}).status == 404
        for odd in ("", "x", "10.9.0.77/24", "%", "\x00", "::1", "10.9.0.077"):
            reply = guests.ask(path, {**facts, "X-Forwarded-For": odd})
            assert reply.status in (400, 404), odd
    if "user_data" in path or "meta_data" in path or "instance-id" in path:
        assert told["victim"].status == told["own"].status == 200
        assert told["victim"].raw != told["own"].raw


@pytest.mark.parametrize("again", [False, True])
def test_a_port_with_another_servers_id_written_on_it_is_no_door(guests: Guests, again: bool) -> None:
    """Whoever has a port may set its device_id: a guest at its address was taken for that server, and the server
    showed the port as its own."""
    world, own = guests.world, guests.own
    given_port = {"network_id": own.ids["network"], "device_id": "" if again else guests.victim.ids["told"],
                  "device_owner": "compute:nova", "fixed_ips": [{"ip_address": f"10.9.0.{88 + again}"}]}  # fmt: skip
    before = shown(guests)
    port = world.done("POST", f"{NET}/ports", {"port": given_port}, token=own.token)["port"]
    if again:  # first a server's own, then said to be the other's
        body = {"port": {"device_id": guests.victim.ids["told"]}}
        world.done("PUT", f"{NET}/ports/{port['id']}", body, token=own.token)
    facts = {**guests.facts(own), "X-Forwarded-For": f"10.9.0.{88 + again}"}
    for method, path in [*paths(), ("GET", "/openstack/latest/user_data")]:
        reply = guests.ask(path, facts, method, b"stolen" if method == "POST" else None)
        assert reply.status == 404, (method, path, reply.raw)
    assert shown(guests) == before
    theirs = world.done("GET", f"{COM}/servers/{guests.victim.ids['told']}/os-interface", token=guests.victim.token)
    assert port["id"] not in json.dumps(theirs)
    world.done("DELETE", f"{NET}/ports/{port['id']}", token=own.token)


def shown(guests: Guests) -> Any:
    """What the victim's server says of itself."""
    path = f"{COM}/servers/{guests.victim.ids['told']}"
    server = guests.world.done("GET", path, token=guests.victim.token)["server"]
    network = guests.ask("/openstack/latest/network_data.json", guests.facts(guests.victim))
    return server["addresses"], network.body


def test_a_password_is_set_by_its_own_guest(guests: Guests) -> None:
    path, kept = "/openstack/latest/password", guests.facts(guests.victim)
    assert guests.ask(path, guests.facts(guests.own), "POST", b"mine").status == 200
    assert guests.ask(path, guests.facts(guests.own)).raw == b"mine"
    assert guests.ask(path, kept).raw == b""


# -- the proxy
NAMES = st.sampled_from(
    ["X-Forwarded-For", "x_forwarded_for", "X-FORWARDED-FOR", "X-Forwarded-Host", "X-Neutron-Network-ID",
     "X_Neutron_Router_ID", "X-Nutshell-Metadata-Secret", "x-nutshell_metadata-secret", "X-Instance-ID", "X-Tenant-ID",
     "X-Real-IP", "Forwarded", "Connection", "Host", "Transfer-Encoding", "Content-Length", "Accept", "User-Agent"]
) | st.text(st.characters(max_codepoint=255), max_size=20)  # fmt: skip
VALUES = st.sampled_from(["10.9.0.1", "victim", "chunked", "a\nX-Forwarded-For: 10.9.0.1", "a\rX-Instance-ID: b"]) | (
    st.text(st.characters(max_codepoint=255), max_size=20)
)
TARGETS = st.sampled_from(
    ["/", "/openstack", "//x", "http://h/x", "http://[", "/a b", "/../identity/v3", "*", "/%0d%0a"]
)
FACTS = {"X-Neutron-Network-ID": "the-network", "X-Nutshell-Metadata-Secret": "the-secret"}
OWN = {"x-forwarded-for": "10.0.0.9", "x-neutron-network-id": "the-network", "x-nutshell-metadata-secret": "the-secret"}


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=8),
    TARGETS | st.text(max_size=10),
    st.sampled_from(["GET", "POST", "X"]),
)
@example([("A\nX-Forwarded-For", "10.9.0.1")], "/", "GET")
@example([("A", "b\r\n X-Forwarded-For: 10.9.0.1")], "/", "GET")
def test_nothing_that_a_guest_writes_is_believed(headers: list[tuple[str, str]], target: str, method: str) -> None:
    """What is passed on names the guest's address, its network and the secret once each, as the proxy has them."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers)]
    raw = "\r\n".join(lines).encode("latin-1", "replace")
    try:
        head = proxy.parse_head(raw)
        sent = proxy.forwarded(head, "http://127.0.0.1:5000/metadata", "10.0.0.9", FACTS, b"")
    except proxy.Refusal:
        return
    text = sent.decode("latin-1")
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[1:]:
        name, _, value = line.partition(":")
        low = name.strip().lower().replace("_", "-")
        if low in OWN:
            assert value.strip() == OWN[low]
        assert not low.startswith(("x-instance-", "x-tenant-", "x-real-", "x-forwarded-host")), line
    for name in OWN:
        assert text.lower().count(f"\r\n{name}: ") == 1
    assert text.split(" ")[1].startswith("/metadata/")


def test_the_proxy_answers_odd_bytes_and_goes_on() -> None:
    """No request ends a connection without an answer, and none reaches the API that is none."""
    odd = (b"\r\n\r\n", b"GET / HTTP/1.1\r\nA\nX-Forwarded-For: 1\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n",
           b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n",
           b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"\x16\x03\x01\r\n\r\n",
           b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")  # fmt: skip

    async def talk() -> list[bytes]:
        import socket

        made = proxy.MetadataProxy(("http://127.0.0.1:9", "s"), {})
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        await made.start(listener)
        answers = []
        for one in odd:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(one)
            answers.append(await asyncio.wait_for(reader.read(), 5))
            writer.close()
        await made.stop()
        return answers

    for request, answer in zip(odd, asyncio.run(talk()), strict=True):
        assert answer.startswith(b"HTTP/1.1 4"), (request[:60], answer)
