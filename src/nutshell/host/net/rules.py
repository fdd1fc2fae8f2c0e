"""Security groups as nftables text: pure functions from groups and ports to commands.

Source: nft(8); Network API v2.0, security group rules; RFC 4861 and RFC 4890 for what IPv6 needs to live.

A frame's path: table `bridge nut` checks the sender (prerouting) and writes the numbers of the sending and the
receiving port into the two halves of the packet mark (forward, before br_netfilter); table `inet nut` then sees the
packet with connection tracking, in its network's zone, and judges first the sender's rules, then the receiver's.
This needs no connection tracking in the bridge family, which many kernels lack. A tap without rules passes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import collapse_addresses, ip_network

from nutshell.core.drivers import DriverFault
from nutshell.network.capability import Group, Port, Rule

SKELETON = """
add table bridge nut
delete table bridge nut
add table inet nut
delete table inet nut
table bridge nut {
 map guard { type ifname : verdict; }
 map sender { type ifname : mark; }
 map receiver { type ifname : verdict; }
 chain prerouting { type filter hook prerouting priority -300; policy accept;
  iifname vmap @guard
  iifname "tap*" counter drop
 }
 chain forward { type filter hook forward priority -100; policy accept;
  meta mark set 0
  meta mark set iifname map @sender
  oifname vmap @receiver
  oifname "tap*" counter drop
 }
}
table inet nut {
 map zone { type ifname : verdict; }
 map out { type mark : verdict; }
 map in { type mark : verdict; }
 map out_stateless { type mark : verdict; }
 map in_stateless { type mark : verdict; }
 chain always_out {
  ct state invalid counter drop
  udp sport 68 udp dport 67 accept
  udp sport 546 udp dport 547 accept
  ip daddr 169.254.169.254 tcp dport 80 accept
  ip6 daddr fe80::a9fe:a9fe tcp dport 80 accept
  icmpv6 type { 131, 132, 133, 135, 136, 143 } accept
 }
 chain always_in {
  ct state invalid counter drop
  udp sport 67 udp dport 68 accept
  udp sport 547 udp dport 546 accept
  icmpv6 type { 130, 134, 135, 136 } accept
 }
 chain zones { type filter hook prerouting priority -300; policy accept;
  iifname vmap @zone
 }
 chain sent { type filter hook forward priority 0; policy accept;
  meta mark 0 accept
  meta mark & 0x0000ffff vmap @out_stateless
  ct state established,related accept
  meta mark & 0x0000ffff vmap @out
 }
 chain received { type filter hook forward priority 1; policy accept;
  meta mark 0 accept
  meta mark & 0xffff0000 vmap @in_stateless
  ct state established,related accept
  meta mark & 0xffff0000 vmap @in
 }
}
"""

_PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0,
    "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
    "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112, "any": 0,
}  # fmt: skip
_WITH_PORTS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}


@dataclass(frozen=True)
class NumberedPort:
    """A port and its number on this host: 1 to 65535, half a packet mark."""

    port: Port
    number: int
    stateful: bool = True


@dataclass(frozen=True)
class Zone:
    """A network's bridge and its connection tracking zone, so that networks may use the same addresses."""

    bridge: str
    number: int


def ident(id: str) -> str:
    """An id as nft allows it in a name."""
    return id.replace("-", "_").replace(".", "_")


def protocol_number(rule: Rule) -> int | None:
    """The rule's protocol; None for any. "icmp" in an IPv6 rule means ICMPv6, as the API has it."""
    if rule.protocol is None:
        return None
    text = rule.protocol.lower()
    number = int(text) if text.isdigit() else _PROTOCOLS.get(text)
    if number is None or number > 255:
        raise DriverFault(f"unknown protocol {rule.protocol!r}", final=True)
    if number == 1 and rule.ip_version == 6:
        return 58
    return number or None


