"""Subnets: blocks of addresses on a network, with DHCP (Networking API v2.0, "Subnets")."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import sqlalchemy as sa

from nutshell.core.cloud import Cloud
from nutshell.core.policy import Who
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors, subnet_plan
from nutshell.network.addresses import number, spans
from nutshell.network.bodies import (
    Given,
    allow,
    create_each,
    create_target,
    mark,
    own_network,
    read_changes,
    revision_matches,
    take,
)
from nutshell.network.networks import Network, check_mtu
from nutshell.network.rbacs import EXTERNAL, SHARED, granted
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.service import ADMIN_OR_SERVICE, NET_MEMBER, NET_READER, network, reads
from nutshell.network.sight import seen

Pairs = list[dict[str, str]]


class Subnet(
    Resource, service="network", one="subnet", many="subnets", visible="get_subnet", indexes=(("network_id",),)
):
    name: str = field(default="", write="create update", max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    network_id: str = field(write="create")
    network_project_id: str = field(default="", hidden=True)
    ip_version: int = field(default=4, write="create", required="create")
    cidr: str = field(default="", write="create")
    gateway_ip: str | None = field(default=None, write="create update")
    enable_dhcp: bool = field(default=True, write="create update")
    allocation_pools: Pairs = field(factory=list, write="create update")
    dns_nameservers: list[str] | None = field(factory=list, write="create update")
    host_routes: Pairs | None = field(factory=list, write="create update")
    ipv6_ra_mode: str | None = field(default=None, write="create")
    ipv6_address_mode: str | None = field(default=None, write="create")
    subnetpool_id: str | None = field(default=None, write="create")
    prefixlen: int | None = field(default=None, write="create", lo=0, hi=128, hidden=True)
    use_default_subnetpool: bool = field(default=False, write="create", hidden=True)
    service_types: list[str] = field(factory=list, write="create update")
    dns_publish_fixed_ip: bool = field(default=False, write="create update")
    tags: list[str] = field(factory=list)

    def policy_target(self) -> Mapping[str, Any]:
        return {**self.__dict__, "network:project_id": self.network_project_id}

    @property
    def auto(self) -> bool:
        """Whether hosts give themselves their addresses here."""
        return subnet_plan.is_auto(self.ip_version, self.ipv6_ra_mode, self.ipv6_address_mode)


standard(Subnet)

OWN_OR_NET = f"rule:admin_only or (role:member and project_id:%(project_id)s) or {NET_MEMBER}"
network.policy(
    {
        "create_subnet": f"rule:admin_only or {NET_MEMBER}",
        "create_subnet:service_types": "rule:admin_only",
        "get_subnet": f"(role:reader and project_id:%(project_id)s) or rule:shared or rule:external_network"
        f" or {NET_READER} or {ADMIN_OR_SERVICE}",
        "update_subnet": OWN_OR_NET,
        "update_subnet:service_types": "rule:admin_only",
        "delete_subnet": OWN_OR_NET,
    }
)


reads(Subnet)


@Subnet.policy_column("network:project_id")
def network_owner_column(who: Who) -> sa.ColumnElement[str]:
    return Subnet.c("network_project_id")


@Subnet.policy_column("shared")
def shared_column(who: Who) -> sa.ColumnElement[bool]:
    return granted(Subnet, "network_id", SHARED, who)


@Subnet.filters_by("shared")
def by_shared(ask: Ask[Any], values: list[str]) -> Any:
    """Shared is a subnet whose network is."""
    from nutshell.core.perform import bound_to  # the caller's values, filled in

    condition = bound_to(ask, granted(Subnet, "network_id", SHARED, ask.who))[0]
    return condition if values[-1].lower() in ("true", "1") else sa.not_(condition)


@Subnet.policy_column("router:external")
def external_column(who: Who) -> sa.ColumnElement[bool]:
    return granted(Subnet, "network_id", EXTERNAL, who)


def seen_network(ask: Ask[Any], network_id: Any) -> Network:
    """A network the caller may see, or 404."""
    found = seen(ask.cloud, ask.tx, ask.who, Network, "id", uuid_of("network_id", network_id))
    if not found:
        raise errors.NetworkNotFound(id=network_id)
    return found[0]


@network.verb(Subnet, "create", rule="create_subnet", body=None, against=own_network)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, Subnet, make)


def make(ask: Ask[Any], given: Given) -> Subnet:
    """A subnet, and its network's DHCP port if it has DHCP; quota is taken."""
    from nutshell.network.dhcp import serve_dhcp

    parent = seen_network(ask, given["network_id"])
    allow(ask, "create_subnet", given, create_target(given, parent), Subnet)
    subnet_id = ask.new_id()
    siblings = ask.tx.find(Subnet, network_id=parent.id)
    _cut(ask, given, siblings)
    _plan(given, subnet_id)
    for other in siblings:
        if other.ip_version == given["ip_version"] and ip_network(other.cidr).overlaps(ip_network(given["cidr"])):
            raise errors.InvalidInput(
                f"Requested subnet with cidr: {given['cidr']} for network: {parent.id} overlaps with another subnet"
            )
    take(ask, given["project_id"], "subnet")
    check_mtu(parent.id, parent.mtu, [given["ip_version"]])
    row = ask.tx.add(Subnet(id=subnet_id, network_project_id=parent.project_id, **given))
    count_revision(ask.tx, parent.id)
    mark(ask.tx, "network_networks", [parent.id])
    if row.auto:
        _give_auto_addresses(ask.cloud, ask.tx, row)
    if row.enable_dhcp:
        serve_dhcp(ask.cloud, ask.tx, parent)
    return row


