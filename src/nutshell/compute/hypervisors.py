"""Hypervisors: the hosts as machines, with what they have and what of it is in use.

Source: Compute API reference, "Hypervisors". Nodes are the noun (nodes.py); these routes only show them.
"""

import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nutshell.compute.nodes import Node, is_up
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.service import Ask
from nutshell.core.versions import Span, version

RULE = "os_compute_api:os-hypervisors:"


class NoHypervisor(NotFound):
    """Hypervisor with ID '{id}' could not be found."""


class NoMatch(NotFound):
    """No hypervisor matching '{pattern}' could be found."""


BY_UUID, WITHOUT_NUMBERS, PARSED_CPU = Span.of("2.53", ""), Span.of("2.88", ""), Span.of("2.28", "")
EMPTY_LIST_OF_SERVERS = Span.of("2.75", "")


def _usage(ask: Ask[Any]) -> dict[str, dict[str, int]]:
    """Host name → guests, and what they take, by the flavors they run with."""
    found: dict[str, dict[str, int]] = {}
    for s in ask.tx.find(Server):
        if not s.host:
            continue
        of = found.setdefault(s.host, {"running_vms": 0, "vcpus_used": 0, "memory_mb_used": 0, "local_gb_used": 0})
        flavor = s.flavor if isinstance(s.flavor, dict) else {}
        of["running_vms"] += 1
        of["vcpus_used"] += int(flavor.get("vcpus", 0))
        of["memory_mb_used"] += int(flavor.get("ram", 0))
        of["local_gb_used"] += int(flavor.get("disk", 0))
    return found


def uptime_text(now: float) -> str:
    """As uptime(1) prints it."""
    seconds = float(Path("/proc/uptime").read_text().split()[0])
    days, rest = divmod(int(seconds), 86400)
    load = ", ".join(Path("/proc/loadavg").read_text().split()[:3])
    clock = time.strftime("%H:%M:%S", time.gmtime(now))
    return f" {clock} up {days} days, {rest // 3600:2}:{rest % 3600 // 60:02},  0 users,  load average: {load}\n"


