"""Rows as they are shown: which members, in which version, view and for which caller."""

import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter

from nutshell.core.resource import Resource
from nutshell.core.service import Ask
from nutshell.core.versions import Version

Getter = Callable[[t.Any, "Context"], t.Any]


@dataclass
class Context:
    """What computed members may look at: the request, and `rel`, what the noun's `preload` fetched for the page."""

    ask: Ask[t.Any]
    rel: t.Any = None
    seen: dict[t.Any, bool] = field(default_factory=dict)

    def link(self, *parts: str) -> str:
        """An absolute address below the service's version root."""
        return "/".join((self.ask.url, *parts))

    def may(self, rule: str, row: Resource) -> bool:
        """Whether the caller may see a member of this row; asked once per rule and owner."""
        key = (rule, getattr(row, "project_id", None), getattr(row, "user_id", None))
        found = self.seen.get(key)
        if found is None:
            found = self.seen[key] = self.ask.may(rule, row.policy_target())
        return found


@dataclass(frozen=True)
class _Plan:
    """How a noun is shown in one view and version."""

    plain: tuple[tuple[str, str], ...]  # (wire, attribute) of columns everybody sees
    computed: tuple[tuple[str, Getter], ...]
    guarded: tuple[tuple[str, str, Getter], ...]  # (wire, rule, getter)


@lru_cache(maxsize=4096)
def _plan(noun: t.Any, view: str, at: Version, time: Callable[[float], str]) -> _Plan:
    plain: list[tuple[str, str]] = []
    computed: list[tuple[str, Getter]] = []
    guarded: list[tuple[str, str, Getter]] = []

    def wanted(brief: bool, views: frozenset[str]) -> bool:
        return view in views if views else (brief or view != "brief")

    for f in noun.fields.values():
        if f.hidden or at not in f.span or not wanted(f.brief, f.views):
            continue
        getter = _time_getter(f.name, time) if f.time else _plain_getter(f.name)
        if f.see:
            guarded.append((f.on_wire, f.see, getter))
        elif f.time:
            computed.append((f.on_wire, getter))
        else:
            plain.append((f.on_wire, f.name))
    for v in noun.shown.values():
        if at not in v.span or not wanted(v.brief, v.views):
            continue
        if v.see:
            guarded.append((v.wire, v.see, v.make))
        else:
            computed.append((v.wire, v.make))
    return _Plan(tuple(plain), tuple(computed), tuple(guarded))


def _plain_getter(name: str) -> Getter:
    get = attrgetter(name)
    return lambda row, ctx: get(row)


def _time_getter(name: str, time: Callable[[float], str]) -> Getter:
    get = attrgetter(name)

    def show(row: t.Any, ctx: Context) -> str | None:
        at = get(row)
        return None if at is None else time(at)

    return show


OMIT = object()  # a computed member that answers this is left out


def render_rows(ask: Ask[t.Any], noun: type[Resource], rows: Sequence[Resource], view: str) -> list[dict[str, t.Any]]:
    """Rows of one noun as JSON-able dicts."""
    ctx = Context(ask, noun.preload(ask.tx, rows) if noun.preload is not None else None)
    plan = _plan(t.cast(t.Any, noun), view, ask.at, ask.service.time)
    computed, guarded = _guards(ctx, plan, rows)
    found = []
    for row in rows:
        values = row.__dict__
        one = {wire: values[name] for wire, name in plan.plain}
        for wire, get in computed:
            if (value := get(row, ctx)) is not OMIT:
                one[wire] = value
        for wire, rule, get in guarded:
            if ctx.may(rule, row) and (value := get(row, ctx)) is not OMIT:
                one[wire] = value
        if noun.extras == "keep":
            one = {**getattr(row, "extra", {}), **one}
        found.append(one)
    if ask.service.fields_query and "fields" in ask.query:
        wanted = set(ask.query["fields"])
        found = [{k: v for k, v in one.items() if k in wanted} for one in found]
    return found


def _guards(
    ctx: Context, plan: _Plan, rows: Sequence[Resource]
) -> tuple[Sequence[tuple[str, Getter]], Sequence[tuple[str, str, Getter]]]:
    """The computed members and those whose rule has to be asked for each row; rules that only look at the caller
    are asked once."""
    if not plan.guarded or not rows:
        return plan.computed, plan.guarded
    rules = ctx.ask.cloud.rules
    each = [g for g in plan.guarded if rules.looks_at_target(g[1])]
    rest = [g for g in plan.guarded if not rules.looks_at_target(g[1])]
    same = [(wire, get) for wire, rule, get in rest if ctx.may(rule, rows[0])]
    return [*plan.computed, *same], each


def render_row(ask: Ask[t.Any], row: Resource, view: str) -> dict[str, t.Any]:
    return render_rows(ask, type(row), [row], view)[0]
