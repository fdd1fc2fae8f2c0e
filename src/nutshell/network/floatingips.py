"""Floating IPs: addresses of an external network that lead to a port (Networking API v2.0, "Floating IPs")."""

from collections.abc import Collection, Sequence
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import (
    Given,
    allow,
    create_each,
    create_target,
    mark,
    read_changes,
    revision_matches,
    take,
)
from nutshell.network.networks import Network
from nutshell.network.ports import Port, add_port, drop_port
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.service import MEMBER, READER, network, reads
from nutshell.network.sight import seen

OWNER = "network:floatingip"


class FloatingIp(Resource, service="network", one="floatingip", many="floatingips", visible="get_floatingip"):
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    floating_network_id: str = field(write="create", index=True)
    floating_ip_address: str | None = field(default=None, write="create")
    subnet_id: str | None = field(default=None, write="create", hidden=True)
    port_id: str | None = field(default=None, write="create update", index=True)
    fixed_ip_address: str | None = field(default=None, write="create update")
    router_id: str | None = field(default=None, index=True)
    status: str = field(default="DOWN")
    dns_name: str = field(default="", write="create", max_length=255)
    dns_domain: str = field(default="", write="create", max_length=255)
    tags: list[str] = field(factory=list)
    own_port_id: str = field(default="", hidden=True)  # the port that holds the address on the external network


standard(FloatingIp)

network.policy(
    {
        "create_floatingip": MEMBER,
        "create_floatingip:floating_ip_address": "rule:admin_only or (role:manager and project_id:%(project_id)s)",
        "get_floatingip": READER,
        "update_floatingip": MEMBER,
        "delete_floatingip": MEMBER,
    }
)
reads(FloatingIp)


@FloatingIp.preloads
def related(tx: Tx, rows: Sequence[FloatingIp]) -> dict[str, Port]:
    return {p.id: p for p in tx.find(Port, id=sorted({f.port_id for f in rows if f.port_id}))}


@FloatingIp.shows("port_details")
def port_details(row: FloatingIp, ctx: Context) -> dict[str, Any] | None:
    port: Port | None = ctx.rel.get(row.port_id)
    if port is None:
        return None
    names = ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
    return {n: getattr(port, n) for n in names}


@network.verb(FloatingIp, "create", rule="create_floatingip", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, FloatingIp, _create)


def _create(ask: Ask[Any], given: Given) -> FloatingIp:
    allow(ask, "create_floatingip", given, create_target(given), FloatingIp)
    network_id = uuid_of("floating_network_id", given["floating_network_id"])
    found = seen(ask.cloud, ask.tx, ask.who, Network, "id", network_id)
    if not found:
        raise errors.NetworkNotFound(id=network_id)
    if not found[0].external:
        raise errors.BadResource(resource="floatingip", why=f"Network {network_id} is not a valid external network.")
    take(ask, given["project_id"], "floatingip")
    floating_id = ask.new_id()
    own = _own_port(ask.cloud, ask.tx, found[0], floating_id, given)
    address = next(f["ip_address"] for f in own.fixed_ips or [] if ":" not in f["ip_address"])
    given["floating_ip_address"] = address
    link = _link(ask, given, network_id, floating_id, address, given["project_id"])
    return ask.tx.add(FloatingIp(id=floating_id, own_port_id=own.id, **{**given, **link}))


def _own_port(cloud: Cloud, tx: Tx, outside: Network, floating_id: str, given: Given) -> Port:
    """The port that holds the address; it belongs to nobody's project."""
    wish = {
        k: v for k, v in (("subnet_id", given.get("subnet_id")), ("ip_address", given.get("floating_ip_address"))) if v
    }
    facts = {
        "network_id": outside.id,
        "project_id": "",
        "device_owner": OWNER,
        "device_id": floating_id,
        "fixed_ips": [wish] if wish else _any_v4(tx, outside.id),
    }
    try:
        return add_port(cloud, tx, Who(), outside, facts)
    except errors.IpAddressGenerationFailure:
        raise errors.ExternalIpAddressExhausted(network_id=outside.id) from None


def _any_v4(tx: Tx, network_id: str) -> list[dict[str, str]]:
    from nutshell.network.addresses import free_address
    from nutshell.network.subnets import Subnet

    for subnet in tx.find(Subnet, network_id=network_id, ip_version=4, order="created_at, id"):
        if free_address(tx, subnet.id, 4, subnet.allocation_pools) is not None:
            return [{"subnet_id": subnet.id}]
    raise errors.ExternalIpAddressExhausted(network_id=network_id)


