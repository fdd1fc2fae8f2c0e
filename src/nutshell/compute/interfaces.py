"""Network interfaces of servers: attach and detach, live (Compute API, "Port interfaces")."""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.config import ComputeConfig
from nutshell.compute.devices import Device, Kind, Phase
from nutshell.compute.servers.drives import is_uuid
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.operate import add_operation, check_lock, check_state
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.versions import Span
from nutshell.network.port import Networking, PortInfo

RULE = "os_compute_api:os-attach-interfaces"
PATH = "/servers/{id}/os-interface"
STATES = ("active", "paused", "stopped")


class NewInterface(Body):
    net_id: str | None = field(default=None)
    port_id: str | None = field(default=None)
    fixed_ips: list[dict[str, str]] = field(factory=list)
    tag: str | None = field(default=None, since="2.49")


class NoSuchPort(NotFound):
    """Instance {server_id} does not have a port with id {port_id}"""


def _view(ask: Ask[Any], p: PortInfo, tags: dict[str, str | None]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "net_id": p.network_id,
        "port_id": p.port_id,
        "mac_addr": p.mac,
        "port_state": p.status,
        "fixed_ips": [{"subnet_id": a.subnet_id, "ip_address": a.ip} for a in p.addresses],
    }
    if ask.at in Span.of("2.70", ""):
        found["tag"] = tags.get(p.port_id)
    return found


def _ports(ask: Ask[Server]) -> list[PortInfo]:
    return list(ask.cloud.port(Networking).ports_of(ask.tx, [ask.target.id]).get(ask.target.id, ()))


def _tags(ask: Ask[Server]) -> dict[str, str | None]:
    return {d.target_id: d.tag for d in ask.tx.find(Device, server_id=ask.target.id, kind=Kind.NIC)}


@compute.route("GET", PATH, rule=f"{RULE}:list", noun=Server, loads=True)
def list_interfaces(ask: Ask[Server]) -> Any:
    tags = _tags(ask)
    return {"interfaceAttachments": [_view(ask, p, tags) for p in _ports(ask)]}


@compute.route("GET", PATH + "/{port_id}", rule=f"{RULE}:show", noun=Server, loads=True)
def show_interface(ask: Ask[Server]) -> Any:
    for p in _ports(ask):
        if p.port_id == ask.params["port_id"]:
            return {"interfaceAttachment": _view(ask, p, _tags(ask))}
    raise NoSuchPort(server_id=ask.target.id, port_id=ask.params["port_id"])


@compute.route("POST", PATH, rule=f"{RULE}:create", noun=Server, loads=True, wrap="")
def attach(ask: Ask[Server]) -> Answer:
    from nutshell.core.schema import check

    body = ask.body if isinstance(ask.body, dict) else {}
    if set(body) - {"interfaceAttachment"}:
        raise BadRequest("Additional properties are not allowed")
    g = check(NewInterface, body.get("interfaceAttachment") or {}, "create", ask.at, where="interfaceAttachment")
    check_lock(ask)
    s, tx = ask.target, ask.tx
    check_state(s, "attach_interface", STATES)
    port = _find_port(ask, g)
    timeout = ask.cloud.settings[ComputeConfig].operation_timeout_s
    op = add_operation(tx, s, "attach_interface", ask.new_id(), timeout)
    mine = tx.find(Device, server_id=s.id, kind=Kind.NIC)
    tag = wire.check_tag(g["tag"]) if g.get("tag") else None
    tx.add(
        Device(
            id=port.port_id,
            server_id=s.id,
            kind=Kind.NIC,
            target_id=port.port_id,
            tag=tag,
            position=1 + max((d.position for d in mine), default=-1),
            operation_id=op.id,
            request_id=ask.request_id,
            due_at=ask.now,
        )
    )
    return Answer(200, {"interfaceAttachment": _view(ask, port, {port.port_id: tag})})


def _find_port(ask: Ask[Server], g: dict[str, Any]) -> PortInfo:
    """The port to plug: the caller's, or a new one on the network named or the only one there is."""
    net, tx, s = ask.cloud.port(Networking), ask.tx, ask.target
    for name in ("net_id", "port_id"):
        if g.get(name) is not None and not is_uuid(g[name]):
            raise wire.invalid(name, g[name], f"{g[name]!r} is not a 'uuid'")
    if g.get("net_id") and g.get("port_id"):
        raise BadRequest("Must not input both network_id and port_id")
    if g.get("fixed_ips") and not g.get("net_id"):
        raise BadRequest("Must input network_id when request IP address")
    if len(g.get("fixed_ips", [])) > 1 or any(set(i) != {"ip_address"} for i in g.get("fixed_ips", [])):
        raise wire.invalid("fixed_ips", g["fixed_ips"], "It must hold one object with ip_address.")
    zone = s.zone or "nova"
    if g.get("port_id"):
        port = net.need_port(tx, ask.who, g["port_id"])
        if port.device_id:
            raise Conflict(f"Port {port.port_id} is still in use.")
        return net.bind_port(tx, port.port_id, device_id=s.id, host=s.host, zone=zone, hostname=s.hostname)
    if g.get("net_id"):
        network_id = net.need_network(tx, ask.who, g["net_id"])
    else:
        known = net.available_networks(tx, ask.who)
        if len(known) > 1:
            raise BadRequest("Multiple possible networks found, use a Network ID to be more specific.")
        if not known:
            raise BadRequest("No network is available to attach an interface to.")
        network_id = known[0]
    ips = g.get("fixed_ips", [])
    return net.create_port(
        tx,
        ask.who,
        network_id=network_id,
        device_id=s.id,
        fixed_ip=ips[0]["ip_address"] if ips else None,
        host=s.host,
        zone=zone,
        hostname=s.hostname,
    )


@compute.route("DELETE", PATH + "/{port_id}", rule=f"{RULE}:delete", noun=Server, loads=True, http=202)
def detach(ask: Ask[Server]) -> None:
    check_lock(ask)
    s, tx = ask.target, ask.tx
    check_state(s, "detach_interface", STATES)
    d = tx.one(Device, server_id=s.id, kind=Kind.NIC, target_id=ask.params["port_id"])
    if d is None:
        raise NoSuchPort(server_id=s.id, port_id=ask.params["port_id"])
    if d.phase is Phase.DETACHING:
        return
    timeout = ask.cloud.settings[ComputeConfig].operation_timeout_s
    op = add_operation(tx, s, "detach_interface", ask.new_id(), timeout)
    tx.put(d, phase=Phase.DETACHING, operation_id=op.id, request_id=ask.request_id, due_at=ask.now)
