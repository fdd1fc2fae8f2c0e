"""Subnet pools: prefixes from which subnets are cut (Networking API v2.0, "Subnet pools extension")."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import collapse_addresses, ip_network
from typing import Any

import sqlalchemy as sa

from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.address_scopes import AddressScope
from nutshell.network.addresses import Span, bounds, text
from nutshell.network.bodies import Given, allow, create_each, create_target, read_changes, revision_matches, take
from nutshell.network.rbacs import SHARED, drop_policies, granted, reaches, set_wildcard, targets
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.service import ADMIN, MEMBER, READER, network, reads
from nutshell.network.sight import seen
from nutshell.network.subnet_plan import cidr_of

BITS = {4: 32, 6: 128}
SMALLEST = {4: 8, 6: 64}


class SubnetPool(Resource, service="network", one="subnetpool", many="subnetpools", visible="get_subnetpool"):
    name: str = field(write="create update", min_length=1, max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    prefixes: list[str] | str = field(factory=list, write="create update", required="create")
    ip_version: int = field(default=4)
    default_quota: int | None = field(default=None, write="create update", lo=0, hi=2**31 - 1)
    default_prefixlen: int = field(default=0, write="create update", lo=0)
    min_prefixlen: int = field(default=0, write="create update", lo=0)
    max_prefixlen: int = field(default=0, write="create update", lo=0)
    address_scope_id: str | None = field(default=None, write="create update", index=True)
    is_default: bool = field(default=False, write="create update")
    shared: bool = field(default=False, write="create", hidden=True)  # body only: rbac policies decide
    tags: list[str] = field(factory=list)

    def policy_target(self) -> Mapping[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name != "shared"
        }  # that is asked of the policies


standard(SubnetPool)

network.policy(
    {
        "shared_subnetpools": "field:subnetpools:shared=True",
        "create_subnetpool": MEMBER,
        "create_subnetpool:shared": ADMIN,
        "create_subnetpool:is_default": ADMIN,
        "get_subnetpool": f"{READER} or rule:shared_subnetpools",
        "update_subnetpool": MEMBER,
        "update_subnetpool:is_default": ADMIN,
        "delete_subnetpool": MEMBER,
        "add_prefixes": MEMBER,
        "remove_prefixes": MEMBER,
    }
)
reads(SubnetPool)


@SubnetPool.policy_column("shared")
def shared_column(who: Who) -> sa.ColumnElement[bool]:
    return granted(SubnetPool, "id", SHARED, who)


@SubnetPool.preloads
def related(tx: Tx, rows: Sequence[SubnetPool]) -> dict[str, set[str]]:
    return targets(tx, [p.id for p in rows], SHARED)


@SubnetPool.shows("shared")
def shared(row: SubnetPool, ctx: Context) -> bool:
    return reaches(ctx.rel.get(row.id), ctx.ask.who)


def _as_text(name: str) -> Callable[[SubnetPool, Context], str]:
    return lambda row, ctx: str(getattr(row, name))


for _length in ("default_prefixlen", "min_prefixlen", "max_prefixlen"):  # numbers as text, as clients know them
    SubnetPool.shows(_length)(_as_text(_length))


@network.verb(SubnetPool, "create", rule="create_subnetpool", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, SubnetPool, _create)


def _create(ask: Ask[Any], given: Given) -> SubnetPool:
    allow(ask, "create_subnetpool", given, create_target(given), SubnetPool)
    given["prefixes"], version = merged(given["prefixes"])
    given["ip_version"] = version
    given["min_prefixlen"] = given.get("min_prefixlen", SMALLEST[version])
    given["max_prefixlen"] = given.get("max_prefixlen", BITS[version])
    given["default_prefixlen"] = given.get("default_prefixlen", given["min_prefixlen"])
    check_lengths(given, version)
    _only_default(ask, given.get("is_default", False), version, "")
    _check_scope(ask, given.get("address_scope_id"), given["prefixes"], version, "")
    is_shared = given.pop("shared", False)
    take(ask, given["project_id"], "subnetpool")
    row = ask.tx.add(SubnetPool(id=ask.new_id(), **given))
    if is_shared:
        set_wildcard(ask, row.id, SHARED, True, "subnetpool")
    return row


def _check_scope(ask: Ask[Any], scope_id: str | None, prefixes: Sequence[str], version: int, pool_id: str) -> None:
    """The scope is one the caller sees, of the pool's IP version, and no other pool of it has these addresses."""
    if scope_id is None:
        return
    found = seen(ask.cloud, ask.tx, ask.who, AddressScope, "id", uuid_of("address_scope_id", scope_id))
    if not found:
        raise errors.AddressScopeNotFound(id=scope_id)
    if found[0].ip_version != version:
        raise errors.IllegalSubnetPoolIpVersionAssociationToAddressScope(id=scope_id, version=found[0].ip_version)
    others = ask.tx.find(SubnetPool, SubnetPool.c("id") != pool_id, address_scope_id=scope_id)
    mine = [bounds(p) for p in prefixes]
    if any(_meet(one, bounds(p)) for other in others for p in other.prefixes for one in mine):
        raise errors.AddressScopePrefixConflict()


