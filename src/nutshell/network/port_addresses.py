"""Which addresses a port gets: those asked for, else one of each IP version and all autoconfigured ones.

Source: Networking API v2.0, "Ports" (fixed_ips).
"""

from dataclasses import dataclass
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.addresses import bounds, eui64, free_address, inside, number, release, take_address
from nutshell.network.rowfacts import uuid_of
from nutshell.network.subnet_plan import address_of
from nutshell.network.subnets import Subnet

Fixed = list[dict[str, str]]
ROUTER_OWNERS = ("network:router_interface", "network:router_gateway")
MOST = 5


@dataclass(frozen=True)
class Seat:
    """Who wants addresses."""

    port_id: str
    network_id: str
    mac: str
    owner: str


@dataclass(frozen=True)
class Wish:
    """One entry of fixed_ips, with its subnet found."""

    subnet: Subnet
    ip: str | None


def allocate(tx: Tx, seat: Seat, asked: Any) -> Fixed:
    """Take addresses for a new port. `asked`: the body's fixed_ips, or None for the usual ones."""
    subnets = tx.find(Subnet, network_id=seat.network_id, order="created_at, id")
    if asked is None:
        return _usual(tx, seat, subnets)
    wishes = [read_wish(entry, subnets, seat) for entry in _entries(asked)]
    found = _take_wishes(tx, seat, wishes)
    return found + _take_auto(tx, seat, subnets, found)


def reallocate(tx: Tx, seat: Seat, held: Fixed, asked: Any) -> Fixed:
    """Change a port's addresses to those asked for; what it holds already it keeps."""
    subnets = tx.find(Subnet, network_id=seat.network_id, order="created_at, id")
    wishes = [read_wish(entry, subnets, seat) for entry in _entries(asked)]
    left = list(held)
    kept: Fixed = []
    new: list[Wish] = []
    for wish in wishes:
        match = next((h for h in left if wish.ip is not None and h["ip_address"] == wish.ip), None)
        if match is not None:
            left.remove(match)
            kept.append(match)
        else:
            new.append(wish)
    for wish in [w for w in new if w.ip is None]:
        match = next((h for h in left if h["subnet_id"] == wish.subnet.id), None)
        if match is not None:
            left.remove(match)
            kept.append(match)
            new.remove(wish)
    auto = {s.id for s in subnets if s.auto} if seat.owner not in ROUTER_OWNERS else set()
    stays = [h for h in left if h["subnet_id"] in auto]
    release(tx, seat.port_id, [h["ip_address"] for h in left if h not in stays])
    found = kept + _take_wishes(tx, seat, new) + stays
    return found + _take_auto(tx, seat, subnets, found)


def _entries(asked: Any) -> list[dict[str, Any]]:
    if not isinstance(asked, list):
        raise errors.InvalidAttribute(name="fixed_ips", why=f"Invalid data format for fixed IP: '{asked}'")
    if len(asked) > MOST:
        raise errors.InvalidInput("Exceeded maximum amount of fixed ips per port")
    seen = set()
    for entry in asked:
        if not isinstance(entry, dict) or not set(entry) <= {"ip_address", "subnet_id"} or not entry:
            raise errors.InvalidAttribute(name="fixed_ips", why=f"Invalid data format for fixed IP: '{entry}'")
        if entry.get("ip_address"):
            if entry["ip_address"] in seen:
                raise errors.InvalidAttribute(name="fixed_ips", why=f"Duplicate IP address '{entry['ip_address']}'")
            seen.add(entry["ip_address"])
    return asked


def read_wish(entry: dict[str, Any], subnets: list[Subnet], seat: Seat) -> Wish:
    ip = address_of("fixed_ips", entry["ip_address"]) if entry.get("ip_address") else None
    if entry.get("subnet_id"):
        wanted = uuid_of("fixed_ips", entry["subnet_id"])
        subnet = next((s for s in subnets if s.id == wanted), None)
        if subnet is None:
            raise errors.InvalidInput(
                f"Failed to create port on network {seat.network_id}, because fixed_ips included invalid subnet"
                f" {wanted}"
            )
    else:
        subnet = next((s for s in subnets if ip is not None and inside(s.cidr, ip)), None)
        if subnet is None:
            raise errors.InvalidIpForNetwork(ip=ip)
    if ip is not None:
        _check_ip(subnet, ip, seat)
    return Wish(subnet, ip)


