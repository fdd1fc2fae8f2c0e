"""What a subnet may be: its pools, gateway, routes and IPv6 modes, checked without looking at anything else.

Source: Networking API v2.0, "Subnets"; RFC 4862 for prefixes of autoconfigured addresses.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import Any

from nutshell.network import errors
from nutshell.network.addresses import bounds, inside, number, spans, text

MODES = ("dhcpv6-stateful", "dhcpv6-stateless", "slaac")
AUTO = ("dhcpv6-stateless", "slaac")
MOST_NAMESERVERS, MOST_ROUTES = 5, 20


def cidr_of(value: Any) -> str:
    """A prefix in canonical form, or 400."""
    try:
        found = ip_network(value, strict=False)
    except (ValueError, TypeError):
        raise errors.InvalidAttribute(name="cidr", why=f"'{value}' is not a valid IP subnet") from None
    if "/" not in str(value):
        raise errors.InvalidAttribute(
            name="cidr", why=f"'{value}' isn't a recognized IP subnet cidr, '{found}' is recommended"
        )
    return str(found)


def address_of(name: str, value: Any) -> str:
    try:
        return str(ip_address(value))
    except (ValueError, TypeError):
        raise errors.InvalidAttribute(name=name, why=f"'{value}' is not a valid IP address") from None


def check_prefix(cidr: str, version: int, dhcp: bool) -> None:
    found = ip_network(cidr)
    if found.version != version:
        raise errors.InvalidInput(f"cidr '{cidr}' does not match the ip_version '{version}'")
    if not dhcp:
        return
    if found.is_multicast:
        raise errors.InvalidInput("Multicast IP subnet is not supported if enable_dhcp is True")
    if found.is_loopback:
        raise errors.InvalidInput("Loopback IP subnet is not supported if enable_dhcp is True")
    if found.prefixlen > (30 if version == 4 else 126):
        raise errors.InvalidInput("Subnet has a prefix length that is incompatible with DHCP service enabled")


def check_modes(version: int, dhcp: bool, ra: str | None, address: str | None, cidr: str) -> None:
    for name, mode in (("ipv6_ra_mode", ra), ("ipv6_address_mode", address)):
        if mode is None:
            continue
        if mode not in MODES:
            raise errors.InvalidAttribute(name=name, why=f"'{mode}' is not in {list(MODES)}")
        if version == 4:
            raise errors.InvalidInput(f"{name} is not valid when ip_version is 4")
        if not dhcp:
            raise errors.InvalidInput(
                "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"
            )
    if ra and address and ra != address:
        raise errors.InvalidInput(
            f"ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{address}' is not valid. "
            "If both attributes are set, they must be the same value"
        )
    if (ra in AUTO or address in AUTO) and ip_network(cidr).prefixlen != 64:
        raise errors.InvalidInput(
            f"Invalid CIDR {cidr} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires "
            "the prefix to be /64"
        )


def is_auto(version: int, ra: str | None, address: str | None) -> bool:
    """Whether hosts give themselves their addresses (SLAAC, stateless DHCPv6)."""
    return version == 6 and (address in AUTO or (address is None and ra in AUTO))


def default_gateway(cidr: str) -> str:
    b = bounds(cidr)
    version = 6 if ":" in cidr else 4
    return text(min(b.first + 1, b.last), version)


def check_gateway(cidr: str, gateway: str) -> None:
    """A gateway inside the prefix must be an address a host can have."""
    if (":" in gateway) != (":" in cidr):
        raise errors.InvalidInput(f"gateway_ip '{gateway}' does not match the ip_version '{6 if ':' in cidr else 4}'")
    found: IPv4Network | IPv6Network = ip_network(cidr)
    if inside(cidr, gateway):
        b, at = bounds(cidr), number(gateway)
        most = 31 if found.version == 4 else 127
        if found.prefixlen < most and (at == b.first or (found.version == 4 and at == b.last)):
            raise errors.InvalidInput("Gateway is not valid on subnet")


def default_pools(cidr: str, gateway: str | None) -> list[dict[str, str]]:
    """All host addresses but the gateway's."""
    found, b = ip_network(cidr), bounds(cidr)
    first, last = b.first, b.last
    if found.version == 4 and found.prefixlen < 31:
        first, last = first + 1, last - 1
    elif found.version == 6 and found.prefixlen < 127:
        first += 1
    parts = [(first, last)]
    if gateway is not None and inside(cidr, gateway) and first <= number(gateway) <= last:
        at = number(gateway)
        parts = [(a, z) for a, z in ((first, at - 1), (at + 1, last)) if a <= z]
    return [{"start": text(a, found.version), "end": text(z, found.version)} for a, z in parts]


