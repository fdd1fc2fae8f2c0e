"""The `linux` network driver with guests on it: leases, rules, spoofing, metadata, routers and floating IPs."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.linux_world import PING_IN, SECRET, FakeApi, World, any_egress, mac, tcp_in
from tests.contract.standins import StandIn, connects

from nutshell.host.net.doctor import doctor
from nutshell.host.net.namespaces import Namespace
from nutshell.network.capability import FloatingIp, Group, Lease, Port, Rule, Subnet

_UNMET = [need for need, met, _ in doctor() if not met]
pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(_UNMET), reason=f"this machine lacks {', '.join(_UNMET)}")]


@pytest.fixture(scope="module")
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def shared(api: FakeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"), 1, api)
    try:
        world.build()
        yield world
    finally:
        world.close()


@pytest.fixture
def world(shared: World) -> World:
    """The shared cloud as it was built."""
    shared.set_group("web", any_egress(), tcp_in(80), PING_IN, members=("10.9.0.11",))
    shared.set_group("plain", any_egress(), members=("10.9.0.12", "10.9.0.13"))
    return shared


@pytest.fixture
def own_world(api: FakeApi, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, 2, api)
    try:
        yield world
    finally:
        world.close()


# DHCP and DNS


def test_a_guest_gets_its_lease_with_mtu_routes_and_names(world: World) -> None:
    lease = world.guest(1).dhcp()
    assert (lease["ip"], lease["mtu"], lease["hostname"], lease["domain"]) == ("10.9.0.11", "1442", "vm1", "cloud.test")
    assert lease["dns"] == "10.9.0.2"
    routes = lease["staticroutes"].split()
    assert dict(zip(routes[::2], routes[1::2], strict=True)) == {
        "169.254.169.254/32": "10.9.0.2", "10.77.0.0/16": "10.9.0.9", "0.0.0.0/0": "10.9.0.1",
    }  # fmt: skip
    said = world.guest(1).run("busybox", "nslookup", "vm2.cloud.test", "10.9.0.2").stdout
    assert "10.9.0.12" in said


def test_a_card_that_nobody_announced_gets_no_answer(world: World) -> None:
    world.driver.ensure_ports([Port("open", "net-1", "fa:16:3e:09:01:77", ("10.9.0.77",), False)])
    guest = StandIn(world.directory, f"{world.cloud}-stray", "fa:16:3e:09:01:77", world.driver.open_tap("open"))
    try:
        assert guest.dhcp() == {}
    finally:
        guest.close()
        world.driver.remove_ports(["open"])


def test_an_address_leased_before_goes_to_its_new_owner(own_world: World) -> None:
    world = own_world
    world.build()
    assert world.guest(1).dhcp()["ip"] == "10.9.0.11"
    world.guests.pop(1).close()
    world.driver.remove_ports(["p1"])
    lease = Lease("p9", mac(9), "10.9.0.11", "vm9")
    subnet = world.network.subnets[0]
    world.driver.ensure_network(replace(world.network, subnets=(replace(subnet, leases=(lease, *subnet.leases[1:])),)))
    world.driver.ensure_ports([Port("p9", "net-1", mac(9), ("10.9.0.11",), True, ("web",))])
    guest = StandIn(world.directory, f"{world.cloud}-guest9", mac(9), world.driver.open_tap("p9"))
    world.guests[9] = guest
    assert guest.dhcp()["ip"] == "10.9.0.11"


# Security groups


def test_what_no_rule_allows_is_dropped_and_answers_pass(world: World) -> None:
    one, two = world.guest(1), world.guest(2)
    with one.serve_tcp(80), one.serve_tcp(81), two.serve_tcp(80):
        assert two.calls("10.9.0.11", 80)
        assert not two.calls("10.9.0.11", 81)
        assert not one.calls("10.9.0.12", 80)
    assert two.pings("10.9.0.11")
    assert one.fails_to_ping("10.9.0.12")


def test_a_rule_counts_at_once_and_its_loss_ends_connections(world: World) -> None:
    one, two = world.guest(1), world.guest(2)
    with one.serve_tcp(81) as server:
        world.set_group("web", *world.groups["web"].rules, tcp_in(81))
        caller = two.space.run(lambda: socket.create_connection(("10.9.0.11", 81), 1))
        with caller, server.accept()[0] as called:
            caller.sendall(b"a")
            assert called.recv(1) == b"a"
            world.set_group("web", any_egress(), tcp_in(80))
            caller.sendall(b"b")
            called.settimeout(0.5)
            with pytest.raises(TimeoutError):
                called.recv(1)


def test_a_remote_group_allows_its_members_and_only_them(world: World) -> None:
    one, two, three = world.guest(1), world.guest(2), world.guest(3)
    world.set_group("plain", members=("10.9.0.12",))
    world.set_group("web", any_egress(), tcp_in(82, group="plain"))
    with one.serve_tcp(82):
        assert two.calls("10.9.0.11", 82)
        assert not three.calls("10.9.0.11", 82)
        world.set_group("plain", members=("10.9.0.13",))
        assert not two.calls("10.9.0.11", 82)
        assert three.calls("10.9.0.11", 82)


def test_egress_without_a_rule_is_dropped_but_dhcp_and_metadata_pass(world: World) -> None:
    world.set_group("plain", tcp_in(80))
    two = world.guest(2)
    with world.guest(1).serve_tcp(80):
        assert not two.calls("10.9.0.11", 80)
    assert two.dhcp()["ip"] == "10.9.0.12"
    assert two.calls("169.254.169.254", 80)


def test_a_stateless_group_needs_a_rule_for_answers_too(world: World) -> None:
    one, two = world.guest(1), world.guest(2)
    with one.serve_tcp(80):
        world.driver.ensure_groups([Group("plain", (any_egress(),), (), stateful=False)])
        assert not two.calls("10.9.0.11", 80)
        world.driver.ensure_groups(
            [Group("plain", (any_egress(), Rule("ingress", 4, "tcp", 1, 65535, None, None)), (), False)]
        )
        assert two.calls("10.9.0.11", 80)
        world.driver.ensure_groups([world.groups["plain"]])
        assert two.calls("10.9.0.11", 80)


def test_ipv6_rules_and_neighbours(world: World) -> None:
    one, two = world.guest(1), world.guest(2)
    there = "fe80::f816:3eff:fe09:101%eth0"
    assert two.fails_to_ping(there)
    world.set_group("web", any_egress(), Rule("ingress", 6, "icmp", 128, 0, None, None))
    world.set_group("plain", any_egress(), Rule("egress", 6, None, None, None, None, None))
    assert two.pings(there)
    assert one.space.exists()


def test_an_ipv6_guest_makes_its_address_and_finds_its_router(own_world: World) -> None:
    world = own_world
    six = Subnet(
        "s6", "2001:db8:9::/64", 6, "2001:db8:9::1", True, "2001:db8:9::2", ra_mode="slaac", address_mode="slaac"
    )
    made = "2001:db8:9:0:f816:3eff:fe09:102"
    world.network = replace(world.network, subnets=(*world.network.subnets, six))
    leg = replace(world.router.legs[0], addresses=("10.9.0.1/24", "2001:db8:9::1/64"))
    world.router = replace(world.router, legs=(leg,))
    world.ports[2] = replace(world.ports[2], ips=("10.9.0.12", made))
    world.build()
    world.set_group("plain", any_egress(), Rule("egress", 6, None, None, None, None, None))
    guest = world.guest(2)
    until = time.monotonic() + 8  # the third advertisement comes after five seconds, if the first two came too early
    while made not in (said := guest.run("ip", "-6", "addr", "show", "dev", "eth0").stdout):
        assert time.monotonic() < until, said
        time.sleep(0.05)
    assert "default via fe80::" in guest.run("ip", "-6", "route").stdout
    assert guest.pings("2001:db8:9::1")
    assert "mtu 1442" in guest.run("ip", "-6", "route").stdout


# Spoofing


def drops(world: World, number: int) -> int:
    """Packets that the port's sender checks dropped so far."""
    held = world.driver._fabric.state.ports[f"p{number}"].number
    chain = world.driver._fabric.space.nft().run(f"list chain bridge nut s{held}")
    words = [line.split() for line in chain.splitlines() if line.strip().endswith("drop")]
    return sum(int(line[line.index("packets") + 1]) for line in words if "packets" in line)


