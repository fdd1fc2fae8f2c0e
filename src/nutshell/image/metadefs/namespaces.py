"""Namespaces of metadata definitions: each is one document with its objects, properties, tags and resource types."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from nutshell.core.errors import BadRequest, Conflict, Forbidden, NotFound
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.image.metadefs import schemas
from nutshell.image.service import OWNER, image, is_admin

Item = dict[str, Any]
SEES = f"rule:context_is_admin or (role:reader and ({OWNER} or 'public':%(visibility)s))"
WRITES = "rule:metadef_admin"
image.policy(
    {
        "metadef_default": "",
        "metadef_admin": "rule:context_is_admin",
        "get_metadef_namespace": SEES,
        "get_metadef_namespaces": f"rule:context_is_admin or (role:reader and {OWNER})",
        "add_metadef_namespace": WRITES,
        "modify_metadef_namespace": WRITES,
        "delete_metadef_namespace": WRITES,
    }
)
SORT_KEYS = ("created_at", "updated_at", "namespace", "display_name", "description", "visibility", "id")
LIMIT, MOST = 25, 1000
SCHEMA = "/v2/schemas/metadefs/namespace"


class MetadefNamespace(
    Resource,
    service="image",
    one="metadef_namespace",
    many="metadef_namespaces",
    tombstone=True,
    unique=(("namespace",),),
):
    """One namespace. The lists are in the order in which their members were added."""

    namespace: str = field()
    project_id: str | None = field(default=None, wire="owner")
    display_name: str | None = field(default=None)
    description: str | None = field(default=None)
    visibility: str = field(default="private")
    protected: bool = field(default=False)
    associations: list[dict[str, Any]] = field(factory=list)
    properties: dict[str, dict[str, Any]] = field(factory=dict)
    objects: list[dict[str, Any]] = field(factory=list)
    tags: list[dict[str, Any]] = field(factory=list)


class MetadefResourceType(
    Resource, service="image", one="metadef_resource_type", many="metadef_resource_types", unique=(("name",),)
):
    """A kind of resource that some namespace was once about."""

    name: str = field()


class NamespaceNotFound(NotFound):
    """Metadata definition namespace={id} was not found."""


def visible(ask: Ask[Any], row: MetadefNamespace) -> bool:
    mine = row.project_id is None or (bool(ask.who.project_id) and row.project_id == ask.who.project_id)
    return (is_admin(ask) or row.visibility == "public" or mine) and ask.may("get_metadef_namespace", target_of(row))


def target_of(row: MetadefNamespace) -> Mapping[str, Any]:
    return {"project_id": row.project_id, "owner": row.project_id, "visibility": row.visibility}


def load(ask: Ask[Any]) -> Mapping[str, Any]:
    """Sets `ask.target` to the namespace of the path. 404 for what the caller may not see."""
    name = ask.params["namespace"]
    row = ask.tx.one(MetadefNamespace, namespace=name)
    if row is None or not visible(ask, row):
        raise NamespaceNotFound(id=name)
    ask.target = row
    return target_of(row)


def stamped(ask: Ask[Any], item: Item, old: Item | None = None) -> Item:
    """The item with its times; `old`: what it replaces."""
    return {**item, "created_at": old["created_at"] if old else ask.now, "updated_at": ask.now}


def timed(ask: Ask[Any], item: Item) -> Item:
    """The item with its times as they are shown; what is null is left out."""
    found = {k: v for k, v in item.items() if v is not None}
    for name in ("created_at", "updated_at"):
        found[name] = ask.service.time(item[name])
    return found


def newest_first(items: list[Item]) -> list[Item]:
    return items[::-1]


def property_shown(item: Item) -> Item:
    """A property as it is shown: without times; a default is text."""
    found = {k: v for k, v in item.items() if v is not None and k not in schemas.READ_ONLY}
    if "default" in found and not isinstance(found["default"], str):
        found["default"] = str(found["default"])
    return found


def object_shown(ask: Ask[Any], row: MetadefNamespace, item: Item, *, whole: bool = True) -> Item:
    """An object; `whole`: with what it does not have, empty."""
    found = {**({"properties": {}, "required": []} if whole else {}), **timed(ask, item)}
    if "properties" in found:
        found["properties"] = {k: property_shown(v) for k, v in found["properties"].items()}
    href = f"/v2/metadefs/namespaces/{row.namespace}/objects/{item['name']}"
    return {**found, "self": href, "schema": "/v2/schemas/metadefs/object"}


def shown(ask: Ask[Any], row: MetadefNamespace) -> Item:
    """The namespace without what is in it."""
    found = {
        "namespace": row.namespace,
        "display_name": row.display_name,
        "description": row.description,
        "visibility": row.visibility,
        "protected": row.protected,
        "owner": row.project_id,
        "created_at": ask.service.time(row.created_at),
        "updated_at": ask.service.time(row.updated_at or row.created_at),
        "self": f"/v2/metadefs/namespaces/{row.namespace}",
        "schema": SCHEMA,
    }
    return {k: v for k, v in found.items() if v is not None}


def whole(ask: Ask[Any], row: MetadefNamespace) -> Item:
    """The namespace with everything in it."""
    parts = {
        "objects": [object_shown(ask, row, o) for o in newest_first(row.objects)],
        "resource_type_associations": [timed(ask, a) for a in newest_first(row.associations)],
        "properties": {k: property_shown(v) for k, v in row.properties.items()},
        "tags": [{"name": t["name"]} for t in newest_first(row.tags)],
    }
    return shown(ask, row) | {k: v for k, v in parts.items() if v}


def prefixed(found: Item, resource_type: str) -> Item:
    """Names of properties as they are on such a resource."""
    prefix = next(
        (a.get("prefix") for a in found.get("resource_type_associations", []) if a["name"] == resource_type), ""
    )
    if not prefix:
        return found
    if "properties" in found:
        found["properties"] = {prefix + k: v for k, v in found["properties"].items()}
    for one in found.get("objects", []):
        one["properties"] = {prefix + k: v for k, v in one.get("properties", {}).items()}
        if one.get("required"):
            one["required"] = [prefix + k for k in one["required"]]
    return found


@image.route("GET", "/metadefs/namespaces", rule="get_metadef_namespaces", noun=MetadefNamespace, verb="list")
def list_namespaces(ask: Ask[Any]) -> Answer:
    c = MetadefNamespace.table.c
    where: list[sa.ColumnElement[bool]] = []
    asked = ask.asked("visibility")
    if asked and asked not in ("public", "private"):
        raise BadRequest(f"Invalid visibility value: {asked}")
    if asked:
        where.append(c.visibility == asked)
    if not is_admin(ask):
        where.append(sa.or_(c.visibility == "public", c.project_id == ask.who.project_id))
    key, way = ask.asked("sort_key", "created_at"), ask.asked("sort_dir", "desc")
    if key not in SORT_KEYS:
        raise BadRequest(f"Invalid sort key: {key}. It must be one of the following: {', '.join(SORT_KEYS)}.")
    if way not in ("asc", "desc"):
        raise BadRequest(f"Invalid sort direction: {way}")
    rows = ask.tx.find(MetadefNamespace, *where, order=f'"{key}" {way}, created_at {way}, id {way}')
    kinds = {k for k in ask.asked("resource_types").split(",") if k}
    if kinds:
        rows = [r for r in rows if kinds & {a["name"] for a in r.associations}]
    page, more = cut(rows, ask.asked("marker"), read_limit(ask, LIMIT), lambda r: r.namespace)
    found = []
    for row in page:
        if ask.may("get_metadef_namespace", target_of(row)):
            kinds_of = [timed(ask, a) for a in newest_first(row.associations)]
            found.append(shown(ask, row) | ({"resource_type_associations": kinds_of} if kinds_of else {}))
    pairs = [(k, v) for k, values in ask.query.items() for v in values if k != "marker"]
    body: Item = {"namespaces": found, "schema": SCHEMA + "s"}
    body["first"] = "/v2/metadefs/namespaces" + ("?" + urlencode(pairs) if pairs else "")
    if more:
        body["next"] = "/v2/metadefs/namespaces?" + urlencode([*pairs, ("marker", page[-1].namespace)])
    return Answer(200, body)


def read_limit(ask: Ask[Any], usual: int | None) -> int | None:
    """How many members a listing may have. 400."""
    text = ask.asked("limit")
    if not text:
        return usual
    try:
        found = int(text)
    except ValueError:
        raise BadRequest("limit param must be an integer") from None
    if found < 0:
        raise BadRequest("limit param must be positive")
    return min(found, MOST)


def cut(rows: list[Any], marker: str, limit: int | None, name_of: Any) -> tuple[list[Any], bool]:
    """The page after the marker, and whether it is full. 404 for a marker that is not there."""
    if marker:
        places = [i for i, r in enumerate(rows) if name_of(r) == marker]
        if not places:
            raise NotFound(kind="Marker", id=marker)
        rows = rows[places[0] + 1 :]
    if limit is None:
        return rows, False
    return rows[:limit], bool(rows[:limit]) and len(rows[:limit]) == limit


@image.route(
    "POST", "/metadefs/namespaces", rule="add_metadef_namespace", noun=MetadefNamespace, verb="create", wrap=""
)
def create_namespace(ask: Ask[Any]) -> Answer:
    body = schemas.read("namespace", ask.body, read_only=("self", "schema", *schemas.READ_ONLY))
    for part, rule in (
        ("resource_type_associations", "add_metadef_resource_type_association"),
        ("objects", "add_metadef_object"),
        ("properties", "add_metadef_property"),
        ("tags", "add_metadef_tag"),
    ):
        if body.get(part):
            ask.must(rule)
    row = build(ask.new_id(), body, ask.now, ask.who.project_id)
    if ask.tx.count(MetadefNamespace, namespace=row.namespace):
        raise Conflict(f"The metadata definition namespace={row.namespace} already exists.")
    row = ask.tx.add(row)
    remember_types(ask.tx, row, ask.new_id)
    given = {
        part: body[part] for part in ("objects", "properties", "tags", "resource_type_associations") if body.get(part)
    }
    found = {**shown(ask, row), **given}
    return Answer(201, found, {"Location": f"/v2/metadefs/namespaces/{row.namespace}"})


def build(row_id: str, body: Item, now: float, owner: str | None) -> MetadefNamespace:
    """A row of a whole namespace. 409 for two members of one name."""
    times = {"created_at": now, "updated_at": now}
    parts: dict[str, list[Item]] = {}
    for part in ("objects", "tags", "resource_type_associations"):
        items = body.get(part, [])
        names = [i.get("name") for i in items]
        if any(not n for n in names):
            raise BadRequest(f"Every member of {part} needs a name.")
        if len({str(n).lower() if part == "tags" else n for n in names}) != len(names):
            raise Conflict(f"Two members of {part} have the same name.")
        parts[part] = [{**i, **times} for i in items]
    return MetadefNamespace(
        id=row_id,
        namespace=body["namespace"],
        project_id=body.get("owner", owner),
        display_name=body.get("display_name"),
        description=body.get("description"),
        visibility=body.get("visibility", "private"),
        protected=body.get("protected", False),
        associations=parts["resource_type_associations"],
        properties={k: {**v, **times} for k, v in body.get("properties", {}).items()},
        objects=parts["objects"],
        tags=parts["tags"],
        updated_at=now,
    )


def remember_types(tx: Tx, row: MetadefNamespace, new_id: Any) -> None:
    """Kinds of resources that are named for the first time are listed from now on."""
    wanted = [a["name"] for a in row.associations]
    known = {r.name for r in tx.find(MetadefResourceType, name=wanted)}
    for name in wanted:
        if name not in known:
            tx.add(MetadefResourceType(id=new_id(), name=name, updated_at=tx.now), quiet=True)


@image.route(
    "GET", "/metadefs/namespaces/{namespace}", rule="get_metadef_namespace", noun=MetadefNamespace, verb="show",
    against=load,
)  # fmt: skip
def show_namespace(ask: Ask[Any]) -> Answer:
    for rule in ("list_metadef_resource_types", "get_metadef_objects", "get_metadef_properties", "get_metadef_tags"):
        ask.must(rule, target_of(ask.target))
    found = whole(ask, ask.target)
    kind = ask.asked("resource_type")
    return Answer(200, prefixed(found, kind) if kind else found)


@image.route(
    "PUT", "/metadefs/namespaces/{namespace}", rule="modify_metadef_namespace", noun=MetadefNamespace, verb="update",
    against=load, wrap="",
)  # fmt: skip
def update_namespace(ask: Ask[Any]) -> Answer:
    body = schemas.read("namespace", ask.body, read_only=("self", "schema", *schemas.READ_ONLY))
    row: MetadefNamespace = ask.target
    name = body["namespace"]
    if name != row.namespace and ask.tx.count(MetadefNamespace, namespace=name):
        raise Conflict(f"The metadata definition namespace={name} already exists.")
    new = ask.tx.put(
        row,
        namespace=name,
        display_name=body.get("display_name"),
        description=body.get("description"),
        visibility=body.get("visibility") or "private",
        protected=body.get("protected") or False,
        project_id=body.get("owner") or ask.who.project_id,
    )
    return Answer(200, shown(ask, new))


@image.route(
    "DELETE", "/metadefs/namespaces/{namespace}", rule="delete_metadef_namespace", noun=MetadefNamespace,
    verb="delete", against=load, http=204,
)  # fmt: skip
def delete_namespace(ask: Ask[Any]) -> None:
    unprotected(ask, "namespace", ask.target.namespace)
    ask.tx.drop(ask.target)


def unprotected(ask: Ask[Any], kind: str, name: str) -> None:
    """403 when the namespace is protected: what is in it cannot be deleted either."""
    if ask.target.protected:
        raise Forbidden(f"Metadata definition {kind} {name} is protected and cannot be deleted.")
