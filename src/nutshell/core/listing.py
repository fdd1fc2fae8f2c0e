"""Listings: what the caller may see, filtered, sorted and paged, in one query.

Pages continue after a marker by the values of the sort keys (keyset), never by counting rows.
"""

# house: mutable-state waived 2026-11-22: compiled texts of listings, filled once for each shape of query

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from nutshell.core.compiled import text_of
from nutshell.core.errors import BadRequest
from nutshell.core.resource import Field, Resource
from nutshell.core.service import Answer, Ask
from nutshell.core.store import loader

NOT_FILTERS = frozenset(
    {
        "limit",
        "marker",
        "sort_key",
        "sort_dir",
        "sort",
        "page_reverse",
        "fields",
        "offset",
        "all_tenants",
        "all_projects",
        "with_count",
    }
)
Where = t.Callable[[], sa.ColumnElement[bool]]
_COMPILED: dict[t.Any, tuple[str, tuple[str, ...], dict[str, t.Any]]] = {}


@dataclass(frozen=True)
class Page:
    rows: list[t.Any]
    more: bool  # whether another page follows


def list_rows(ask: Ask[t.Any]) -> t.Any:
    """The usual listing of the route's noun."""
    noun = ask.route.noun
    assert noun is not None
    page = select_page(ask, noun)
    return page_answer(ask, noun, page)


def page_answer(ask: Ask[t.Any], noun: type[Resource], page: Page) -> Answer:
    from nutshell.core.render import render_rows

    shown = render_rows(ask, noun, page.rows, ask.route.view)
    return Answer(ask.route.http, {noun.many: shown, **ask.service.page_links(ask, noun.many, page.rows, page.more)})


def show_row(ask: Ask[t.Any]) -> t.Any:
    return ask.target


def select_page(
    ask: Ask[t.Any],
    noun: type[Resource],
    *conditions: sa.ColumnElement[bool],
    deleted: bool = False,
    usual: tuple[t.Any, Where] | None = None,
    **equals: t.Any,
) -> Page:
    """The rows the caller may see and asked for. Extra conditions narrow it further, as does `usual`: (what alone it
    depends on, how it is made), with the caller's values in it by `who_value`. `deleted` includes the dead."""
    limit = page_limit(ask)
    reverse = ask.flag("page_reverse")
    keys = sort_keys(ask, noun)
    if reverse:
        keys = [(name, not down) for name, down in keys]
    shape: list[t.Any] = [noun, ask.tx.dialect.sql.name, tuple(keys), limit is None, deleted]
    values: dict[str, t.Any] = {}
    wheres: list[Where] = [_given(c) for c in conditions]  # made only when the query is not known yet
    cachable = not conditions
    if noun.tombstone and not deleted:
        wheres.append(lambda: noun.table.c.deleted_at.is_(None))
    if usual is not None:
        shape.append(usual[0])
        wheres.append(usual[1])
    for name, value in equals.items():
        wheres.append(_equal(noun, name, f"e_{name}", [value], values, shape))
    cachable = _filter(ask, noun, wheres, values, shape) and cachable
    cachable = _scope(ask, noun, wheres, shape) and cachable
    marker = ask.asked("marker")
    if marker:
        row = _marker_row(ask, noun, marker, conditions, equals)
        beyond = _after(noun, keys, row, values, shape)
        wheres.append(_given(beyond))
    if limit is not None:
        values["row_limit"] = limit + 1
        values["row_offset"] = _count(ask, "offset", 0)
    key = tuple(shape)
    known = _COMPILED.get(key) if cachable else None
    if known is None:
        statement = _statement(noun, wheres, keys, limit)
        if cachable and len(_COMPILED) < 10_000:
            known = _COMPILED[key] = _compiled(ask, statement, values)
    if known is not None:
        sql, names, literals = known
        values = literals | values
        bound = [_value(ask, values, n) for n in names]
    else:
        sql, bound = text_of(statement, ask.tx.dialect.sql, lambda n: _value(ask, values, n))
    row_of = loader(noun).row
    rows = [row_of(r) for r in ask.tx.sql(sql, *bound).fetchall()]
    more = limit is not None and len(rows) > limit
    rows = rows[:limit] if limit is not None else rows
    return Page(rows[::-1] if reverse else rows, more)


def _given(condition: sa.ColumnElement[bool]) -> Where:
    return lambda: condition


def _value(ask: Ask[t.Any], values: t.Mapping[str, t.Any], name: str) -> t.Any:
    return ask.who.credential(name[4:]) if name.startswith("who_") else values.get(name)


@cache
def _by_wire(noun: t.Any) -> dict[str, Field]:
    return {f.on_wire: f for f in noun.fields.values()} | dict(noun.fields)


@cache
def _columns(noun: t.Any) -> sa.Select[t.Any]:
    return sa.select(*(noun.table.c[n] for n in noun.fields))


