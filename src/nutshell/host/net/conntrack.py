"""Forgetting tracked connections, so that a rule or floating IP that is gone ends what it once allowed.

Source: linux/netfilter/nfnetlink_conntrack.h. Asked over netlink, as the `conntrack` program may be absent.
"""

import errno
import socket
import struct
from collections.abc import Set
from ipaddress import ip_address

from nutshell.host.net.netlink import NetlinkError, NetlinkSocket, Request, attribute, attributes

_GET, _DELETE = 0x101, 0x102
_ORIGINAL, _REPLY, _ID, _ZONE = 1, 2, 12, 18


def forget(netlink: NetlinkSocket, ips: Set[str], zones: Set[int] | None = None) -> int:
    """End every connection that has one of the addresses at either end (in these zones only); how many there were."""
    ended = 0
    packed = {ip_address(text).packed for text in ips}
    for family in {socket.AF_INET if len(raw) == 4 else socket.AF_INET6 for raw in packed}:
        header = struct.pack("=BBH", family, 0, 0)
        for body in netlink.dump(Request(_GET, 0, header, "list connections")):
            found = attributes(body[4:])
            zone = struct.unpack("!H", found[_ZONE])[0] if _ZONE in found else 0
            if zones is not None and zone not in zones:
                continue
            if packed.isdisjoint(_ends(found.get(_ORIGINAL, b"")) | _ends(found.get(_REPLY, b""))):
                continue
            wanted = attribute(_ORIGINAL | 0x8000, found[_ORIGINAL]) + attribute(_ID, found[_ID])
            if zone:
                wanted += attribute(_ZONE, struct.pack("!H", zone))
            try:
                ended += netlink.do(Request(_DELETE, 0, header + wanted, "end connection"), absent_ok=(errno.ENOENT,))
            except NetlinkError as error:
                if error.errno != errno.EBUSY:
                    raise
    return ended


def _ends(tuple_data: bytes) -> set[bytes]:
    """The two addresses of one direction (CTA_TUPLE_IP: source and destination, v4 as 1 and 2, v6 as 3 and 4)."""
    addresses = attributes(attributes(tuple_data).get(1, b""))
    return {addresses[kind] for kind in (1, 2, 3, 4) if kind in addresses}