def rule_text(rule: Rule) -> str:
    """One security group rule as the matches of one nft rule that accepts."""
    words = ["meta nfproto ipv4" if rule.ip_version == 4 else "meta nfproto ipv6"]
    side = "saddr" if rule.direction == "ingress" else "daddr"
    family = "ip" if rule.ip_version == 4 else "ip6"
    if rule.remote_group_id is not None:
        words.append(f"{family} {side} @m{rule.ip_version}_{ident(rule.remote_group_id)}")
    elif rule.remote_cidr is not None:
        network = ip_network(rule.remote_cidr, strict=False)
        if network.version != rule.ip_version:
            raise DriverFault(f"{rule.remote_cidr} is not of IP version {rule.ip_version}", final=True)
        if network.prefixlen:
            words.append(f"{family} {side} {network}")
    number = protocol_number(rule)
    if number is not None:
        words.append(f"meta l4proto {number}")
        if number in (1, 58) and rule.port_min is not None:
            words.append(f"@th,0,8 {rule.port_min}")
            if rule.port_max is not None:
                words.append(f"@th,8,8 {rule.port_max}")
        elif number in _WITH_PORTS and (rule.port_min is not None or rule.port_max is not None):
            low = rule.port_min if rule.port_min is not None else rule.port_max
            high = rule.port_max if rule.port_max is not None else rule.port_min
            words.append(f"th dport {low}" if low == high else f"th dport {low}-{high}")
    return " ".join([*words, "accept"])


def members(group: Group, version: int) -> tuple[str, ...]:
    """The group's member addresses of one IP version, as elements of its set."""
    return tuple(_elements(group.members, version))


def needs_intervals(group: Group) -> bool:
    return any("/" in text for version in (4, 6) for text in members(group, version))


def remote_sets(group_id: str, intervals: bool) -> Iterator[str]:
    """The two sets of a group's members, made if absent."""
    flags = " flags interval;" if intervals else ""
    for version in (4, 6):
        yield f"add set inet nut m{version}_{ident(group_id)} {{ type ipv{version}_addr;{flags} }}"


def group_members(group: Group, before: Group | None) -> Iterator[str]:
    """Bring the sets from what they held (None: unknown) to the group's members."""
    for version in (4, 6):
        name = f"m{version}_{ident(group.group_id)}"
        wanted = members(group, version)
        held = members(before, version) if before is not None else ()
        if before is None:
            yield f"flush set inet nut {name}"
        gone = sorted(set(held).difference(wanted))
        new = sorted(set(wanted).difference(held))
        if gone:
            yield f"delete element inet nut {name} {{ {', '.join(gone)} }}"
        if new:
            yield f"add element inet nut {name} {{ {', '.join(new)} }}"


def group_rules(group: Group) -> Iterator[str]:
    """The two chains of a group, made anew."""
    for direction, chain in (("ingress", "gi"), ("egress", "ge")):
        name = f"{chain}_{ident(group.group_id)}"
        yield f"add chain inet nut {name}"
        yield f"flush chain inet nut {name}"
        for rule in group.rules:
            if rule.direction == direction:
                yield f"add rule inet nut {name} {rule_text(rule)}"


def remove_group(group_id: str) -> Iterator[str]:
    """Its chains go; its sets stay, empty, as rules of other groups may name them (until the next rebuild)."""
    for chain in ("gi", "ge"):
        yield f"flush chain inet nut {chain}_{ident(group_id)}"
        yield f"delete chain inet nut {chain}_{ident(group_id)}"
    for version in (4, 6):
        yield f"flush set inet nut m{version}_{ident(group_id)}"


def zone_rules(zone: Zone) -> Iterator[str]:
    yield f"add chain inet nut z{zone.number}"
    yield f"flush chain inet nut z{zone.number}"
    yield f"add rule inet nut z{zone.number} ct zone set {zone.number}"
    yield f'add element inet nut zone {{ "{zone.bridge}" : goto z{zone.number} }}'


def remove_zone(zone: Zone) -> Iterator[str]:
    yield f'delete element inet nut zone {{ "{zone.bridge}" }}'
    yield f"delete chain inet nut z{zone.number}"


def port_rules(numbered: NumberedPort, tap: str) -> Iterator[str]:
    """Everything of one port. Sender's checks, marks, and the chains of its groups; an open port only has marks."""
    port, number = numbered.port, numbered.number
    yield f"add chain bridge nut r{number}"
    yield f"flush chain bridge nut r{number}"
    yield f"add rule bridge nut r{number} meta mark set meta mark & 0x0000ffff | {number << 16:#x}"
    yield f'add element bridge nut sender {{ "{tap}" : {number} }}'
    yield f'add element bridge nut receiver {{ "{tap}" : goto r{number} }}'
    if not port.security:
        yield f'add element bridge nut guard {{ "{tap}" : accept }}'
        return
    yield f"add chain bridge nut s{number}"
    yield f"flush chain bridge nut s{number}"
    for text in sender_checks(port):
        yield f"add rule bridge nut s{number} {text}"
    yield f'add element bridge nut guard {{ "{tap}" : goto s{number} }}'
    for chain, shared, groups, table, mark in (
        ("o", "always_out", "ge", "out", number),
        ("i", "always_in", "gi", "in", number << 16),
    ):
        yield f"add chain inet nut {chain}{number}"
        yield f"flush chain inet nut {chain}{number}"
        if numbered.stateful:
            yield f"add rule inet nut {chain}{number} jump {shared}"
        else:  # the shared chain but for its first rule: connection state means nothing to a stateless port
            for text in _stateless_always(chain):
                yield f"add rule inet nut {chain}{number} {text}"
        for group_id in port.group_ids:
            yield f"add rule inet nut {chain}{number} jump {groups}_{ident(group_id)}"
        yield f"add rule inet nut {chain}{number} counter drop"
        state = "" if numbered.stateful else "_stateless"
        yield f"add element inet nut {table}{state} {{ {mark:#x} : goto {chain}{number} }}"