def _check_ip(subnet: Subnet, ip: str, seat: Seat) -> None:
    if not inside(subnet.cidr, ip):
        raise errors.InvalidIpForSubnet(ip=ip)
    b, at = bounds(subnet.cidr), number(ip)
    size = b.last - b.first + 1
    edge = at == b.first or (subnet.ip_version == 4 and at == b.last)
    if edge and size > 2 and not (subnet.ip_version == 6 and seat.owner in ROUTER_OWNERS):
        raise errors.InvalidIpForSubnet(ip=ip)
    if subnet.auto and seat.owner not in ROUTER_OWNERS and ip != eui64(subnet.cidr, seat.mac):
        raise errors.AllocationOnAutoAddressSubnet(ip=ip, subnet_id=subnet.id)


def _take_wishes(tx: Tx, seat: Seat, wishes: list[Wish]) -> Fixed:
    """Named addresses first, so that a free choice does not take one of them."""
    found: Fixed = []
    for wish in sorted(wishes, key=lambda w: w.ip is None):
        ip = wish.ip
        if ip is None:
            ip = _choose(tx, seat, wish.subnet)
            if ip is None:
                raise errors.IpAddressGenerationFailure(network_id=seat.network_id)
        take_address(tx, seat.network_id, wish.subnet.id, ip, seat.port_id)
        found.append({"subnet_id": wish.subnet.id, "ip_address": ip})
    return found


def _choose(tx: Tx, seat: Seat, subnet: Subnet) -> str | None:
    if subnet.auto and seat.owner not in ROUTER_OWNERS:
        return eui64(subnet.cidr, seat.mac)
    return free_address(tx, subnet.id, subnet.ip_version, subnet.allocation_pools)


def _usual(tx: Tx, seat: Seat, subnets: list[Subnet]) -> Fixed:
    found: Fixed = []
    for version in (4, 6):
        choices = [
            s
            for s in subnets
            if s.ip_version == version
            and not (s.auto and seat.owner not in ROUTER_OWNERS)
            and (not s.service_types or seat.owner in s.service_types)
        ]
        for subnet in choices:
            ip = free_address(tx, subnet.id, version, subnet.allocation_pools)
            if ip is not None:
                take_address(tx, seat.network_id, subnet.id, ip, seat.port_id)
                found.append({"subnet_id": subnet.id, "ip_address": ip})
                break
        else:
            if choices:
                raise errors.IpAddressGenerationFailure(network_id=seat.network_id)
    return found + _take_auto(tx, seat, subnets, found)


def _take_auto(tx: Tx, seat: Seat, subnets: list[Subnet], held: Fixed) -> Fixed:
    """The addresses hosts give themselves on autoconfigured subnets belong to every port but a router's."""
    if seat.owner in ROUTER_OWNERS:
        return []
    has = {h["subnet_id"] for h in held}
    found: Fixed = []
    for subnet in subnets:
        if subnet.auto and subnet.id not in has:
            ip = eui64(subnet.cidr, seat.mac)
            take_address(tx, seat.network_id, subnet.id, ip, seat.port_id)
            found.append({"subnet_id": subnet.id, "ip_address": ip})
    return found


def add_auto_address(cloud: Cloud, tx: Tx, port: Any, subnet: Subnet) -> None:
    """A port that was there before its network got this autoconfigured subnet."""
    ip = eui64(subnet.cidr, port.mac_address)
    take_address(tx, port.network_id, subnet.id, ip, port.id)
    _set(tx, port, [*(port.fixed_ips or []), {"subnet_id": subnet.id, "ip_address": ip}])


def drop_auto_addresses(cloud: Cloud, tx: Tx, subnet: Subnet) -> None:
    """The subnet goes: ports lose the addresses they gave themselves on it."""
    from nutshell.network.ports import Port

    held = tx.sql("SELECT port_id, ip FROM network_allocation WHERE subnet_id = ?", subnet.id).fetchall()
    for port in tx.find(Port, id=[port_id for port_id, _ in held]):
        _set(tx, port, [f for f in port.fixed_ips or [] if f["subnet_id"] != subnet.id])
    tx.sql("DELETE FROM network_allocation WHERE subnet_id = ?", subnet.id)


def _set(tx: Tx, port: Any, fixed: Fixed) -> None:
    from nutshell.network.ports import touch_world

    new = tx.put(port, fixed_ips=fixed)
    if new.binding_host_id:
        touch_world(tx, new)
