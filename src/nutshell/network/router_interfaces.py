"""Legs of routers: added and removed by subnet or by port (Networking API v2.0, "Add interface to router")."""

from ipaddress import ip_network
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.policy import Who
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.addresses import inside
from nutshell.network.bodies import mark
from nutshell.network.networks import Network
from nutshell.network.ports import Port, add_port, change_port, drop_port
from nutshell.network.routers import INTERFACE, Router
from nutshell.network.rowfacts import uuid_of
from nutshell.network.service import MEMBER, network
from nutshell.network.sight import seen
from nutshell.network.subnets import Subnet

network.policy({"add_router_interface": MEMBER, "remove_router_interface": MEMBER})


def _named(ask: Ask[Any]) -> tuple[str | None, str | None]:
    """(subnet id, port id) of the body."""
    body = ask.body
    if not isinstance(body, dict) or not (body.get("subnet_id") or body.get("port_id")):
        raise errors.BadResource(resource="router", why="Either subnet_id or port_id must be specified.")
    unknown = sorted(set(body) - {"subnet_id", "port_id"})
    if unknown:
        raise BadRequest("", unknown=unknown)
    return tuple(uuid_of(n, body[n]) if body.get(n) else None for n in ("subnet_id", "port_id"))  # type: ignore[return-value]