def _cut(ask: Ask[Any], given: Given, siblings: list["Subnet"]) -> None:
    """Take the prefix from a subnet pool, when one is named or no prefix is given."""
    from nutshell.network.subnet_pools import SubnetPool, cut

    pool_id, length = given.get("subnetpool_id"), given.pop("prefixlen", None)
    if given.pop("use_default_subnetpool", False) and not pool_id:
        default = ask.tx.one(SubnetPool, is_default=True, ip_version=given["ip_version"])
        if default is None:
            raise errors.BadResource(resource="subnets", why=f"No default pool for IPv{given['ip_version']}.")
        pool_id = given["subnetpool_id"] = default.id
    if not pool_id:
        if not given.get("cidr"):
            raise errors.BadResource(resource="subnets", why="a subnetpool must be specified in the absence of a cidr.")
        return
    pools = seen(ask.cloud, ask.tx, ask.who, SubnetPool, "id", uuid_of("subnetpool_id", pool_id))
    if not pools:
        raise errors.SubnetPoolNotFound(id=pool_id)
    pool = pools[0]
    if pool.ip_version != given["ip_version"]:
        raise errors.BadResource(resource="subnets", why="Cannot allocate from a subnet pool of another IP version.")
    if any(s.ip_version == pool.ip_version and s.subnetpool_id != pool.id for s in siblings):
        raise errors.NetworkSubnetPoolAffinityError()
    asked = subnet_plan.cidr_of(given["cidr"]) if given.get("cidr") else None
    given["cidr"] = cut(ask.tx, pool, given["project_id"], asked, length)


def _plan(given: Given, subnet_id: str) -> None:
    """Check a new subnet's members against each other and fill in what was left out."""
    cidr, version = subnet_plan.cidr_of(given["cidr"]), given["ip_version"]
    if version not in (4, 6):
        raise errors.InvalidAttribute(name="ip_version", why=f"'{version}' is not in [4, 6]")
    given["cidr"], dhcp = cidr, given.get("enable_dhcp", True)
    subnet_plan.check_prefix(cidr, version, dhcp)
    subnet_plan.check_modes(version, dhcp, given.get("ipv6_ra_mode"), given.get("ipv6_address_mode"), cidr)
    if "gateway_ip" not in given:
        given["gateway_ip"] = subnet_plan.default_gateway(cidr)
    elif given["gateway_ip"] is not None:
        given["gateway_ip"] = subnet_plan.address_of("gateway_ip", given["gateway_ip"])
        subnet_plan.check_gateway(cidr, given["gateway_ip"])
    if given.get("allocation_pools"):
        given["allocation_pools"] = subnet_plan.check_pools(given["allocation_pools"], cidr, given["gateway_ip"])
    else:
        given["allocation_pools"] = subnet_plan.default_pools(cidr, given["gateway_ip"])
    given["dns_nameservers"] = subnet_plan.check_nameservers(given.get("dns_nameservers"), subnet_id)
    given["host_routes"] = subnet_plan.check_routes(given.get("host_routes"), version, subnet_id)


def _give_auto_addresses(cloud: Cloud, tx: Tx, row: Subnet) -> None:
    """Ports that were there first get their autoconfigured address on the new subnet."""
    from nutshell.network.port_addresses import add_auto_address
    from nutshell.network.ports import Port

    for port in tx.find(Port, network_id=row.network_id):
        if not port.device_owner.startswith("network:"):
            add_auto_address(cloud, tx, port, row)


