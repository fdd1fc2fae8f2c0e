"""RBAC policies: whom a network (or security group) is shared with (Networking API v2.0, "RBAC Policies").

"shared" and "router:external" in rules mean: there is such a policy for the caller's project or for all ("*").
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nutshell.core.policy import Who, who_value
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import Given, allow, create_each, create_target, read_changes, take
from nutshell.network.rowfacts import uuid_of
from nutshell.network.service import KINDS, MEMBER, READER, network, reads

SHARED, EXTERNAL = "access_as_shared", "access_as_external"
ACTIONS = {
    "network": (SHARED, EXTERNAL),
    "security_group": (SHARED,),
    "subnetpool": (SHARED,),
    "address_scope": (SHARED,),
}
TABLES = {
    "network": "network_networks",
    "security_group": "network_security_groups",
    "subnetpool": "network_subnetpools",
    "address_scope": "network_address_scopes",
}


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
    counted: bool = field(default=False, hidden=True)  # it was asked for by itself, and took quota


@RbacPolicy.shows("tenant_id")
def owner(row: RbacPolicy, ctx: Context) -> str:
    return row.project_id


@RbacPolicy.filters_by("tenant_id")
def by_owner(ask: Ask[Any], values: list[str]) -> Any:
    return RbacPolicy.c("project_id").in_(values)


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
        drop_policies(ask, object_id, action=action, target_tenant="*")
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
        known = any(reaches(targets(ask.tx, [object_id], way).get(object_id), ask.who) for way in ACTIONS[kind])
        if owner is not None and known:  # what is shared with the caller is no secret
            raise errors.RbacPolicyOnOthers()
        raise KINDS[kind](id=object_id)
    same = {"object_id": object_id, "action": given["action"], "target_tenant": given["target_tenant"]}
    if ask.tx.count(RbacPolicy, **same):
        raise errors.DuplicateRbacPolicy()
    if kind == "subnetpool":
        _check_scope(ask.tx, object_id, given["target_tenant"])
    take(ask, given["project_id"], "rbac_policy")
    row = ask.tx.add(RbacPolicy(id=ask.new_id(), counted=True, **given))
    _changed(ask.tx, row)
    return row


def _check_scope(tx: Tx, pool_id: str, target: str) -> None:
    """Who is given a subnet pool can see the address scope it is in, or 400."""
    found = tx.sql(
        "SELECT s.id, s.project_id FROM network_subnetpools p JOIN network_address_scopes s"
        " ON s.id = p.address_scope_id WHERE p.id = ?",
        pool_id,
    ).fetchone()
    if (
        found is not None
        and target != found[1]
        and not {"*", target} & targets(tx, [found[0]], SHARED).get(found[0], set())
    ):
        raise errors.InvalidInput(f"Project {target} has no access to the address scope {found[0]} of the subnet pool")


def _changed(tx: Tx, row: RbacPolicy) -> None:
    """The object has one revision more; a network leads out as long as somebody may use it so."""
    tx.sql(f"UPDATE {TABLES[row.object_type]} SET generation = generation + 1 WHERE id = ?", row.object_id)
    if row.action == EXTERNAL:
        left = tx.count(RbacPolicy, object_id=row.object_id, action=EXTERNAL) > 0
        tx.sql("UPDATE network_networks SET external = ? WHERE id = ?", left, row.object_id)


@network.verb(RbacPolicy, "update", rule="update_rbac_policy", body=None)
def update(ask: Ask[RbacPolicy]) -> RbacPolicy:
    row = ask.target
    given = read_changes(ask, RbacPolicy)
    allow(ask, "update_rbac_policy", given, {**row.policy_target(), **given}, RbacPolicy)
    target = given.get("target_tenant", row.target_tenant)
    if target == row.target_tenant:
        return row
    _refuse_if_used(ask.tx, row, target)
    if ask.tx.count(RbacPolicy, object_id=row.object_id, action=row.action, target_tenant=target):
        raise errors.DuplicateRbacPolicy()
    row = ask.tx.put(row, target_tenant=target)
    _changed(ask.tx, row)
    return row


@network.verb(RbacPolicy, "delete", rule="delete_rbac_policy")
def delete(ask: Ask[RbacPolicy]) -> None:
    row = ask.target
    _refuse_if_used(ask.tx, row)
    _drop(ask, row)
    _changed(ask.tx, row)


def drop_policies(ask: Ask[Any], object_id: str, **equals: Any) -> None:
    """The object is gone, or no longer granted so: its policies go with it."""
    for row in ask.tx.find(RbacPolicy, object_id=object_id, **equals):
        _drop(ask, row)


def _drop(ask: Ask[Any], row: RbacPolicy) -> None:
    ask.tx.drop(row)
    if row.counted:
        ask.cloud.quotas.give_back(ask.tx, row.project_id, {"network.rbac_policy": 1})


# Which projects use an object by which kind of grant.
USERS = {
    ("network", SHARED): "SELECT DISTINCT p.project_id FROM network_ports p JOIN network_networks n"
    " ON n.id = p.network_id WHERE p.network_id = ? AND p.project_id != n.project_id AND p.project_id != ''",
    ("network", EXTERNAL): "SELECT r.project_id FROM network_routers r JOIN network_networks n"
    " ON n.id = r.gateway_network_id WHERE n.id = ? AND r.project_id != n.project_id"
    " UNION SELECT f.project_id FROM network_floatingips f JOIN network_networks n ON n.id = f.floating_network_id"
    " WHERE n.id = ? AND f.project_id != n.project_id",
    ("security_group", SHARED): "SELECT DISTINCT p.project_id FROM network_membership m JOIN network_ports p"
    " ON p.id = m.port_id JOIN network_security_groups g ON g.id = m.group_id"
    " WHERE m.group_id = ? AND p.project_id != g.project_id",
    ("subnetpool", SHARED): "SELECT DISTINCT s.project_id FROM network_subnets s JOIN network_subnetpools o"
    " ON o.id = s.subnetpool_id WHERE o.id = ? AND s.project_id != o.project_id",
    ("address_scope", SHARED): "SELECT DISTINCT s.project_id FROM network_subnetpools s JOIN network_address_scopes o"
    " ON o.id = s.address_scope_id WHERE o.id = ? AND s.project_id != o.project_id",
}


def _refuse_if_used(tx: Tx, row: RbacPolicy, instead: str = "") -> None:
    """A project that uses the object keeps its grant, unless another policy (or that in its place) grants the same.
    Of the default external network everybody keeps his."""
    others = {r.target_tenant for r in tx.find(RbacPolicy, object_id=row.object_id, action=row.action)}
    others = others - {row.target_tenant} | ({instead} if instead else set())
    if "*" in others:
        return
    text = USERS[row.object_type, row.action]
    using = {project for (project,) in tx.sql(text, *[row.object_id] * text.count("?")).fetchall()} - others
    if using if row.target_tenant == "*" else row.target_tenant in using:
        raise errors.RbacPolicyInUse(object_id=row.object_id)
    if row.action == EXTERNAL and row.target_tenant == "*":
        default = tx.sql("SELECT is_default FROM network_networks WHERE id = ?", row.object_id).fetchone()
        if default is not None and default[0]:
            raise errors.RbacPolicyInUse(object_id=row.object_id)
