"""Agents: what runs on the cloud's hosts for network, alive while the host answers (Networking API v2.0, "Agents").

This cloud has one host process that does the work of four agents; its rows are there for clients that look for them.
"""

import os
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from nutshell.core.cloud import Cloud
from nutshell.core.render import Context, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import read_changes
from nutshell.network.networks import ZONE, Network
from nutshell.network.routers import Router
from nutshell.network.service import ADMIN, network, reads

DOWN_AFTER_S = 75.0
KINDS = {
    "DHCP agent": ("neutron-dhcp-agent", "dhcp_agent"),
    "L3 agent": ("neutron-l3-agent", "l3_agent"),
    "Metadata agent": ("neutron-metadata-agent", "N/A"),
    "Linux bridge agent": ("neutron-linuxbridge-agent", "N/A"),
}


class Agent(Resource, service="network", one="agent", many="agents", visible="get_agent"):
    agent_type: str = field(default="")
    binary: str = field(default="")
    topic: str = field(default="")
    host: str = field(default="")
    admin_state_up: bool = field(default=True, write="update")
    description: str | None = field(default=None, write="update")
    started_at: float = field(default=0.0, hidden=True)
    heard_at: float = field(default=0.0, hidden=True)


network.policy(
    {
        "get_agent": ADMIN,
        "update_agent": ADMIN,
        "delete_agent": ADMIN,
        "get_dhcp-networks": ADMIN,
        "create_dhcp-network": ADMIN,
        "delete_dhcp-network": ADMIN,
        "get_dhcp-agents": ADMIN,
        "get_l3-routers": ADMIN,
        "create_l3-router": ADMIN,
        "delete_l3-router": ADMIN,
        "get_l3-agents": ADMIN,
    }
)
reads(Agent)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


@Agent.shows("alive")
def alive(row: Agent, ctx: Context) -> bool:
    return ctx.ask.now - row.heard_at < DOWN_AFTER_S


@Agent.shows("availability_zone")
def availability_zone(row: Agent, ctx: Context) -> str | None:
    return ZONE if row.topic != "N/A" else None


@Agent.shows("created_at")
def created_at(row: Agent, ctx: Context) -> str:
    return _time(row.created_at)


@Agent.shows("started_at")
def started_at(row: Agent, ctx: Context) -> str:
    return _time(row.started_at)


@Agent.shows("heartbeat_timestamp")
def heartbeat_timestamp(row: Agent, ctx: Context) -> str:
    return _time(row.heard_at)


@Agent.shows("configurations")
def configurations(row: Agent, ctx: Context) -> dict[str, Any]:
    return {"driver": "nutshell"}


@Agent.shows("resources_synced")
def resources_synced(row: Agent, ctx: Context) -> None:
    return None


@Agent.filters_by("agent_type")
def by_type(ask: Ask[Any], values: list[str]) -> Any:
    """Whatever its case: clients ask for "DHCP Agent" and "DHCP agent"."""
    return sa.func.lower(Agent.c("agent_type")).in_([v.lower() for v in values])


@Agent.filters_by("alive")
def by_alive(ask: Ask[Any], values: list[str]) -> Any:
    limit = ask.now - DOWN_AFTER_S
    heard = Agent.c("heard_at")
    return heard > limit if values[-1].lower() in ("true", "1") else heard <= limit


def heartbeat(cloud: Cloud, tx: Tx, started: bool = False) -> None:
    """The host answered just now."""
    host = os.uname().nodename
    have = {a.agent_type: a for a in tx.find(Agent, host=host)}
    for kind, (binary, topic) in KINDS.items():
        row = have.get(kind)
        if row is None:
            facts = {"agent_type": kind, "binary": binary, "topic": topic, "host": host}
            tx.add(Agent(id=cloud.clock.new_id(), started_at=tx.now, heard_at=tx.now, **facts), quiet=True)  # type: ignore[arg-type]
        else:
            changes = {"heard_at": tx.now, **({"started_at": tx.now} if started else {})}
            tx.put(row, quiet=True, touch=False, facts=None, **changes)  # type: ignore[arg-type]


@network.verb(Agent, "update", rule="update_agent", body=None)
def update(ask: Ask[Agent]) -> Agent:
    return ask.tx.put(ask.target, **read_changes(ask, Agent))


@network.verb(Agent, "delete", rule="delete_agent")
def delete(ask: Ask[Agent]) -> None:
    ask.tx.drop(ask.target)


def _of_kind(ask: Ask[Any], kind: str) -> list[Agent]:
    return ask.tx.find(Agent, agent_type=kind)


def _served(ask: Ask[Any], **equals: Any) -> list[Network]:
    """Networks whose DHCP is served: by default those that have a DHCP port."""
    from nutshell.network.ports import Port

    found = ask.tx.find(Network, order="id", **equals)
    have = {p.network_id for p in ask.tx.find(Port, network_id=[n.id for n in found], device_owner="network:dhcp")}
    return [n for n in found if n.dhcp_agent == "on" or (n.dhcp_agent == "auto" and n.id in have)]


