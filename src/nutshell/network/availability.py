"""How many addresses networks have left, and where things can be (Networking API v2.0, "Network IP availability",
"Availability zones", "Service providers", "Floating IP pools")."""

from typing import Any

from nutshell.core.listing import select_page
from nutshell.core.service import Ask
from nutshell.network import errors
from nutshell.network.addresses import spans
from nutshell.network.networks import ZONE, Network
from nutshell.network.service import ADMIN_OR_SERVICE, network
from nutshell.network.sight import seen
from nutshell.network.subnets import Subnet

network.policy(
    {
        "get_network_ip_availability": ADMIN_OR_SERVICE,
        "get_availability_zone": "role:reader",
        "get_service_provider": "role:reader",
        "get_floatingip_pool": "rule:admin_only or role:reader",
    }
)


@network.route("GET", "/availability_zones", rule="get_availability_zone")
def zones(ask: Ask[Any]) -> dict[str, Any]:
    rows = [{"name": ZONE, "resource": kind, "state": "available"} for kind in ("network", "router")]
    wanted = [r for r in rows if all(r.get(k) in v for k, v in ask.query.items() if k in r)]
    return {"availability_zones": wanted}


@network.route("GET", "/service-providers", rule="get_service_provider")
def providers(ask: Ask[Any]) -> dict[str, Any]:
    return {"service_providers": [{"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": True}]}


@network.route("GET", "/network-ip-availabilities", rule="get_network_ip_availability")
def list_availabilities(ask: Ask[Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        column: ask.query[name]
        for name, column in (("network_id", "id"), ("network_name", "name"), ("project_id", "project_id"))
        if name in ask.query
    } | ({"project_id": ask.query["tenant_id"]} if "tenant_id" in ask.query else {})
    rows = ask.tx.find(Network, order="id", **wanted)
    return {"network_ip_availabilities": _availabilities(ask, rows)}


@network.route("GET", "/network-ip-availabilities/{id}", rule="get_network_ip_availability")
def show_availability(ask: Ask[Any]) -> dict[str, Any]:
    rows = seen(ask.cloud, ask.tx, ask.who, Network, "id", ask.params["id"])
    if not rows:
        raise errors.NetworkNotFound(id=ask.params["id"])
    return {"network_ip_availability": _availabilities(ask, rows)[0]}


def _availabilities(ask: Ask[Any], rows: list[Network]) -> list[dict[str, Any]]:
    subnets: dict[str, list[Subnet]] = {}
    versions = [int(v) for v in ask.query.get("ip_version", []) if v in ("4", "6")] or [4, 6]
    for s in ask.tx.find(Subnet, network_id=[n.id for n in rows], ip_version=versions, order="id"):
        subnets.setdefault(s.network_id, []).append(s)
    used: dict[str, int] = dict(
        ask.tx.sql("SELECT subnet_id, count(*) FROM network_allocation GROUP BY subnet_id").fetchall()
    )
    found = []
    for row in rows:
        parts = [
            {
                "subnet_id": s.id,
                "subnet_name": s.name,
                "cidr": s.cidr,
                "ip_version": s.ip_version,
                "used_ips": used.get(s.id, 0),
                "total_ips": sum(p.last - p.first + 1 for p in spans(s.allocation_pools)),
            }
            for s in subnets.get(row.id, [])
        ]
        found.append(
            {
                "network_id": row.id,
                "network_name": row.name,
                "project_id": row.project_id,
                "tenant_id": row.project_id,
                "subnet_ip_availability": parts,
                "used_ips": sum(int(str(p["used_ips"])) for p in parts),
                "total_ips": _size(sum(int(str(p["total_ips"])) for p in parts)),
            }
        )
        for p in parts:
            p["total_ips"] = _size(int(str(p["total_ips"])))
    return found


def _size(of: int) -> int | float:
    """JSON numbers of more than 64 bits are floats."""
    return of if of < 2**64 else float(of)


@network.route("GET", "/floatingip_pools", rule="get_floatingip_pool")
@network.route("GET", "/floatingip-pools", rule="get_floatingip_pool")
def pools(ask: Ask[Any]) -> dict[str, Any]:
    """Subnets of external networks the caller sees."""
    page = select_page(ask, Network, external=True)
    names = {n.id: n.name for n in page.rows}
    return {
        "floatingip_pools": [
            {
                "network_id": s.network_id,
                "network_name": names[s.network_id],
                "subnet_id": s.id,
                "subnet_name": s.name,
                "cidr": s.cidr,
                "project_id": ask.who.project_id,
                "tenant_id": ask.who.project_id,
            }
            for s in ask.tx.find(Subnet, network_id=list(names), ip_version=4, order="id")
        ]
    }
