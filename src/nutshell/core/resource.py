"""Declared nouns: one class gives the table, the request checks, what is shown, the versions and the policy.

See docs/ADD_A_RESOURCE.md. A row is a frozen dataclass; it is made by the store without running `__init__`.
"""

# house: parameters waived 2026-11-22: a field is declared by keywords alone, each with a default
# house: mutable-state waived 2026-11-22: filled by class declarations, while modules are imported

import dataclasses as dc
import types
import typing as t
import zlib
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec
import sqlalchemy as sa

from nutshell.core.versions import Span

METADATA = sa.MetaData()
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # one order everywhere: bytes
NOUNS: list[type["Resource"]] = []


@dc.dataclass(frozen=True)
class Field:
    """What one attribute declares beyond its Python type."""

    name: str = ""
    wire: str = ""  # its JSON name; the attribute's own when empty
    write: frozenset[str] = frozenset()  # verbs whose body may set it
    span: Span = Span()
    see: str = ""  # the policy rule that shows it; empty: everybody who sees the row
    hidden: bool = False  # never on the wire
    brief: bool = False  # also in the brief view
    views: frozenset[str] = frozenset()  # only in these views, when given
    filter: bool = False  # may be filtered by in listings
    sort: bool = False  # may be sorted by
    time: bool = False  # seconds since the epoch, shown in the service's time format
    index: bool = False
    unique: bool = False
    required: tuple[str, ...] = ()  # verbs whose body must set it though it has a default
    meta: msgspec.Meta | None = None
    kind: t.Any = None  # the annotated Python type
    is_json: bool = False

    @property
    def on_wire(self) -> str:
        return self.wire or self.name


def field(
    *,
    default: t.Any = dc.MISSING,
    factory: Callable[[], t.Any] | None = None,
    lo: int | float | None = None,
    hi: int | float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
    write: str = "",
    since: str = "",
    until: str = "",
    views: str = "",
    required: str = "",
    **flags: t.Any,
) -> t.Any:
    """Declare an attribute of a Resource or Body. `factory` makes the default; lo/hi/lengths/pattern bound the
    value on the wire; write: verbs ("create update") whose body may set it; the rest as in `Field`."""
    meta = None
    if any(x is not None for x in (lo, hi, min_length, max_length, pattern)):
        bounds: dict[str, t.Any] = {
            "ge": lo,
            "le": hi,
            "min_length": min_length,
            "max_length": max_length,
            "pattern": pattern,
        }
        meta = msgspec.Meta(**{k: v for k, v in bounds.items() if v is not None})
    spec = Field(
        write=frozenset(write.split()),
        span=Span.of(since, until),
        views=frozenset(views.split()),
        required=tuple(required.split()),
        meta=meta,
        **flags,
    )
    if factory is not None:
        return dc.field(default_factory=factory, kw_only=True, metadata={"spec": spec})
    return dc.field(default=default, kw_only=True, metadata={"spec": spec})


Row = t.TypeVar("Row", bound="Resource")
Declared = t.TypeVar("Declared")
Shown = Callable[[t.Any, t.Any], t.Any]


@dc.dataclass(frozen=True)
class View:
    """A computed attribute on the wire: a pure function of the row and the render context."""

    wire: str
    make: Shown
    span: Span
    see: str
    brief: bool
    views: frozenset[str]


@t.dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def declared(cls: type[Declared]) -> type[Declared]:
    """A dataclass without the methods that are compiled for each: 199 times, that takes long."""
    return dc.dataclass(cls, init=False, repr=False, eq=False)


