"""Hosts, as versions before 2.43 show them (Compute API reference, "Hosts"; since then: services and hypervisors)."""

from typing import Any

from nutshell.compute.nodes import Node
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Fault, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask

RULE = "os_compute_api:os-hosts:"
LAST = "2.42"
compute.policy({RULE + name: "rule:admin_api" for name in ("list", "show", "update", "reboot", "shutdown", "start")})


class NoHost(NotFound):
    """Compute host {host} could not be found."""


class Unsupported(Fault):
    """The requested functionality is not supported."""

    http = 501


@compute.route("GET", "/os-hosts", rule=RULE + "list", until=LAST)
def index(ask: Ask[Any]) -> dict[str, Any]:
    nodes = [n for n in ask.tx.find(Node, order="number") if n.enabled]
    found = [{"host_name": n.name, "service": "compute", "zone": n.zone} for n in nodes]
    inside = nodes[0].name if nodes else "localhost"
    found += [{"host_name": inside, "service": s, "zone": "internal"} for s in ("scheduler", "conductor")]
    zone = ask.asked("zone")
    return {"hosts": [h for h in found if not zone or h["zone"] == zone]}


def _need(ask: Ask[Any]) -> Node:
    found = ask.tx.one(Node, name=ask.params["host"])
    if found is None:
        raise NoHost(host=ask.params["host"])
    return found


def _line(host: str, project: str, cpu: int, memory_mb: int, disk_gb: int) -> dict[str, Any]:
    found = {"host": host, "project": project, "cpu": cpu, "memory_mb": memory_mb, "disk_gb": disk_gb}
    return {"resource": found}


@compute.route("GET", "/os-hosts/{host}", rule=RULE + "show", until=LAST)
def show(ask: Ask[Any]) -> dict[str, Any]:
    """What the host has, what of it is in use, and by which project."""
    node = _need(ask)
    by_project: dict[str, list[int]] = {}
    for s in ask.tx.find(Server, host=node.name, order="project_id"):
        part = by_project.setdefault(s.project_id, [0, 0, 0])
        sizes = (s.flavor["vcpus"], s.flavor["ram"], s.flavor["disk"] + s.flavor["ephemeral"])
        by_project[s.project_id] = [a + b for a, b in zip(part, sizes, strict=True)]
    used = [sum(column) for column in zip(*by_project.values(), strict=True)] or [0, 0, 0]
    facts = node.host_facts
    total = [facts.vcpus, facts.ram_mib, facts.disk_gib] if facts is not None else [0, 0, 0]
    lines = [_line(node.name, "(total)", *total), _line(node.name, "(used_now)", *used)]
    lines.append(_line(node.name, "(used_max)", *used))
    return {"host": [*lines, *(_line(node.name, p, *part) for p, part in by_project.items())]}


class HostUpdate(Body):
    status: str = field(default="", pattern="^(enable|disable|Enable|Disable|ENABLE|DISABLE)$")
    maintenance_mode: str = field(default="", pattern="^(enable|disable|Enable|Disable|ENABLE|DISABLE)$")


@compute.route("PUT", "/os-hosts/{host}", rule=RULE + "update", until=LAST, body=HostUpdate, wrap="")
def update(ask: Ask[Any]) -> None:
    """QEMU hosts are enabled and disabled as services."""
    if not ask.given:
        raise BadRequest("Invalid input for field/attribute body. Value: {}. {} does not have enough properties")
    _need(ask)
    raise Unsupported()


def _power(action: str, rule: str) -> None:
    @compute.route("GET", "/os-hosts/{host}/" + action, rule=RULE + rule, until=LAST)
    def refuse(ask: Ask[Any]) -> None:
        _need(ask)
        raise Unsupported()


for _action, _rule in (("startup", "start"), ("shutdown", "shutdown"), ("reboot", "reboot")):
    _power(_action, _rule)
