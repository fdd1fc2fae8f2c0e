"""RBAC policies: whom a network (or security group) is shared with (Networking API v2.0, "RBAC Policies").

"shared" and "router:external" in rules mean: there is such a policy for the caller's project or for all ("*").
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nutshell.core.policy import Who, who_value
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import Given, allow, create_each, create_target, read_changes, take
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.service import KINDS, MEMBER, READER, network, reads

SHARED, EXTERNAL = "access_as_shared", "access_as_external"
ACTIONS = {"network": (SHARED, EXTERNAL), "security_group": (SHARED,)}
TABLES = {"network": "network_networks", "security_group": "network_security_groups"}


class RbacPolicy(
    Resource,
    service="network",
    one="rbac_policy",
    many="rbac_policies",
    path="/rbac-policies",
    visible="get_rbac_policy",
    unique=(("object_id", "action", "target_tenant"),),
    indexes=(("target_tenant", "action"),),
):
    project_id: str = field(default="", write="create", index=True)
    object_type: str = field(write="create")
    object_id: str = field(write="create")
    action: str = field(write="create")
    target_tenant: str = field(write="create update", max_length=255)


standard(RbacPolicy, tags=False)

WILDCARD = "rule:admin_only or not field:rbac_policy:target_tenant=*"
network.policy(
    {
        "create_rbac_policy": MEMBER,
        "create_rbac_policy:target_tenant": WILDCARD,
        "update_rbac_policy": MEMBER,
        "update_rbac_policy:target_tenant": WILDCARD,
        "get_rbac_policy": READER,
        "delete_rbac_policy": MEMBER,
    }
)
reads(RbacPolicy)


def granted(noun: type[Resource], column: str, action: str, who: Who) -> sa.ColumnElement[bool]:
    """Whether a policy of this action on the object in the noun's column names the caller's project or everybody."""
    table = RbacPolicy.table.alias()
    # by name, not as a column: the condition is also compiled alone, where a column would join its table once more
    object_id: sa.ColumnElement[str] = sa.literal_column(f"{noun.table.name}.{column}")
    target = table.c.target_tenant
    mine = [target == "*", *([target == who_value("project_id")] if who.project_id else [])]
    return sa.exists(
        sa.select(sa.literal(1)).where(table.c.object_id == object_id, table.c.action == action, sa.or_(*mine))
    )


def targets(tx: Tx, object_ids: Sequence[str], action: str) -> dict[str, set[str]]:
    """Object → projects (or "*") it is granted to."""
    found: dict[str, set[str]] = {}
    if object_ids:
        marks = ",".join("?" * len(object_ids))
        rows = tx.sql(
            f"SELECT object_id, target_tenant FROM {RbacPolicy.table.name} WHERE object_id IN ({marks}) AND action = ?",
            *object_ids,
            action,
        ).fetchall()
        for object_id, target in rows:
            found.setdefault(object_id, set()).add(target)
    return found


def reaches(granted_to: set[str] | None, who: Who) -> bool:
    return bool(granted_to) and ("*" in granted_to or who.project_id in granted_to)  # type: ignore[operator]


def set_wildcard(ask: Ask[Any], object_id: str, action: str, on: bool, kind: str = "network") -> None:
    """Grant an object to everybody, or take that back (`shared`, `router:external`)."""
    if not on:
        ask.tx.drop_where(RbacPolicy, object_id=object_id, action=action, target_tenant="*")
    elif not ask.tx.count(RbacPolicy, object_id=object_id, action=action, target_tenant="*"):
        ask.tx.add(
            RbacPolicy(
                id=ask.new_id(),
                project_id=ask.who.project_id,
                object_type=kind,
                object_id=object_id,
                action=action,
                target_tenant="*",
            )
        )


@network.verb(RbacPolicy, "create", rule="create_rbac_policy", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, RbacPolicy, _create)


def _create(ask: Ask[Any], given: Given) -> RbacPolicy:
    kind, object_id = given["object_type"], uuid_of("object_id", given["object_id"])
    if kind not in ACTIONS:
        raise errors.InvalidAttribute(name="object_type", why=f"'{kind}' is not in {sorted(ACTIONS)}")
    if given["action"] not in ACTIONS[kind]:
        raise errors.InvalidInput(
            f"Invalid action '{given['action']}' for object type '{kind}'. Valid actions: " + ", ".join(ACTIONS[kind])
        )
    allow(ask, "create_rbac_policy", given, create_target(given), RbacPolicy)
    owner = ask.tx.sql(f"SELECT project_id FROM {TABLES[kind]} WHERE id = ?", object_id).fetchone()
    if owner is None or not (ask.who.project_id == owner[0] or ask.may("context_is_admin")):
        raise KINDS[kind](id=object_id)
    same = {"object_id": object_id, "action": given["action"], "target_tenant": given["target_tenant"]}
    if ask.tx.count(RbacPolicy, **same):
        raise errors.DuplicateRbacPolicy()
    take(ask, given["project_id"], "rbac_policy")
    row = ask.tx.add(RbacPolicy(id=ask.new_id(), **given))
    if given["action"] == EXTERNAL:
        ask.tx.sql("UPDATE network_networks SET external = true, generation = generation + 1 WHERE id = ?", object_id)
    return row


@network.verb(RbacPolicy, "update", rule="update_rbac_policy", body=None)
def update(ask: Ask[RbacPolicy]) -> RbacPolicy:
    row = ask.target
    given = read_changes(ask, RbacPolicy)
    allow(ask, "update_rbac_policy", given, {**row.policy_target(), **given}, RbacPolicy)
    target = given.get("target_tenant", row.target_tenant)
    if target == row.target_tenant:
        return row
    _refuse_if_used(ask, row)
    if ask.tx.count(RbacPolicy, object_id=row.object_id, action=row.action, target_tenant=target):
        raise errors.DuplicateRbacPolicy()
    return ask.tx.put(row, target_tenant=target)


@network.verb(RbacPolicy, "delete", rule="delete_rbac_policy")
def delete(ask: Ask[RbacPolicy]) -> None:
    row = ask.target
    _refuse_if_used(ask, row)
    ask.tx.drop(row)
    ask.cloud.quotas.give_back(ask.tx, row.project_id, {"network.rbac_policy": 1})


def _refuse_if_used(ask: Ask[Any], row: RbacPolicy) -> None:
    """A project that has ports on the network keeps its grant, unless another policy grants the same."""
    if row.object_type != "network" or row.action != SHARED:
        return
    others = {r.target_tenant for r in ask.tx.find(RbacPolicy, object_id=row.object_id, action=SHARED)}
    others.discard(row.target_tenant)
    if "*" in others:
        return
    users = ask.tx.sql(
        "SELECT DISTINCT p.project_id FROM network_ports p JOIN network_networks n ON n.id = p.network_id"
        " WHERE p.network_id = ? AND p.project_id != n.project_id AND p.project_id != ''",
        row.object_id,
    ).fetchall()
    using = {project for (project,) in users} - others
    if using if row.target_tenant == "*" else row.target_tenant in using:
        raise errors.RbacPolicyInUse(object_id=row.object_id)
