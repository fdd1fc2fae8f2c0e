"""Routers: they join subnets, and lead out through an external network (Networking API v2.0, "Routers")."""

from collections.abc import Sequence
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.addresses import inside
from nutshell.network.bodies import (
    Given,
    allow,
    create_each,
    create_target,
    read_changes,
    revision_matches,
    take,
)
from nutshell.network.networks import ZONE, Network
from nutshell.network.ports import Port, add_port, change_port, drop_port
from nutshell.network.removals import remove_from_world
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.service import ADMIN, MEMBER, READER, network, reads
from nutshell.network.sight import seen
from nutshell.network.subnet_plan import address_of, cidr_of

INTERFACE, GATEWAY = "network:router_interface", "network:router_gateway"
MOST_ROUTES = 30


class Router(Resource, service="network", one="router", many="routers", visible="get_router"):
    name: str = field(default="", write="create update", max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    admin_state_up: bool = field(default=True, write="create update")
    status: str = field(default="ACTIVE")
    external_gateway_info: dict[str, Any] | None = field(default=None, write="create update", hidden=True)  # body only
    gateway_network_id: str | None = field(default=None, hidden=True, index=True)
    gateway_port_id: str | None = field(default=None, hidden=True)
    enable_snat: bool = field(default=True, hidden=True)
    routes: list[dict[str, str]] | None = field(factory=list, write="update")
    distributed: bool = field(default=False, write="create update", see="get_router:distributed")
    ha: bool = field(default=False, write="create update", see="get_router:ha")
    flavor_id: str | None = field(default=None, write="create")
    availability_zone_hints: list[str] = field(factory=list, write="create")
    tags: list[str] = field(factory=list)
    hosted: bool = field(default=True, hidden=True)  # an administrator may take it from its agent
    wanted: int = field(default=1, hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)


standard(Router)

GATEWAY_INFO = "external_gateway_info"
network.policy(
    {
        "create_router": MEMBER,
        "create_router:distributed": ADMIN,
        "create_router:ha": ADMIN,
        "create_router:external_gateway_info": MEMBER,
        "create_router:external_gateway_info:network_id": MEMBER,
        "create_router:external_gateway_info:enable_snat": ADMIN,
        "create_router:external_gateway_info:external_fixed_ips": ADMIN,
        "get_router": READER,
        "get_router:distributed": ADMIN,
        "get_router:ha": ADMIN,
        "update_router": MEMBER,
        "update_router:distributed": ADMIN,
        "update_router:ha": ADMIN,
        "update_router:external_gateway_info": MEMBER,
        "update_router:external_gateway_info:network_id": MEMBER,
        "update_router:external_gateway_info:enable_snat": ADMIN,
        "update_router:external_gateway_info:external_fixed_ips": ADMIN,
        "delete_router": MEMBER,
        "add_extraroutes": MEMBER,
        "remove_extraroutes": MEMBER,
    }
)
reads(Router)


@Router.preloads
def related(tx: Tx, rows: Sequence[Router]) -> dict[str, Port]:
    return {p.id: p for p in tx.find(Port, id=[r.gateway_port_id for r in rows if r.gateway_port_id])}


@Router.shows(GATEWAY_INFO)
def external_gateway_info(row: Router, ctx: Context) -> dict[str, Any] | None:
    port: Port | None = ctx.rel.get(row.gateway_port_id)
    if port is None:
        return None
    return {
        "network_id": row.gateway_network_id,
        "enable_snat": row.enable_snat,
        "external_fixed_ips": port.fixed_ips,
    }


@Router.shows("availability_zones")
def availability_zones(row: Router, ctx: Context) -> list[str]:
    return [ZONE]


@network.verb(Router, "create", rule="create_router", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, Router, make)


def make(ask: Ask[Any], given: Given) -> Router:
    target = create_target(given)
    allow(ask, "create_router", given, target, Router)
    _refuse_kinds(given)
    for zone in given.get("availability_zone_hints", ()):
        if zone != ZONE:
            raise errors.AvailabilityZoneNotFound(zone=zone)
    info = given.pop(GATEWAY_INFO, None)
    take(ask, given["project_id"], "router")
    row = ask.tx.add(Router(id=ask.new_id(), due_at=ask.now, **given))
    return _set_gateway(ask, row, info, "create_router") if info else row


def _refuse_kinds(given: Given) -> None:
    if given.get("distributed") or given.get("ha"):
        raise errors.BadResource(resource="router", why="distributed and highly available routers are not supported.")
    if given.get("flavor_id"):
        raise errors.BadResource(resource="router", why="router flavors are not supported.")


@network.verb(Router, "update", rule="update_router", body=None)
def update(ask: Ask[Router]) -> Router:
    row = ask.target
    revision_matches(ask, row)
    given = read_changes(ask, Router)
    allow(ask, "update_router", given, row.policy_target(), Router)
    _refuse_kinds(given)
    if GATEWAY_INFO in given:
        row = _set_gateway(ask, row, given.pop(GATEWAY_INFO) or {}, "update_router")
    if "routes" in given:
        given["routes"] = check_routes(ask.tx, row, given["routes"] or [])
    return ask.tx.put(row, wanted=row.wanted + 1, due_at=ask.now, **given)


def _set_gateway(ask: Ask[Any], row: Router, info: Given, rule: str) -> Router:
    """Give the router the external gateway described, or (empty) none."""
    unknown = set(info) - {"network_id", "enable_snat", "external_fixed_ips", "qos_policy_id"}
    if unknown:
        raise errors.InvalidAttribute(name=GATEWAY_INFO, why=f"Unexpected keys supplied: {', '.join(sorted(unknown))}")
    for name in ("enable_snat", "external_fixed_ips"):
        if name in info:
            ask.must(f"{rule}:{GATEWAY_INFO}:{name}", row.policy_target())
    network_id = info.get("network_id")
    old = ask.tx.get(Port, row.gateway_port_id)
    if old is not None and network_id != row.gateway_network_id:
        _refuse_if_floating(ask.tx, row)
        drop_port(ask.cloud, ask.tx, old)
        old = None
    if not network_id:
        return ask.tx.put(row, gateway_network_id=None, gateway_port_id=None, wanted=row.wanted + 1, due_at=ask.now)
    outside = _outside(ask, network_id)
    snat = info.get("enable_snat", True)
    if not isinstance(snat, bool):
        raise errors.InvalidAttribute(name=GATEWAY_INFO, why=f"'{snat}' is not a valid boolean value")
    fixed = info.get("external_fixed_ips")
    if old is None:
        facts = {
            "network_id": outside.id,
            "project_id": "",
            "device_owner": GATEWAY,
            "device_id": row.id,
            "fixed_ips": fixed or None,
        }
        old = add_port(ask.cloud, ask.tx, Who(), outside, facts)  # a network without subnets gives no address
    elif fixed is not None:
        old = change_port(ask.cloud, ask.tx, Who(), old, {"fixed_ips": fixed})
    return ask.tx.put(
        row,
        gateway_network_id=outside.id,
        gateway_port_id=old.id,
        enable_snat=snat,
        wanted=row.wanted + 1,
        due_at=ask.now,
    )


def _outside(ask: Ask[Any], network_id: Any) -> Network:
    found = seen(ask.cloud, ask.tx, ask.who, Network, "id", uuid_of(GATEWAY_INFO, network_id))
    if not found:
        raise errors.NetworkNotFound(id=network_id)
    if not found[0].external:
        raise errors.BadResource(resource="router", why=f"Network {network_id} is not an external network.")
    return found[0]


def _refuse_if_floating(tx: Tx, row: Router) -> None:
    if tx.sql("SELECT 1 FROM network_floatingips WHERE router_id = ? LIMIT 1", row.id).fetchone():
        raise errors.RouterExternalGatewayInUseByFloatingIp(id=row.id, network_id=row.gateway_network_id)


def check_routes(tx: Tx, row: Router, given: Any) -> list[dict[str, str]]:
    """Extra routes, whose next hops are on the router's subnets and are not its own addresses."""
    if not isinstance(given, list):
        raise errors.InvalidAttribute(name="routes", why=f"Invalid data format for hostroute: '{given}'")
    if len(given) > MOST_ROUTES:
        raise errors.RoutesExhausted(id=row.id, limit=MOST_ROUTES)
    legs = tx.sql(
        "SELECT s.cidr, a.ip FROM network_allocation a JOIN network_subnets s ON s.id = a.subnet_id"
        " JOIN network_ports p ON p.id = a.port_id WHERE p.device_id = ? AND p.device_owner IN (?, ?)",
        row.id,
        INTERFACE,
        GATEWAY,
    ).fetchall()
    found: list[dict[str, str]] = []
    for route in given:
        if not isinstance(route, dict) or set(route) != {"destination", "nexthop"}:
            raise errors.InvalidAttribute(name="routes", why=f"Invalid data format for hostroute: '{route}'")
        hop = address_of("routes", route["nexthop"])
        one = {"destination": cidr_of(route["destination"]), "nexthop": hop}
        if one in found:
            raise errors.InvalidAttribute(name="routes", why=f"Duplicate hostroute '{one}'")
        if not any(inside(cidr, hop) for cidr, _ in legs):
            raise errors.InvalidRoutes(routes=[one], why="the nexthop is not connected with router")
        if any(ip == hop for _, ip in legs):
            raise errors.InvalidRoutes(routes=[one], why="the nexthop is used by router")
        found.append(one)
    return found


@network.verb(Router, "add_extraroutes", rule="add_extraroutes", method="PUT", path="/{id}/add_extraroutes")
def add_extraroutes(ask: Ask[Router]) -> Router:
    routes = [*(ask.target.routes or [])]
    for route in check_routes(ask.tx, ask.target, _routes_given(ask)):
        if route not in routes:
            routes.append(route)
    return _put_routes(ask, routes)


@network.verb(Router, "remove_extraroutes", rule="remove_extraroutes", method="PUT", path="/{id}/remove_extraroutes")
def remove_extraroutes(ask: Ask[Router]) -> Router:
    gone = _routes_given(ask)
    return _put_routes(ask, [r for r in ask.target.routes or [] if r not in gone])


def _routes_given(ask: Ask[Router]) -> Any:
    body = ask.body if isinstance(ask.body, dict) else {}
    router = body.get("router") or {}
    routes = (router.get("routes") or []) if isinstance(router, dict) else router
    if not isinstance(routes, list):
        raise errors.InvalidAttribute(name="routes", why=f"'{routes}' is not a list")
    return routes


def _put_routes(ask: Ask[Router], routes: list[dict[str, str]]) -> Router:
    if len(routes) > MOST_ROUTES:
        raise errors.RoutesExhausted(id=ask.target.id, limit=MOST_ROUTES)
    return ask.tx.put(ask.target, routes=routes, wanted=ask.target.wanted + 1, due_at=ask.now)


@network.verb(Router, "delete", rule="delete_router")
def delete(ask: Ask[Router]) -> None:
    row = ask.target
    revision_matches(ask, row)
    if ask.tx.count(Port, device_id=row.id, device_owner=INTERFACE):
        raise errors.RouterInUse(id=row.id, why="still has ports")
    drop_router(ask.cloud, ask.tx, row)


def drop_router(cloud: Cloud, tx: Tx, row: Router) -> None:
    port = tx.get(Port, row.gateway_port_id)
    if port is not None:
        drop_port(cloud, tx, port)
    tx.drop(row)
    cloud.quotas.give_back(tx, row.project_id, {"network.router": 1})
    remove_from_world(tx, "router", row.id)
