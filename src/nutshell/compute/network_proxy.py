"""Networks, security groups and floating addresses as compute once had them, before 2.36 (2.44 for the actions).

Source: Compute API reference, "Networks", "Project networks", "Security groups", "Floating IPs" (all deprecated). Each
route asks the network service on behalf of the same caller.
"""

from typing import Any

from nutshell.compute.servers.drives import is_uuid
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.within import within
from nutshell.network.port import Networking

LAST, LAST_ACTION = "2.35", "2.43"
NETWORKS, PROJECT_NETWORKS = "os_compute_api:os-networks:", "os_compute_api:os-tenant-networks:"
FLOATING, POOLS = "os_compute_api:os-floating-ips:", "os_compute_api:os-floating-ip-pools"
READ, WRITE = "rule:project_reader_or_admin", "rule:project_member_or_admin"
compute.policy({NETWORKS + v: READ for v in ("list", "show")})
compute.policy({PROJECT_NETWORKS + v: READ for v in ("list", "show")})
compute.policy({FLOATING + v: READ for v in ("list", "show")})
compute.policy({FLOATING + v: WRITE for v in ("create", "delete", "add", "remove")})
compute.policy({POOLS: "@"})
ONCE = ("cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6")
ONCE_ADMIN = (
    "created_at", "updated_at", "deleted_at", "deleted", "injected", "bridge", "vlan", "vpn_public_address",
    "vpn_public_port", "vpn_private_address", "dhcp_start", "project_id", "host", "bridge_interface", "multi_host",
    "priority", "rxtx_base", "mtu", "dhcp_server", "enable_dhcp", "share_address",
)  # fmt: skip


class NoNetwork(NotFound):
    """Network not found"""


class NoFloatingIp(NotFound):
    """floating IP not found"""


class NoFloatingIpId(NotFound):
    """Floating IP not found for ID {id}"""


class NoPool(NotFound):
    """Floating IP pool not found."""


def network(ask: Ask[Any], method: str, path: str, body: Any = None, **query: str) -> Any:
    """The body of the network service's answer."""
    return within(ask, "network", method, "/v2.0" + path, body, query).body


