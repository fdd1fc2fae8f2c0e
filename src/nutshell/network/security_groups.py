"""Security groups: named sets of rules that ports join (Networking API v2.0, "Security groups").

Every project has a group "default", made when it is first looked for; ports that name no group join it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from nutshell.core.cloud import Cloud
from nutshell.core.listing import list_rows, show_row
from nutshell.core.policy import Who
from nutshell.core.render import Context, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import (
    Given,
    allow,
    create_each,
    create_target,
    mark,
    read_changes,
    revision_matches,
    take,
    take_in,
)
from nutshell.network.rbacs import SHARED, drop_policies, granted, reaches, targets
from nutshell.network.removals import remove_from_world
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.security_group_rules import SecurityGroupRule
from nutshell.network.service import MEMBER, READER, network
from nutshell.network.sight import seen


class SecurityGroup(
    Resource,
    service="network",
    one="security_group",
    many="security_groups",
    path="/security-groups",
    visible="get_security_group",
):
    name: str = field(default="", write="create update", max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    stateful: bool = field(default=True, write="create update")
    tags: list[str] = field(factory=list)
    default_for: str = field(default="", hidden=True, unique=True)  # the project, or its own id: one default each
    wanted: int = field(default=1, hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)


standard(SecurityGroup)

network.policy(
    {
        "shared_security_group": "field:security_groups:shared=True",
        "create_security_group": MEMBER,
        "get_security_group": f"{READER} or rule:shared_security_group",
        "update_security_group": MEMBER,
        "delete_security_group": MEMBER,
    }
)


@SecurityGroup.policy_column("shared")
def shared_column(who: Who) -> sa.ColumnElement[bool]:
    return granted(SecurityGroup, "id", SHARED, who)


@SecurityGroup.preloads
def related(tx: Tx, rows: Sequence[SecurityGroup]) -> tuple[dict[str, list[SecurityGroupRule]], dict[str, set[str]]]:
    ids = [g.id for g in rows]
    rules: dict[str, list[SecurityGroupRule]] = {}
    for rule in tx.find(SecurityGroupRule, security_group_id=ids, order="created_at, id"):
        rules.setdefault(rule.security_group_id, []).append(rule)
    return rules, targets(tx, ids, SHARED)


@SecurityGroup.shows("security_group_rules")
def rules_of(row: SecurityGroup, ctx: Context) -> list[dict[str, Any]]:
    query = {k: v for k, v in ctx.ask.query.items() if k != "fields"}  # they select members of the group, not of rules
    return render_rows(replace(ctx.ask, query=query), SecurityGroupRule, ctx.rel[0].get(row.id, []), "detail")


@SecurityGroup.shows("shared")
def shared(row: SecurityGroup, ctx: Context) -> bool:
    return reaches(ctx.rel[1].get(row.id), ctx.ask.who)


@network.verb(SecurityGroup, "list", rule="regular_user", writes=True)
def list_groups(ask: Ask[Any]) -> Any:
    """The listing; it makes the project's default group if there is none yet."""
    if ask.who.project_id:
        default_group(ask.cloud, ask.tx, ask.who.project_id)
    return list_rows(ask)


network.verb(SecurityGroup, "show", rule="get_security_group", against=lambda ask: {"project_id": ask.who.project_id})(
    show_row
)


def default_group(cloud: Cloud, tx: Tx, project_id: str) -> str:
    """The id of a project's default group, made if it is not there."""
    found = tx.sql("SELECT id FROM network_security_groups WHERE default_for = ?", project_id).fetchone()
    if found is not None:
        return str(found[0])
    return _add(cloud, tx, {"name": "default", "description": "Default security group", "project_id": project_id}).id


def _add(cloud: Cloud, tx: Tx, given: Given) -> SecurityGroup:
    """A group with its first rules: everything out, and for the default group everything in from itself."""
    group_id, project_id = cloud.clock.new_id(), given["project_id"]
    is_default = given["name"] == "default"
    row = tx.add(SecurityGroup(id=group_id, default_for=project_id if is_default else group_id, due_at=tx.now, **given))
    for ethertype in ("IPv4", "IPv6"):
        for direction in ("egress", "ingress") if is_default else ("egress",):
            rule = SecurityGroupRule(
                id=cloud.clock.new_id(),
                project_id=project_id,
                group_project_id=project_id,
                security_group_id=group_id,
                direction=direction,
                ethertype=ethertype,
                remote_group_id=group_id if direction == "ingress" else None,
                in_default=is_default,
            )
            tx.add(rule, quiet=True)
    return row


