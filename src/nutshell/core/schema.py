"""Request bodies: what a verb accepts, checked and turned into Python values.

A body is declared like a noun (`class Resize(Body): flavor_id: str = field(wire="flavorRef")`) or derived from a
noun's writable fields. Any type msgspec can convert may annotate a field, nested `msgspec.Struct`s included.
"""

import dataclasses as dc
import typing as t
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from nutshell.core.errors import BadRequest
from nutshell.core.resource import Field, Resource, declared, field, specs
from nutshell.core.versions import Version


@t.dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
@declared
class Body:
    """What an action or an odd verb takes. Class argument `extras`: "refuse" (default), "ignore" or "keep"."""

    fields: t.ClassVar[Mapping[str, Field]]
    extras: t.ClassVar[str]

    def __init_subclass__(cls, *, extras: str = "refuse") -> None:
        cls.__doc__ = cls.__doc__ or cls.__name__
        declared(cls)
        cls.fields, cls.extras = specs(cls), extras


@dc.dataclass(frozen=True)
class _Item:
    spec: Field
    kind: t.Any
    required: bool


@lru_cache(maxsize=4096)
def _items(shape: t.Any, verb: str, at: Version) -> dict[str, _Item]:
    """Wire name → what it must be, for this verb and version."""
    no_default = {f.name for f in dc.fields(shape) if f.default is dc.MISSING and f.default_factory is dc.MISSING}
    is_body = issubclass(shape, Body)
    found = {}
    for f in shape.fields.values():
        if not (is_body or verb in f.write) or at not in f.span:
            continue
        kind = t.Annotated[f.kind, f.meta] if f.meta is not None and not _has_meta_conflict(f.kind) else f.kind
        if f.meta is not None and _has_meta_conflict(f.kind):
            kind = t.Annotated[t.get_args(f.kind)[0], f.meta] | None
        required = (f.name in no_default and (is_body or verb == "create")) or verb in f.required
        found[f.on_wire] = _Item(f, kind, required)
    return found


def members_of(shape: type[Resource] | type[Body], verb: str, at: Version) -> dict[str, tuple[t.Any, bool]]:
    """Wire name → (type, whether it must be given): what `check` goes by, for documents and tests."""
    return {wire: (item.kind, item.required) for wire, item in _items(t.cast(t.Any, shape), verb, at).items()}


def _has_meta_conflict(kind: t.Any) -> bool:
    """Bounds go on the member of `X | None`, which msgspec wants."""
    args = t.get_args(kind)
    return len(args) == 2 and args[1] is type(None)


def check(
    shape: type[Resource] | type[Body], given: t.Any, verb: str, at: Version, *, lax: bool = False, where: str = ""
) -> dict[str, t.Any]:
    """Wire body → {python name: value}, only of members that were given; 400 naming the member and what was wrong.

    With extras "keep" the unknown members are under "extra". `lax` takes "5" for 5 and "true" for True.
    """
    if not isinstance(given, Mapping):
        raise BadRequest(
            f"Invalid input for field/attribute {where or 'body'}. Value: {_brief(given)}. It is not an object.",
            field=where,
        )
    items = _items(t.cast(t.Any, shape), verb, at)
    found: dict[str, t.Any] = {}
    extra: dict[str, t.Any] = {}
    for wire, value in given.items():
        item = items.get(wire)
        if item is None:
            extra[wire] = value
            continue
        found[item.spec.name] = convert(value, item.kind, wire, lax=lax)
    if extra and shape.extras == "refuse":
        names = ", ".join(f"'{n}'" for n in extra)
        raise BadRequest(
            f"Additional properties are not allowed ({names} {'was' if len(extra) == 1 else 'were'} unexpected)",
            unknown=sorted(extra),
            field=where,
        )
    if shape.extras == "keep":
        found["extra"] = extra
    for wire, item in items.items():
        if item.required and item.spec.name not in found:
            raise BadRequest(
                f"Invalid input for field/attribute {where or 'body'}. '{wire}' is a required property",
                missing=wire,
                field=where,
            )
    return found


def convert(value: t.Any, kind: t.Any, name: str, *, lax: bool = False) -> t.Any:
    """One value as the type wants it, or 400 in the words of JSON schema."""
    try:
        return msgspec.convert(value, kind, strict=not lax)
    except msgspec.ValidationError as why:
        raise BadRequest(
            f"Invalid input for field/attribute {name}. Value: {_brief(value)}. {why}",
            field=name,
            value=value,
            reason=str(why),
        ) from None


def _brief(value: t.Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"