def check_pools(pools: Any, cidr: str, gateway: str | None) -> list[dict[str, str]]:
    """The pools in order, or 400/409 saying which one is wrong."""
    if not isinstance(pools, list):
        raise errors.InvalidAttribute(name="allocation_pools", why=f"Invalid data format for IP pool: '{pools}'")
    found = []
    for pool in pools:
        if not isinstance(pool, dict) or set(pool) != {"start", "end"}:
            raise errors.InvalidAttribute(name="allocation_pools", why=f"Invalid data format for IP pool: '{pool}'")
        start, end = (address_of("allocation_pools", pool[k]) for k in ("start", "end"))
        shown = f"{start}-{end}"
        if (":" in start) != (":" in cidr) or (":" in end) != (":" in cidr) or number(end) < number(start):
            raise errors.InvalidAllocationPool(pool=shown)
        b = bounds(cidr)
        hosts = default_pools(cidr, None)[0]
        first, last = number(hosts["start"]), number(hosts["end"])
        if number(start) < first or number(end) > last or not b.first <= number(end) <= b.last:
            raise errors.OutOfBoundsAllocationPool(pool=shown, cidr=cidr)
        found.append({"start": start, "end": end})
    found.sort(key=lambda p: number(p["start"]))
    for one, two in pairwise(found):
        if number(two["start"]) <= number(one["end"]):
            raise errors.OverlappingAllocationPools(
                first=f"{one['start']}-{one['end']}", second=f"{two['start']}-{two['end']}", cidr=cidr
            )
    check_gateway_outside(found, gateway)
    return found


def check_gateway_outside(pools: list[dict[str, str]], gateway: str | None) -> None:
    if gateway is None:
        return
    for pool, span in zip(pools, spans(pools), strict=True):
        if (":" in gateway) == (":" in pool["start"]) and span.first <= number(gateway) <= span.last:
            raise errors.GatewayConflictWithAllocationPools(ip=gateway, pool=f"{pool['start']}-{pool['end']}")


def check_nameservers(given: Any, subnet_id: str) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise errors.InvalidAttribute(name="dns_nameservers", why=f"Invalid data format for nameserver: '{given}'")
    found = [address_of("dns_nameservers", n) for n in given]
    if len(set(found)) != len(found):
        raise errors.InvalidAttribute(name="dns_nameservers", why="Duplicate nameserver")
    if len(found) > MOST_NAMESERVERS:
        raise errors.DNSNameServersExhausted(id=subnet_id, limit=MOST_NAMESERVERS)
    return found


def check_routes(given: Any, version: int, subnet_id: str) -> list[dict[str, str]]:
    """[{"destination": prefix, "nexthop": address}] of the subnet's IP version."""
    if given is None:
        return []
    if not isinstance(given, list):
        raise errors.InvalidAttribute(name="host_routes", why=f"Invalid data format for hostroute: '{given}'")
    found: list[dict[str, str]] = []
    for route in given:
        if not isinstance(route, dict) or set(route) != {"destination", "nexthop"}:
            raise errors.InvalidAttribute(name="host_routes", why=f"Invalid data format for hostroute: '{route}'")
        one = {
            "destination": cidr_of(route["destination"]),
            "nexthop": address_of("host_routes", route["nexthop"]),
        }
        if {":" in one["destination"], ":" in one["nexthop"]} != {version == 6}:
            raise errors.InvalidInput(f"host_routes '{one['destination']}' does not match the ip_version '{version}'")
        if one in found:
            raise errors.InvalidAttribute(name="host_routes", why=f"Duplicate hostroute '{one}'")
        found.append(one)
    if len(found) > MOST_ROUTES:
        raise errors.HostRoutesExhausted(id=subnet_id, limit=MOST_ROUTES)
    return found