def _networks(ask: Ask[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = network(ask, "GET", "/networks")["networks"]
    return found


def _one_network(ask: Ask[Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = network(ask, "GET", f"/networks/{ask.params['id']}")["network"]
    except NotFound:
        raise NoNetwork() from None
    return found


def _as_network(ask: Ask[Any], n: dict[str, Any]) -> dict[str, Any]:
    names = ONCE + (ONCE_ADMIN if "admin" in ask.who.roles else ())
    return {"id": n["id"], "label": n["name"], **dict.fromkeys(names)}


@compute.route("GET", "/os-networks", rule=NETWORKS + "list", until=LAST)
def list_networks(ask: Ask[Any]) -> Any:
    return {"networks": [_as_network(ask, n) for n in _networks(ask)]}


@compute.route("GET", "/os-networks/{id}", rule=NETWORKS + "show", until=LAST)
def show_network(ask: Ask[Any]) -> Any:
    return {"network": _as_network(ask, _one_network(ask))}


def _as_project_network(n: dict[str, Any]) -> dict[str, Any]:
    return {"id": n["id"], "cidr": "None", "label": n["name"]}


@compute.route("GET", "/os-tenant-networks", rule=PROJECT_NETWORKS + "list", until=LAST)
def list_project_networks(ask: Ask[Any]) -> Any:
    return {"networks": [_as_project_network(n) for n in _networks(ask)]}


@compute.route("GET", "/os-tenant-networks/{id}", rule=PROJECT_NETWORKS + "show", until=LAST)
def show_project_network(ask: Ask[Any]) -> Any:
    return {"network": _as_project_network(_one_network(ask))}


# -- floating addresses


def _pools(ask: Ask[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = network(ask, "GET", "/networks", **{"router:external": "true"})["networks"]
    return found


@compute.route("GET", "/os-floating-ip-pools", rule=POOLS, until=LAST)
def list_pools(ask: Ask[Any]) -> Any:
    return {"floating_ip_pools": [{"name": n["name"] or n["id"]} for n in _pools(ask)]}


def _as_floating(ask: Ask[Any], f: dict[str, Any], pools: dict[str, str]) -> dict[str, Any]:
    holder = None
    if f["port_id"]:
        holder = network(ask, "GET", f"/ports/{f['port_id']}")["port"]["device_id"] or None
    return {
        "id": f["id"],
        "ip": f["floating_ip_address"],
        "fixed_ip": f["fixed_ip_address"],
        "instance_id": holder,
        "pool": pools.get(f["floating_network_id"], f["floating_network_id"]),
    }


def _pool_names(ask: Ask[Any]) -> dict[str, str]:
    return {n["id"]: n["name"] or n["id"] for n in _pools(ask)}


def _mine(ask: Ask[Any], **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = network(ask, "GET", "/floatingips", project_id=ask.who.project_id, **query)[
        "floatingips"
    ]
    return found


def _need_floating(ask: Ask[Any]) -> dict[str, Any]:
    key = ask.params["id"]
    if not is_uuid(key):
        raise BadRequest(f"Invalid ID received {key}.")
    try:
        found: dict[str, Any] = network(ask, "GET", f"/floatingips/{key}")["floatingip"]
    except NotFound:
        raise NoFloatingIpId(id=key) from None
    return found


@compute.route("GET", "/os-floating-ips", rule=FLOATING + "list", until=LAST)
def list_floating(ask: Ask[Any]) -> Any:
    pools = _pool_names(ask)
    return {"floating_ips": [_as_floating(ask, f, pools) for f in _mine(ask)]}


@compute.route("GET", "/os-floating-ips/{id}", rule=FLOATING + "show", until=LAST)
def show_floating(ask: Ask[Any]) -> Any:
    return {"floating_ip": _as_floating(ask, _need_floating(ask), _pool_names(ask))}


@compute.route("POST", "/os-floating-ips", rule=FLOATING + "create", until=LAST)
def create_floating(ask: Ask[Any]) -> Any:
    pool = ask.body.get("pool") if isinstance(ask.body, dict) else None
    names = _pool_names(ask)
    chosen = next((i for i, name in names.items() if pool in (None, "", i, name)), None)
    if chosen is None:
        raise NoPool()
    wanted = {"floatingip": {"floating_network_id": chosen, "project_id": ask.who.project_id}}
    return {"floating_ip": _as_floating(ask, network(ask, "POST", "/floatingips", wanted)["floatingip"], names)}


@compute.route("DELETE", "/os-floating-ips/{id}", rule=FLOATING + "delete", until=LAST, http=202)
def delete_floating(ask: Ask[Any]) -> None:
    network(ask, "DELETE", f"/floatingips/{_need_floating(ask)['id']}")


class AddFloatingIp(Body):
    address: str = field()
    fixed_address: str | None = field(default=None)


class RemoveFloatingIp(Body):
    address: str = field()


def _by_address(ask: Ask[Any], address: str) -> dict[str, Any]:
    found = _mine(ask, floating_ip_address=address)
    if not found:
        raise NoFloatingIp()
    return found[0]


@compute.action(Server, "addFloatingIp", rule=FLOATING + "add", body=AddFloatingIp, until=LAST_ACTION)
def add_floating(ask: Ask[Server]) -> None:
    """The floating address leads to the named fixed one, else to the server's first of version 4."""
    ports = ask.cloud.port(Networking).ports_of(ask.tx, [ask.target.id]).get(ask.target.id, ())
    asked = ask.given.get("fixed_address")
    fixed = [(p.port_id, a.ip) for p in ports for a in p.addresses if (a.ip == asked if asked else a.version == 4)]
    if not ports:
        raise BadRequest("Instance network is not ready yet")
    if not fixed:
        raise BadRequest("Specified fixed address not assigned to instance" if asked else
                         f"Unable to associate floating IP {ask.given['address']} to any fixed IPs for instance"
                         f" {ask.target.id}. Instance has no fixed IPv4 addresses to associate.")  # fmt: skip
    found = _by_address(ask, ask.given["address"])
    change = {"floatingip": {"port_id": fixed[0][0], "fixed_ip_address": fixed[0][1]}}
    try:
        network(ask, "PUT", f"/floatingips/{found['id']}", change)
    except Conflict as why:
        raise BadRequest(str(why)) from None


@compute.action(Server, "removeFloatingIp", rule=FLOATING + "remove", body=RemoveFloatingIp, until=LAST_ACTION)
def remove_floating(ask: Ask[Server]) -> None:
    found = _by_address(ask, ask.given["address"])
    ports = ask.cloud.port(Networking).ports_of(ask.tx, [ask.target.id]).get(ask.target.id, ())
    if found["port_id"] not in [p.port_id for p in ports]:
        raise Conflict(f"Floating IP {ask.given['address']} is not associated with instance {ask.target.id}.")
    network(ask, "PUT", f"/floatingips/{found['id']}", {"floatingip": {"port_id": None}})