def _stateless_always(chain: str) -> Sequence[str]:
    name = "always_out" if chain == "o" else "always_in"
    body = SKELETON.partition(f"chain {name} {{")[2].partition("}\n chain")[0]
    return [line.strip() for line in body.splitlines() if line.strip() and "ct state" not in line]


def remove_port(numbered: NumberedPort, tap: str) -> Iterator[str]:
    """Undo `port_rules` of the same numbered port."""
    number = numbered.number
    yield f'delete element bridge nut sender {{ "{tap}" }}'
    yield f'delete element bridge nut receiver {{ "{tap}" }}'
    yield f"flush chain bridge nut r{number}"
    yield f"delete chain bridge nut r{number}"
    yield f'delete element bridge nut guard {{ "{tap}" }}'
    if not numbered.port.security:
        return
    state = "" if numbered.stateful else "_stateless"
    yield f"delete element inet nut out{state} {{ {number:#x} }}"
    yield f"delete element inet nut in{state} {{ {number << 16:#x} }}"
    for table, chain in (("bridge", "s"), ("inet", "o"), ("inet", "i")):
        yield f"flush chain {table} nut {chain}{number}"
        yield f"delete chain {table} nut {chain}{number}"


def sender_checks(port: Port) -> Iterator[str]:
    """What a guest may send: its own and its allowed addresses; never DHCP answers or router advertisements."""
    allowed: dict[str, list[str]] = {port.mac.lower(): list(port.ips)}
    for mac, cidr in port.allowed_pairs:
        allowed.setdefault((mac or port.mac).lower(), []).append(cidr)
    yield f"ether saddr != {{ {', '.join(sorted(allowed))} }} counter drop"
    yield "ether type ip udp sport 67 udp dport 68 counter drop"
    yield "ether type ip6 udp sport 547 udp dport 546 counter drop"
    yield "ether type ip6 icmpv6 type nd-router-advert counter drop"
    yield "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept"
    yield "ether type ip6 ip6 saddr :: icmpv6 type { 131, 132, 133, 135, 143 } accept"
    for mac, texts in sorted(allowed.items()):
        four = _elements(texts, 4)
        six = _elements([*texts, link_local(mac)], 6)
        arp = _elements([*four, "0.0.0.0"], 4)
        sender = f"ether saddr {mac}"
        yield f"{sender} ether type arp arp saddr ether {mac} arp saddr ip {{ {', '.join(arp)} }} accept"
        if four:
            yield f"{sender} ether type ip ip saddr {{ {', '.join(four)} }} accept"
        if all("/" not in text for text in six):  # a neighbour advertisement's target is ARP's sender address
            targets = ", ".join(f"{int(ip_network(text)[0]):#034x}" for text in six)
            yield f"{sender} ether type ip6 icmpv6 type 136 @th,64,128 != {{ {targets} }} counter drop"
        yield f"{sender} ether type ip6 ip6 saddr {{ {', '.join(six)} }} accept"
    yield "counter drop"


def _elements(texts: Sequence[str], version: int) -> list[str]:
    """Addresses and CIDRs of one IP version as elements of a set; merged where a range could overlap another."""
    nets = [net for net in (ip_network(text, strict=False) for text in dict.fromkeys(texts)) if net.version == version]
    if any(net.num_addresses > 1 for net in nets):
        nets = list(collapse_addresses(nets))  # type: ignore[type-var]
    return [str(net) if net.num_addresses > 1 else str(net[0]) for net in nets]


def link_local(mac: str) -> str:
    """The link-local address that a card of this MAC gives itself (RFC 4291, appendix A)."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    tail = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(ip_network(b"\xfe\x80" + b"\0" * 6 + tail)[0])
