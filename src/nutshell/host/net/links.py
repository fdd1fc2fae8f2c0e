"""Links, addresses, routes and bridge entries of one network namespace, as the kernel has them now.

Source: linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h, linux/if_bridge.h.
"""

import errno
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from nutshell.host.net.netlink import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    NetlinkError,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
)

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH = 28
_MAC, _NAME, _MTU, _MASTER, _PROTINFO, _LINKINFO, _ALIAS, _GROUP, _NS_FD = 1, 3, 4, 10, 12, 18, 20, 27, 28
_BELOW = 5
_UP = 1
_OURS = 77  # route protocol: marks the routes that this driver made
_BRIDGE = (
    attribute(1, 0),  # IFLA_BR_FORWARD_DELAY
    attribute(23, b"\0"),  # IFLA_BR_MCAST_SNOOPING: off, as nobody queries
    attribute(36, b"\1"),  # IFLA_BR_NF_CALL_IPTABLES: IPv4 frames meet the inet hooks, where conntrack is
    attribute(37, b"\1"),  # IFLA_BR_NF_CALL_IP6TABLES
    attribute(38, b"\0"),  # IFLA_BR_NF_CALL_ARPTABLES
)


@dataclass(frozen=True)
class Link:
    index: int
    name: str
    mac: str
    mtu: int
    master: int
    up: bool
    alias: str


