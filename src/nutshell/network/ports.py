"""Ports: where something is plugged into a network (Networking API v2.0, "Ports")."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nutshell.core.cloud import Cloud
from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import METADATA, Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.addresses import release
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
from nutshell.network.config import NetworkConfig
from nutshell.network.networks import Network
from nutshell.network.port_addresses import Fixed, Seat, allocate, reallocate
from nutshell.network.port_plan import check_dhcp_opts, check_pairs, mac_of
from nutshell.network.rbacs import SHARED, reaches, targets
from nutshell.network.removals import keep_in_world, remove_from_world
from nutshell.network.rowfacts import standard
from nutshell.network.service import ADMIN_OR_SERVICE, NET_MEMBER, NET_READER, network, reads
from nutshell.network.subnets import seen_network

MEMBERSHIPS = sa.Table(
    "network_membership",
    METADATA,
    sa.Column("group_id", sa.Text, primary_key=True),
    sa.Column("port_id", sa.Text, primary_key=True),
)
sa.Index("network_membership_port_idx", MEMBERSHIPS.c.port_id)

PROTECTED = ("network:router_interface", "network:router_gateway", "network:floatingip")


class Port(
    Resource,
    service="network",
    one="port",
    many="ports",
    visible="get_port",
    unique=(("network_id", "mac_address"),),
    indexes=(("device_id",), ("network_id", "device_owner")),
):
    name: str = field(default="", write="create update", max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    network_id: str = field(write="create")
    network_project_id: str = field(default="", hidden=True)
    admin_state_up: bool = field(default=True, write="create update")
    status: str = field(default="DOWN")
    mac_address: str = field(default="", write="create update")
    fixed_ips: Fixed | None = field(factory=list, write="create update")
    device_id: str = field(default="", write="create update", max_length=255)
    device_owner: str = field(default="", write="create update", max_length=255)
    security_groups: list[str] | None = field(factory=list, write="create update")
    allowed_address_pairs: list[dict[str, str]] | None = field(factory=list, write="create update")
    extra_dhcp_opts: list[dict[str, Any]] | None = field(factory=list, write="create update")
    port_security_enabled: bool = field(default=True, write="create update")
    dns_name: str = field(default="", write="create update", max_length=255)
    binding_host_id: str | None = field(
        default="", wire="binding:host_id", write="create update", see="get_port:binding:host_id"
    )
    binding_profile: dict[str, Any] | None = field(
        factory=dict, wire="binding:profile", write="create update", see="get_port:binding:profile"
    )
    binding_vnic_type: str = field(default="normal", wire="binding:vnic_type", write="create update")
    tags: list[str] = field(factory=list, write="create")
    preserve: bool = field(default=True, hidden=True)  # a user's own: survives its server
    plugged_at: float = field(default=0.0, hidden=True)  # its turn among the server's ports
    plugged_into: str = field(default="", hidden=True)  # the server that compute gave it to; `device_id` is its owner's
    trunk_id: str | None = field(default=None, hidden=True)  # that it is of
    carrier: dict[str, Any] | None = field(default=None, hidden=True)  # a subport's parent ("port_id") and "vlan"
    wanted: int = field(default=1, hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)

    def policy_target(self) -> Mapping[str, Any]:
        return {**self.__dict__, "network:project_id": self.network_project_id}


standard(Port)

OWN_OR_SERVICE = f"{ADMIN_OR_SERVICE} or (role:member and project_id:%(project_id)s)"
NET_OR_SERVICE = f"{ADMIN_OR_SERVICE} or {NET_MEMBER}"
NET_OWNER = f"rule:admin_only or {NET_MEMBER} or rule:service_api"
network.policy(
    {
        "create_port": f"{NET_OR_SERVICE} or rule:shared",
        "create_port:device_id": OWN_OR_SERVICE,
        "create_port:device_owner": f"not rule:network_device or {NET_OR_SERVICE}",
        "create_port:mac_address": NET_OR_SERVICE,
        "create_port:fixed_ips": f"{NET_OR_SERVICE} or rule:shared",
        "create_port:fixed_ips:ip_address": NET_OR_SERVICE,
        "create_port:fixed_ips:subnet_id": f"{NET_OR_SERVICE} or rule:shared",
        "create_port:port_security_enabled": NET_OR_SERVICE,
        "create_port:binding:host_id": ADMIN_OR_SERVICE,
        "create_port:binding:profile": ADMIN_OR_SERVICE,
        "create_port:binding:vnic_type": OWN_OR_SERVICE,
        "create_port:allowed_address_pairs": NET_OWNER,
        "get_port": f"{ADMIN_OR_SERVICE} or {NET_READER} or (role:reader and project_id:%(project_id)s)",
        "get_port:binding:vif_type": ADMIN_OR_SERVICE,
        "get_port:binding:vif_details": ADMIN_OR_SERVICE,
        "get_port:binding:host_id": ADMIN_OR_SERVICE,
        "get_port:binding:profile": ADMIN_OR_SERVICE,
        "update_port": OWN_OR_SERVICE,
        "update_port:device_id": OWN_OR_SERVICE,
        "update_port:device_owner": f"not rule:network_device or {NET_OR_SERVICE}",
        "update_port:mac_address": f"{ADMIN_OR_SERVICE} or (role:manager and rule:network_owner)",
        "update_port:fixed_ips": NET_OR_SERVICE,
        "update_port:fixed_ips:ip_address": NET_OR_SERVICE,
        "update_port:fixed_ips:subnet_id": f"{NET_OR_SERVICE} or rule:shared",
        "update_port:port_security_enabled": NET_OR_SERVICE,
        "update_port:binding:host_id": ADMIN_OR_SERVICE,
        "update_port:binding:profile": ADMIN_OR_SERVICE,
        "update_port:binding:vnic_type": OWN_OR_SERVICE,
        "update_port:allowed_address_pairs": NET_OWNER,
        "delete_port": f"{OWN_OR_SERVICE} or {NET_MEMBER}",
    }
)
reads(Port)


@Port.policy_column("network:project_id")
def network_owner_column(who: Who) -> sa.ColumnElement[str]:
    return Port.c("network_project_id")


@Port.shows("binding:vif_type", see="get_port:binding:vif_type")
def vif_type(row: Port, ctx: Context) -> str:
    return "bridge" if row.binding_host_id else "unbound"


@Port.shows("binding:vif_details", see="get_port:binding:vif_details")
def vif_details(row: Port, ctx: Context) -> dict[str, Any]:
    return {"port_filter": True, "connectivity": "l2"} if row.binding_host_id else {}


@Port.shows("dns_assignment")
def dns_assignment(row: Port, ctx: Context) -> list[dict[str, str]]:
    domain = ctx.ask.cloud.settings[NetworkConfig].dns_domain
    found = []
    for fixed in row.fixed_ips or ():
        name = hostname_of(row, fixed["ip_address"])
        found.append({"ip_address": fixed["ip_address"], "hostname": name, "fqdn": f"{name}.{domain}."})
    return found


def hostname_of(row: Port, ip: str) -> str:
    """A port's name in DNS: its own, else one made of the address."""
    return row.dns_name or "host-" + ip.replace(".", "-").replace(":", "-")


