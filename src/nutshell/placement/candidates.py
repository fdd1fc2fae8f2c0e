"""Allocation candidates: the sets of allocations that would meet a request.

Source: Placement API reference, "Allocation candidates". Each group of wishes is met by one provider; the groups of one
candidate lie in one tree. Resources of the group without suffix are not split over a tree's providers (docs/limits).
"""

from collections.abc import Mapping, Sequence
from itertools import islice, product
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.placement.errors import BadQuery
from nutshell.placement.inventories import traits_of
from nutshell.placement.queries import Group, fitting, group
from nutshell.placement.service import placement
from nutshell.placement.tables import Provider

RULE = "placement:allocation_candidates:list"
placement.policy({RULE: "rule:admin_or_service_api"})
MOST = 1000
Choice = tuple[tuple[Group, Provider], ...]


def _groups(ask: Ask[Any]) -> list[Group]:
    suffixes = sorted(n.removeprefix("resources") for n in ask.query if n.startswith("resources"))
    if not suffixes:
        raise BadQuery("At least one group of resources is required: 'resources' is a required property")
    if len([s for s in suffixes if s]) > 1 and ask.asked("group_policy") not in ("none", "isolate"):
        raise BadRequest('The "group_policy" parameter is required when specifying more than one "resources{N}"'
                         " parameter.")  # fmt: skip
    return [group(ask.tx, ask.query, s) for s in suffixes]


def choices(ask: Ask[Any]) -> tuple[list[Group], list[Choice]]:
    """One provider a group, all of one tree; fewer than asked for by `limit`."""
    groups = _groups(ask)
    fits = [fitting(ask.tx, g) for g in groups]
    isolate = ask.asked("group_policy") == "isolate"
    try:
        limit = int(ask.asked("limit") or MOST)
    except ValueError:
        raise BadQuery("Invalid query string parameters: limit is not an integer") from None
    roots = list(dict.fromkeys(p.root_id for p in fits[0].values()))

    def all_of_them() -> Any:
        for root in roots:
            mine = [[p for p in fit.values() if p.root_id == root] for fit in fits]
            for combination in product(*mine):
                suffixed = [p.id for g, p in zip(groups, combination, strict=True) if g.suffix]
                if isolate and len(set(suffixed)) < len(suffixed):
                    continue
                choice = tuple(zip(groups, combination, strict=True))
                if _room_for_all(ask.tx, choice):
                    yield choice

    return groups, list(islice(all_of_them(), min(limit, MOST)))


def _summed(choice: Choice) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for wishes, provider in choice:
        of = found.setdefault(provider.id, {})
        for name, amount in wishes.resources.items():
            of[name] = of.get(name, 0) + amount
    return found


def _room_for_all(tx: Tx, choice: Choice) -> bool:
    """Groups met by one provider must fit there together."""
    if len({p.id for _, p in choice}) == len(choice):
        return True
    for provider_id, resources in _summed(choice).items():
        have = capacities(tx, provider_id)
        if any(have[n]["used"] + a > have[n]["capacity"] for n, a in resources.items()):
            return False
    return True


def capacities(tx: Tx, provider_id: str) -> dict[str, dict[str, int]]:
    text = (
        "SELECT resource_class, (total - reserved) * allocation_ratio, used FROM placement_inventory"
        " WHERE provider_id = ? ORDER BY resource_class"
    )
    return {n: {"capacity": int(c), "used": u} for n, c, u in tx.sql(text, provider_id).fetchall()}


def _summaries(tx: Tx, providers: Sequence[Provider], wanted: set[str] | None, traits: bool, nested: bool) -> Any:
    found = {}
    for p in providers:
        have = capacities(tx, p.id)
        entry: dict[str, Any] = {"resources": {n: c for n, c in have.items() if wanted is None or n in wanted}}
        if traits:
            entry["traits"] = traits_of(tx, p.id)
        if nested:
            entry |= {"parent_provider_uuid": p.parent_id, "root_provider_uuid": p.root_id}
        found[p.id] = entry
    return found


def _requests(found: Sequence[Choice], as_list: bool, mappings: bool) -> list[dict[str, Any]]:
    requests = []
    for choice in found:
        summed: Mapping[str, Any] = _summed(choice)
        allocations: Any = {i: {"resources": r} for i, r in summed.items()}
        if as_list:
            allocations = [{"resource_provider": {"uuid": i}, "resources": r} for i, r in summed.items()]
        entry = {"allocations": allocations}
        if mappings:
            entry["mappings"] = {g.suffix: [p.id] for g, p in choice}
        requests.append(entry)
    return requests


def _routes(since: str, until: str, *, as_list: bool, traits: bool, whole: bool, nested: bool, mappings: bool) -> None:
    """GET /allocation_candidates in the form of a span of versions."""

    @placement.route("GET", "/allocation_candidates", rule=RULE, since=since, until=until)
    def index(ask: Ask[Any]) -> dict[str, Any]:
        groups, found = choices(ask)
        used = {p.id: p for choice in found for _, p in choice}
        if nested and used:
            roots = {p.root_id for p in used.values()}
            used |= {p.id: p for p in ask.tx.find(Provider, root_id=sorted(roots))}
        wanted = None if whole else {n for g in groups for n in g.resources}
        return {
            "allocation_requests": _requests(found, as_list, mappings),
            "provider_summaries": _summaries(ask.tx, list(used.values()), wanted, traits, nested),
        }


_routes("1.10", "1.11", as_list=True, traits=False, whole=False, nested=False, mappings=False)
_routes("1.12", "1.16", as_list=False, traits=False, whole=False, nested=False, mappings=False)
_routes("1.17", "1.26", as_list=False, traits=True, whole=False, nested=False, mappings=False)
_routes("1.27", "1.28", as_list=False, traits=True, whole=True, nested=False, mappings=False)
_routes("1.29", "1.33", as_list=False, traits=True, whole=True, nested=True, mappings=False)
_routes("1.34", "", as_list=False, traits=True, whole=True, nested=True, mappings=True)
