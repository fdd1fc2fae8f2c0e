"""Compute services: the processes that serve hosts, whether they live, and whether new servers go there.

Source: Compute API reference, "Compute services (os-services)". nova-compute is the host's driver; scheduler and
conductor are parts of the API process and named as clients expect them.
"""

import uuid
from typing import Any

from nutshell.compute.aggregates import forget_host
from nutshell.compute.nodes import SPACE, Node, is_up
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.clock import iso_micros
from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.versions import Span
from nutshell.placement.port import Placement

RULE = "os_compute_api:os-services:"
BY_UUID, FORCES_DOWN = Span.of("2.53", ""), Span.of("2.11", "")
INTERNAL = ("nova-scheduler", "nova-conductor")


class NoService(NotFound):
    """Service {id} could not be found."""


class NoHostBinary(NotFound):
    """Could not find binary {binary} on host {host}."""


class UnknownAction(NotFound):
    """Unknown action"""


def as_json(ask: Ask[Any], node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {
        "binary": "nova-compute",
        "host": node.name,
        "id": node.service_id if ask.at in BY_UUID else node.number,
        "zone": node.zone,
        "status": "enabled" if node.enabled else "disabled",
        "state": "up" if is_up(node) else "down",
        "updated_at": iso_micros(node.heard_at or node.created_at),
        "disabled_reason": node.disabled_reason,
    }
    return found | ({"forced_down": node.forced_down} if ask.at in FORCES_DOWN else {})


def _internal(ask: Ask[Any], host: str) -> list[dict[str, Any]]:
    """The parts of this process that the original runs apart: alive, for they answer."""
    found = []
    for n, binary in enumerate(INTERNAL, start=1_000_001):
        entry: dict[str, Any] = {
            "binary": binary,
            "host": host,
            "id": str(uuid.uuid5(SPACE, f"{binary}:{host}")) if ask.at in BY_UUID else n,
            "zone": "internal",
            "status": "enabled",
            "state": "up",
            "updated_at": iso_micros(ask.now),
            "disabled_reason": None,
        }
        found.append(entry | ({"forced_down": False} if ask.at in FORCES_DOWN else {}))
    return found


@compute.route("GET", "/os-services", rule=RULE + "list")
def index(ask: Ask[Any]) -> dict[str, Any]:
    nodes = ask.tx.find(Node, order="number")
    shown = [as_json(ask, n) for n in nodes]
    shown += _internal(ask, nodes[0].name if nodes else "localhost")
    host, binary = ask.asked("host"), ask.asked("binary")
    wanted = [s for s in shown if (not host or s["host"] == host) and (not binary or s["binary"] == binary)]
    return {"services": wanted}


class Named(Body, extras="ignore"):
    """PUT /os-services/{enable, disable, …} before 2.53 names the service in the body."""

    host: str = field(min_length=1, max_length=255)
    binary: str = field(min_length=1, max_length=255)
    disabled_reason: str | None = field(default=None, max_length=255)
    forced_down: bool | str | None = field(default=None, since="2.11")


def change(ask: Ask[Any], node: Node, **changes: Any) -> Node:
    """Enable, disable or force down; the scheduler stops or starts to look at the host."""
    node = ask.tx.put(node, **changes)
    if Placement in ask.cloud.ports:
        ask.cloud.port(Placement).set_disabled(ask.tx, node.id, not node.enabled or node.forced_down)
    return node


def _truth(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise BadRequest(f"Invalid input for field/attribute forced_down. Value: {value}. It is not a boolean")
    return text in ("true", "1", "yes", "on")


@compute.route("PUT", "/os-services/{action}", rule=RULE + "update", until="2.52", body=Named, wrap="")
def update_named(ask: Ask[Any]) -> dict[str, Any]:
    action, given = ask.params["action"], ask.given
    if action not in ("enable", "disable", "disable-log-reason", "force-down"):
        raise UnknownAction()
    if given["binary"] != "nova-compute":
        raise BadRequest(f"Updating a {given['binary']} service is not supported. Only nova-compute services can be"
                         " updated.")  # fmt: skip
    node = ask.tx.one(Node, name=given["host"])
    if node is None:
        raise NoHostBinary(host=given["host"], binary=given["binary"])
    said: dict[str, Any] = {"host": node.name, "binary": "nova-compute"}
    if action == "force-down":
        if given.get("forced_down") is None:
            raise BadRequest("Missing forced_down field")
        node = change(ask, node, forced_down=_truth(given["forced_down"]))
        return {"service": said | {"forced_down": node.forced_down}}
    if action == "disable-log-reason" and not given.get("disabled_reason"):
        raise BadRequest("Missing disabled reason field")
    reason = given.get("disabled_reason") if action == "disable-log-reason" else None
    node = change(ask, node, enabled=action == "enable", disabled_reason=reason)
    said["status"] = "enabled" if node.enabled else "disabled"
    return {"service": said | ({"disabled_reason": reason} if reason else {})}


class Changed(Body):
    """PUT /os-services/{id} since 2.53."""

    status: str | None = field(default=None, pattern="^(enabled|disabled)$")
    disabled_reason: str | None = field(default=None, min_length=1, max_length=255)
    forced_down: bool | str | None = field(default=None)


def _need(ask: Ask[Any]) -> Node:
    key = ask.params["action" if "action" in ask.params else "id"]
    if ask.at in BY_UUID:
        try:
            uuid.UUID(key)
        except ValueError:
            raise BadRequest(f"Invalid uuid {key}") from None
        node = ask.tx.one(Node, service_id=key)
    else:
        if not key.isdecimal():
            raise BadRequest(f"Invalid input received: id must be an integer, not {key}")
        node = ask.tx.one(Node, number=int(key))
    if node is None:
        if any(str(s["id"]) == key for s in _internal(ask, _first_host(ask))):
            raise BadRequest("Updating or deleting this service is not supported. Only nova-compute services can be"
                             " changed.")  # fmt: skip
        raise NoService(id=key)
    return node


def _first_host(ask: Ask[Any]) -> str:
    nodes = ask.tx.find(Node, order="number", limit=1)
    return nodes[0].name if nodes else "localhost"


@compute.route("PUT", "/os-services/{id}", rule=RULE + "update", since="2.53", body=Changed, wrap="")
def update(ask: Ask[Any]) -> dict[str, Any]:
    node, given = _need(ask), ask.given
    changes: dict[str, Any] = {}
    if given.get("status") == "enabled":
        if given.get("disabled_reason"):
            raise BadRequest("Specifying 'disabled_reason' with status 'enabled' is invalid.")
        changes |= {"enabled": True, "disabled_reason": None}
    elif given.get("status") == "disabled":
        changes |= {"enabled": False, "disabled_reason": given.get("disabled_reason")}
    if given.get("forced_down") is not None:
        changes["forced_down"] = _truth(given["forced_down"])
    if not changes:
        raise BadRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    return {"service": as_json(ask, change(ask, node, **changes))}


@compute.route("DELETE", "/os-services/{id}", rule=RULE + "delete", http=204)
def delete(ask: Ask[Any]) -> None:
    """Forget a host; it comes back by itself while its driver reports it."""
    node = _need(ask)
    if ask.tx.count(Server, host=node.name):
        raise Conflict("Unable to delete compute service that is hosting instances. Migrate or delete the instances"
                       " first.")  # fmt: skip
    if Placement in ask.cloud.ports:
        ask.cloud.port(Placement).remove_provider(ask.tx, node.id)
    forget_host(ask.tx, node.name)
    ask.tx.drop(node)
