"""Updating and deleting servers (Compute API, "Update Server", "Delete Server", "Force-Delete Server")."""

from collections.abc import Mapping
from typing import Any

from nutshell.compute import wire
from nutshell.compute.servers.checks import check_hostname, check_plain, plain_address
from nutshell.compute.servers.noun import Server, record
from nutshell.compute.servers.operate import begin, check_lock, supersede
from nutshell.compute.servers.status import Want
from nutshell.compute.service import compute
from nutshell.core.errors import Conflict
from nutshell.core.render import render_row
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask

RULE = "os_compute_api:servers"
FOR_EVER_S = 10 * 365 * 86400.0
BASIC = frozenset(
    {"id", "name", "status", "image", "flavor", "user_id", "tenant_id", "created", "updated", "progress", "metadata",
     "links", "addresses", "hostId", "OS-DCF:diskConfig", "accessIPv4", "accessIPv6", "fault", "locked", "description",
     "tags", "trusted_image_certificates", "server_groups", "locked_reason", "adminPass", "key_name", "user_data"}
)  # fmt: skip


class ServerUpdate(Body):
    name: str = field(default="")
    disk_config: str = field(default="", wire="OS-DCF:diskConfig", pattern="^(AUTO|MANUAL)$")
    access_ip_v4: str | None = field(default=None, wire="accessIPv4")
    access_ip_v6: str | None = field(default=None, wire="accessIPv6")
    description: str | None = field(default=None, since="2.19", max_length=255)
    hostname: str | None = field(default=None, since="2.90", max_length=255)
    pinned_zone: str | None = field(default=None, wire="pinned_availability_zone", since="2.104")


def answer_with(
    ask: Ask[Any], server: Server, extra: Mapping[str, Any], without: frozenset[str] = frozenset()
) -> Answer:
    """The server in its answer's form: whole since 2.75 (the other route), its basic members before."""
    shown = render_row(ask, server, "show") | dict(extra)
    if ask.route.view == "basic":
        shown = {k: v for k, v in shown.items() if k in BASIC - without}
        shown["addresses"] = {n: [plain(a) for a in mine] for n, mine in shown["addresses"].items()}
    return Answer(ask.route.http, {"server": shown})


def plain(address: Mapping[str, Any]) -> dict[str, Any]:
    return {k: address[k] for k in ("version", "addr")}


def _update(ask: Ask[Server]) -> Answer:
    g = dict(ask.given)
    if "name" in g:
        wire.check_name("name", g["name"])
    check_plain(g)
    check_hostname(g.get("hostname"))
    for name in ("access_ip_v4", "access_ip_v6"):
        if name in g:
            g[name] = plain_address(g[name])
    if "pinned_zone" in g:
        _check_pin(ask.target, g["pinned_zone"])
    row = record(ask.tx, ask.target, **g) if g else ask.target
    return answer_with(ask, row, {}, frozenset({"key_name", "user_data"}))


compute.verb(Server, "update", rule=f"{RULE}:update", body=ServerUpdate, view="basic", until="2.74")(_update)
compute.verb(Server, "update", rule=f"{RULE}:update", body=ServerUpdate, view="show", since="2.75")(_update)


def _check_pin(server: Server, zone: str | None) -> None:
    if zone is None:
        return
    if server.pinned_zone is not None and zone != server.pinned_zone:
        raise Conflict(
            "Cannot change pinned availability zone directly. Unpin first by setting pinned_availability_zone to null."
        )
    if server.pinned_zone is None and zone != server.zone:
        raise Conflict(
            f"Server can only be pinned to its current availability zone '{server.zone}', but '{zone}' was requested."
        )


def _delete(ask: Ask[Server]) -> None:
    """Whatever is going on with it, the server is to go; asking again changes nothing."""
    check_lock(ask)
    if ask.target.task == "delete":
        return
    supersede(ask, ask.target, "delete")
    begin(ask, ask.target, "delete", Want.GONE, FOR_EVER_S)


compute.verb(Server, "delete", rule=f"{RULE}:delete")(_delete)
compute.action(Server, "forceDelete", rule="os_compute_api:os-deferred-delete:force")(_delete)