def choose_groups(
    cloud: Cloud, tx: Tx, who: Who, project_id: str, asked: Sequence[str] | None, secure: bool
) -> list[str]:
    """The groups a port joins: those asked for (the project's, or shown to the caller), else its default."""
    if asked is None:
        return [default_group(cloud, tx, project_id)] if secure else []
    if asked and not secure:
        raise errors.PortSecurityAndIPRequiredForSecurityGroups()
    found: list[str] = []
    kinds: set[bool] = set()
    for group_id in asked:
        uuid_of("security_groups", group_id)
        row = tx.get(SecurityGroup, group_id)
        if row is None or (row.project_id != project_id and not seen(cloud, tx, who, SecurityGroup, "id", group_id)):
            raise errors.SecurityGroupNotFound(id=group_id)
        if group_id in found:
            raise errors.InvalidAttribute(name="security_groups", why=f"Duplicate items in the list: '{group_id}'")
        found.append(group_id)
        kinds.add(row.stateful)
    if len(kinds) > 1:
        raise errors.SecurityGroupsOfBothKinds(ids=", ".join(found))
    return found


@network.verb(SecurityGroup, "create", rule="create_security_group", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, SecurityGroup, _create)


def _create(ask: Ask[Any], given: Given) -> SecurityGroup:
    allow(ask, "create_security_group", given, create_target(given), SecurityGroup)
    if given.get("name") == "default":
        raise errors.SecurityGroupDefaultAlreadyExists()
    given.setdefault("name", "")
    default_group(ask.cloud, ask.tx, given["project_id"])
    take(ask, given["project_id"], "security_group")
    take_in(ask.cloud, ask.tx, given["project_id"], "security_group_rule", 2)
    return _add(ask.cloud, ask.tx, given)


@network.verb(SecurityGroup, "update", rule="update_security_group", body=None)
def update(ask: Ask[SecurityGroup]) -> SecurityGroup:
    row = ask.target
    revision_matches(ask, row)
    given = read_changes(ask, SecurityGroup)
    allow(ask, "update_security_group", given, row.policy_target(), SecurityGroup)
    if row.default_for == row.project_id and given.get("name", row.name) != row.name:
        raise errors.SecurityGroupCannotUpdateDefault()
    if given.get("name", row.name) == "default" != row.name:
        raise errors.SecurityGroupDefaultAlreadyExists()
    if given.get("stateful", row.stateful) != row.stateful and _in_use(ask.tx, row.id):
        raise errors.SecurityGroupInUse(id=row.id)
    return ask.tx.put(row, wanted=row.wanted + 1, due_at=ask.now, **given)


def _in_use(tx: Tx, group_id: str) -> bool:
    found = tx.sql("SELECT 1 FROM network_membership WHERE group_id = ? LIMIT 1", group_id).fetchone()
    return found is not None


@network.verb(SecurityGroup, "delete", rule="delete_security_group")
def delete(ask: Ask[SecurityGroup]) -> None:
    row, tx = ask.target, ask.tx
    revision_matches(ask, row)
    if _in_use(tx, row.id):
        raise errors.SecurityGroupInUse(id=row.id)
    if row.default_for == row.project_id and not ask.may("context_is_admin"):
        raise errors.SecurityGroupCannotRemoveDefault()
    others = tx.find(SecurityGroupRule, remote_group_id=row.id)
    mark(tx, "network_security_groups", sorted({r.security_group_id for r in others} - {row.id}))
    gone = {r.id: r for r in [*tx.find(SecurityGroupRule, security_group_id=row.id), *others]}.values()
    for rule in gone:
        tx.drop(rule, quiet=True)
        if not rule.in_default:
            ask.cloud.quotas.give_back(tx, rule.project_id, {"network.security_group_rule": 1})
    drop_policies(ask, row.id)
    tx.drop(row)
    if row.default_for != row.project_id:
        ask.cloud.quotas.give_back(tx, row.project_id, {"network.security_group": 1})
    remove_from_world(tx, "group", row.id)