@Port.filters_by("security_groups")
def by_group(ask: Ask[Any], values: list[str]) -> Any:
    members = sa.select(MEMBERSHIPS.c.port_id).where(MEMBERSHIPS.c.group_id.in_(values))
    return Port.c("id").in_(members)


@Port.filters_by("fixed_ips")
def by_fixed_ip(ask: Ask[Any], values: list[str]) -> Any:
    """fixed_ips=ip_address=10.0.0.5, =subnet_id=…, =ip_address_substr=10.0."""
    from nutshell.network.addresses import ALLOCATIONS

    wanted: dict[str, list[str]] = {}
    for value in values:
        name, _, what = value.partition("=")
        wanted.setdefault(name, []).append(what)
    conditions: list[Any] = []
    for name, column in (("ip_address", ALLOCATIONS.c.ip), ("subnet_id", ALLOCATIONS.c.subnet_id)):
        if name in wanted:
            conditions.append(column.in_(wanted[name]))
    for part in wanted.get("ip_address_substr", ()):
        conditions.append(ALLOCATIONS.c.ip.contains(part, autoescape=True))
    return Port.c("id").in_(sa.select(ALLOCATIONS.c.port_id).where(sa.and_(sa.true(), *conditions)))


@network.verb(Port, "create", rule="create_port", body=None, against=lambda ask: own_network(ask) | {"shared": True})
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, Port, make)