def test_a_guest_sends_only_as_itself(world: World) -> None:
    one, two = world.guest(1), world.guest(2)
    assert two.pings("10.9.0.11")
    before = drops(world, 2)
    two.address("10.9.0.66/24")
    assert two.fails_to_ping("10.9.0.11", "-I", "10.9.0.66")
    two.run("ip", "addr", "del", "10.9.0.66/24", "dev", "eth0")
    assert drops(world, 2) > before
    before = drops(world, 2)
    two.run("ip", "link", "set", "eth0", "address", "fa:16:3e:09:01:55")
    assert two.fails_to_ping("10.9.0.11")
    two.run("ip", "link", "set", "eth0", "address", mac(2))
    assert drops(world, 2) > before
    assert one.space.exists()


def test_a_guest_is_no_dhcp_server_and_no_router(world: World) -> None:
    two = world.guest(2)
    before = drops(world, 2)

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.bind(("10.9.0.12", 67))
            sender.sendto(b"x" * 300, ("10.9.0.255", 68))
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            sender.sendto(b"\x86" + b"\0" * 15, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))

    two.space.run(send)
    time.sleep(0.05)
    assert drops(world, 2) == before + 2


def test_an_allowed_pair_and_an_open_port_may(world: World) -> None:
    one, two = world.guest(1), world.guest(2)
    two.address("10.9.0.66/24")
    try:
        assert two.fails_to_ping("10.9.0.11", "-I", "10.9.0.66")
        world.driver.ensure_ports([replace(world.ports[2], allowed_pairs=((mac(2), "10.9.0.64/28"),))])
        assert two.pings("10.9.0.11", "-I", "10.9.0.66")
        world.driver.ensure_ports([replace(world.ports[2], security=False, group_ids=())])
        assert two.pings("10.9.0.11", "-I", "10.9.0.66")
        assert one.pings("10.9.0.12")
    finally:
        two.run("ip", "addr", "del", "10.9.0.66/24", "dev", "eth0")
        world.driver.ensure_ports([world.ports[2]])
    assert one.fails_to_ping("10.9.0.12")