def _said(row: Router, port: Port, subnet_ids: list[str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "port_id": port.id,
        "network_id": port.network_id,
        "subnet_id": subnet_ids[0] if subnet_ids else None,
        "subnet_ids": subnet_ids,
        "tags": [],
    }


@network.verb(Router, "add_interface", rule="add_router_interface", method="PUT", path="/{id}/add_router_interface")
def add(ask: Ask[Router]) -> dict[str, Any]:
    row = ask.target
    subnet_id, port_id = _named(ask)
    if subnet_id and port_id:
        raise errors.BadResource(resource="router", why="Cannot specify both subnet-id and port-id.")
    port, ids = _by_port(ask, row, port_id) if port_id else _by_subnet(ask, row, subnet_id or "")
    mark(ask.tx, "network_routers", [row.id])
    ask.tx.sql("UPDATE network_routers SET generation = generation + 1 WHERE id = ?", row.id)
    return _said(row, port, ids)


def _by_subnet(ask: Ask[Router], row: Router, subnet_id: str) -> tuple[Port, list[str]]:
    found = seen(ask.cloud, ask.tx, ask.who, Subnet, "id", subnet_id)
    if not found:
        raise errors.SubnetNotFound(id=subnet_id)
    subnet = found[0]
    if not subnet.gateway_ip:
        raise errors.BadResource(resource="router", why="Subnet for router interface must have a gateway IP.")
    if subnet.ip_version == 6 and subnet.ipv6_ra_mode is None and subnet.ipv6_address_mode is not None:
        raise errors.BadResource(
            resource="router",
            why=f"IPv6 subnet {subnet.id} configured to receive RAs from an external router cannot be added to"
            " Neutron Router.",
        )
    refuse_overlap(ask.tx, row, [subnet])
    wish = {"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}
    if subnet.ip_version == 6:
        mine = ask.tx.find(Port, network_id=subnet.network_id, device_id=row.id, device_owner=INTERFACE)
        for port in mine:
            if any(":" in f["ip_address"] for f in port.fixed_ips or []):
                wishes = [*(port.fixed_ips or []), wish]
                port = change_port(ask.cloud, ask.tx, ask.who, port, {"fixed_ips": wishes})
                return port, [subnet.id]
    facts = {
        "network_id": subnet.network_id,
        "project_id": row.project_id,
        "device_owner": INTERFACE,
        "device_id": row.id,
        "fixed_ips": [wish],
    }
    parent = ask.tx.need(Network, subnet.network_id)
    return add_port(ask.cloud, ask.tx, Who(), parent, facts), [subnet.id]


def _by_port(ask: Ask[Router], row: Router, port_id: str) -> tuple[Port, list[str]]:
    found = seen(ask.cloud, ask.tx, ask.who, Port, "id", port_id)
    if not found:
        raise errors.PortNotFound(id=port_id)
    port = found[0]
    if port.device_id and not (port.device_id == row.id and port.device_owner != INTERFACE):
        raise errors.PortInUse(id=port.id, network_id=port.network_id, device_id=port.device_id)
    ids = [f["subnet_id"] for f in port.fixed_ips or []]
    if not ids:
        raise errors.BadResource(resource="router", why="Router port must have at least one fixed IP.")
    subnets = ask.tx.find(Subnet, id=ids)
    if sum(s.ip_version == 4 for s in subnets) > 1:
        raise errors.BadResource(resource="router", why="Cannot have multiple IPv4 subnets on router port.")
    refuse_overlap(ask.tx, row, subnets)
    given = {
        "device_id": row.id,
        "device_owner": INTERFACE,
        "security_groups": [],
        "port_security_enabled": False,
        "allowed_address_pairs": [],
        "preserve": False,
    }
    return change_port(ask.cloud, ask.tx, ask.who, port, given), ids


def refuse_overlap(tx: Tx, row: Router, subnets: list[Subnet]) -> None:
    """400 if the router is on one of these subnets, or on one whose prefix overlaps."""
    rows = tx.sql(
        "SELECT a.subnet_id, s.cidr FROM network_allocation a JOIN network_ports p ON p.id = a.port_id"
        " JOIN network_subnets s ON s.id = a.subnet_id WHERE p.device_id = ? AND p.device_owner IN"
        " ('network:router_interface', 'network:router_gateway')",
        row.id,
    ).fetchall()
    for subnet in subnets:
        for other_id, cidr in rows:
            if other_id == subnet.id:
                raise errors.BadResource(resource="router", why=f"Router already has a port on subnet {subnet.id}.")
            if (":" in cidr) == (":" in subnet.cidr) and ip_network(cidr).overlaps(ip_network(subnet.cidr)):
                raise errors.BadResource(
                    resource="router",
                    why=f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {cidr} of subnet {other_id}.",
                )


@network.verb(
    Router, "remove_interface", rule="remove_router_interface", method="PUT", path="/{id}/remove_router_interface"
)
def remove(ask: Ask[Router]) -> dict[str, Any]:
    row, tx = ask.target, ask.tx
    subnet_id, port_id = _named(ask)
    mine = tx.find(Port, device_id=row.id, device_owner=INTERFACE)
    if port_id:
        port = next((p for p in mine if p.id == port_id), None)
        if port is None:
            raise errors.RouterInterfaceNotFound(id=row.id, port_id=port_id)
        ids = [f["subnet_id"] for f in port.fixed_ips or []]
        if subnet_id and subnet_id not in ids:
            raise errors.SubnetMismatchForPort(port_id=port.id, subnet_id=subnet_id)
    else:
        port = next((p for p in mine if any(f["subnet_id"] == subnet_id for f in p.fixed_ips or [])), None)
        if port is None:
            if not seen(ask.cloud, tx, ask.who, Subnet, "id", subnet_id or ""):
                raise errors.SubnetNotFound(id=subnet_id)
            raise errors.RouterInterfaceNotFoundForSubnet(id=row.id, subnet_id=subnet_id)
        ids = [subnet_id or ""]
    _refuse_if_needed(tx, row, ids)
    left = [f for f in port.fixed_ips or [] if f["subnet_id"] not in ids]
    if left:
        change_port(ask.cloud, tx, ask.who, port, {"fixed_ips": left})
    else:
        drop_port(ask.cloud, tx, port)
    mark(tx, "network_routers", [row.id])
    tx.sql("UPDATE network_routers SET generation = generation + 1 WHERE id = ?", row.id)
    return _said(row, port, ids)


def _refuse_if_needed(tx: Tx, row: Router, subnet_ids: list[str]) -> None:
    """409 if a floating address or an extra route goes through the leg."""
    for subnet in tx.find(Subnet, id=subnet_ids):
        fixed = tx.sql("SELECT fixed_ip_address FROM network_floatingips WHERE router_id = ?", row.id).fetchall()
        if any(inside(subnet.cidr, ip) for (ip,) in fixed if ip):
            raise errors.RouterInterfaceInUseByFloatingIP(id=row.id, subnet_id=subnet.id)
        if any(inside(subnet.cidr, r["nexthop"]) for r in row.routes or []):
            raise errors.RouterInterfaceInUseByRoute(id=row.id, subnet_id=subnet.id)