def _statement(
    noun: type[Resource], wheres: Sequence[Where], keys: Sequence[tuple[str, bool]], limit: int | None
) -> sa.Select[t.Any]:
    statement = _columns(t.cast(t.Any, noun)).where(*(where() for where in wheres))
    for name, down in keys:
        for expression in _order(noun, name):
            statement = statement.order_by(expression.desc() if down else expression)
    if limit is not None:
        statement = statement.limit(sa.bindparam("row_limit", type_=sa.Integer)).offset(
            sa.bindparam("row_offset", type_=sa.Integer)
        )
    return statement


def _compiled(
    ask: Ask[t.Any], statement: sa.Select[t.Any], values: dict[str, t.Any]
) -> tuple[str, tuple[str, ...], dict[str, t.Any]]:
    """The query's text, the names of its values in order, and the values that are literals of its conditions."""
    for element in visitors.iterate(statement):  # rendering an IN wants every value; ours come with each request
        if isinstance(element, sa.BindParameter):
            element.required = False
    compiled = statement.compile(dialect=ask.tx.dialect.sql, compile_kwargs={"render_postcompile": True})
    literals = {n: v for n, v in compiled.params.items() if not n.startswith("who_") and n not in values}
    return str(compiled), tuple(compiled.positiontup or ()), literals


def page_limit(ask: Ask[t.Any]) -> int | None:
    """How many rows a page has: asked for, bounded by the service. None: all."""
    asked = _count(ask, "limit", -1)
    if asked == -1 or (asked == 0 and ask.service.any_field_filters):
        return ask.service.default_limit if ask.service.default_limit is not None else ask.service.max_limit
    return asked if ask.service.max_limit is None else min(asked, ask.service.max_limit)


def _count(ask: Ask[t.Any], name: str, default: int) -> int:
    text = ask.asked(name)
    if not text:
        return default
    try:
        found = int(text)
    except ValueError:
        raise BadRequest(f"{name} param must be an integer") from None
    if found < 0:
        raise BadRequest(f"{name} param must be positive")
    return min(found, 2**31 - 1)


def sort_keys(ask: Ask[t.Any], noun: type[Resource]) -> list[tuple[str, bool]]:
    """(column, descending) in order, the id last. 400 on a key that cannot be sorted by."""
    pairs: list[tuple[str, str]] = []
    if ask.asked("sort"):
        for part in ask.asked("sort").split(","):
            name, _, way = part.strip().partition(":")
            pairs.append((name, way or "desc"))
    else:
        names, ways = ask.query.get("sort_key", []), ask.query.get("sort_dir", [])
        if len(ways) > len(names) and names:
            raise BadRequest("The number of sort_dirs must not exceed the number of sort_keys.")
        default_way = ways[0] if len(ways) == 1 else ask.service.default_sort_dir
        pairs = [(n, ways[i] if i < len(ways) else default_way) for i, n in enumerate(names)]
    if not pairs:
        text = noun.default_sort or ask.service.default_sort
        pairs = [(p.split()[0], p.split()[1] if len(p.split()) > 1 else "asc") for p in text.split(",") if p.strip()]
    found: list[tuple[str, bool]] = []
    for name, way in pairs:
        f = _by_wire(t.cast(t.Any, noun)).get(name)
        if (
            f is None
            or f.is_json
            or not (
                f.sort
                or f.name in ("id", "created_at", "updated_at")
                or ask.service.any_field_filters
                or noun.default_sort
            )
        ):
            raise BadRequest(f"Invalid sort key: {name}", field="sort_key", value=name)
        if way not in ("asc", "desc"):
            raise BadRequest(f"Unknown sort direction, must be one of: asc, desc. Got: {way}", field="sort_dir")
        if f.name not in [n for n, _ in found]:
            found.append((f.name, way == "desc"))
    if "id" not in [n for n, _ in found]:
        found.append(("id", found[-1][1] if found else False))
    return found


def _order(noun: type[Resource], name: str) -> list[sa.ColumnElement[t.Any]]:
    """The expressions a column sorts by: empty ones first, on every database."""
    column = noun.table.c[name]
    return [column.is_not(None), column] if column.nullable else [column]


def _marker_row(
    ask: Ask[t.Any],
    noun: type[Resource],
    marker: str,
    conditions: Sequence[sa.ColumnElement[bool]],
    equals: t.Mapping[str, t.Any],
) -> Resource:
    """The row the page continues after, or 400: also for one that this caller's listing never holds. It may have been
    deleted meanwhile."""
    from nutshell.core.perform import bound_to, visible

    mine = equals.get(noun.key, marker) == marker
    row = ask.tx.one(noun, deleted=True, **{**equals, noun.key: marker}) if mine else None
    if row is not None:
        narrowed = [*conditions, *(ask.service.scope(ask, noun) if ask.service.scope is not None else ())]
        if narrowed and not ask.tx.find(noun, *bound_to(ask, *narrowed), deleted=True, limit=1, id=row.id):
            row = None
    if row is None or (ask.service.scope is None and not visible(ask, row)):
        raise BadRequest(f"marker [{marker}] not found", field="marker", value=marker)
    return row