@t.dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
@declared
class Resource:
    """A noun: a row in a table, and how it is written, read and shown.

    Class arguments: service, one, many (its names on the wire), path (below the service's prefix; default "/many"),
    key (the attribute in its address, default "id"), tombstone (deleted rows stay, marked), visible (the policy rule
    that lets a caller see a row; listings show exactly those), extras ("refuse", "ignore" or "keep": body members
    that are not declared), table (its name; default service_many), unique (sets of columns unique among the living),
    indexes (sets of columns), sort (the listing's order when the caller names none: "name, id desc").
    """

    id: str = field(brief=True, filter=True, sort=True)
    created_at: float = field(default=0.0, time=True, sort=True, hidden=True)
    updated_at: float | None = field(default=None, time=True, sort=True, hidden=True)
    deleted_at: float | None = field(default=None, time=True, hidden=True)
    generation: int = field(default=1, hidden=True)

    service: t.ClassVar[str]
    one: t.ClassVar[str]
    many: t.ClassVar[str]
    path: t.ClassVar[str]
    key: t.ClassVar[str]
    tombstone: t.ClassVar[bool]
    visible: t.ClassVar[str]
    extras: t.ClassVar[str]
    default_sort: t.ClassVar[str]
    table: t.ClassVar[sa.Table]
    fields: t.ClassVar[Mapping[str, Field]]
    shown: t.ClassVar[dict[str, View]]
    filters: t.ClassVar[dict[str, Callable[..., t.Any]]]
    columns_for_policy: t.ClassVar[dict[str, Callable[..., t.Any]]]
    preload: t.ClassVar[Callable[..., t.Any] | None]
    event_kind: t.ClassVar[str]
    blank: t.ClassVar[Mapping[str, t.Any]]  # every attribute in order: its default, or that there is none
    factories: t.ClassVar[Mapping[str, Callable[[], t.Any]]]

    def __init_subclass__(
        cls,
        *,
        service: str,
        one: str,
        many: str,
        path: str | None = None,
        key: str = "id",
        tombstone: bool = False,
        visible: str = "",
        extras: str = "refuse",
        table: str = "",
        unique: Sequence[Sequence[str]] = (),
        indexes: Sequence[Sequence[str]] = (),
        sort: str = "",
    ) -> None:
        cls.service, cls.one, cls.many, cls.key = service, one, many, key
        cls.path = f"/{many}" if path is None else path
        cls.tombstone, cls.visible, cls.extras, cls.default_sort = tombstone, visible, extras, sort
        cls.event_kind = f"{service}.{one}"
        cls.shown, cls.filters, cls.columns_for_policy, cls.preload = {}, {}, {}, None
        cls.__doc__ = cls.__doc__ or cls.__name__  # else dataclass works out a signature for it, which is slow
        declared(cls)
        cls.fields = specs(cls)
        cls.blank = {f.name: f.default for f in dc.fields(cls)}
        cls.factories = {f.name: f.default_factory for f in dc.fields(cls) if f.default_factory is not dc.MISSING}
        cls.table = _table(cls, table or f"{service}_{many}".replace("-", "_"), unique, indexes)
        NOUNS.append(cls)

    def __init__(self, **given: t.Any) -> None:
        values = {**self.blank, **given}
        for name, make in self.factories.items():
            if name not in given:
                values[name] = make()
        if len(values) != len(self.blank) or dc.MISSING in values.values():
            raise TypeError(f"{type(self).__name__} does not have exactly the attributes {sorted(given)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: t.Any) -> None:
        raise dc.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dc.FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.id, self.generation))

    @classmethod
    def shows(
        cls, wire: str, *, since: str = "", until: str = "", see: str = "", brief: bool = False, views: str = ""
    ) -> Callable[[Shown], Shown]:
        """Show a computed attribute: `f(row, ctx)`; `ctx.rel` is what `preload` returned for the whole page."""

        def keep(f: Shown) -> Shown:
            cls.shown[wire + (f"@{since}" if since else "")] = View(
                wire, f, Span.of(since, until), see, brief, frozenset(views.split())
            )
            return f

        return keep

    @classmethod
    def filters_by(cls, name: str) -> Callable[[Callable[..., t.Any]], Callable[..., t.Any]]:
        """A listing filter of its own: `f(ask, values: list[str]) -> SQLAlchemy condition or None`."""

        def keep(f: Callable[..., t.Any]) -> Callable[..., t.Any]:
            cls.filters[name] = f
            return f

        return keep

    @classmethod
    def preloads(cls, f: Callable[..., t.Any]) -> Callable[..., t.Any]:
        """`f(tx, rows) -> related`: everything a page of rows needs to be shown, in a fixed number of queries."""
        cls.preload = staticmethod(f)
        return f

    @classmethod
    def policy_column(cls, name: str) -> Callable[[Callable[..., t.Any]], Callable[..., t.Any]]:
        """An attribute rules may test that is no column: `f(who) -> SQLAlchemy expression` over this table.

        The caller's values go in by `policy.who_value("project_id")`, never literally: compiled queries are kept.
        """

        def keep(f: Callable[..., t.Any]) -> Callable[..., t.Any]:
            cls.columns_for_policy[name] = f
            return f

        return keep

    def policy_target(self) -> Mapping[str, t.Any]:
        """What `%(…)s` in rules means for this row: its attributes."""
        return self.__dict__

    @classmethod
    def c(cls, name: str) -> sa.ColumnElement[t.Any]:
        """A column, for conditions: `Port.c("network_id") == x`."""
        found: sa.ColumnElement[t.Any] = cls.table.c[name]
        return found