def _link(
    ask: Ask[Any], given: Given, network_id: str, floating_id: str, address: str, project_id: str
) -> dict[str, Any]:
    """port_id, fixed_ip_address, router_id and status for what the body asks for."""
    port_id = given.get("port_id")
    if not port_id:
        if given.get("fixed_ip_address"):
            raise errors.BadResource(
                resource="floatingip", why="fixed_ip_address cannot be specified without a port_id."
            )
        return {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": "DOWN"}
    ports = seen(ask.cloud, ask.tx, ask.who, Port, "id", uuid_of("port_id", port_id))
    if not ports:
        raise errors.PortNotFound(id=port_id)
    port = ports[0]
    if port.project_id != project_id and not ask.may("context_is_admin"):
        raise errors.BadResource(
            resource="floatingip",
            why=f"Port {port.id} is associated with a different project than Floating IP {floating_id} and therefore"
            " cannot be bound.",
        )
    fixed = _fixed(port, given.get("fixed_ip_address"))
    other = ask.tx.one(
        FloatingIp,
        FloatingIp.c("id") != floating_id,
        port_id=port.id,
        fixed_ip_address=fixed["ip_address"],
        floating_network_id=network_id,
    )
    if other is not None:
        raise errors.FloatingIPPortAlreadyAssociated(
            ip=address, id=floating_id, port_id=port.id, fixed_ip=fixed["ip_address"], network_id=network_id
        )
    router_id = _router_for(ask.tx, fixed["subnet_id"], network_id)
    if router_id is None:
        raise errors.ExternalGatewayForFloatingIPNotFound(
            network_id=network_id, subnet_id=fixed["subnet_id"], port_id=port.id
        )
    mark(ask.tx, "network_routers", [router_id])
    return {"port_id": port.id, "fixed_ip_address": fixed["ip_address"], "router_id": router_id, "status": "DOWN"}


def _fixed(port: Port, asked: str | None) -> dict[str, str]:
    """The port's IPv4 address the floating one leads to."""
    mine = [f for f in port.fixed_ips or [] if ":" not in f["ip_address"]]
    if asked:
        found = next((f for f in mine if f["ip_address"] == asked), None)
        if found is None:
            raise errors.BadResource(resource="floatingip", why=f"Port {port.id} does not have fixed ip {asked}.")
        return found
    if not mine:
        raise errors.BadResource(
            resource="floatingip",
            why=f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses.",
        )
    if len(mine) > 1:
        raise errors.BadResource(
            resource="floatingip",
            why=f"Port {port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when"
            " assigning a floating IP.",
        )
    return mine[0]


def _router_for(tx: Tx, subnet_id: str, outside_id: str) -> str | None:
    """A router with a leg on the subnet and a gateway on the external network; that at the subnet's gateway first."""
    found = tx.sql(
        "SELECT r.id FROM network_allocation a JOIN network_ports p ON p.id = a.port_id"
        " JOIN network_routers r ON r.id = p.device_id JOIN network_subnets s ON s.id = a.subnet_id"
        " WHERE a.subnet_id = ? AND p.device_owner = 'network:router_interface' AND r.gateway_network_id = ?"
        " ORDER BY CASE WHEN s.gateway_ip = a.ip THEN 0 ELSE 1 END, r.id LIMIT 1",
        subnet_id,
        outside_id,
    ).fetchone()
    return None if found is None else str(found[0])


@network.verb(FloatingIp, "update", rule="update_floatingip", body=None)
def update(ask: Ask[FloatingIp]) -> FloatingIp:
    row = ask.target
    revision_matches(ask, row)
    given = read_changes(ask, FloatingIp)
    allow(ask, "update_floatingip", given, row.policy_target(), FloatingIp)
    if not given:  # from when an association was all that a floating address had: nothing means none
        given["port_id"] = None
    if "port_id" in given or "fixed_ip_address" in given:
        if "port_id" not in given:
            given["port_id"] = row.port_id
        given = {
            **given,
            **_link(ask, given, row.floating_network_id, row.id, row.floating_ip_address or "", row.project_id),
        }
        if given["router_id"] == row.router_id and given["fixed_ip_address"] == row.fixed_ip_address:
            given["status"] = row.status
        if row.router_id:
            mark(ask.tx, "network_routers", [row.router_id])
    return ask.tx.put(row, **given)


@network.verb(FloatingIp, "delete", rule="delete_floatingip")
def delete(ask: Ask[FloatingIp]) -> None:
    revision_matches(ask, ask.target)
    drop_floating(ask.cloud, ask.tx, ask.target)


def drop_floating(cloud: Cloud, tx: Tx, row: FloatingIp) -> None:
    """Remove a floating address with the port that holds it."""
    if row.router_id:
        mark(tx, "network_routers", [row.router_id])
    own = tx.get(Port, row.own_port_id)
    if own is not None:
        drop_port(cloud, tx, own)
    tx.drop(row)
    cloud.quotas.give_back(tx, row.project_id, {"network.floatingip": 1})


def let_go_of(cloud: Cloud, tx: Tx, port_id: str, ips: Collection[str] | None) -> None:
    """Floating addresses that lead to the port (to these addresses of it) lead nowhere."""
    for row in tx.find(FloatingIp, port_id=port_id):
        if ips is None or row.fixed_ip_address in ips:
            mark(tx, "network_routers", [row.router_id] if row.router_id else [])
            tx.put(row, port_id=None, fixed_ip_address=None, router_id=None, status="DOWN")
