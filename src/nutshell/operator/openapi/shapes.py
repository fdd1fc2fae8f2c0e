"""JSON schemas of what routes take and answer, from declared bodies and nouns (JSON Schema 2020-12)."""

import typing as t
from collections.abc import Mapping, Sequence

import msgspec

from nutshell.core.resource import Field, Resource
from nutshell.core.schema import members_of
from nutshell.core.service import Route, Service
from nutshell.core.versions import ALWAYS, Version

Schema = dict[str, t.Any]
REF = "#/components/schemas/{name}"
ANYTHING: Schema = {"description": "any value"}


class Kinds:
    """Turns Python types into schemas; nested structures are named once, in `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def schema(self, kind: t.Any) -> Schema:
        (found,), named = msgspec.json.schema_components([kind], ref_template=REF)
        self.components.update(named)
        return dict(found)


def version_of(service: Service) -> Version:
    """The version a document speaks of: the newest."""
    return service.versions.highest if service.versions is not None else ALWAYS


def taken(service: Service, route: Route, kinds: Kinds) -> Schema | None:
    """What the route's declared body may be; None when it declares none."""
    at = version_of(service)
    if route.body is not None:
        inner = members(members_of(route.body, route.verb, at), route.body.extras, kinds)
    elif route.noun is not None and route.verb in ("create", "update") and service.any_field_filters:
        found = members_of(route.noun, route.verb, at)  # network's verbs read their noun's fields themselves
        inner = members(found, "refuse", kinds)
    else:
        return None
    wrap = route.wrap
    if wrap is None:
        wrap = route.action or (route.noun.one if route.noun is not None else "")
    return wrapped(wrap, inner) if wrap else inner


def wrapped(name: str, inner: Schema) -> Schema:
    return {"type": "object", "properties": {name: inner}, "required": [name]}


def members(items: Mapping[str, tuple[t.Any, bool]], extras: str, kinds: Kinds) -> Schema:
    """An object of these members: wire name → (type, whether it must be there)."""
    found: Schema = {"type": "object", "properties": {wire: kinds.schema(kind) for wire, (kind, _) in items.items()}}
    required = [wire for wire, (_, must) in items.items() if must]
    if required:
        found["required"] = required
    if extras == "refuse":
        found["additionalProperties"] = False
    return found


def shown(service: Service, noun: type[Resource], view: str, kinds: Kinds) -> Schema:
    """How a noun is shown. Members that a rule guards, or that may be left out, are not required."""
    at = version_of(service)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for f in noun.fields.values():
        if f.hidden or at not in f.span or not _in_view(f.brief, f.views, view):
            continue
        properties[f.on_wire] = _field(f, kinds)
        if not f.see:
            required.append(f.on_wire)
    for v in noun.shown.values():
        if at in v.span and _in_view(v.brief, v.views, view):
            properties[v.wire] = _returned(v.make, kinds)
    return {"type": "object", "properties": properties, "required": required}


def _in_view(brief: bool, views: frozenset[str], view: str) -> bool:
    return view in views if views else (brief or view != "brief")


def _field(f: Field, kinds: Kinds) -> Schema:
    if f.time:
        return {"type": ["string", "null"], "description": "a time"}
    return kinds.schema(f.kind)


def _returned(make: t.Callable[..., t.Any], kinds: Kinds) -> Schema:
    """The schema of a computed member, by its function's annotation; one that may be left out says nothing."""
    try:
        kind = t.get_type_hints(make).get("return", t.Any)
        return ANYTHING if kind in (t.Any, object) else kinds.schema(kind)
    except (NameError, TypeError):  # an annotation that is there for the type checker only
        return ANYTHING


def answered(service: Service, route: Route, kinds: Kinds) -> Schema | None:
    """What a successful answer holds, where the declarations alone say it: the usual list or show of a noun."""
    from nutshell.core.listing import list_rows, show_row

    noun = route.noun
    if noun is None or route.handler not in (list_rows, show_row):
        return None
    one = shown(service, noun, route.view, kinds)
    if service.fields_query:
        one.pop("required")  # ?fields= chooses
    if route.handler is show_row:
        return wrapped(noun.one, one)
    return wrapped(noun.many, {"type": "array", "items": one})


def parameters(service: Service, route: Route) -> Sequence[Schema]:
    """Path parameters, and a listing's filters and paging."""
    names = [s[1:-1].rstrip("*") for s in route.path.split("/") if s.startswith("{")]
    found: list[Schema] = [
        {"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in dict.fromkeys(names)
    ]
    if route.method == "GET" and route.verb == "list" and route.noun is not None:
        at = version_of(service)
        query = {"limit": {"type": "integer", "minimum": 0}, "marker": {"type": "string"}}
        query |= {"sort_key": {"type": "string"}, "sort_dir": {"type": "string"}}
        for f in route.noun.fields.values():
            if at in f.span and not f.is_json and (f.filter or (service.any_field_filters and not f.hidden)):
                query[f.on_wire] = {"type": "string"}
        query |= {name: {"type": "string"} for name in route.noun.filters}
        found += [{"name": n, "in": "query", "schema": s} for n, s in query.items()]
    return found