def merged(given: list[str] | str) -> tuple[list[str], int]:
    """The prefixes, neighbours joined, and their IP version."""
    found = [ip_network(cidr_of(p)) for p in ([given] if isinstance(given, str) else given)]
    if not found:
        raise errors.EmptySubnetPoolPrefixList()
    versions = {p.version for p in found}
    if len(versions) > 1:
        raise errors.PrefixVersionMismatch()
    joined = collapse_addresses(found)  # type: ignore[type-var]
    return [str(p) for p in joined], versions.pop()


def check_lengths(pool: Given, version: int) -> None:
    names = ("min_prefixlen", "max_prefixlen", "default_prefixlen")
    low, high, usual = (pool[n] for n in names)
    for value in (low, high, usual):
        if value > BITS[version]:
            raise errors.UnsupportedMinSubnetPoolPrefix(prefix=value, version=version)
    for (one, a), (other, b) in (
        (("min_prefixlen", low), ("max_prefixlen", high)),
        (("default_prefixlen", usual), ("max_prefixlen", high)),
        (("min_prefixlen", low), ("default_prefixlen", usual)),
    ):
        if a > b:
            raise errors.IllegalSubnetPoolPrefixBounds(name=one, length=a, other=other, other_length=b)


def _only_default(ask: Ask[Any], wanted: bool, version: int, pool_id: str) -> None:
    if wanted:
        other = ask.tx.one(SubnetPool, SubnetPool.c("id") != pool_id, is_default=True, ip_version=version)
        if other is not None:
            raise errors.InvalidInput(
                f"A default subnetpool for this IP family has already been set. Only one default may exist per IP"
                f" family. The existing default is {other.id}"
            )


@network.verb(SubnetPool, "update", rule="update_subnetpool", body=None)
def update(ask: Ask[SubnetPool]) -> SubnetPool:
    row = ask.target
    revision_matches(ask, row)
    given = read_changes(ask, SubnetPool)
    allow(ask, "update_subnetpool", given, row.policy_target(), SubnetPool)
    if "prefixes" in given:
        more = given["prefixes"] if isinstance(given["prefixes"], list) else [given["prefixes"]]
        given["prefixes"], version = merged(more)
        if version != row.ip_version:
            raise errors.PrefixVersionMismatch()
        if merged([*more, *row.prefixes])[0] != given["prefixes"]:
            raise errors.IllegalSubnetPoolPrefixUpdate(why="Existing prefixes must be a subset of the new prefixes")
    check_lengths({**row.__dict__, **given}, row.ip_version)
    _only_default(ask, given.get("is_default", False), row.ip_version, row.id)
    _fit_scope(ask, row, given)
    return ask.tx.put(row, **given)


def _fit_scope(ask: Ask[Any], row: SubnetPool, given: Given) -> None:
    """Changed prefixes, or a changed scope, go together; in a scope of others' only its owner moves prefixes."""
    scope = ask.tx.get(AddressScope, row.address_scope_id)
    foreign = scope is not None and scope.project_id != ask.who.project_id and not ask.may("context_is_admin")
    if foreign and "prefixes" in given:
        raise errors.IllegalSubnetPoolUpdate(
            why="the prefixes of a subnet pool in an address scope of another project cannot be changed"
        )
    if "prefixes" in given or given.get("address_scope_id") not in (None, row.address_scope_id):
        scope_id = given.get("address_scope_id", row.address_scope_id)
        _check_scope(ask, scope_id, given.get("prefixes", row.prefixes), row.ip_version, row.id)


def _prefixes_given(ask: Ask[SubnetPool]) -> list[str]:
    body = ask.body if isinstance(ask.body, dict) else {}
    found = body.get("prefixes")
    if not isinstance(found, list):
        raise errors.InvalidAttribute(name="prefixes", why=f"'{found}' is not a list")
    prefixes, version = merged(found)
    if version != ask.target.ip_version:
        raise errors.PrefixVersionMismatch()
    return prefixes


@network.verb(SubnetPool, "add_prefixes", rule="add_prefixes", method="PUT", path="/{id}/add_prefixes", body=None)
def add_prefixes(ask: Ask[SubnetPool]) -> Answer:
    ask.must("add_prefixes", ask.target.policy_target())
    given: Given = {"prefixes": merged([*ask.target.prefixes, *_prefixes_given(ask)])[0]}
    _fit_scope(ask, ask.target, given)
    return Answer(200, {"prefixes": ask.tx.put(ask.target, **given).prefixes})