def specs(cls: type) -> Mapping[str, Field]:
    """The declared fields of a Resource or Body, in order."""
    found = {}
    for f in dc.fields(cls):
        spec: Field = f.metadata["spec"]
        kind = t.get_type_hints(cls)[f.name] if isinstance(f.type, str) else f.type  # the hints take long to work out
        found[f.name] = dc.replace(spec, name=f.name, kind=kind, is_json=_column_type(kind) is sa.JSON)
    return types.MappingProxyType(found)


def _plain(kind: t.Any) -> t.Any:
    """`X | None` → X."""
    if isinstance(kind, types.UnionType) or t.get_origin(kind) is t.Union:
        rest = [a for a in t.get_args(kind) if a is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _column_type(kind: t.Any) -> t.Any:
    kind = _plain(kind)
    if kind is bool:
        return sa.Boolean
    if kind is int:
        return sa.BigInteger
    if kind is float:
        return sa.Float
    if t.get_origin(kind) is t.Literal or (isinstance(kind, type) and issubclass(kind, str)):
        return TEXT
    return sa.JSON


def _table(
    cls: type[Resource], name: str, unique: Sequence[Sequence[str]], indexes: Sequence[Sequence[str]]
) -> sa.Table:
    columns: list[t.Any] = []
    for f in cls.fields.values():
        kind = _column_type(f.kind)
        nullable = f.kind is not _plain(f.kind) or kind is sa.JSON
        columns.append(
            sa.Column(
                f.name,
                TEXT if kind is sa.JSON else kind,
                primary_key=f.name == "id",
                nullable=nullable and f.name != "id",
            )
        )
    table = sa.Table(name, METADATA, *columns)
    alive = table.c.deleted_at.is_(None) if cls.tombstone else None
    # PostgreSQL's is put in when a database of that kind is made (postgres.py): its dialect takes long to load
    wheres: dict[str, t.Any] = {} if alive is None else {"sqlite_where": alive, "info": {"where": alive}}
    for f in cls.fields.values():
        if f.unique:
            sa.Index(f"{name}_{f.name}_key", table.c[f.name], unique=True, **wheres)
        elif f.index:
            sa.Index(f"{name}_{f.name}_idx", table.c[f.name])
    for group in unique:
        sa.Index(_index_name(name, *group, "key"), *(table.c[n] for n in group), unique=True, **wheres)
    if "project_id" in cls.fields and "due_at" in cls.fields:  # the usual listing of a noun that has many rows
        indexes = [*indexes, ("project_id", "created_at", "id")]
    for group in indexes:
        sa.Index(_index_name(name, *group, "idx"), *(table.c[n] for n in group))
    return table


def _index_name(*parts: str) -> str:
    """At most 63 bytes, as PostgreSQL has it; what is longer ends in a checksum."""
    text = "_".join(parts)
    return text if len(text) <= 63 else f"{text[:54]}_{zlib.crc32(text.encode()):08x}"


class Loader(t.Generic[Row]):
    """Turns database tuples into rows of one noun, and rows into column values."""

    def __init__(self, cls: type[Row]) -> None:
        self.cls = cls
        self.names = tuple(cls.fields)
        self._convert: list[tuple[str, Callable[[t.Any], t.Any]]] = []
        for f in cls.fields.values():
            plain = _plain(f.kind)
            if f.is_json:
                self._convert.append((f.name, msgspec.json.Decoder(f.kind).decode))
            elif plain is bool:
                self._convert.append((f.name, bool))
            elif isinstance(plain, type) and issubclass(plain, StrEnum):
                self._convert.append((f.name, plain._value2member_map_.__getitem__))
        self.columns = ", ".join(f'"{n}"' for n in self.names)

    def row(self, values: Sequence[t.Any]) -> Row:
        made = object.__new__(self.cls)
        kept = made.__dict__
        kept.update(zip(self.names, values, strict=True))
        for name, convert in self._convert:
            if (value := kept[name]) is not None:
                kept[name] = convert(value)
        return made

    def value(self, name: str, value: t.Any) -> t.Any:
        """A Python value as its column holds it."""
        if self.cls.fields[name].is_json and value is not None:
            return msgspec.json.encode(value).decode()
        return value
