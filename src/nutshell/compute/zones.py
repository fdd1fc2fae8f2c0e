"""Availability zones: names that group hosts; users pick one.

Source: Compute API reference, "Availability zones".
"""

from typing import Any

from nutshell.compute.nodes import Node, is_up
from nutshell.compute.service import compute
from nutshell.core.clock import iso_micros
from nutshell.core.service import Ask

RULE = "os_compute_api:os-availability-zone:"


def _by_zone(ask: Ask[Any]) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for n in ask.tx.find(Node, order="zone, number"):
        found.setdefault(n.zone, []).append(n)
    return found


def _available(nodes: list[Node]) -> bool:
    return any(n.enabled for n in nodes)


@compute.route("GET", "/os-availability-zone", rule=RULE + "list")
def index(ask: Ask[Any]) -> dict[str, Any]:
    zones = sorted(_by_zone(ask).items(), key=lambda z: not _available(z[1]))
    return {
        "availabilityZoneInfo": [
            {"zoneName": name, "zoneState": {"available": _available(nodes)}, "hosts": None} for name, nodes in zones
        ]
    }


@compute.route("GET", "/os-availability-zone/detail", rule=RULE + "detail")
def detail(ask: Ask[Any]) -> dict[str, Any]:
    by_zone = _by_zone(ask)
    found = []
    for name, nodes in sorted(by_zone.items(), key=lambda z: not _available(z[1])):
        hosts = {
            n.name: {
                "nova-compute": {
                    "available": is_up(n),
                    "active": n.enabled,
                    "updated_at": iso_micros(n.heard_at or n.created_at),
                }
            }
            for n in nodes
            if n.enabled
        }
        available = _available(nodes)
        found.append({"zoneName": name, "zoneState": {"available": available}, "hosts": hosts if available else None})
    first = next((n.name for nodes in by_zone.values() for n in nodes), "localhost")
    inside = {
        binary: {"available": True, "active": True, "updated_at": iso_micros(ask.now)}
        for binary in ("nova-scheduler", "nova-conductor")
    }
    found.append({"zoneName": "internal", "zoneState": {"available": True}, "hosts": {first: inside}})
    return {"availabilityZoneInfo": found}