@network.verb(
    SubnetPool, "remove_prefixes", rule="remove_prefixes", method="PUT", path="/{id}/remove_prefixes", body=None
)
def remove_prefixes(ask: Ask[SubnetPool]) -> Answer:
    """Take addresses out of the pool; 409 while a subnet of it has some of them."""
    ask.must("remove_prefixes", ask.target.policy_target())
    left = [ip_network(p) for p in ask.target.prefixes]
    gone = [ip_network(p) for p in _prefixes_given(ask)]
    for out in gone:
        left = [rest for one in left for rest in _without(one, out)]
    rows = ask.tx.sql("SELECT cidr FROM network_subnets WHERE subnetpool_id = ?", ask.target.id).fetchall()
    held = [cidr for (cidr,) in rows if any(ip_network(cidr).overlaps(out) for out in gone)]
    if held:
        raise errors.SubnetPoolPrefixesInUse(cidrs=", ".join(held))
    joined = [str(p) for p in collapse_addresses(left)]  # type: ignore[type-var]
    if not joined:
        raise errors.EmptySubnetPoolPrefixList()
    return Answer(200, {"prefixes": ask.tx.put(ask.target, prefixes=joined).prefixes})


def _without(one: Any, out: Any) -> list[Any]:
    if not one.overlaps(out):
        return [one]
    return [] if one.subnet_of(out) else list(one.address_exclude(out))


@network.verb(SubnetPool, "delete", rule="delete_subnetpool")
def delete(ask: Ask[SubnetPool]) -> None:
    from nutshell.network.subnets import Subnet

    row = ask.target
    revision_matches(ask, row)
    if ask.tx.count(Subnet, subnetpool_id=row.id):
        raise errors.SubnetPoolDeleteError(why="Subnet pool has existing allocations")
    drop_policies(ask, row.id)
    ask.tx.drop(row)
    ask.cloud.quotas.give_back(ask.tx, row.project_id, {"network.subnetpool": 1})


def cut(tx: Tx, pool: SubnetPool, project_id: str, cidr: str | None, length: int | None) -> str:
    """A prefix of the pool that no subnet has: the one asked for, or the first that is free."""
    if cidr is not None:
        length = ip_network(cidr).prefixlen
    elif length is None:
        length = pool.default_prefixlen
    if length < pool.min_prefixlen:
        raise errors.MinPrefixSubnetAllocationError(length=length, limit=pool.min_prefixlen)
    if length > pool.max_prefixlen:
        raise errors.MaxPrefixSubnetAllocationError(length=length, limit=pool.max_prefixlen)
    _check_quota(tx, pool, project_id, length)
    rows = tx.sql("SELECT cidr FROM network_subnets WHERE subnetpool_id = ?", pool.id).fetchall()
    held = sorted((bounds(c) for (c,) in rows), key=lambda s: s.first)
    if cidr is not None:
        wanted = bounds(cidr)
        within = any(bounds(p).first <= wanted.first and wanted.last <= bounds(p).last for p in pool.prefixes)
        if not within or any(_meet(wanted, h) for h in held):
            raise errors.SubnetAllocationError(
                why="Cannot allocate requested subnet from the available set of prefixes"
            )
        return cidr
    return _first_free(pool, held, length)


def _first_free(pool: SubnetPool, held: Sequence[Span], length: int) -> str:
    size = 1 << (BITS[pool.ip_version] - length)
    for prefix in pool.prefixes:
        whole = bounds(prefix)
        at = whole.first
        while at + size - 1 <= whole.last:
            wanted = Span(at, at + size - 1)
            other = next((h for h in held if _meet(wanted, h)), None)
            if other is None:
                return f"{text(at, pool.ip_version)}/{length}"
            at = (other.last // size + 1) * size
    raise errors.SubnetAllocationError(why=f"Insufficient prefix space to allocate subnet size /{length}")


def _meet(one: Span, other: Span) -> bool:
    return one.first <= other.last and other.first <= one.last


def _check_quota(tx: Tx, pool: SubnetPool, project_id: str, length: int) -> None:
    """The pool's quota counts addresses, of IPv6 /64 prefixes."""
    if pool.default_quota is None:
        return

    def units(prefix_length: int) -> int:
        return int(2 ** ((32 if pool.ip_version == 4 else 64) - prefix_length))

    rows = tx.sql(
        "SELECT cidr FROM network_subnets WHERE subnetpool_id = ? AND project_id = ?", pool.id, project_id
    ).fetchall()
    used = sum(units(int(c.partition("/")[2])) for (c,) in rows)
    if used + units(length) > pool.default_quota:
        raise errors.SubnetPoolQuotaExceeded()