@network.verb(Subnet, "update", rule="update_subnet", body=None)
def update(ask: Ask[Subnet]) -> Subnet:
    from nutshell.network.dhcp import serve_dhcp

    row = ask.target
    revision_matches(ask, row)
    given = read_changes(ask, Subnet)
    allow(ask, "update_subnet", given, row.policy_target(), Subnet)
    if "dns_nameservers" in given:
        given["dns_nameservers"] = subnet_plan.check_nameservers(given["dns_nameservers"], row.id)
    if "host_routes" in given:
        given["host_routes"] = subnet_plan.check_routes(given["host_routes"], row.ip_version, row.id)
    dhcp = given.get("enable_dhcp", row.enable_dhcp)
    subnet_plan.check_prefix(row.cidr, row.ip_version, dhcp)
    subnet_plan.check_modes(row.ip_version, dhcp, row.ipv6_ra_mode, row.ipv6_address_mode, row.cidr)
    _replan(ask, row, given)
    row = ask.tx.put(row, **given)
    count_revision(ask.tx, row.network_id)
    mark(ask.tx, "network_networks", [row.network_id])
    serve_dhcp(ask.cloud, ask.tx, ask.tx.need(Network, row.network_id))
    mark_routers(ask.tx, row.network_id)
    return row


def _replan(ask: Ask[Any], row: Subnet, given: Given) -> None:
    """A changed gateway and changed pools must fit each other and what is in use."""
    gateway = row.gateway_ip
    if given.get("gateway_ip", gateway) != gateway:
        holder = ask.tx.sql(
            "SELECT a.port_id FROM network_allocation a JOIN network_ports p ON p.id = a.port_id"
            " WHERE a.network_id = ? AND a.ip = ? AND p.device_owner = 'network:router_interface'",
            row.network_id,
            gateway,
        ).fetchone()
        if holder:
            raise errors.GatewayIpInUse(ip=gateway, port_id=holder[0])
        gateway = given["gateway_ip"]
        if gateway is not None:
            gateway = given["gateway_ip"] = subnet_plan.address_of("gateway_ip", gateway)
            subnet_plan.check_gateway(row.cidr, gateway)
    if "allocation_pools" in given:
        given["allocation_pools"] = subnet_plan.check_pools(given["allocation_pools"], row.cidr, gateway)
    else:
        subnet_plan.check_gateway_outside(row.allocation_pools, gateway)


def count_revision(tx: Tx, network_id: str) -> None:
    """A network's revision counts the changes of its subnets."""
    tx.put(tx.need(Network, network_id))


def mark_routers(tx: Tx, network_id: str) -> None:
    """Routers with a leg on the network are looked at again."""
    found = tx.sql(
        "SELECT DISTINCT device_id FROM network_ports WHERE network_id = ? AND device_owner IN"
        " ('network:router_interface', 'network:router_gateway')",
        network_id,
    ).fetchall()
    mark(tx, "network_routers", [router_id for (router_id,) in found])


@network.verb(Subnet, "delete", rule="delete_subnet")
def delete(ask: Ask[Subnet]) -> None:
    from nutshell.network.dhcp import serve_dhcp
    from nutshell.network.port_addresses import drop_auto_addresses

    row = ask.target
    revision_matches(ask, row)
    holders = ask.tx.sql(
        "SELECT p.device_owner FROM network_allocation a JOIN network_ports p ON p.id = a.port_id"
        " WHERE a.subnet_id = ? AND p.device_owner != 'network:dhcp'",
        row.id,
    ).fetchall()
    if any(not row.auto or owner == "network:router_interface" for (owner,) in holders):
        raise errors.SubnetInUse(id=row.id, why="One or more ports have an IP allocation from this subnet")
    if row.auto:
        drop_auto_addresses(ask.cloud, ask.tx, row)
    drop_subnet(ask.cloud, ask.tx, row)
    count_revision(ask.tx, row.network_id)
    serve_dhcp(ask.cloud, ask.tx, ask.tx.need(Network, row.network_id))


def drop_subnet(cloud: Cloud, tx: Tx, row: Subnet) -> None:
    """Remove the row; whoever calls has seen to its ports."""
    tx.drop(row)
    cloud.quotas.give_back(tx, row.project_id, {"network.subnet": 1})
    mark(tx, "network_networks", [row.network_id])


def in_pool(row: Subnet, ip: str) -> bool:
    return any(s.first <= number(ip) <= s.last for s in spans(row.allocation_pools))