def test_a_port_that_is_down_passes_nothing(world: World) -> None:
    two = world.guest(2)
    world.driver.ensure_ports([replace(world.ports[2], up=False)])
    assert two.fails_to_ping("10.9.0.11")
    world.driver.ensure_ports([world.ports[2]])
    assert two.pings("10.9.0.11")


# Metadata


def fetch(url: str, headers: dict[str, str], data: bytes | None = None) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data, headers), timeout=3) as answer:
        text: str = answer.read().decode()
        return text


def test_metadata_says_who_asks_and_believes_no_guest(world: World) -> None:
    lies = {"X-Forwarded-For": "10.9.0.13", "X_Neutron_Network_ID": "other", "X-Nutshell-Metadata-Secret": "guess"}
    said = world.guest(1).asks(lambda: fetch("http://169.254.169.254/openstack/latest/meta_data.json", lies))
    assert json.loads(said) == {"path": "/metadata/openstack/latest/meta_data.json"}
    _, _, headers, _ = world.api.seen[-1]
    told = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    assert len(told) == len(headers)
    assert told["x-forwarded-for"] == "10.9.0.11"
    assert told["x-neutron-network-id"] == "net-1"
    assert told["x-nutshell-metadata-secret"] == SECRET
    world.guest(1).asks(lambda: fetch("http://169.254.169.254/openstack/latest/password", {}, b"sesame"))
    assert world.api.seen[-1][0::3] == ("POST", b"sesame")


