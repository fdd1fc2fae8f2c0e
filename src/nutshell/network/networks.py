"""Networks: isolated segments, a project's own, shared, or leading out (Networking API v2.0, "Networks")."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import Given, allow, create_each, create_target, read_changes, revision_matches, take
from nutshell.network.config import NetworkConfig
from nutshell.network.rbacs import EXTERNAL, SHARED, drop_policies, granted, reaches, set_wildcard, targets
from nutshell.network.removals import remove_from_world
from nutshell.network.rowfacts import standard
from nutshell.network.service import ADMIN, ADMIN_OR_SERVICE, MEMBER, READER, network, reads

LOWEST_MTU = {4: 68, 6: 1280}  # RFC 791, RFC 8200
LAST_SEGMENT = 2**24 - 1
ZONE = "nova"


class Network(Resource, service="network", one="network", many="networks", visible="get_network"):
    name: str = field(default="", write="create update", max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    admin_state_up: bool = field(default=True, write="create update")
    status: str = field(default="ACTIVE")
    mtu: int = field(default=0, write="create update", lo=0)
    port_security_enabled: bool = field(default=True, write="create update")
    external: bool = field(default=False, wire="router:external", write="create update")
    shared: bool = field(default=False, write="create update", hidden=True)  # body only: rbac policies decide
    is_default: bool = field(default=False, write="create update")
    dns_domain: str = field(default="", write="create update", max_length=255)
    availability_zone_hints: list[str] = field(factory=list, write="create")
    network_type: str = field(
        default="vxlan", wire="provider:network_type", write="create", see="get_network:provider:network_type"
    )
    physical_network: str | None = field(
        default=None,
        wire="provider:physical_network",
        write="create",
        see="get_network:provider:physical_network",
    )
    segment: int = field(
        default=0,
        wire="provider:segmentation_id",
        write="create",
        see="get_network:provider:segmentation_id",
        unique=True,
    )
    tags: list[str] = field(factory=list)
    dhcp_agent: str = field(default="auto", hidden=True)  # "on" and "off" are an administrator's word
    wanted: int = field(default=1, hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)


standard(Network)

network.policy(
    {
        "create_network": MEMBER,
        "create_network:shared": ADMIN,
        "create_network:router:external": ADMIN,
        "create_network:is_default": ADMIN,
        "create_network:port_security_enabled": MEMBER,
        "create_network:provider:network_type": ADMIN,
        "create_network:provider:physical_network": ADMIN,
        "create_network:provider:segmentation_id": ADMIN,
        "get_network": f"{READER} or {ADMIN_OR_SERVICE} or rule:shared or rule:external",
        "get_network:provider:network_type": ADMIN,
        "get_network:provider:physical_network": ADMIN,
        "get_network:provider:segmentation_id": ADMIN,
        "update_network": MEMBER,
        "update_network:shared": ADMIN,
        "update_network:router:external": ADMIN,
        "update_network:is_default": ADMIN,
        "update_network:port_security_enabled": MEMBER,
        "delete_network": MEMBER,
    }
)
reads(Network)


@Network.policy_column("shared")
def shared_column(who: Who) -> sa.ColumnElement[bool]:
    return granted(Network, "id", SHARED, who)


@Network.policy_column("router:external")
def external_column(who: Who) -> sa.ColumnElement[bool]:
    return sa.and_(Network.c("external"), granted(Network, "id", EXTERNAL, who))


@dataclass(frozen=True)
class Related:
    subnets: dict[str, list[str]]
    shared_with: dict[str, set[str]]
    scopes: dict[tuple[str, int], str]  # (network, IP version) → the address scope of its subnets' pool


@Network.preloads
def related(tx: Tx, rows: Sequence[Network]) -> Related:
    ids = [n.id for n in rows]
    subnets: dict[str, list[str]] = {}
    scopes: dict[tuple[str, int], str] = {}
    if ids:
        marks = ",".join("?" * len(ids))
        found = tx.sql(
            f"SELECT network_id, id FROM network_subnets WHERE network_id IN ({marks}) ORDER BY created_at, id", *ids
        ).fetchall()
        for network_id, subnet_id in found:
            subnets.setdefault(network_id, []).append(subnet_id)
        pooled = tx.sql(
            "SELECT s.network_id, s.ip_version, p.address_scope_id FROM network_subnets s JOIN network_subnetpools p"
            f" ON p.id = s.subnetpool_id WHERE s.network_id IN ({marks}) AND p.address_scope_id IS NOT NULL",
            *ids,
        ).fetchall()
        scopes = {(network_id, version): scope for network_id, version, scope in pooled}
    return Related(subnets, targets(tx, ids, SHARED), scopes)


@Network.shows("subnets")
def subnets(row: Network, ctx: Context) -> list[str]:
    found: list[str] = ctx.rel.subnets.get(row.id, [])
    return found


@Network.shows("shared")
def shared(row: Network, ctx: Context) -> bool:
    return reaches(ctx.rel.shared_with.get(row.id), ctx.ask.who)


@Network.shows("availability_zones")
def availability_zones(row: Network, ctx: Context) -> list[str]:
    return [ZONE] if ctx.rel.subnets.get(row.id) else []


@Network.shows("ipv4_address_scope")
def ipv4_address_scope(row: Network, ctx: Context) -> str | None:
    found: str | None = ctx.rel.scopes.get((row.id, 4))
    return found


@Network.shows("ipv6_address_scope")
def ipv6_address_scope(row: Network, ctx: Context) -> str | None:
    found: str | None = ctx.rel.scopes.get((row.id, 6))
    return found


@Network.filters_by("shared")
def by_shared(ask: Ask[Any], values: list[str]) -> Any:
    condition = granted(Network, "id", SHARED, ask.who)
    from nutshell.core.perform import bound_to  # the caller's values, filled in

    condition = bound_to(ask, condition)[0]
    return condition if values[-1].lower() in ("true", "1") else sa.not_(condition)


@network.verb(Network, "create", rule="create_network", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, Network, make)


def make(ask: Ask[Any], given: Given) -> Network:
    """A network, with its segment and MTU chosen; quota is taken."""
    allow(ask, "create_network", given, create_target(given), Network)
    is_shared = given.pop("shared", False)
    external = given.get("external", False)
    config = ask.cloud.settings[NetworkConfig]
    given["mtu"] = chosen_mtu(given.get("mtu", 0), config.mtu(external))
    given["segment"] = _segment(ask.tx, given)
    for zone in given.get("availability_zone_hints", ()):
        if zone != ZONE:
            raise errors.AvailabilityZoneNotFound(zone=zone)
    take(ask, given["project_id"], "network")
    row = ask.tx.add(Network(id=ask.new_id(), due_at=ask.now, **given))
    if is_shared:
        set_wildcard(ask, row.id, SHARED, True)
    if external:
        set_wildcard(ask, row.id, EXTERNAL, True)
        _only_default(ask, row)
    return row


def chosen_mtu(wanted: int, most: int) -> int:
    if wanted == 0:
        return most
    if wanted > most:
        raise errors.InvalidInput(f"Requested MTU is too big, maximum is {most}")
    return wanted


def check_mtu(network_id: str, mtu: int, versions: Iterable[int]) -> None:
    """Subnets of these IP versions can be carried with this MTU, or 409."""
    least = max((LOWEST_MTU[v] for v in versions), default=0)
    if mtu < least:
        raise errors.NetworkMTUSubnetConflict(id=network_id, mtu=mtu, least=least)


def _segment(tx: Tx, given: Given) -> int:
    """The segment asked for, or a free one."""
    if given.get("network_type", "vxlan") != "vxlan":
        raise errors.InvalidInput(f"network_type value '{given['network_type']}' not supported")
    if given.get("physical_network"):
        raise errors.InvalidInput("provider:physical_network specified for vxlan network")
    asked = given.get("segment")
    if asked:
        if not 0 < asked <= LAST_SEGMENT:
            raise errors.InvalidInput(f"segmentation_id out of range (1 through {LAST_SEGMENT})")
        if tx.count(Network, segment=asked):
            raise errors.TunnelIdInUse(segment=asked)
        return int(asked)
    return next_segment(tx)


def next_segment(tx: Tx) -> int:
    """A free VXLAN id: after the highest, else in the highest gap."""
    highest = max(
        at or 0
        for (at,) in tx.sql(
            "SELECT max(segment) FROM network_networks UNION ALL SELECT max(segment) FROM network_removal"
        ).fetchall()
    )
    if highest < LAST_SEGMENT:
        return highest + 1
    free = tx.sql(
        "SELECT min(n.segment) - 1 FROM network_networks n WHERE n.segment > 1 AND NOT EXISTS"
        " (SELECT 1 FROM network_networks m WHERE m.segment = n.segment - 1)"
    ).fetchone()[0]
    return int(free)


def _only_default(ask: Ask[Any], row: Network) -> None:
    """There is one default external network."""
    if row.is_default and ask.tx.count(Network, Network.c("id") != row.id, is_default=True):
        other = ask.tx.one(Network, Network.c("id") != row.id, is_default=True)
        raise errors.InvalidInput(f"A default external network already exists: {other.id if other is not None else ''}")


@network.verb(Network, "update", rule="update_network", body=None)
def update(ask: Ask[Network]) -> Network:
    row = ask.target
    revision_matches(ask, row)
    given = read_changes(ask, Network)
    allow(ask, "update_network", given, row.policy_target(), Network)
    config = ask.cloud.settings[NetworkConfig]
    if "mtu" in given:
        given["mtu"] = chosen_mtu(given["mtu"], config.mtu(given.get("external", row.external)))
        found = ask.tx.sql("SELECT DISTINCT ip_version FROM network_subnets WHERE network_id = ?", row.id).fetchall()
        check_mtu(row.id, given["mtu"], [version for (version,) in found])
    if "shared" in given:
        _share(ask, row, given.pop("shared"))
    if given.get("external", row.external) != row.external:
        _lead_out(ask, row, given["external"])
    row = ask.tx.put(row, due_at=ask.now, wanted=row.wanted + 1, **given)
    _only_default(ask, row)
    return row


def _share(ask: Ask[Any], row: Network, on: bool) -> None:
    if not on:
        granted_to = targets(ask.tx, [row.id], SHARED).get(row.id, set())
        if "*" in granted_to:
            users = ask.tx.sql(
                "SELECT DISTINCT project_id FROM network_ports WHERE network_id = ? AND project_id NOT IN (?, '')"
                " AND device_owner NOT IN ('network:dhcp', 'network:router_gateway', 'network:floatingip')",
                row.id,
                row.project_id,
            ).fetchall()
            if {u for (u,) in users} - granted_to:
                raise errors.InvalidSharedSetting(id=row.name or row.id)
    set_wildcard(ask, row.id, SHARED, on)


def _lead_out(ask: Ask[Any], row: Network, on: bool) -> None:
    if not on:
        used = ask.tx.sql(
            "SELECT 1 FROM network_ports WHERE network_id = ? AND device_owner = 'network:router_gateway' LIMIT 1",
            row.id,
        ).fetchone()
        if used:
            raise errors.ExternalNetworkInUse(id=row.id)
        drop_policies(ask, row.id, action=EXTERNAL)
        return
    set_wildcard(ask, row.id, EXTERNAL, True)


@network.verb(Network, "delete", rule="delete_network")
def delete(ask: Ask[Network]) -> None:
    from nutshell.network.floatingips import FloatingIp, drop_floating
    from nutshell.network.ports import Port, drop_port
    from nutshell.network.subnets import Subnet, drop_subnet

    row = ask.target
    revision_matches(ask, row)
    ports = ask.tx.find(Port, network_id=row.id)
    floating = ask.tx.find(FloatingIp, floating_network_id=row.id)
    if any(p.device_owner not in ("network:dhcp", "network:floatingip") for p in ports) or any(
        f.port_id for f in floating
    ):
        raise errors.NetworkInUse(id=row.id, why="There are one or more ports still in use on the network")
    for one in floating:
        drop_floating(ask.cloud, ask.tx, one)
    for port in ports:
        if port.device_owner == "network:dhcp":
            drop_port(ask.cloud, ask.tx, port)
    for subnet in ask.tx.find(Subnet, network_id=row.id):
        drop_subnet(ask.cloud, ask.tx, subnet)
    drop_policies(ask, row.id)
    ask.tx.drop(row)
    ask.cloud.quotas.give_back(ask.tx, row.project_id, {"network.network": 1})
    remove_from_world(ask.tx, "network", row.id, row.segment)
