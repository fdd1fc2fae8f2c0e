"""What network does for the other services: `Networking` of network/port.py."""

# house: parameters waived 2026-11-22: a port is made from this many facts, all by keyword

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nutshell.core.drivers import DriverFault
from nutshell.core.errors import Conflict, PolicyForbids
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.networks import Network
from nutshell.network.port import NetworkInfo, PortInfo, SubnetInfo
from nutshell.network.port_infos import infos, plugged_into
from nutshell.network.ports import Port, add_port, change_port, drop_port, touch_world, withdraw
from nutshell.network.push import Pushing
from nutshell.network.rbacs import SHARED, reaches, targets
from nutshell.network.removals import keep_in_world
from nutshell.network.rowfacts import UUID
from nutshell.network.security_groups import SecurityGroup, default_group
from nutshell.network.settle import made
from nutshell.network.sight import seen
from nutshell.network.subnets import Subnet
from nutshell.network.trunks import follow

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud


REALISED_IN_S = 5.0  # compute asks for its ports itself; the loop makes those it did not ask for by then


class Networks:
    """Implements `Networking` on the rows of one cloud."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def available_networks(self, tx: Tx, who: Who) -> Sequence[str]:
        with_subnets = " AND EXISTS (SELECT 1 FROM network_subnets s WHERE s.network_id = n.id)"
        own = tx.sql(
            "SELECT n.id FROM network_networks n WHERE n.project_id = ? AND NOT n.external"
            + with_subnets
            + " ORDER BY n.created_at, n.id",
            who.project_id,
        ).fetchall()
        shared = tx.sql(
            "SELECT DISTINCT n.id, n.created_at FROM network_networks n JOIN network_rbac_policies r"
            " ON r.object_id = n.id AND r.action = ? AND r.target_tenant IN ('*', ?)"
            " WHERE n.project_id != ?" + with_subnets + " ORDER BY n.created_at, n.id",
            SHARED,
            who.project_id,
            who.project_id,
        ).fetchall()
        return [r[0] for r in [*own, *shared]]

    def need_network(self, tx: Tx, who: Who, network_id: str) -> str:
        return self._network(tx, who, network_id).id

    def _network(self, tx: Tx, who: Who, network_id: str) -> Network:
        found = seen(self._cloud, tx, who, Network, "id", network_id)
        if not found:
            raise errors.NetworkNotFound(id=network_id)
        return found[0]

    def need_port(self, tx: Tx, who: Who, port_id: str) -> PortInfo:
        found = seen(self._cloud, tx, who, Port, "id", port_id)
        if not found:
            raise errors.PortNotFound(id=port_id)
        return infos(tx, found)[0]

    def security_groups(self, tx: Tx, who: Who, names_or_ids: Sequence[str]) -> Sequence[str]:
        found: list[str] = []
        for text in names_or_ids:
            group_id = self._group(tx, who, text)
            if group_id not in found:
                found.append(group_id)
        return found

    def _group(self, tx: Tx, who: Who, text: str) -> str:
        if UUID.fullmatch(text) and seen(self._cloud, tx, who, SecurityGroup, "id", text):
            return text
        if text == "default":
            return default_group(self._cloud, tx, who.project_id)
        rows = tx.find(SecurityGroup, name=text, project_id=who.project_id)
        if len(rows) > 1:
            raise Conflict(f"Multiple security_group matches found for name '{text}', use an ID to be more specific.")
        if not rows:
            raise errors.SecurityGroupNotFound(id=text)
        return rows[0].id

    def create_port(
        self,
        tx: Tx,
        who: Who,
        *,
        network_id: str,
        device_id: str,
        fixed_ip: str | None = None,
        security_group_ids: Sequence[str] | None = None,
        host: str = "",
        zone: str = "nova",
        tags: Sequence[str] = (),
        hostname: str = "",
    ) -> PortInfo:
        parent = self._network(tx, who, network_id)
        if parent.project_id != who.project_id:
            self._must_use(tx, who, parent, "create_port")
            if fixed_ip:
                self._must_use(tx, who, parent, "create_port:fixed_ips:ip_address")
        given: dict[str, Any] = {
            "network_id": network_id,
            "project_id": who.project_id,
            "device_id": device_id,
            "device_owner": f"compute:{zone}",
            "binding_host_id": host,
            "dns_name": hostname,
            "tags": list(tags),
            "preserve": False,
            "plugged_at": tx.now,
            "plugged_into": device_id,
        }
        if fixed_ip:
            given["fixed_ips"] = [{"ip_address": fixed_ip}]
        if security_group_ids is not None and parent.port_security_enabled:
            given["security_groups"] = list(security_group_ids)
        row = add_port(self._cloud, tx, who, parent, given, REALISED_IN_S)
        return infos(tx, [row])[0]

    def _must_use(self, tx: Tx, who: Who, parent: Network, rule: str) -> None:
        """Policy lets the caller put a port on somebody else's network, or 403."""
        shared = reaches(targets(tx, [parent.id], SHARED).get(parent.id), who)
        target = {
            "project_id": who.project_id,
            "network:project_id": parent.project_id,
            "shared": shared,
        }
        if not self._cloud.rules.allows(rule, who, target):
            raise PolicyForbids(rule=rule)

    def bind_port(
        self, tx: Tx, port_id: str, *, device_id: str, host: str, zone: str = "nova", hostname: str = ""
    ) -> PortInfo:
        row = self._need(tx, port_id)
        if row.device_id and row.device_id != device_id:
            raise errors.PortInUse(id=row.id, network_id=row.network_id, device_id=row.device_id)
        wanted = {
            "device_id": device_id,
            "plugged_into": device_id,
            "device_owner": f"compute:{zone}",
            "binding_host_id": host,
            "dns_name": row.dns_name or hostname,
        }
        changes: dict[str, Any] = {k: v for k, v in wanted.items() if getattr(row, k) != v}
        if changes:
            if not row.device_id:
                changes["plugged_at"] = tx.now
            if row.binding_host_id and host != row.binding_host_id:
                changes["status"] = "DOWN"
            row = tx.put(row, **changes)
            if host:
                row = touch_world(tx, row, REALISED_IN_S)
            follow(tx, row)
        return infos(tx, [row])[0]

    @staticmethod
    def _need(tx: Tx, port_id: str) -> Port:
        row = tx.get(Port, port_id)
        if row is None:
            raise errors.PortNotFound(id=port_id)
        return row

    def unbind_port(self, tx: Tx, port_id: str) -> None:
        row = tx.get(Port, port_id)
        if row is None or not (row.device_id or row.binding_host_id):
            return
        row = tx.put(row, device_id="", device_owner="", binding_host_id="", plugged_at=0.0, plugged_into="")
        withdraw(tx, row)
        follow(tx, row)

    def delete_port(self, tx: Tx, port_id: str) -> None:
        row = tx.get(Port, port_id)
        if row is not None:
            drop_port(self._cloud, tx, row)

    def ports_of(self, tx: Tx, device_ids: Sequence[str]) -> Mapping[str, Sequence[PortInfo]]:
        found: dict[str, list[PortInfo]] = {}
        for info in infos(tx, plugged_into(tx, device_ids)):
            found.setdefault(info.device_id, []).append(info)
        return found

    def networks(self, tx: Tx, network_ids: Sequence[str]) -> Mapping[str, NetworkInfo]:
        rows = tx.find(Network, id=list(network_ids))
        subnets: dict[str, list[SubnetInfo]] = {}
        for s in tx.find(Subnet, network_id=[n.id for n in rows], order="created_at, id"):
            info = SubnetInfo(
                subnet_id=s.id,
                cidr=s.cidr,
                ip_version=s.ip_version,
                gateway_ip=s.gateway_ip,
                dhcp=s.enable_dhcp,
                dns_servers=tuple(s.dns_nameservers or ()),
                routes=tuple((r["destination"], r["nexthop"]) for r in s.host_routes or ()),
            )
            subnets.setdefault(s.network_id, []).append(info)
        return {n.id: NetworkInfo(n.id, n.name, n.mtu, tuple(subnets.get(n.id, ()))) for n in rows}

    def port_at(self, tx: Tx, network_id: str, ip: str) -> PortInfo | None:
        found = tx.sql(
            "SELECT port_id FROM network_allocation WHERE network_id = ? AND ip = ?", network_id, ip
        ).fetchone()
        if found is None:
            found = tx.sql(
                "SELECT a.port_id FROM network_ports leg JOIN network_allocation a ON a.network_id = leg.network_id"
                " WHERE leg.device_id = ? AND leg.device_owner = 'network:router_interface' AND a.ip = ?",
                network_id,
                ip,
            ).fetchone()
        row = tx.get(Port, found[0]) if found is not None else None
        if row is None or not row.device_id or row.plugged_into != row.device_id:
            return None  # whoever has a port may write any server's id on it
        return infos(tx, [row])[0]

    def set_port_groups(self, tx: Tx, port_id: str, group_ids: Sequence[str]) -> None:
        row = self._need(tx, port_id)
        admin = Who(roles=frozenset({"admin", "member", "reader"}), project_id=row.project_id)
        change_port(self._cloud, tx, admin, row, {"security_groups": list(group_ids)})

    def realise(self, cloud: "Cloud", port_ids: Sequence[str]) -> None:
        pushing = cloud.port(Pushing)
        networks, groups = cloud.read(lambda tx: _needed(tx, port_ids))
        rows: list[Any] = []
        try:
            rows += pushing.push(cloud, Network, list(networks), networks)
            rows += pushing.push(cloud, SecurityGroup, list(groups), groups)
            rows += pushing.push(cloud, Port, list(port_ids))
        except DriverFault:
            pushing.forget([*networks, *groups])
            raise
        cloud.write(lambda tx: _realised(tx, rows))


def _needed(tx: Tx, port_ids: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Networks and groups these ports need, those first that others name: id → `wanted`."""
    ports = tx.find(Port, id=list(port_ids))
    nets = tx.find(Network, id=sorted({p.network_id for p in ports}))
    ids = sorted({g for p in ports for g in p.security_groups or ()})
    others: list[str] = []
    if ids:
        rows = tx.sql(
            "SELECT DISTINCT remote_group_id FROM network_security_group_rules WHERE remote_group_id IS NOT NULL"
            f" AND security_group_id IN ({','.join('?' * len(ids))})",
            *ids,
        ).fetchall()
        others = sorted({i for (i,) in rows} - set(ids))
    wanted = {g.id: g.wanted for g in tx.find(SecurityGroup, id=[*others, *ids])}
    return {n.id: n.wanted for n in nets}, {i: wanted[i] for i in [*others, *ids] if i in wanted}


def _realised(tx: Tx, rows: Sequence[Any]) -> None:
    for row in rows:
        if isinstance(row, Port):
            keep_in_world(tx, "port", row.id)
    made(tx, rows)
