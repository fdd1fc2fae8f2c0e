"""Security group rules: what traffic a group lets through (Networking API v2.0, "Security group rules")."""

from collections.abc import Mapping
from typing import Any, Literal

import sqlalchemy as sa

from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import Given, allow, create_each, create_target, mark, own_network, take
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.rule_plan import check_rule, normalized, same_key
from nutshell.network.service import network, reads
from nutshell.network.sight import seen


class SecurityGroupRule(
    Resource,
    service="network",
    one="security_group_rule",
    many="security_group_rules",
    path="/security-group-rules",
    visible="get_security_group_rule",
):
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create", max_length=255)
    security_group_id: str = field(write="create", index=True)
    group_project_id: str = field(default="", hidden=True)
    direction: Literal["ingress", "egress"] = field(write="create")
    ethertype: Literal["IPv4", "IPv6"] = field(default="IPv4", write="create")
    protocol: str | int | None = field(default=None, write="create")
    port_range_min: int | None = field(default=None, write="create")
    port_range_max: int | None = field(default=None, write="create")
    remote_ip_prefix: str | None = field(default=None, write="create")
    remote_group_id: str | None = field(default=None, write="create", index=True)
    in_default: bool = field(default=False, hidden=True)  # came with a default group: no quota was taken

    def policy_target(self) -> Mapping[str, Any]:
        return {**self.__dict__, "security_group:project_id": self.group_project_id}


standard(SecurityGroupRule, tags=False)

GROUP_MEMBER = "rule:admin_only or (role:member and rule:sg_owner)"
GROUP_READER = "rule:admin_only or (role:reader and rule:sg_owner)"
network.policy(
    {
        "sg_owner": "project_id:%(security_group:project_id)s",
        "create_security_group_rule": GROUP_MEMBER,
        "get_security_group_rule": GROUP_READER,
        "delete_security_group_rule": GROUP_MEMBER,
    }
)
reads(SecurityGroupRule)


@SecurityGroupRule.policy_column("security_group:project_id")
def group_owner_column(who: Who) -> sa.ColumnElement[str]:
    return SecurityGroupRule.c("group_project_id")


@SecurityGroupRule.shows("remote_address_group_id")
def remote_address_group_id(row: SecurityGroupRule, ctx: Context) -> None:
    return None


@SecurityGroupRule.shows("normalized_cidr")
def normalized_cidr(row: SecurityGroupRule, ctx: Context) -> str | None:
    return normalized(row.remote_ip_prefix)


@SecurityGroupRule.shows("belongs_to_default_sg")
def belongs_to_default_sg(row: SecurityGroupRule, ctx: Context) -> bool:
    return row.in_default


@network.verb(SecurityGroupRule, "create", rule="create_security_group_rule", body=None, against=own_network)
def create(ask: Ask[Any]) -> Any:
    items = ask.body.get("security_group_rules") if isinstance(ask.body, dict) else None
    if isinstance(items, list) and len({i.get("security_group_id") for i in items if isinstance(i, dict)}) > 1:
        raise errors.SecurityGroupNotSingleGroupRules()
    return create_each(ask, SecurityGroupRule, _create)


def _create(ask: Ask[Any], given: Given) -> SecurityGroupRule:
    from nutshell.network.security_groups import SecurityGroup

    group_id = uuid_of("security_group_id", given["security_group_id"])
    found = seen(ask.cloud, ask.tx, ask.who, SecurityGroup, "id", group_id)
    if not found:
        raise errors.SecurityGroupNotFound(id=group_id)
    group = found[0]
    target = create_target(given) | {"security_group:project_id": group.project_id}
    allow(ask, "create_security_group_rule", given, target, SecurityGroupRule)
    check_rule(given)
    remote = given.get("remote_group_id") or None
    given["remote_group_id"] = remote
    if remote and not seen(ask.cloud, ask.tx, ask.who, SecurityGroup, "id", remote):
        raise errors.SecurityGroupNotFound(id=remote)
    refuse_duplicate(ask.tx, group.id, given)
    take(ask, given["project_id"], "security_group_rule")
    row = ask.tx.add(SecurityGroupRule(id=ask.new_id(), group_project_id=group.project_id, **given))
    touch_group(ask.tx, group.id)
    return row


def refuse_duplicate(tx: Tx, group_id: str, given: Given) -> None:
    """409 if the group has a rule that says the same."""
    key = same_key(given)
    for other in tx.find(SecurityGroupRule, security_group_id=group_id, direction=given["direction"]):
        if same_key(other.__dict__) == key:
            raise errors.SecurityGroupRuleExists(id=other.id)


def touch_group(tx: Tx, group_id: str) -> None:
    """The group's revision and world follow its rules."""
    tx.sql("UPDATE network_security_groups SET generation = generation + 1 WHERE id = ?", group_id)
    mark(tx, "network_security_groups", [group_id])


@network.verb(SecurityGroupRule, "delete", rule="delete_security_group_rule")
def delete(ask: Ask[SecurityGroupRule]) -> None:
    row = ask.target
    ask.tx.drop(row)
    if not row.in_default:
        ask.cloud.quotas.give_back(ask.tx, row.project_id, {"network.security_group_rule": 1})
    touch_group(ask.tx, row.security_group_id)