def make(ask: Ask[Any], given: Given) -> Port:
    parent = seen_network(ask, given["network_id"])
    target = create_target(given, parent)
    if parent.project_id != ask.who.project_id:
        target["shared"] = reaches(targets(ask.tx, [parent.id], SHARED).get(parent.id), ask.who)
    allow(ask, "create_port", given, target, Port)
    _allow_addresses(ask, "create_port", given.get("fixed_ips"), target)
    _allow_device(ask, target)
    return add_port(ask.cloud, ask.tx, ask.who, parent, given)


def _allow_addresses(ask: Ask[Any], rule: str, fixed: Any, target: Mapping[str, Any]) -> None:
    for name in ("ip_address", "subnet_id"):
        if isinstance(fixed, list) and any(isinstance(f, dict) and f.get(name) for f in fixed):
            ask.must(f"{rule}:fixed_ips:{name}", target)


def _allow_device(ask: Ask[Any], target: Mapping[str, Any]) -> None:
    """A port made by hand may not pose as a leg of another project's router."""
    device_id = target.get("device_id")
    if not device_id or not str(target.get("device_owner") or "").startswith("network:"):
        return
    found = ask.tx.sql("SELECT project_id FROM network_routers WHERE id = ?", device_id).fetchone()
    if found is not None and found[0] != ask.who.project_id and not ask.may("context_is_admin"):
        raise errors.DeviceIDNotOwnedByProject(device_id=device_id)


def add_port(cloud: Cloud, tx: Tx, who: Who, parent: Network, given: Given, in_s: float = 0.0) -> Port:
    """A port from checked members: MAC and addresses chosen, groups joined, quota taken (not for the cloud's own).

    `in_s`: when the loop is to make it, if nobody has by then.
    """
    from nutshell.network.bodies import take_in
    from nutshell.network.security_groups import choose_groups

    owner = given.get("device_owner", "")
    given["mac_address"] = choose_mac(tx, parent.id, given.get("mac_address") or "")
    given.setdefault("port_security_enabled", parent.port_security_enabled)
    if owner.startswith("network:"):
        given["port_security_enabled"] = given["port_security_enabled"] and owner == ""
        given["security_groups"] = []
    else:
        take_in(cloud, tx, given["project_id"], "port")
    given["security_groups"] = choose_groups(
        cloud, tx, who, given["project_id"], given.get("security_groups"), given["port_security_enabled"]
    )
    given["allowed_address_pairs"] = check_pairs(
        given.get("allowed_address_pairs"), given["mac_address"], given["port_security_enabled"]
    )
    given["extra_dhcp_opts"] = check_dhcp_opts(given.get("extra_dhcp_opts"))
    for name in ("binding_host_id", "binding_profile"):
        given[name] = given.get(name) or ("" if name == "binding_host_id" else {})
    port_id = given.pop("id", None) or cloud.clock.new_id()
    seat = Seat(port_id, parent.id, given["mac_address"], owner)
    given["fixed_ips"] = allocate(tx, seat, given.get("fixed_ips"))
    row = tx.add(Port(id=port_id, network_project_id=parent.project_id, **given))
    join(tx, row.id, row.security_groups or [])
    if row.binding_host_id:
        row = touch_world(tx, row, in_s)
    return row


