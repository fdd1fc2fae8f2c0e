"""Server groups: servers that shall run together, or apart (Compute API, "Server groups").

The scheduler asks `standing` where a new member may go: the policies without "soft-" bind, the others are wishes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as plain_field
from typing import Any, Literal

import msgspec

from nutshell.compute import wire
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, NotFound, QuotaExceeded
from nutshell.core.listing import Page, select_page
from nutshell.core.render import Context, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx

RULE = "os_compute_api:os-server-groups:"
Hard = Literal["anti-affinity", "affinity"]
Any4 = Literal["anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity"]


class NoServerGroup(NotFound):
    """Instance group {id} could not be found."""


class ServerGroup(
    Resource,
    service="compute",
    one="server_group",
    many="server_groups",
    path="/os-server-groups",
    visible=RULE + "show",
    sort="created_at, id",
    indexes=(("project_id",),),
):
    """One group; its members are the living servers that name it."""

    name: str = field()
    policy: str = field(since="2.64")
    rules: dict[str, int] = field(factory=dict, since="2.64")
    project_id: str = field(default="", since="2.13")
    user_id: str = field(default="", since="2.13")


@ServerGroup.preloads
def _members(tx: Tx, rows: Sequence[ServerGroup]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for s in tx.find(Server, server_group_id=[r.id for r in rows], order="created_at, id"):
        found.setdefault(s.server_group_id, []).append(s.id)
    return found


ServerGroup.shows("members")(lambda g, ctx: ctx.rel.get(g.id, []))


@ServerGroup.shows("policies", until="2.63")
def _policies(g: ServerGroup, ctx: Context) -> list[str]:
    return [g.policy]


@ServerGroup.shows("metadata", until="2.63")
def _metadata(g: ServerGroup, ctx: Context) -> dict[str, str]:
    return {}


@compute.verb(ServerGroup, "list", rule=RULE + "index")
def index(ask: Ask[Any]) -> dict[str, Any]:
    """The project's groups; an administrator may ask for everybody's."""
    wire.only_query(ask, frozenset({"all_projects", "limit", "offset"}), "2.75")
    if "all_projects" in ask.query and "admin" in ask.who.roles:
        ask.must(RULE + "index:all_projects")
        page: Page = select_page(ask, ServerGroup)
    else:
        page = select_page(ask, ServerGroup, project_id=ask.who.project_id)
    return {"server_groups": render_rows(ask, ServerGroup, page.rows, "detail")}


@compute.verb(ServerGroup, "show", rule=RULE + "show")
def show(ask: Ask[ServerGroup]) -> ServerGroup:
    wire.only_query(ask, frozenset(), "2.102")
    return ask.target


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    max_server_per_host: int | str | None = None


class NewServerGroup(Body):
    name: str = field()
    policies_215: list[Any4] = field(wire="policies", since="2.15", until="2.63", min_length=1, max_length=1)
    policies_21: list[Hard] = field(wire="policies", until="2.14", min_length=1, max_length=1)
    policy: Any4 = field(since="2.64")
    rules: Rules = field(factory=Rules, since="2.64")


@compute.verb(ServerGroup, "create", rule=RULE + "create", body=NewServerGroup, http=200)
def create(ask: Ask[Any]) -> ServerGroup:
    given = ask.given
    policy = given.get("policy") or (given.get("policies_215") or given["policies_21"])[0]
    most = given["rules"].max_server_per_host if "rules" in given else None
    rules = {} if most is None else {"max_server_per_host": wire.whole("max_server_per_host", most, 1)}
    if rules and policy != "anti-affinity":
        raise BadRequest("Only anti-affinity policy supports rules.")
    ask.cloud.quotas.take(ask.tx, ask.who.project_id, {"compute.server_groups": 1})
    return ask.tx.add(
        ServerGroup(
            id=ask.new_id(),
            name=wire.check_name("name", given["name"]),
            policy=policy,
            rules=rules,
            project_id=ask.who.project_id,
            user_id=ask.who.user_id,
        )
    )


@compute.verb(ServerGroup, "delete", rule=RULE + "delete")
def delete(ask: Ask[ServerGroup]) -> None:
    """The group goes; its servers stay where they are, in no group."""
    group = ask.target
    ask.tx.sql(f"UPDATE {Server.table.name} SET server_group_id = '' WHERE server_group_id = ?", group.id)
    ask.cloud.quotas.give_back(ask.tx, group.project_id, {"compute.server_groups": 1})
    ask.tx.drop(group)


def check_joining(ask: Ask[Any], group_id: str, count: int) -> None:
    """400 unless the caller's project has this group; 403 when so many more members of the caller's are too many."""
    group = ask.tx.get(ServerGroup, group_id)
    if group is None or group.project_id != ask.who.project_id:
        raise BadRequest(str(NoServerGroup(id=group_id)))
    most = ask.cloud.quotas.limit(ask.tx, ask.who.project_id, "compute.server_group_members")
    mine = ask.tx.count(Server, server_group_id=group_id, user_id=ask.who.user_id)
    if 0 <= most < mine + count:
        raise QuotaExceeded(name="server_group_members", requested=count, used=mine, limit=most)


@dataclass(frozen=True)
class Standing:
    """What a server's group says of hosts. The empty one says nothing."""

    policy: str = ""
    most: int = 1  # members on one host, where they shall be apart
    here: Mapping[str, int] = plain_field(default_factory=dict)  # host → other members on it

    def bars(self, host: str) -> str:
        """Why the host must not be used; "" when it may."""
        if self.policy == "affinity" and self.here and host not in self.here:
            return "is not where the server's group is (affinity)"
        if self.policy == "anti-affinity" and self.here.get(host, 0) >= self.most:
            return "has a server of the same group (anti-affinity)"
        return ""

    def cost(self, host: str) -> int:
        """How unwelcome the host is: the lower the better, all alike where nothing is wished."""
        if self.policy not in ("soft-affinity", "soft-anti-affinity"):
            return 0
        return self.here.get(host, 0) * (-1 if self.policy == "soft-affinity" else 1)


def standing(tx: Tx, server: Server) -> Standing:
    """The group of a server that is to be placed."""
    group = tx.get(ServerGroup, server.server_group_id or None)
    if group is None:
        return Standing()
    others = [s.host for s in tx.find(Server, server_group_id=group.id) if s.host and s.id != server.id]
    return Standing(group.policy, group.rules.get("max_server_per_host", 1), Counter(others))