def test_metadata_through_the_router_when_dhcp_is_off(world: World) -> None:
    two = world.guest(2)
    two.run("ip", "route", "replace", "169.254.169.254/32", "via", "10.9.0.1")
    two.asks(lambda: fetch("http://169.254.169.254/latest/meta-data/", {}))
    two.run("ip", "route", "replace", "169.254.169.254/32", "via", "10.9.0.2")
    headers = world.api.seen[-1][2]
    assert (headers["X-Forwarded-For"], headers["X-Neutron-Router-ID"]) == ("10.9.0.12", "r1")


def test_metadata_refuses_what_is_too_big_or_no_http(world: World) -> None:
    def say(text: bytes) -> bytes:
        with socket.create_connection(("169.254.169.254", 80), 3) as caller:
            caller.sendall(text)
            return caller.recv(100).split(b"\r\n")[0]

    guest = world.guest(1)
    asked = len(world.api.seen)
    assert b" 431 " in guest.space.run(lambda: say(b"GET / HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n"))
    assert b" 413 " in guest.space.run(lambda: say(b"POST / HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"))
    assert b" 400 " in guest.space.run(lambda: say(b"hello\r\n\r\n"))
    assert len(world.api.seen) == asked


# Routers and floating IPs


def test_the_host_reaches_a_guest_by_its_floating_ip(world: World) -> None:
    floating = f"{world.outside}.101"
    with world.guest(1).serve_tcp(80) as server, socket.create_connection((floating, 80), 1):
        called, peer = server.accept()
        called.close()
        assert peer[0] == f"{world.outside}.1"  # the caller's own address, not a router's
    assert not connects(floating, 22)


def test_neighbours_reach_a_guest_by_its_floating_ip(world: World) -> None:
    floating = f"{world.outside}.101"
    with world.guest(1).serve_tcp(80) as server:
        assert world.guest(2).calls(floating, 80)
        server.accept()[0].close()
        world.driver.ensure_router(
            replace(world.router, floating=(*world.router.floating, FloatingIp(f"{world.outside}.102", "10.9.0.12")))
        )
        caller = world.guest(2).space.run(lambda: socket.create_connection((floating, 80), 1))
        with caller, server.accept()[0] as called:
            assert called.getpeername()[0] == f"{world.outside}.102"
        world.driver.ensure_router(world.router)


def test_guests_call_out_as_their_router_or_their_floating_ip(world: World) -> None:
    with socket.create_server((f"{world.outside}.1", 0)) as server:
        for number, seen in ((1, f"{world.outside}.101"), (2, f"{world.outside}.10")):
            assert world.guest(number).calls(*server.getsockname())
            called, peer = server.accept()
            called.close()
            assert peer[0] == seen


def test_guests_reach_the_world_beyond_the_host(world: World) -> None:
    beyond = Namespace(f"{world.cloud}-beyond")
    beyond.ensure({})
    link = f"b{world.cloud}"
    try:
        subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "eth0", "netns", beyond.name], check=True)
        subprocess.run(["ip", "addr", "add", "203.0.113.1/24", "dev", link], check=True)
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
        links = beyond.links()
        links.shape(links.need("eth0"), up=True)
        links.set_addresses(links.need("eth0"), ["203.0.113.2/24"])  # and no way back but to the host itself
        assert world.guest(2).pings("203.0.113.2")
    finally:
        beyond.delete()
        subprocess.run(["ip", "link", "del", link], check=False, capture_output=True)


def test_a_floating_ip_taken_away_ends_its_connections(world: World) -> None:
    with world.guest(1).serve_tcp(80) as server:
        caller = socket.create_connection((f"{world.outside}.101", 80), 1)
        with caller, server.accept()[0] as called:
            world.driver.ensure_router(replace(world.router, floating=()))
            caller.sendall(b"x")
            called.settimeout(0.5)
            with pytest.raises(TimeoutError):
                called.recv(1)
        assert not connects(f"{world.outside}.101", 80)
    world.driver.ensure_router(world.router)