def _after(
    noun: type[Resource],
    keys: Sequence[tuple[str, bool]],
    row: Resource,
    values: dict[str, t.Any],
    shape: list[t.Any],
) -> sa.ColumnElement[bool]:
    """The condition "comes after the marker row" in the order of the keys."""
    branches: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for name, down in keys:
        value = getattr(row, name)
        column = noun.table.c[name]
        bound = sa.bindparam(f"m_{name}", type_=column.type)
        values[f"m_{name}"] = value
        shape.append(("after", name, value is None))
        if value is None:  # empty ones come first when ascending, last when descending
            if not down:
                branches.append(sa.and_(*equal, column.is_not(None)))
            equal.append(column.is_(None))
            continue
        beyond = column < bound if down else column > bound
        if down and column.nullable:
            beyond = sa.or_(beyond, column.is_(None))
        branches.append(sa.and_(*equal, beyond))
        equal.append(column == bound)
    return sa.or_(sa.false(), *branches)


def _filter(
    ask: Ask[t.Any], noun: type[Resource], wheres: list[Where], values: dict[str, t.Any], shape: list[t.Any]
) -> bool:
    """Add the query's filters; False when a noun's own filter made the query's text its own."""
    if NOT_FILTERS.issuperset(ask.query):
        return True
    columns = {f.on_wire: f for f in noun.fields.values() if filterable(ask, f)}
    plain = True
    for name, given in ask.query.items():
        own = noun.filters.get(name)
        if own is not None:
            condition = own(ask, given)
            if condition is not None:
                wheres.append(_given(condition))
            plain = False
        elif name in columns:
            f = columns[name]
            wheres.append(_equal(noun, f.name, f"f_{f.name}", [_read(f, v) for v in given], values, shape))
        elif name not in NOT_FILTERS and ask.service.unknown_filter == "refuse":
            raise BadRequest(f"Invalid filter: {name}", field=name)
    return plain


def filterable(ask: Ask[t.Any], f: Field) -> bool:
    return not f.is_json and (f.filter or (ask.service.any_field_filters and not f.hidden)) and ask.at in f.span


def _equal(
    noun: type[Resource],
    name: str,
    label: str,
    given: list[t.Any],
    values: dict[str, t.Any],
    shape: list[t.Any],
) -> Where:
    column = noun.table.c[name]
    shape.append((label, len(given), given[0] is None))
    if len(given) == 1 and given[0] is None:
        return lambda: column.is_(None)
    for i, v in enumerate(given):
        values[f"{label}_{i}"] = v
    return lambda: sa.or_(*(column == sa.bindparam(f"{label}_{i}", type_=column.type) for i in range(len(given))))


def _read(f: Field, text: str) -> t.Any:
    """A query value as the column's type. 400 when it cannot be one."""
    column_kind = str(f.kind)
    if "bool" in column_kind:
        low = text.strip().lower()
        if low in ("true", "1", "yes", "on", "t"):
            return True
        if low in ("false", "0", "no", "off", "f"):
            return False
        raise BadRequest(f"'{text}' is not a valid boolean value for {f.on_wire}.", field=f.on_wire, value=text)
    if "int" in column_kind and "str" not in column_kind:
        try:
            found = int(text)
        except ValueError:
            raise BadRequest(f"'{text}' is not an integer, as {f.on_wire} is.", field=f.on_wire, value=text) from None
        if not -(2**63) <= found < 2**63:
            raise BadRequest(f"'{text}' is out of range for {f.on_wire}.", field=f.on_wire, value=text)
        return found
    return text


def _scope(ask: Ask[t.Any], noun: type[Resource], wheres: list[Where], shape: list[t.Any]) -> bool:
    """Add what the caller may see; False when the service's own scope made the text its own."""
    if ask.service.scope is not None:
        found = ask.service.scope(ask, noun)
        wheres.extend(_given(c) for c in found)
        shape.append(("scope", tuple(str(c) for c in found)))
        return not found
    if not noun.visible:
        return True
    who = ask.who
    shape.append((noun.visible, id(ask.cloud.rules), who.roles, who.system, bool(who.project_id), bool(who.domain_id)))
    wheres.append(lambda: visible_where(ask, noun))
    return True


def visible_where(ask: Ask[t.Any], noun: type[Resource]) -> sa.ColumnElement[bool]:
    """The caller's view of a noun, as a condition."""

    def column(name: str) -> sa.ColumnElement[t.Any] | None:
        own = noun.columns_for_policy.get(name)
        if own is not None:
            found: sa.ColumnElement[t.Any] = own(ask.who)
            return found
        name = "project_id" if name == "tenant_id" else name
        return noun.table.c.get(name)

    return ask.cloud.rules.rule(noun.visible).where(ask.who, column, ask.cloud.rules)