def _link_body(index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _parse(body: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", body)
    found = attributes(body[16:])

    def number(kind: int) -> int:
        return int(struct.unpack("=L", found[kind])[0]) if kind in found else 0

    def text(kind: int) -> str:
        return found.get(kind, b"").rstrip(b"\0").decode(errors="replace")

    return Link(index, text(_NAME), found.get(_MAC, b"").hex(":"), number(_MTU), number(_MASTER), bool(flags & _UP),
                text(_ALIAS))  # fmt: skip


class Links:
    """What `ip link`, `ip address` and `ip route` would do, in the namespace of the socket given."""

    def __init__(self, netlink: NetlinkSocket) -> None:
        self._netlink = netlink

    def all(self) -> list[Link]:
        return [_parse(body) for body in self._netlink.dump(Request(_GETLINK, 0, _link_body(), "list links"))]

    def find(self, name: str) -> Link | None:
        body = self._netlink.get(Request(_GETLINK, 0, _link_body() + attribute(_NAME, name), f"link {name}"))
        return None if body is None else _parse(body)

    def need(self, name: str) -> Link:
        """The link of that name; NetlinkError when there is none."""
        link = self.find(name)
        if link is None:
            raise NetlinkError(errno.ENODEV, "no such link", name)
        return link

    def add_bridge(self, name: str) -> None:
        kind = attribute(_LINKINFO, (attribute(1, "bridge"), attribute(2, _BRIDGE)))
        body = _link_body() + attribute(_NAME, name) + kind
        self._netlink.do(Request(_NEWLINK, CREATE | EXCLUSIVE, body, f"add bridge {name}"), absent_ok=(errno.EEXIST,))

    def add_veth(self, name: str, peer: str, peer_namespace: int) -> None:
        """A pair: `name` here, `peer` in the namespace of that file descriptor."""
        other = _link_body() + attribute(_NAME, peer) + attribute(_NS_FD, peer_namespace)
        kind = attribute(_LINKINFO, (attribute(1, "veth"), attribute(2, (attribute(1, other),))))
        body = _link_body() + attribute(_NAME, name) + kind
        self._netlink.do(Request(_NEWLINK, CREATE | EXCLUSIVE, body, f"add veth {name}"))

    def add_vlan(self, name: str, below: Link, number: int) -> None:
        """The frames of one VLAN on another link."""
        kind = attribute(_LINKINFO, (attribute(1, "vlan"), attribute(2, (attribute(1, struct.pack("=H", number)),))))
        body = _link_body() + attribute(_NAME, name) + attribute(_BELOW, below.index) + kind
        self._netlink.do(Request(_NEWLINK, CREATE | EXCLUSIVE, body, f"add vlan {name}"))

    def delete(self, name: str) -> None:
        body = _link_body() + attribute(_NAME, name)
        self._netlink.do(Request(_DELLINK, 0, body, f"delete link {name}"), absent_ok=(errno.ENODEV,))

    def delete_all(self, names: Sequence[str]) -> None:
        """Delete the links together: each alone would wait for the kernel's grace period. Absent is success."""
        present = [link for link in map(self.find, names) if link is not None]
        if len(present) < 2:
            for link in present:
                self.delete(link.name)
            return
        group = 0x6E757400 | self._netlink.number()  # of this call only
        for link in present:
            body = _link_body(link.index) + attribute(_GROUP, group)
            self._netlink.do(Request(_SETLINK, 0, body, f"set link {link.name}"), absent_ok=(errno.ENODEV,))
        body = _link_body() + attribute(_GROUP, group)
        self._netlink.do(Request(_DELLINK, 0, body, "delete links"), absent_ok=(errno.ENODEV,))

    def shape(
        self, link: Link, *, up: bool, mtu: int = 0, master: int | None = None, mac: str = "", alias: str = ""
    ) -> bool:
        """Make it so, in one request, if it is not; True if it was not. Zero and empty leave things alone."""
        wanted = b""
        if mtu and link.mtu != mtu:
            wanted += attribute(_MTU, mtu)
        if master is not None and link.master != master:
            wanted += attribute(_MASTER, master)
        if mac and link.mac != mac.lower():
            wanted += attribute(_MAC, _mac(mac))
        if alias and link.alias != alias:
            wanted += attribute(_ALIAS, alias.encode())
        if not wanted and link.up == up:
            return False
        body = _link_body(link.index, _UP if up else 0, _UP) + wanted
        self._netlink.do(Request(_NEWLINK, 0, body, f"set link {link.name}"))
        return True

    def bridge_port(self, link: Link, *, learning: bool) -> None:
        """Whether the bridge learns addresses behind this port and floods unknown ones to it."""
        flag = b"\1" if learning else b"\0"
        info = attribute(_PROTINFO, (attribute(8, flag), attribute(9, flag)))  # LEARNING, UNICAST_FLOOD
        body = _link_body(link.index, family=socket.AF_BRIDGE) + info
        self._netlink.do(Request(_SETLINK, 0, body, f"set bridge port {link.name}"))

    def bridge_entry(self, link: Link, mac: str) -> None:
        """A permanent forwarding entry: frames for `mac` leave by this port."""
        static, master = 0x40, 0x04  # NUD_NOARP, NTF_MASTER
        body = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, link.index, static, master, 0) + attribute(2, _mac(mac))
        self._netlink.do(Request(_NEWNEIGH, CREATE | REPLACE, body, f"bridge entry {mac} on {link.name}"))

    # Addresses: "10.0.0.1/24"

    def addresses(self, link: Link) -> set[str]:
        """Global addresses of the link; those the kernel made itself (fe80::) are left out."""
        found = set()
        for body in self._netlink.dump(Request(_GETADDR, 0, struct.pack("=BBBBi", 0, 0, 0, 0, 0), "list addresses")):
            _, length, flags, _, index = struct.unpack_from("=BBBBi", body)
            fields = attributes(body[8:])
            raw = fields.get(2, fields.get(1))
            if index == link.index and raw is not None:
                interface = ip_interface(f"{ip_address(raw)}/{length}")
                if not (interface.version == 6 and interface.ip.is_link_local and flags & 0x80 and length == 64
                        and raw[8:9] != b"\0"):  # fmt: skip
                    found.add(str(interface))
        return found

    def set_addresses(self, link: Link, wanted: Sequence[str]) -> list[str]:
        """Make the link's addresses exactly these; returns those that were added."""
        held = self.addresses(link)
        want = [str(ip_interface(text)) for text in wanted]
        for text in held.difference(want):
            self._address(_DELADDR, 0, link, text, (errno.EADDRNOTAVAIL,))
        new = [text for text in want if text not in held]
        for text in new:
            self._address(_NEWADDR, CREATE | REPLACE, link, text, (errno.EEXIST,))
        return new

    def _address(self, kind: int, flags: int, link: Link, text: str, absent_ok: tuple[int, ...]) -> None:
        interface = ip_interface(text)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        nodad = 0x02 if interface.version == 6 else 0  # IFA_F_NODAD: the address is ours by the database's word
        body = struct.pack("=BBBBi", family, interface.network.prefixlen, nodad, 0, link.index)
        body += attribute(2, interface.ip.packed) + attribute(1, interface.ip.packed)
        if interface.version == 4 and interface.network.prefixlen < 31:
            body += attribute(4, interface.network.broadcast_address.packed)
        self._netlink.do(Request(kind, flags, body, f"address {text} on {link.name}"), absent_ok=absent_ok)

    # Routes: (destination CIDR, next hop); only those this driver made

    def routes(self) -> set[tuple[str, str]]:
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            ask = Request(_GETROUTE, 0, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0), "list routes")
            for body in self._netlink.dump(ask):
                _, length, _, _, table, protocol, _, _, _ = struct.unpack_from("=BBBBBBBBI", body)
                fields = attributes(body[12:])
                if protocol == _OURS and table == 254 and 5 in fields:
                    zero = b"\0" * (4 if family == socket.AF_INET else 16)
                    found.add((f"{ip_address(fields.get(1, zero))}/{length}", str(ip_address(fields[5]))))
        return found

    def set_routes(self, wanted: Sequence[tuple[str, str]], beyond: Mapping[str, Link] | None = None) -> list[str]:
        """Make our routes exactly these; returns why each one that the kernel refuses was refused.

        `beyond` names next hops that lie in no subnet of ours, with the link where they are all the same.
        """
        held = self.routes()
        want = {(str(ip_network(to, strict=False)), str(ip_address(via))) for to, via in wanted}
        for route in held - want:
            self._route(_DELROUTE, 0, route, (errno.ESRCH,))
        refused = []
        for route in sorted(want - held):
            try:
                self._route(_NEWROUTE, CREATE | REPLACE, route, (), (beyond or {}).get(route[1]))
            except NetlinkError as error:
                refused.append(f"route to {route[0]} via {route[1]}: {error.strerror}")
        return refused

    def _route(
        self, kind: int, flags: int, route: tuple[str, str], absent_ok: tuple[int, ...], on: Link | None = None
    ) -> None:
        to, via = ip_network(route[0]), ip_address(route[1])
        family = socket.AF_INET if via.version == 4 else socket.AF_INET6
        on_link = 4 if on is not None else 0  # RTNH_F_ONLINK
        body = struct.pack("=BBBBBBBBI", family, to.prefixlen, 0, 0, 254, _OURS, 0, 1, on_link)
        body += attribute(1, to.network_address.packed) + attribute(5, via.packed)
        if on is not None:
            body += attribute(4, on.index)
        self._netlink.do(Request(kind, flags, body, f"route to {to}"), absent_ok=absent_ok)