def as_json(ask: Ask[Any], node: Node, detail: bool, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    by_uuid = ask.at in BY_UUID
    found: dict[str, Any] = {
        "id": node.id if by_uuid else node.number,
        "hypervisor_hostname": node.name,
        "state": "up" if is_up(node) else "down",
        "status": "enabled" if node.enabled else "disabled",
    }
    if not detail or node.host_facts is None:
        return found
    facts = node.host_facts
    found |= {
        "hypervisor_type": facts.hypervisor_type,
        "hypervisor_version": facts.hypervisor_version,
        "host_ip": "127.0.0.1",
        "service": {
            "id": node.service_id if by_uuid else node.number,
            "host": node.name,
            "disabled_reason": node.disabled_reason,
        },
    }
    if ask.at in WITHOUT_NUMBERS:
        return found | {"uptime": uptime_text(ask.now)}
    used = (usage or {}).get(node.name, {})
    memory, disk = used.get("memory_mb_used", 0), used.get("local_gb_used", 0)
    cpu = {"arch": facts.arch, "model": facts.cpu_model, "topology": {"cores": facts.vcpus, "sockets": 1, "threads": 1}}
    return found | {
        "vcpus": facts.vcpus,
        "memory_mb": facts.ram_mib,
        "local_gb": facts.disk_gib,
        "vcpus_used": used.get("vcpus_used", 0),
        "memory_mb_used": memory,
        "local_gb_used": disk,
        "free_ram_mb": facts.ram_mib - memory,
        "free_disk_gb": facts.disk_gib - disk,
        "current_workload": 0,
        "running_vms": used.get("running_vms", 0),
        "disk_available_least": facts.disk_gib - disk,
        "cpu_info": cpu if ask.at in PARSED_CPU else json.dumps(cpu),
    }


def _matching(ask: Ask[Any], pattern: str) -> list[Node]:
    found = [n for n in ask.tx.find(Node, order="number") if pattern in n.name]
    if not found:
        raise NoMatch(pattern=pattern)
    return found


def _page(ask: Ask[Any]) -> tuple[list[Node], bool]:
    """The hosts of this page, and whether more follow."""
    pattern = ask.asked("hypervisor_hostname_pattern") if ask.at in BY_UUID else ""
    if pattern:
        if "limit" in ask.query or "marker" in ask.query:
            raise BadRequest("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not"
                             " supported.")  # fmt: skip
        return _matching(ask, pattern), False
    rows = ask.tx.find(Node, order="number")
    if ask.at < version("2.33"):
        return rows, False
    marker = ask.asked("marker")
    if marker:
        keys = [n.id if ask.at in BY_UUID else str(n.number) for n in rows]
        if marker not in keys:
            raise BadRequest(f"marker [{marker}] not found")
        rows = rows[keys.index(marker) + 1 :]
    from nutshell.core.listing import page_limit

    limit = page_limit(ask) or len(rows)
    return rows[:limit], len(rows) > limit


def _servers(ask: Ask[Any], nodes: Sequence[Node]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for s in ask.tx.find(Server, host=[n.name for n in nodes], order="created_at"):
        found.setdefault(s.host or "", []).append({"name": s.name, "uuid": s.id})
    return found


def _listed(ask: Ask[Any], detail: bool) -> dict[str, Any]:
    rows, more = _page(ask)
    usage = _usage(ask) if detail and ask.at not in WITHOUT_NUMBERS else None
    shown = [as_json(ask, n, detail, usage) for n in rows]
    if ask.at in BY_UUID and ask.flag("with_servers"):
        servers = _servers(ask, rows)
        for node, entry in zip(rows, shown, strict=True):
            if servers.get(node.name) or ask.at in EMPTY_LIST_OF_SERVERS:
                entry["servers"] = servers.get(node.name, [])
    found: dict[str, Any] = {"hypervisors": shown}
    if more:
        tail = "/detail" if detail else ""
        query = f"limit={len(rows)}&marker={shown[-1]['id']}"
        found["hypervisors_links"] = [{"rel": "next", "href": f"{ask.url}/os-hypervisors{tail}?{query}"}]
    return found


@compute.route("GET", "/os-hypervisors", rule=RULE + "list")
def index(ask: Ask[Any]) -> dict[str, Any]:
    return _listed(ask, False)


@compute.route("GET", "/os-hypervisors/detail", rule=RULE + "list-detail")
def detail(ask: Ask[Any]) -> dict[str, Any]:
    return _listed(ask, True)


@compute.route("GET", "/os-hypervisors/statistics", rule=RULE + "statistics", until="2.87")
def statistics(ask: Ask[Any]) -> dict[str, Any]:
    """Sums over the hosts that are enabled."""
    nodes = [n for n in ask.tx.find(Node) if n.enabled and n.host_facts is not None]
    usage = _usage(ask)
    total: dict[str, int] = {"count": len(nodes), "current_workload": 0}
    for n in nodes:
        entry = as_json(ask, n, True, usage)
        for name in ("vcpus", "memory_mb", "local_gb", "vcpus_used", "memory_mb_used", "local_gb_used", "free_ram_mb",
                     "free_disk_gb", "running_vms", "disk_available_least"):  # fmt: skip
            total[name] = total.get(name, 0) + entry[name]
    return {"hypervisor_statistics": total}


def need_node(ask: Ask[Any]) -> Node:
    key = ask.params["id"]
    if ask.at in BY_UUID:
        try:
            uuid.UUID(key)
        except ValueError:
            raise BadRequest(f"Invalid uuid {key}") from None
        found = ask.tx.get(Node, key)
    else:
        found = ask.tx.one(Node, number=int(key)) if key.isdecimal() else None
    if found is None:
        raise NoHypervisor(id=key)
    return found


@compute.route("GET", "/os-hypervisors/{id}", rule=RULE + "show")
def show(ask: Ask[Any]) -> dict[str, Any]:
    node = need_node(ask)
    found = as_json(ask, node, True, _usage(ask) if ask.at not in WITHOUT_NUMBERS else None)
    if ask.at in BY_UUID and ask.flag("with_servers"):
        servers = _servers(ask, [node]).get(node.name, [])
        if servers or ask.at in EMPTY_LIST_OF_SERVERS:
            found["servers"] = servers
    return {"hypervisor": found}


@compute.route("GET", "/os-hypervisors/{id}/uptime", rule=RULE + "uptime", until="2.87")
def uptime(ask: Ask[Any]) -> dict[str, Any]:
    node = need_node(ask)
    if not is_up(node):
        raise BadRequest(f"Compute service of {node.name} is unavailable at this time.")
    return {"hypervisor": as_json(ask, node, False) | {"uptime": uptime_text(ask.now)}}


@compute.route("GET", "/os-hypervisors/{pattern}/search", rule=RULE + "search", until="2.52")
def search(ask: Ask[Any]) -> dict[str, Any]:
    return {"hypervisors": [as_json(ask, n, False) for n in _matching(ask, ask.params["pattern"])]}


@compute.route("GET", "/os-hypervisors/{pattern}/servers", rule=RULE + "servers", until="2.52")
def servers(ask: Ask[Any]) -> dict[str, Any]:
    nodes = _matching(ask, ask.params["pattern"])
    by_host = _servers(ask, nodes)
    shown = []
    for n in nodes:
        entry = as_json(ask, n, False)
        if by_host.get(n.name):
            entry["servers"] = by_host[n.name]
        shown.append(entry)
    return {"hypervisors": shown}
