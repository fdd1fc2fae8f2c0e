"""The host network's pure parts: rules, configuration files and headers made from what the service asked for."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from nutshell.core.drivers import DriverFault
from nutshell.host.net import rules
from nutshell.host.net.advertisements import advertised
from nutshell.host.net.dnsmasq import config_text, hosts_text, names_text, release_message
from nutshell.host.net.fabric import free_number
from nutshell.host.net.metadata import Refusal, answered, forwarded, parse_head
from nutshell.host.net.names import Names, checked
from nutshell.host.net.netlink import attribute, attributes
from nutshell.host.net.router_rules import nat_text
from nutshell.network.capability import FloatingIp, Group, Lease, Network, Port, Router, RouterLeg, Rule, Subnet


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("ingress", 4, None, None, None, None, None), "meta nfproto ipv4 accept"),
        (Rule("ingress", 4, "tcp", 22, 22, "10.0.0.0/8", None),
         "meta nfproto ipv4 ip saddr 10.0.0.0/8 meta l4proto 6 th dport 22 accept"),
        (Rule("egress", 4, "UDP", 1, 65535, "0.0.0.0/0", None),
         "meta nfproto ipv4 meta l4proto 17 th dport 1-65535 accept"),
        (Rule("egress", 6, "tcp", 80, None, None, "a-b"),
         "meta nfproto ipv6 ip6 daddr @m6_a_b meta l4proto 6 th dport 80 accept"),
        (Rule("ingress", 4, "icmp", 8, 0, None, None), "meta nfproto ipv4 meta l4proto 1 @th,0,8 8 @th,8,8 0 accept"),
        (Rule("ingress", 4, "icmp", None, None, None, None), "meta nfproto ipv4 meta l4proto 1 accept"),
        (Rule("ingress", 6, "icmp", 128, None, None, None), "meta nfproto ipv6 meta l4proto 58 @th,0,8 128 accept"),
        (Rule("ingress", 6, "ipv6-icmp", None, None, None, None), "meta nfproto ipv6 meta l4proto 58 accept"),
        (Rule("ingress", 4, "112", None, None, None, None), "meta nfproto ipv4 meta l4proto 112 accept"),
        (Rule("ingress", 4, "any", None, None, None, None), "meta nfproto ipv4 accept"),
        (Rule("ingress", 4, "gre", 5, 6, None, None), "meta nfproto ipv4 meta l4proto 47 accept"),
    ],
)  # fmt: skip
def test_a_rule_becomes_one_line(rule: Rule, text: str) -> None:
    assert rules.rule_text(rule) == text


@pytest.mark.parametrize("protocol", ["flux", "256", "tcp; flush ruleset"])
def test_a_protocol_nobody_knows_is_a_final_fault(protocol: str) -> None:
    with pytest.raises(DriverFault) as caught:
        rules.rule_text(Rule("ingress", 4, protocol, None, None, None, None))
    assert caught.value.final


def test_a_cidr_of_the_other_family_is_a_final_fault() -> None:
    with pytest.raises(DriverFault):
        rules.rule_text(Rule("ingress", 4, None, None, None, "2001:db8::/32", None))


def test_members_change_by_difference() -> None:
    before = Group("g", (), ("10.0.0.1", "10.0.0.2", "2001:db8::1"))
    after = replace(before, members=("10.0.0.2", "10.0.0.3", "2001:db8::1"))
    assert list(rules.group_members(after, before)) == [
        "delete element inet nut m4_g { 10.0.0.1 }",
        "add element inet nut m4_g { 10.0.0.3 }",
    ]


def test_members_with_ranges_are_merged_so_that_sets_take_them() -> None:
    group = Group("g", (), ("10.0.0.5", "10.0.0.0/28", "10.0.0.16"))
    assert rules.members(group, 4) == ("10.0.0.0/28", "10.0.0.16")
    assert rules.needs_intervals(group)


def test_an_address_the_guest_does_not_own_is_in_no_check() -> None:
    port = Port("p", "n", "FA:16:3E:00:00:01", ("10.0.0.5", "2001:db8::5"), True, (), (("", "10.1.0.0/16"),))
    text = "\n".join(rules.sender_checks(port))
    assert "ether saddr != { fa:16:3e:00:00:01 } counter drop" in text
    assert "ip saddr { 10.0.0.5, 10.1.0.0/16 } accept" in text
    assert "ip6 saddr { 2001:db8::5, fe80::f816:3eff:fe00:1 } accept" in text
    assert text.endswith("counter drop")


def test_what_is_removed_is_what_was_made() -> None:
    port = Port("p", "n", "fa:16:3e:00:00:01", ("10.0.0.5",), True, ("g",))
    for numbered in (
        rules.NumberedPort(port, 7),
        rules.NumberedPort(port, 7, stateful=False),
        rules.NumberedPort(replace(port, security=False, group_ids=()), 7),
    ):
        made = list(rules.port_rules(numbered, "tap1"))
        undone = list(rules.remove_port(numbered, "tap1"))
        chains = {line.split("add chain ")[1] for line in made if line.startswith("add chain")}
        assert {line.split("delete chain ")[1] for line in undone if line.startswith("delete chain")} == chains
        keys = {tuple(line.split()[2:7:2]) for line in made if line.startswith("add element")}
        assert len([line for line in undone if line.startswith("delete element")]) == len(keys)


def test_numbers_are_reused_and_end() -> None:
    assert free_number([]) == 1
    assert free_number([1, 2, 4]) == 3
    with pytest.raises(DriverFault):
        free_number(range(1, 65536))


def network() -> Network:
    one = Subnet("s1", "10.0.0.0/24", 4, "10.0.0.1", True, "10.0.0.2", (), (("10.9.0.0/16", "10.0.0.7"),),
                 (Lease("p", "FA:16:3E:00:00:01", "10.0.0.5", "vm"),))  # fmt: skip
    two = Subnet("s2", "10.0.1.0/24", 4, None, True, "10.0.1.2", ("9.9.9.9",))
    six = Subnet("s3", "2001:db8::/64", 6, "2001:db8::1", True, "2001:db8::2",
                 leases=(Lease("p", "fa:16:3e:00:00:01", "2001:db8::5", "vm"),))  # fmt: skip
    return Network("n", 5, 1450, False, (one, two, six), "cloud.test.", "d", "fa:16:3e:00:00:02")


def test_dnsmasq_is_told_mtu_routes_and_servers() -> None:
    lines = config_text(network(), Path("/run/x")).splitlines()
    assert "dhcp-option-force=26,1450" in lines
    assert "dhcp-range=set:s0,10.0.0.0,static,255.255.255.0,86400" in lines
    assert "dhcp-option=tag:s0,3,10.0.0.1" in lines
    assert "dhcp-option=tag:s1,3" in lines  # no gateway: none is announced, not the server itself
    assert "dhcp-option=tag:s0,6,10.0.0.2" in lines
    assert "dhcp-option=tag:s1,6,9.9.9.9" in lines
    routes = "169.254.169.254/32,10.0.0.2,10.0.1.0/24,0.0.0.0,10.9.0.0/16,10.0.0.7,0.0.0.0/0,10.0.0.1"
    assert f"dhcp-option=tag:s0,121,{routes}" in lines
    assert "local=/cloud.test/" in lines


def test_a_users_default_route_replaces_the_gateways() -> None:
    own = replace(network().subnets[0], routes=(("0.0.0.0/0", "10.0.0.99"),))
    text = config_text(replace(network(), subnets=(own,)), Path("/run/x"))
    assert "0.0.0.0/0,10.0.0.99" in text
    assert "0.0.0.0/0,10.0.0.1\n" not in text


def test_reservations_and_names() -> None:
    assert hosts_text(network()).splitlines() == ["fa:16:3e:00:00:01,10.0.0.5,vm", "fa:16:3e:00:00:01,[2001:db8::5],vm"]
    assert names_text(network()).splitlines() == ["10.0.0.5 vm.cloud.test vm", "2001:db8::5 vm.cloud.test vm"]


def test_a_release_is_what_the_guest_would_send() -> None:
    message = release_message("fa:16:3e:00:00:01", "10.0.0.5", "10.0.0.2")
    assert message[12:16] == ip_address("10.0.0.5").packed
    assert message[28:34].hex(":") == "fa:16:3e:00:00:01"
    assert message[236:243] == b"\x63\x82\x53\x63\x35\x01\x07"


def test_a_router_translates_only_what_it_must() -> None:
    leg = RouterLeg("l", "n", "fa:16:3e:00:00:01", ("10.0.0.1/24",))
    gateway = RouterLeg("g", "e", "fa:16:3e:00:00:02", ("198.51.100.9/24",))
    bare = Router("r", True, (leg,), None, None, True)
    assert "snat" not in nat_text(bare, "")
    whole = replace(bare, gateway=gateway, floating=(FloatingIp("198.51.100.20", "10.0.0.5"),))
    text = nat_text(whole, "qgx")
    assert 'oifname "qgx" ip saddr != 198.51.100.9 snat to 198.51.100.9' in text
    assert "add element ip nut inward { 198.51.100.20 : 10.0.0.5 }" in text
    unhidden = nat_text(replace(whole, snat=False), "qgx")
    assert "ip saddr != 198.51.100.9 snat" not in unhidden
    assert "add element ip nut outward { 10.0.0.5 : 198.51.100.20 }" in unhidden


def test_names_fit_and_carry_the_cloud() -> None:
    names = Names("a1b2c3")
    id = "0a000000-0000-4000-8000-000000000001"
    links = [names.bridge(id), names.dhcp_end(id), names.outside(id), names.outside_end(id), names.tap(id),
             names.leg_end(id), names.leg(id, True)]  # fmt: skip
    assert all(len(link) <= 15 for link in links)
    assert len(set(links)) == len(links)
    assert names.outside(id).startswith("nxa1b2c3")
    for name in (names.fabric, names.network(id), names.router(id)):
        assert name.startswith("nut-a1b2c3-")


@pytest.mark.parametrize("id", ["", "../x", "a b", "a;b", "-x", "x" * 65, 'a"b'])
def test_an_id_that_could_mean_something_else_is_refused(id: str) -> None:
    with pytest.raises(DriverFault):
        checked(id)


@pytest.mark.parametrize("cloud", ["", "abcdefg", "A1", "a-b", "a/b"])
def test_a_cloud_has_a_short_plain_id(cloud: str) -> None:
    with pytest.raises(ValueError):
        Names(cloud)


def test_attributes_there_and_back() -> None:
    data = attribute(3, "eth0") + attribute(4, 1450) + attribute(18, (attribute(1, "veth"),))
    found = attributes(data)
    assert found[3] == b"eth0\0"
    assert int.from_bytes(found[4], "little") == 1450
    assert attributes(found[18])[1] == b"veth\0"


def test_no_header_of_the_guests_says_who_it_is() -> None:
    lies = ("x-forwarded-for: 10.0.0.9", "X_Instance_ID: other", "X-Neutron-Router-Id: r", "Connection: keep-alive")
    lines = ["GET /latest/x?y=1 HTTP/1.1", "Host: 169.254.169.254", "Accept: */*", *lies]
    head = parse_head("\r\n".join(lines).encode())
    sent = forwarded(head, "http://127.0.0.1:5000/metadata", "10.0.0.5", {"X-Neutron-Network-ID": "n"}, b"").decode()
    assert sent.splitlines() == [
        "GET /metadata/latest/x?y=1 HTTP/1.0", "Host: 127.0.0.1:5000", "Connection: close", "Accept: */*",
        "X-Forwarded-For: 10.0.0.5", "X-Neutron-Network-ID: n", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET  HTTP/1.1", 400),
        (b"GET x HTTP/1.1", 400),
        (b"GET /\x01 HTTP/1.1", 400),
        (b"BREW / HTTP/1.1", 405),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/1.1\r\nno colon", 400),
        (b"GET / HTTP/1.1\r\nA : b", 400),
    ],
)
def test_a_malformed_request_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        forwarded(parse_head(data), "http://127.0.0.1:5000/metadata", "10.0.0.5", {}, b"")
    assert caught.value.status == status


def test_an_answer_ends_with_its_connection() -> None:
    head = parse_head(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive")
    assert answered(head) == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"


def test_a_router_advertises_what_its_subnets_say() -> None:
    leg = RouterLeg("l", "n", "fa:16:3e:00:00:01", ("10.0.0.1/24", "2001:db8::1/64"))
    router = Router("r", True, (leg,), None, None, False)
    subnet = replace(network().subnets[2], ra_mode="dhcpv6-stateful", address_mode="dhcpv6-stateful")
    said = advertised(router, {"n": replace(network(), subnets=(subnet,))}, {"l": "qr1"})
    assert len(said) == 1
    message = said[0].message()
    assert (message[0], message[5], message[6:8]) == (134, 0xC0, (1800).to_bytes(2, "big"))
    prefix = message[32:64]
    assert (prefix[0], prefix[2], prefix[3]) == (3, 64, 0x80)
    slaac = advertised(router, {"n": replace(network(), subnets=(replace(subnet, ra_mode="slaac"),))}, {"l": "qr1"})
    assert (slaac[0].message()[5], slaac[0].message()[35]) == (0, 0xC0)
    silent = replace(network(), subnets=(replace(subnet, ra_mode=""),))
    assert advertised(router, {"n": silent}, {"l": "qr1"}) == ()


def test_dnsmasq_hands_out_no_addresses_that_guests_make() -> None:
    six = replace(network().subnets[2], ra_mode="slaac", address_mode="slaac")
    text = config_text(replace(network(), subnets=(six,)), Path("/run/x"))
    assert "dhcp-range" not in text
    assert "2001:db8::5" not in hosts_text(replace(network(), subnets=(six,)))
