"""The query language of placement: resources, required traits, membership, trees.

Source: Placement API reference, "List resource providers" and "List allocation candidates" (query parameters).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.placement.errors import BadQuery
from nutshell.placement.names import is_class, is_trait
from nutshell.placement.port import Wanted
from nutshell.placement.scheduling import Scheduling
from nutshell.placement.tables import Provider

EVERYTHING = 100_000


@dataclass(frozen=True)
class Group:
    """One group of wishes, all to be met by one provider."""

    suffix: str
    resources: Mapping[str, int]
    required: Sequence[frozenset[str]]  # each: any of these traits
    forbidden: frozenset[str]
    member_of: Sequence[frozenset[str]]  # each: in any of these aggregates
    not_member_of: frozenset[str]
    in_tree: str


def group(tx: Tx, query: Mapping[str, list[str]], suffix: str = "") -> Group:
    """The wishes of one suffix; 400 for what does not exist or cannot be read."""
    required, forbidden = _traits(tx, query.get("required" + suffix, []))
    inside, outside = _members(query.get("member_of" + suffix, []))
    resources = _resources(tx, _last(query, "resources" + suffix))
    return Group(suffix, resources, required, forbidden, inside, outside, _last(query, "in_tree" + suffix))


def _last(query: Mapping[str, list[str]], name: str) -> str:
    values = query.get(name)
    return values[-1] if values else ""


def _resources(tx: Tx, text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in text.split(",") if text else ():
        name, colon, amount = part.partition(":")
        if not colon or not amount.isdecimal() or int(amount) < 1:
            raise BadQuery(f"Badly formed resources parameter. Expected resources query string parameter in form:"
                           f" ?resources=VCPU:2,MEMORY_MB:1024. Got: {text}.")  # fmt: skip
        if not is_class(tx, name):
            raise BadQuery(f"Invalid resource class in resources parameter: No such resource class {name}.")
        found[name] = int(amount)
    return found


def _traits(tx: Tx, values: Sequence[str]) -> tuple[list[frozenset[str]], frozenset[str]]:
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        if value.startswith("in:"):
            required.append(frozenset(value[3:].split(",")))
            continue
        for name in value.split(","):
            if name.startswith("!"):
                forbidden.add(name[1:])
            else:
                required.append(frozenset({name}))
    unknown = sorted(t for t in {*forbidden, *(t for any_of in required for t in any_of)} if not is_trait(tx, t))
    if unknown:
        raise BadQuery(f"No such trait(s): {', '.join(unknown)}.")
    return required, frozenset(forbidden)


def _members(values: Sequence[str]) -> tuple[list[frozenset[str]], frozenset[str]]:
    inside: list[frozenset[str]] = []
    outside: set[str] = set()
    for value in values:
        names = value.removeprefix("!").removeprefix("in:").split(",")
        if value.startswith("!"):
            outside |= set(names)
        elif len(names) > 1 and not value.startswith("in:"):
            raise BadQuery("Multiple values for 'member_of' must be prefixed with the 'in:' keyword.")
        else:
            inside.append(frozenset(names))
    return inside, frozenset(outside)


def fitting(tx: Tx, wishes: Group) -> dict[str, Provider]:
    """Providers that meet one group, by id."""
    rows = {p.id: p for p in tx.find(Provider, order="name")}
    if wishes.resources:
        fit = Scheduling().fit(tx, Wanted(wishes.resources), limit=EVERYTHING)
        rows = {c.provider_id: rows[c.provider_id] for c in fit.candidates}
    if wishes.required or wishes.forbidden:
        traits = _sets(tx, "SELECT provider_id, trait FROM placement_provider_trait")
        rows = {
            i: p
            for i, p in rows.items()
            if all(any_of & traits.get(i, set()) for any_of in wishes.required)
            and not wishes.forbidden & traits.get(i, set())
        }
    if wishes.member_of or wishes.not_member_of:
        members = _sets(tx, "SELECT provider_id, aggregate_id FROM placement_provider_aggregate")
        rows = {
            i: p
            for i, p in rows.items()
            if all(any_of & members.get(i, set()) for any_of in wishes.member_of)
            and not wishes.not_member_of & members.get(i, set())
        }
    if wishes.in_tree:
        tree = tx.get(Provider, wishes.in_tree)
        rows = {i: p for i, p in rows.items() if tree is not None and p.root_id == tree.root_id}
    return rows


def _sets(tx: Tx, text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key, value in tx.sql(text).fetchall():
        found.setdefault(key, set()).add(value)
    return found


def matching(ask: Ask[Any]) -> list[Provider]:
    """What GET /resource_providers asks for."""
    rows = list(fitting(ask.tx, group(ask.tx, ask.query)).values())
    name, uuid = ask.asked("name"), ask.asked("uuid")
    return [r for r in rows if (not name or r.name == name) and (not uuid or r.id == uuid)]
