"""Choosing a host: placement says where there is room, the rest of the request narrows it down.

When nothing fits, the answer says of every host what it lacked.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from nutshell.compute.nodes import DEFAULT_ZONE, Node, is_up
from nutshell.compute.server_groups import Standing, standing
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.work import Hopeless, Later
from nutshell.core.store import Tx
from nutshell.placement.port import Placement, Wanted

FEW = 20  # hosts named in an explanation
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


@dataclass(frozen=True)
class Choice:
    """The host that now holds a server's claim, and what was known of the others when it was chosen."""

    host: str
    considered: Mapping[str, Any]


def choose_host(tx: Tx, placement: Placement, server: Server) -> Choice:
    """The host that now holds the server's claim. Hopeless, with each host's lack, when there is none."""
    want = wanted(server.flavor, server.local)
    nodes = {n.id: n for n in tx.find(Node)}
    group = standing(tx, server)
    if not nodes and tx.now - server.created_at < FIRST_HOST_S:
        raise Later("the cloud has just started: no host is known yet")
    barred = {i: said for i, n in nodes.items() if (said := _why_not(tx, n, server, group))}
    fitting = {c.provider_id: c.free for c in placement.fit(tx, want).candidates if c.provider_id in nodes}
    fit = sorted((nodes[i] for i in fitting if i not in barred), key=lambda n: group.cost(n.name))
    for node in fit:
        if placement.claim(tx, server.id, node.id, want.resources, server.project_id, server.user_id):
            lacked = _lacks(tx, placement, want) if 0 < len(nodes) - len(fitting) <= FEW else {}
            free = [{"host": n.name, "free": dict(fitting[n.id])} for n in fit[:FEW]]
            return Choice(node.name, _considered(tx, want, nodes, lacked | barred) | {"chosen": node.name, "fit": free})
    lacked = _lacks(tx, placement, want) | barred
    why = {n.name: lacked.get(n.id) or "was taken meanwhile" for n in nodes.values()}
    lines = [f"{name}: {lack}" for name, lack in sorted(why.items())]
    named = ("; ".join(lines[:FEW]) + ("; …" if len(lines) > FEW else "") + ".") if lines else "There is no host."
    counts = Counter(why.values()).most_common(FEW)
    counted = "; ".join(f"{n} host{'s' if n > 1 else ''}: {lack}" for lack, n in counts)
    raise Hopeless(
        f"No valid host was found. {counted + '.' if counted else named}",
        details=f"No valid host was found. {named}",
        considered=_considered(tx, want, nodes, {n.id: why[n.name] for n in nodes.values()}),
    )


def _lacks(tx: Tx, placement: Placement, want: Wanted) -> dict[str, str]:
    """Provider → what it lacks in words, of those that do not fit."""
    return {r.provider_id: ", ".join(r.lacked) for r in placement.fit(tx, want, explain=True).rejected}


def _considered(tx: Tx, want: Wanted, nodes: Mapping[str, Node], lacked: Mapping[str, str]) -> dict[str, Any]:
    """What is kept of a decision, to explain it: at most a few hosts by name."""
    named = [{"host": nodes[i].name, "lacked": why} for i, why in lacked.items() if i in nodes]
    traits = sorted(want.required)
    return {
        "at": tx.now,
        "wanted": dict(want.resources) | ({"traits": traits} if traits else {}),
        "hosts": len(nodes),
        "lacking": sorted(named, key=lambda one: one["host"])[:FEW],
    }


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