@network.verb(Agent, "dhcp_networks", rule="get_dhcp-networks", method="GET", path="/{id}/dhcp-networks")
def dhcp_networks(ask: Ask[Agent]) -> dict[str, Any]:
    rows = _served(ask) if ask.target.agent_type == "DHCP agent" else []
    return {"networks": render_rows(ask, Network, rows, "detail")}


@network.verb(Network, "dhcp_agents", rule="get_dhcp-agents", method="GET", path="/{id}/dhcp-agents")
def dhcp_agents(ask: Ask[Network]) -> dict[str, Any]:
    served = _served(ask, id=ask.target.id)
    return {"agents": render_rows(ask, Agent, _of_kind(ask, "DHCP agent") if served else [], "detail")}


@network.verb(
    Agent, "add_network", rule="create_dhcp-network", method="POST", path="/{id}/dhcp-networks", http=201, body=None
)
def add_network(ask: Ask[Agent]) -> Answer:
    """Serve the network's DHCP (again)."""
    row = _network(ask, ask.body.get("network_id") if isinstance(ask.body, dict) else None)
    if _served(ask, id=row.id):
        raise errors.NetworkHostedByDHCPAgent(network_id=row.id, agent_id=ask.target.id)
    _switch(ask, row, "on")
    return Answer(201, None)


@network.verb(
    Agent,
    "remove_network",
    rule="delete_dhcp-network",
    method="DELETE",
    path="/{id}/dhcp-networks/{network_id}",
    http=204,
)
def remove_network(ask: Ask[Agent]) -> None:
    """Serve no DHCP on the network."""
    row = _network(ask, ask.params["network_id"])
    if not _served(ask, id=row.id):
        raise errors.NetworkNotHostedByDhcpAgent(network_id=row.id, agent_id=ask.target.id)
    _switch(ask, row, "off")


def _network(ask: Ask[Agent], network_id: Any) -> Network:
    if ask.target.agent_type != "DHCP agent":
        raise errors.InvalidDHCPAgent(id=ask.target.id)
    row = ask.tx.get(Network, str(network_id))
    if row is None:
        raise errors.NetworkNotFound(id=network_id)
    return row


def _switch(ask: Ask[Agent], row: Network, word: str) -> None:
    from nutshell.network.dhcp import serve_dhcp

    row = ask.tx.put(row, dhcp_agent=word, wanted=row.wanted + 1, due_at=ask.now)
    serve_dhcp(ask.cloud, ask.tx, row)


@network.verb(Agent, "l3_routers", rule="get_l3-routers", method="GET", path="/{id}/l3-routers")
def l3_routers(ask: Ask[Agent]) -> dict[str, Any]:
    rows = ask.tx.find(Router, order="id", hosted=True) if ask.target.agent_type == "L3 agent" else []
    return {"routers": render_rows(ask, Router, rows, "detail")}


@network.verb(Router, "l3_agents", rule="get_l3-agents", method="GET", path="/{id}/l3-agents")
def l3_agents(ask: Ask[Router]) -> dict[str, Any]:
    agents = _of_kind(ask, "L3 agent") if ask.target.hosted else []
    return {"agents": render_rows(ask, Agent, agents, "detail")}


@network.verb(Agent, "add_router", rule="create_l3-router", method="POST", path="/{id}/l3-routers", http=201, body=None)
def add_router(ask: Ask[Agent]) -> Answer:
    """Serve the router (again)."""
    row = _router(ask, ask.body.get("router_id") if isinstance(ask.body, dict) else None)
    if row.hosted:
        raise errors.RouterHostedByL3Agent(router_id=row.id, agent_id=ask.target.id)
    ask.tx.put(row, hosted=True, wanted=row.wanted + 1, due_at=ask.now)
    return Answer(201, b"null", {"Content-Type": "application/json"})  # clients read a body


@network.verb(
    Agent, "remove_router", rule="delete_l3-router", method="DELETE", path="/{id}/l3-routers/{router_id}", http=204
)
def remove_router(ask: Ask[Agent]) -> None:
    """Let the router forward nothing until it is added again."""
    row = _router(ask, ask.params["router_id"])
    if not row.hosted:
        raise errors.RouterNotHostedByL3Agent(router_id=row.id, agent_id=ask.target.id)
    ask.tx.put(row, hosted=False, wanted=row.wanted + 1, due_at=ask.now)


def _router(ask: Ask[Agent], router_id: Any) -> Router:
    if ask.target.agent_type != "L3 agent":
        raise errors.InvalidL3Agent(id=ask.target.id)
    row = ask.tx.get(Router, str(router_id))
    if row is None:
        raise errors.RouterNotFound(id=router_id)
    return row