def choose_mac(tx: Tx, network_id: str, asked: str) -> str:
    """The MAC asked for if it is free on the network, else a new one of the cloud's range."""
    text = "SELECT 1 FROM network_ports WHERE network_id = ? AND mac_address = ?"
    if asked:
        mac = mac_of("mac_address", asked)
        if tx.sql(text, network_id, mac).fetchone():
            raise errors.MacAddressInUse(network_id=network_id, mac=mac)
        return mac
    while True:
        n = random.getrandbits(24)
        mac = f"fa:16:3e:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}"
        if not tx.sql(text, network_id, mac).fetchone():
            return mac


def join(tx: Tx, port_id: str, group_ids: Sequence[str]) -> None:
    for group_id in group_ids:
        tx.sql("INSERT INTO network_membership (group_id, port_id) VALUES (?,?)", group_id, port_id)


def touch_world(tx: Tx, row: Port, in_s: float = 0.0) -> Port:
    """A bound port changed: it, its network (leases) and its groups (members) are looked at again."""
    keep_in_world(tx, "port", row.id)
    mark(tx, Network.table.name, [row.network_id], in_s)
    mark(tx, "network_security_groups", row.security_groups or [], in_s)
    mark(tx, row.table.name, [row.id], in_s)
    return tx.need(Port, row.id)


@network.verb(Port, "update", rule="update_port", body=None)
def update(ask: Ask[Port]) -> Port:
    row = ask.target
    revision_matches(ask, row)
    given = read_changes(ask, Port)
    target = {**row.policy_target(), **given}
    allow(ask, "update_port", given, target, Port)
    _allow_addresses(ask, "update_port", given.get("fixed_ips"), target)
    if "device_id" in given or "device_owner" in given:
        _allow_device(ask, target)
    return change_port(ask.cloud, ask.tx, ask.who, row, given)


def change_port(cloud: Cloud, tx: Tx, who: Who, row: Port, given: Given) -> Port:
    """Record changes to a port, and what they mean for its groups, floating addresses and the world."""
    from nutshell.network import trunks
    from nutshell.network.security_groups import choose_groups

    trunks.refuse_change(row, given)
    if given.get("mac_address", row.mac_address) != row.mac_address:
        if row.binding_host_id and row.device_owner.startswith("compute:"):
            raise errors.PortBound(id=row.id, old=row.mac_address, new=given["mac_address"])
        given["mac_address"] = choose_mac(tx, row.network_id, given["mac_address"])
    _check_security(row, given)
    if "security_groups" in given:
        secure = given.get("port_security_enabled", row.port_security_enabled)
        given["security_groups"] = choose_groups(cloud, tx, who, row.project_id, given["security_groups"] or [], secure)
        _move_groups(tx, row, given["security_groups"])
    if "allowed_address_pairs" in given:
        secure = given.get("port_security_enabled", row.port_security_enabled)
        given["allowed_address_pairs"] = check_pairs(
            given["allowed_address_pairs"], given.get("mac_address", row.mac_address), secure
        )
    if "extra_dhcp_opts" in given:
        given["extra_dhcp_opts"] = check_dhcp_opts(given["extra_dhcp_opts"], row.extra_dhcp_opts or [])
    if "fixed_ips" in given:
        _readdress(cloud, tx, row, given)
    if "binding_host_id" in given:
        given["binding_host_id"] = given["binding_host_id"] or ""
    if "binding_profile" in given:
        given["binding_profile"] = given["binding_profile"] or {}
    if not given.get("admin_state_up", True):
        given["status"] = "DOWN"
    new = tx.put(row, **given)
    if new.binding_host_id != row.binding_host_id:
        trunks.follow(tx, new)
    if new.device_owner == "network:dhcp":
        mark(tx, Network.table.name, [new.network_id])
    if row.binding_host_id and not new.binding_host_id:
        return withdraw(tx, new)
    if new.device_owner in ("network:router_interface", "network:router_gateway"):
        mark(tx, "network_routers", [new.device_id])
    return touch_world(tx, new) if new.binding_host_id else new


