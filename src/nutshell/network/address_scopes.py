"""Address scopes: plans within which no two subnet pools overlap (Networking API v2.0, "Address scopes").

Pools of one scope can be routed to each other; a scope is shared as networks are, and then stays so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import Given, allow, create_each, create_target, read_changes
from nutshell.network.rbacs import SHARED, drop_policies, granted, reaches, set_wildcard, targets
from nutshell.network.service import ADMIN, MEMBER, READER, network, reads


class AddressScope(
    Resource,
    service="network",
    one="address_scope",
    many="address_scopes",
    path="/address-scopes",
    visible="get_address_scope",
):
    name: str = field(write="create update", min_length=1, max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    ip_version: int = field(write="create", lo=4, hi=6)
    shared: bool = field(default=False, write="create update", hidden=True)  # body only: rbac policies decide

    def policy_target(self) -> Mapping[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name != "shared"
        }  # that is asked of the policies


network.policy(
    {
        "shared_address_scopes": "field:address_scopes:shared=True",
        "create_address_scope": MEMBER,
        "create_address_scope:shared": ADMIN,
        "get_address_scope": f"{READER} or rule:shared_address_scopes",
        "update_address_scope": MEMBER,
        "update_address_scope:shared": ADMIN,
        "delete_address_scope": MEMBER,
    }
)
reads(AddressScope)


@AddressScope.policy_column("shared")
def shared_column(who: Who) -> sa.ColumnElement[bool]:
    return granted(AddressScope, "id", SHARED, who)


@AddressScope.preloads
def related(tx: Tx, rows: Sequence[AddressScope]) -> dict[str, set[str]]:
    return targets(tx, [s.id for s in rows], SHARED)


@AddressScope.shows("shared")
def shared(row: AddressScope, ctx: Context) -> bool:
    return reaches(ctx.rel.get(row.id), ctx.ask.who)


@AddressScope.shows("tenant_id")
def owner(row: AddressScope, ctx: Context) -> str:
    return row.project_id


@network.verb(AddressScope, "create", rule="create_address_scope", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, AddressScope, _create)


def _create(ask: Ask[Any], given: Given) -> AddressScope:
    allow(ask, "create_address_scope", given, create_target(given), AddressScope)
    if given["ip_version"] not in (4, 6):
        raise errors.InvalidAttribute(name="ip_version", why=f"'{given['ip_version']}' is not in [4, 6]")
    is_shared = given.pop("shared", False)
    row = ask.tx.add(AddressScope(id=ask.new_id(), **given))
    if is_shared:
        set_wildcard(ask, row.id, SHARED, True, "address_scope")
    return row


@network.verb(AddressScope, "update", rule="update_address_scope", body=None)
def update(ask: Ask[AddressScope]) -> AddressScope:
    row = ask.target
    given = read_changes(ask, AddressScope)
    allow(ask, "update_address_scope", given, row.policy_target(), AddressScope)
    if "shared" in given:
        wanted = given.pop("shared")
        if not wanted and "*" in targets(ask.tx, [row.id], SHARED).get(row.id, set()):
            raise errors.AddressScopeUpdateError(id=row.id, why="Shared address scope can't be unshared")
        set_wildcard(ask, row.id, SHARED, wanted, "address_scope")
    return ask.tx.put(row, **given)


@network.verb(AddressScope, "delete", rule="delete_address_scope")
def delete(ask: Ask[AddressScope]) -> None:
    from nutshell.network.subnet_pools import SubnetPool

    if ask.tx.count(SubnetPool, address_scope_id=ask.target.id):
        raise errors.AddressScopeInUse(id=ask.target.id)
    drop_policies(ask, ask.target.id)
    ask.tx.drop(ask.target)
