"""Router advertisements: how IPv6 guests learn their router, prefix, MTU and name servers.

Source: RFC 4861 (sections 4.2, 6.2), RFC 4862, RFC 8106 (name servers). One raw socket a leg, opened in the router's
namespace and served by our process; while that restarts, guests live on what they were told (half an hour).
"""

import asyncio
import random
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address, ip_interface, ip_network

from nutshell.network.capability import Network, Router, Subnet

LIFETIME_S = 1800
PREFIX_S = 86400
_EVERY_S = (200.0, 600.0)  # RFC 4861: MinRtrAdvInterval and MaxRtrAdvInterval
_FIRST_S = 5.0
_ALL_NODES, _ALL_ROUTERS = "ff02::1", "ff02::2"
_FILTER, _SOLICITATION = 1, 133  # ICMP6_FILTER of linux/icmpv6.h


@dataclass(frozen=True)
class Advertised:
    """What one leg of a router says."""

    link: str
    mac: str
    mtu: int
    subnets: tuple[Subnet, ...]
    index: int = 0  # of the link: a link that was made again needs a new socket

    def message(self) -> bytes:
        """The ICMPv6 message; its checksum is the kernel's work."""
        managed = any(subnet.ra_mode == "dhcpv6-stateful" for subnet in self.subnets)
        other = any(subnet.ra_mode in ("dhcpv6-stateful", "dhcpv6-stateless") for subnet in self.subnets)
        data = struct.pack("!BBHBBHII", 134, 0, 0, 64, managed << 7 | other << 6, LIFETIME_S, 0, 0)
        data += struct.pack("!BB6s", 1, 1, bytes.fromhex(self.mac.replace(":", "")))
        data += struct.pack("!BBHI", 5, 1, 0, self.mtu)
        for subnet in self.subnets:
            prefix = ip_network(subnet.cidr)
            assert isinstance(prefix, IPv6Network)
            own = 0x40 if subnet.ra_mode in ("slaac", "dhcpv6-stateless") else 0  # guests make their addresses
            data += struct.pack("!BBBBIII16s", 3, 4, prefix.prefixlen, 0x80 | own, PREFIX_S, PREFIX_S // 2, 0,
                                prefix.network_address.packed)  # fmt: skip
            servers = [server for server in subnet.dns_servers or (subnet.dhcp_ip or "",) if ":" in server]
            if servers:
                data += struct.pack("!BBHI", 25, 1 + 2 * len(servers), 0, LIFETIME_S)
                data += b"".join(ip_address(server).packed for server in servers)
        return data


def advertised(router: Router, networks: dict[str, Network], link_names: dict[str, str]) -> tuple[Advertised, ...]:
    """What the router has to say on each leg: subnets in an advertised mode whose gateway the leg is."""
    found = []
    for leg in router.legs if router.up else ():
        network = networks.get(leg.network_id)
        own = {ip_interface(text).ip for text in leg.addresses}
        subnets = tuple(
            subnet
            for subnet in (network.subnets if network is not None else ())
            if subnet.ip_version == 6 and subnet.ra_mode and subnet.gateway_ip and ip_address(subnet.gateway_ip) in own
        )
        if network is not None and subnets:
            found.append(Advertised(link_names[leg.port_id], leg.mac, network.mtu, subnets))
    return tuple(found)


def open_socket(link: str) -> socket.socket:
    """A raw socket on the link, in the calling thread's namespace, that hears router solicitations only."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    try:
        index = socket.if_nametoindex(link)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode() + b"\0")
        blocked = bytearray(b"\xff" * 32)
        word, bit = divmod(_SOLICITATION, 32)
        struct.pack_into("=L", blocked, 4 * word, 0xFFFFFFFF & ~(1 << bit))
        made.setsockopt(socket.IPPROTO_ICMPV6, _FILTER, bytes(blocked))
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        made.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, ip_address(_ALL_ROUTERS).packed + struct.pack("=I", index)
        )
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


class Advertiser:
    """One leg's advertisements: at once, to whoever asks, and now and then."""

    def __init__(self, said: Advertised) -> None:
        self._said = said
        self._socket: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        self._count = 0

    async def start(self, opened: socket.socket) -> None:
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened.fileno(), self._asked)
        self._say()

    async def stop(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _asked(self) -> None:
        assert self._socket is not None
        try:
            self._socket.recvfrom(1500)
        except OSError:
            return
        self._send()

    def _say(self) -> None:
        self._send()
        self._count += 1
        pause = _FIRST_S if self._count < 3 else random.uniform(*_EVERY_S)  # noqa: S311 (spreads load, hides nothing)
        self._again = asyncio.get_running_loop().call_later(pause, self._say)

    def _send(self) -> None:
        if self._socket is not None:
            try:
                self._socket.sendto(self._said.message(), (_ALL_NODES, 0))
            except OSError:
                return  # the link is down; said again later