def withdraw(tx: Tx, row: Port) -> Port:
    """A port is bound no more: the world forgets it."""
    leave_world(tx, row)
    return tx.put(row, status="DOWN", due_at=None, quiet=True)


def _check_security(row: Port, given: Given) -> None:
    secure = given.get("port_security_enabled", row.port_security_enabled)
    if not secure and row.port_security_enabled:
        if row.security_groups and given.get("security_groups", row.security_groups):
            raise errors.PortSecurityPortHasSecurityGroup()
        if given.get("allowed_address_pairs", row.allowed_address_pairs):
            raise errors.AddressPairAndPortSecurityRequired()


def _move_groups(tx: Tx, row: Port, group_ids: list[str]) -> None:
    tx.sql("DELETE FROM network_membership WHERE port_id = ?", row.id)
    if row.binding_host_id:
        mark(tx, "network_security_groups", [g for g in row.security_groups or [] if g not in group_ids])
    join(tx, row.id, group_ids)


def _readdress(cloud: Cloud, tx: Tx, row: Port, given: Given) -> None:
    from nutshell.network.floatingips import let_go_of

    seat = Seat(
        row.id, row.network_id, given.get("mac_address", row.mac_address), given.get("device_owner", row.device_owner)
    )
    before = {f["ip_address"] for f in row.fixed_ips or []}
    given["fixed_ips"] = reallocate(tx, seat, row.fixed_ips or [], given["fixed_ips"] or [])
    gone = before - {f["ip_address"] for f in given["fixed_ips"]}
    if gone:
        let_go_of(cloud, tx, row.id, gone)


@network.verb(Port, "delete", rule="delete_port")
def delete(ask: Ask[Port]) -> None:
    from nutshell.network import trunks

    row = ask.target
    revision_matches(ask, row)
    if row.device_owner in PROTECTED and _in_service(ask.tx, row.device_id):
        raise errors.ServicePortInUse(id=row.id, why=f"has device owner {row.device_owner}")
    trunks.refuse_removal(row)
    drop_port(ask.cloud, ask.tx, row)


def _in_service(tx: Tx, device_id: str) -> bool:
    """Whether the router or floating address that a port says it is of exists."""
    text = "SELECT 1 FROM network_routers WHERE id = ? UNION ALL SELECT 1 FROM network_floatingips WHERE id = ?"
    return tx.sql(text, device_id, device_id).fetchone() is not None


def drop_port(cloud: Cloud, tx: Tx, row: Port) -> None:
    """Remove a port with all that hangs on it; floating addresses stay, without it."""
    from nutshell.network import trunks
    from nutshell.network.floatingips import let_go_of

    let_go_of(cloud, tx, row.id, None)
    row = trunks.leave(cloud, tx, row)
    release(tx, row.id)
    if row.security_groups:
        tx.sql("DELETE FROM network_membership WHERE port_id = ?", row.id)
    tx.drop(row)
    if not row.device_owner.startswith("network:"):
        cloud.quotas.give_back(tx, row.project_id, {"network.port": 1})
    if row.binding_host_id:
        leave_world(tx, row)


def leave_world(tx: Tx, row: Port) -> None:
    remove_from_world(tx, "port", row.id)
    mark(tx, "network_networks", [row.network_id])
    mark(tx, "network_security_groups", row.security_groups or [])


__all__ = ["Port", "add_port", "change_port", "drop_port", "take", "withdraw"]
