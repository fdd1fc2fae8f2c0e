"""From rows to what the driver is to make: whole wanted objects, read in a fixed number of queries.

Pure but for reading; `network/capability.py` says what each object means.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from nutshell.core.store import Tx
from nutshell.network import capability as driver
from nutshell.network.networks import LOWEST_MTU, Network
from nutshell.network.ports import Port, hostname_of
from nutshell.network.routers import GATEWAY, INTERFACE, Router
from nutshell.network.rule_plan import number_of
from nutshell.network.security_group_rules import SecurityGroupRule
from nutshell.network.security_groups import SecurityGroup
from nutshell.network.subnets import Subnet


def network_objects(tx: Tx, rows: Sequence[Network], domain: str) -> list[driver.Network]:
    """Networks with their subnets and the leases of ports that are bound."""
    ids = [n.id for n in rows]
    subnets: dict[str, list[Subnet]] = {}
    for s in tx.find(Subnet, network_id=ids, order="created_at, id"):
        subnets.setdefault(s.network_id, []).append(s)
    ports: dict[str, list[Port]] = {}
    for p in tx.find(Port, Port.c("binding_host_id") != "", network_id=ids, order="created_at, id"):
        ports.setdefault(p.network_id, []).append(p)
    servers = {p.network_id: p for p in tx.find(Port, network_id=ids, device_owner="network:dhcp")}
    return [
        _network(n, subnets.get(n.id, []), ports.get(n.id, []), servers.get(n.id), n.dns_domain or domain) for n in rows
    ]


def _network(
    row: Network, subnets: list[Subnet], ports: list[Port], server: Port | None, domain: str
) -> driver.Network:
    listens = {f["subnet_id"]: f["ip_address"] for f in (server.fixed_ips or [] if server else [])}
    leases: dict[str, list[driver.Lease]] = {}
    for p in ports:
        for f in p.fixed_ips or []:
            lease = driver.Lease(p.id, p.mac_address, f["ip_address"], hostname_of(p, f["ip_address"]))
            leases.setdefault(f["subnet_id"], []).append(lease)
    return driver.Network(
        network_id=row.id,
        segment=row.segment,
        mtu=max(row.mtu, LOWEST_MTU[4]),  # less is kept and shown; no link has less
        external=row.external,
        subnets=tuple(_subnet(s, listens.get(s.id), leases.get(s.id, [])) for s in subnets),
        dns_domain=domain.rstrip("."),
        dhcp_port_id=server.id if server else "",
        dhcp_mac=server.mac_address if server else "",
    )


def _subnet(row: Subnet, dhcp_ip: str | None, leases: list[driver.Lease]) -> driver.Subnet:
    return driver.Subnet(
        subnet_id=row.id,
        cidr=row.cidr,
        ip_version=row.ip_version,
        gateway_ip=row.gateway_ip,
        dhcp=row.enable_dhcp and dhcp_ip is not None,
        dhcp_ip=dhcp_ip,
        dns_servers=tuple(row.dns_nameservers or ()),
        routes=tuple((r["destination"], r["nexthop"]) for r in row.host_routes or ()),
        leases=tuple(leases),
        ra_mode=row.ipv6_ra_mode or "",
        address_mode=row.ipv6_address_mode or "",
    )


def group_objects(tx: Tx, rows: Sequence[SecurityGroup]) -> list[driver.Group]:
    """Groups with their rules; members (addresses) only of groups that some rule names as its remote."""
    ids = [g.id for g in rows]
    rules: dict[str, list[driver.Rule]] = {}
    for r in tx.find(SecurityGroupRule, security_group_id=ids, order="id"):
        rules.setdefault(r.security_group_id, []).append(_rule(r))
    members = _members(tx, ids)
    return [driver.Group(g.id, tuple(rules.get(g.id, ())), tuple(members.get(g.id, ())), g.stateful) for g in rows]


def _members(tx: Tx, group_ids: Sequence[str]) -> dict[str, list[str]]:
    """Group → what its bound ports may use as theirs, for groups that some rule names as its remote."""
    found: dict[str, list[str]] = {}
    if not group_ids:
        return found
    marks = ",".join("?" * len(group_ids))
    rows = tx.sql(
        "SELECT m.group_id, p.fixed_ips, p.allowed_address_pairs FROM network_membership m"
        f" JOIN network_ports p ON p.id = m.port_id WHERE m.group_id IN ({marks}) AND p.binding_host_id != ''"
        " AND m.group_id IN (SELECT remote_group_id FROM network_security_group_rules) ORDER BY m.group_id, p.id",
        *group_ids,
    ).fetchall()
    for group_id, fixed, pairs in rows:
        ips = found.setdefault(group_id, [])
        ips.extend(f["ip_address"] for f in msgspec.json.decode(fixed))
        ips.extend(p["ip_address"] for p in msgspec.json.decode(pairs) if p["ip_address"] not in ips)
    return found


def _rule(row: SecurityGroupRule) -> driver.Rule:
    number = number_of(None if row.protocol is None else str(row.protocol))
    return driver.Rule(
        direction=row.direction,
        ip_version=4 if row.ethertype == "IPv4" else 6,
        protocol=None if number is None else str(number),
        port_min=row.port_range_min,
        port_max=row.port_range_max,
        remote_cidr=row.remote_ip_prefix,
        remote_group_id=row.remote_group_id,
    )


def port_objects(rows: Iterable[Port]) -> list[driver.Port]:
    return [
        driver.Port(
            port_id=p.id,
            network_id=p.network_id,
            mac=p.mac_address,
            ips=tuple(f["ip_address"] for f in p.fixed_ips or ()),
            security=p.port_security_enabled,
            group_ids=tuple(p.security_groups or ()),
            allowed_pairs=tuple((a["mac_address"], _prefix(a["ip_address"])) for a in p.allowed_address_pairs or ()),
            up=p.admin_state_up,
            carrier=(p.carrier["port_id"], p.carrier["vlan"]) if p.carrier else None,
        )
        for p in rows
    ]


def _prefix(text: str) -> str:
    return text if "/" in text else f"{text}/{128 if ':' in text else 32}"


def router_objects(tx: Tx, rows: Sequence[Router]) -> list[driver.Router]:
    ids = [r.id for r in rows]
    legs: dict[str, list[Port]] = {}
    for p in tx.find(Port, device_id=ids, device_owner=[INTERFACE, GATEWAY], order="created_at, id"):
        legs.setdefault(p.device_id, []).append(p)
    network_ids = sorted({p.network_id for ports in legs.values() for p in ports})
    subnets = {s.id: s for s in tx.find(Subnet, network_id=network_ids)}
    floating: dict[str, list[driver.FloatingIp]] = {}
    if ids:
        marks = ",".join("?" * len(ids))
        found: list[Any] = tx.sql(
            "SELECT router_id, floating_ip_address, fixed_ip_address FROM network_floatingips"
            f" WHERE router_id IN ({marks}) ORDER BY id",
            *ids,
        ).fetchall()
        for router_id, outer, inner in found:
            floating.setdefault(router_id, []).append(driver.FloatingIp(outer, inner))
    return [_router(r, legs.get(r.id, []), subnets, floating.get(r.id, [])) for r in rows]


def _router(
    row: Router, ports: list[Port], subnets: dict[str, Subnet], floating: list[driver.FloatingIp]
) -> driver.Router:
    gateway = next((p for p in ports if p.id == row.gateway_port_id), None)
    next_hop = None
    if gateway is not None:
        hops = [subnets[f["subnet_id"]].gateway_ip for f in gateway.fixed_ips or () if f["subnet_id"] in subnets]
        next_hop = next((h for h in hops if h and ":" not in h), None)
    return driver.Router(
        router_id=row.id,
        up=row.admin_state_up and row.hosted,
        legs=tuple(_leg(p, subnets) for p in ports if p.device_owner == INTERFACE),
        gateway=_leg(gateway, subnets) if gateway is not None else None,
        next_hop=next_hop,
        snat=row.enable_snat,
        floating=tuple(floating),
        routes=tuple((r["destination"], r["nexthop"]) for r in row.routes or ()),
    )


def _leg(port: Port, subnets: dict[str, Subnet]) -> driver.RouterLeg:
    addresses = tuple(
        f"{f['ip_address']}/{subnets[f['subnet_id']].cidr.partition('/')[2]}"
        for f in port.fixed_ips or ()
        if f["subnet_id"] in subnets
    )
    return driver.RouterLeg(port.id, port.network_id, port.mac_address, addresses)
