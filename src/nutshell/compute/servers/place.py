"""Choosing a host: placement says where there is room, the rest of the request narrows it down.

When nothing fits, the answer says of every host what it lacked.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

from nutshell.compute.nodes import DEFAULT_ZONE, Node, is_up
from nutshell.compute.server_groups import Standing, standing
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.work import Hopeless, Later
from nutshell.core.store import Tx
from nutshell.placement.port import Placement, Wanted

FIRST_HOST_S = 30.0  # how long a server waits for the first host to be heard of


def resources(flavor: Mapping[str, Any], local: Mapping[str, Any]) -> dict[str, int]:
    """What a server takes of its host; extra specs "resources:CLASS" override."""
    disk = (flavor["disk"] if local.get("root") else 0) + sum(local.get("ephemerals", ()))
    disk += ceil(local.get("swap_mib", 0) / 1024)
    found = {"VCPU": flavor["vcpus"], "MEMORY_MB": flavor["ram"], "DISK_GB": disk}
    for key, value in flavor["extra_specs"].items():
        if key.startswith("resources:") and str(value).isdecimal():
            found[key.partition(":")[2]] = int(value)
    return {name: amount for name, amount in found.items() if amount > 0}


def wanted(flavor: Mapping[str, Any], local: Mapping[str, Any]) -> Wanted:
    traits = {k.partition(":")[2]: v for k, v in flavor["extra_specs"].items() if k.startswith("trait:")}
    return Wanted(
        resources(flavor, local),
        frozenset(t for t, v in traits.items() if v == "required"),
        frozenset(t for t, v in traits.items() if v == "forbidden"),
    )


def choose_host(tx: Tx, placement: Placement, server: Server) -> str:
    """The host that now holds the server's claim. Hopeless, naming each host's lack, when there is none."""
    want = wanted(server.flavor, server.local)
    nodes = {n.id: n for n in tx.find(Node)}
    group = standing(tx, server)
    if not nodes and tx.now - server.created_at < FIRST_HOST_S:
        raise Later("the cloud has just started: no host is known yet")
    barred = {i: why for i, n in nodes.items() if (why := _why_not(tx, n, server, group))}
    fit = [nodes[c.provider_id] for c in placement.fit(tx, want).candidates if c.provider_id in nodes]
    for node in sorted((n for n in fit if n.id not in barred), key=lambda n: group.cost(n.name)):
        if placement.claim(tx, server.id, node.id, want.resources, server.project_id, server.user_id):
            return node.name
    raise Hopeless("No valid host was found. " + _explain(tx, placement, want, nodes, barred))


def _explain(tx: Tx, placement: Placement, want: Wanted, nodes: Mapping[str, Node], barred: Mapping[str, str]) -> str:
    if not nodes:
        return "There is no host."
    lacked = {r.provider_id: ", ".join(r.lacked) for r in placement.fit(tx, want, explain=True).rejected}
    lines = [f"{n.name}: {barred.get(n.id) or lacked.get(n.id) or 'was taken meanwhile'}" for n in nodes.values()]
    return "; ".join(sorted(lines)[:20]) + ("; …" if len(lines) > 20 else "") + "."


def _why_not(tx: Tx, node: Node, server: Server, group: Standing) -> str:
    """Why a host must not be used for this server; "" when it may."""
    if not node.enabled:
        return "is disabled"
    if not is_up(node):
        return "is down"
    if server.wanted_host and node.name != server.wanted_host:
        return f"is not the requested host {server.wanted_host}"
    if server.pinned_zone and (node.zone or DEFAULT_ZONE) != server.pinned_zone:
        return f"is not in zone {server.pinned_zone}"
    return _hinted(tx, node, server, group)


def _hinted(tx: Tx, node: Node, server: Server, group: Standing) -> str:
    for hint, together in (("same_host", True), ("different_host", False)):
        named = server.hints.get(hint)
        if not named:
            continue
        ids = named if isinstance(named, list) else [named]
        here = any(s.host == node.name for s in tx.find(Server, id=ids, project_id=server.project_id))
        if here is not together:
            return f"does not meet the hint {hint}"
    return group.bars(node.name)
