"""What stands in a namespace: objects, properties, tags, and the kinds of resources it is about."""

from typing import Any

from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.service import Answer, Ask
from nutshell.image.metadefs import schemas
from nutshell.image.metadefs.namespaces import (
    SEES,
    WRITES,
    Item,
    MetadefNamespace,
    MetadefResourceType,
    cut,
    load,
    newest_first,
    object_shown,
    property_shown,
    read_limit,
    remember_types,
    stamped,
    target_of,
    timed,
    unprotected,
)
from nutshell.image.service import image
from nutshell.image.shapes import fault_in

PATH = "/metadefs/namespaces/{namespace}"
image.policy(
    {
        **{f"get_metadef_{kind}": SEES for kind in ("object", "objects", "property", "properties", "tag", "tags")},
        **{f"{verb}_metadef_object": WRITES for verb in ("add", "modify", "delete")},
        **{f"{verb}_metadef_property": WRITES for verb in ("add", "modify", "remove")},
        **{f"{verb}_metadef_tag": WRITES for verb in ("add", "modify", "delete")},
        "add_metadef_tags": WRITES,
        "delete_metadef_tags": WRITES,
        "list_metadef_resource_types": SEES,
        "get_metadef_resource_type": SEES,
        "add_metadef_resource_type_association": WRITES,
        "remove_metadef_resource_type_association": WRITES,
    }
)
KEEPING = ("description", "required", "properties")


class ItemNotFound(NotFound):
    """The metadata definition {kind} with name={id} was not found in namespace={namespace}."""


def missing(ask: Ask[Any], kind: str, name: str) -> NotFound:
    return ItemNotFound(kind=kind, id=name, namespace=ask.target.namespace)


def place(ask: Ask[Any], kind: str, items: list[Item], name: str) -> int:
    """Where the item of that name is. 404."""
    for i, item in enumerate(items):
        if item["name"] == name:
            return i
    raise missing(ask, kind, name)


def refuse_taken(ask: Ask[Any], kind: str, items: list[Item], name: str) -> None:
    if any(i["name"] == name for i in items):
        raise Conflict(
            f"A metadata definition {kind} with name={name} already exists in namespace={ask.target.namespace}."
        )


def replaced(items: list[Item], at: int, item: Item) -> list[Item]:
    return [*items[:at], item, *items[at + 1 :]]


# -- objects


def read_object(ask: Ask[Any]) -> Item:
    body = schemas.read("object", ask.body, read_only=("self", "schema", *schemas.READ_ONLY))
    return {"name": body["name"], **{n: body[n] for n in KEEPING if n in body}}


@image.route("GET", PATH + "/objects", rule="get_metadef_objects", noun=MetadefNamespace, verb="objects", against=load)
def list_objects(ask: Ask[Any]) -> Answer:
    row: MetadefNamespace = ask.target
    page = sorted_page(ask, row.objects)
    rows = [object_shown(ask, row, o) for o in page if ask.may("get_metadef_object", target_of(row))]
    return Answer(200, {"objects": rows, "schema": "v2/schemas/metadefs/objects"})


def sorted_page(ask: Ask[Any], items: list[Item]) -> list[Item]:
    """A namespace's items as the query wants them: newest first unless it says otherwise."""
    key, way = ask.asked("sort_key", "created_at"), ask.asked("sort_dir", "desc")
    if way not in ("asc", "desc"):
        raise BadRequest(f"Invalid sort direction: {way}")
    if key not in ("created_at", "updated_at", "name"):
        raise BadRequest(f"Invalid sort key: {key}. It must be one of the following: created_at, name, updated_at.")
    found = sorted(items, key=lambda i: i[key])
    return list(cut(found[::-1] if way == "desc" else found, ask.asked("marker"), read_limit(ask, None), _name)[0])


def _name(item: Item) -> str:
    return str(item["name"])


@image.route(
    "POST", PATH + "/objects", rule="add_metadef_object", noun=MetadefNamespace, verb="add_object", against=load,
    wrap="",
)  # fmt: skip
def create_object(ask: Ask[Any]) -> Answer:
    given, row = stamped(ask, read_object(ask)), ask.target
    refuse_taken(ask, "object", row.objects, given["name"])
    ask.tx.put(row, objects=[*row.objects, given])
    return Answer(201, object_shown(ask, row, given, whole=False))


@image.route("GET", PATH + "/objects/{name}", rule="get_metadef_object", noun=MetadefNamespace, verb="show_object",
             against=load)  # fmt: skip
def show_object(ask: Ask[Any]) -> Answer:
    row: MetadefNamespace = ask.target
    return Answer(200, object_shown(ask, row, row.objects[place(ask, "object", row.objects, ask.params["name"])]))


@image.route("PUT", PATH + "/objects/{name}", rule="modify_metadef_object", noun=MetadefNamespace,
             verb="update_object", against=load, wrap="")  # fmt: skip
def update_object(ask: Ask[Any]) -> Answer:
    row, given = ask.target, read_object(ask)
    at = place(ask, "object", row.objects, ask.params["name"])
    if given["name"] != ask.params["name"]:
        refuse_taken(ask, "object", row.objects, given["name"])
    new = stamped(ask, given, row.objects[at])
    ask.tx.put(row, objects=replaced(row.objects, at, new))
    return Answer(200, object_shown(ask, row, new, whole=False))


@image.route("DELETE", PATH + "/objects/{name}", rule="delete_metadef_object", noun=MetadefNamespace,
             verb="delete_object", against=load, http=204)  # fmt: skip
def delete_object(ask: Ask[Any]) -> None:
    row, name = ask.target, ask.params["name"]
    at = place(ask, "object", row.objects, name)
    unprotected(ask, "object", name)
    ask.tx.put(row, objects=[*row.objects[:at], *row.objects[at + 1 :]])


@image.route("DELETE", PATH + "/objects", rule="delete_metadef_namespace", noun=MetadefNamespace,
             verb="delete_objects", against=load, http=204)  # fmt: skip
def delete_objects(ask: Ask[Any]) -> None:
    unprotected(ask, "namespace", ask.target.namespace)
    ask.tx.put(ask.target, objects=[])


# -- properties


def named(name: str, item: Item) -> Item:
    return {**property_shown(item), "name": name}


@image.route("GET", PATH + "/properties", rule="get_metadef_properties", noun=MetadefNamespace, verb="properties",
             against=load)  # fmt: skip
def list_properties(ask: Ask[Any]) -> Answer:
    return Answer(200, {"properties": {k: property_shown(v) for k, v in ask.target.properties.items()}})


@image.route("POST", PATH + "/properties", rule="add_metadef_property", noun=MetadefNamespace, verb="add_property",
             against=load, wrap="")  # fmt: skip
def create_property(ask: Ask[Any]) -> Answer:
    body, row = schemas.read("property", ask.body), ask.target
    name = body["name"]
    if name in row.properties:
        raise Conflict(f"A metadata definition property with name={name} already exists in namespace={row.namespace}.")
    ask.tx.put(row, properties={**row.properties, name: stamped(ask, body)})
    return Answer(201, named(name, body))


@image.route("GET", PATH + "/properties/{name}", rule="get_metadef_property", noun=MetadefNamespace,
             verb="show_property", against=load)  # fmt: skip
def show_property(ask: Ask[Any]) -> Answer:
    row, name, kind = ask.target, ask.params["name"], ask.asked("resource_type")
    if kind:
        ask.must("get_metadef_resource_type", target_of(row))
        prefix = next((a.get("prefix") for a in row.associations if a["name"] == kind), None)
        if not prefix or not name.startswith(prefix):
            raise missing(ask, "property", name)
        name = name.removeprefix(prefix)
    if name not in row.properties:
        raise missing(ask, "property", name)
    return Answer(200, named(name, row.properties[name]))


@image.route("PUT", PATH + "/properties/{name}", rule="modify_metadef_property", noun=MetadefNamespace,
             verb="update_property", against=load, wrap="")  # fmt: skip
def update_property(ask: Ask[Any]) -> Answer:
    body, row, old = schemas.read("property", ask.body), ask.target, ask.params["name"]
    if old not in row.properties:
        raise missing(ask, "property", old)
    new = body["name"]
    if new != old and new in row.properties:
        raise Conflict(f"A metadata definition property with name={new} already exists in namespace={row.namespace}.")
    changed = stamped(ask, body, row.properties[old])
    ask.tx.put(row, properties={new if k == old else k: changed if k == old else v for k, v in row.properties.items()})
    return Answer(200, named(new, body))


@image.route("DELETE", PATH + "/properties/{name}", rule="remove_metadef_property", noun=MetadefNamespace,
             verb="delete_property", against=load, http=204)  # fmt: skip
def delete_property(ask: Ask[Any]) -> None:
    row, name = ask.target, ask.params["name"]
    if name not in row.properties:
        raise missing(ask, "property", name)
    unprotected(ask, "property", name)
    ask.tx.put(row, properties={k: v for k, v in row.properties.items() if k != name})


@image.route("DELETE", PATH + "/properties", rule="delete_metadef_namespace", noun=MetadefNamespace,
             verb="delete_properties", against=load, http=204)  # fmt: skip
def delete_properties(ask: Ask[Any]) -> None:
    unprotected(ask, "namespace", ask.target.namespace)
    ask.tx.put(ask.target, properties={})


# -- tags


def refuse_tag(ask: Ask[Any], tags: list[Item], name: str) -> None:
    """409 for a tag there is already, in whatever case."""
    if any(t["name"].lower() == name.lower() for t in tags):
        raise Conflict(
            f"A metadata tag with name={name} already exists in namespace={ask.target.namespace}."
            " (Please note that metadata tag names are case insensitive)."
        )


@image.route("GET", PATH + "/tags", rule="get_metadef_tags", noun=MetadefNamespace, verb="tags", against=load)
def list_tags(ask: Ask[Any]) -> Answer:
    return Answer(200, {"tags": [{"name": t["name"]} for t in sorted_page(ask, ask.target.tags)]})


@image.route("POST", PATH + "/tags", rule="add_metadef_tags", noun=MetadefNamespace, verb="add_tags", against=load,
             wrap="")  # fmt: skip
def create_tags(ask: Ask[Any]) -> Answer:
    given = schemas.read("tags", ask.body).get("tags", [])
    append = ask.headers.get("x-openstack-append", "").strip().lower() in ("1", "t", "true", "on", "y", "yes")
    tags: list[Item] = list(ask.target.tags) if append else []
    for one in given:
        fault = fault_in(one["name"], schemas.TAG["name"])
        if fault:
            raise BadRequest(f"Provided object does not match schema 'tag': {fault}")
        refuse_tag(ask, tags, one["name"])
        tags.append(stamped(ask, {"name": one["name"]}))
    ask.tx.put(ask.target, tags=tags)
    return Answer(201, {"tags": [{"name": t["name"]} for t in given]})


@image.route("DELETE", PATH + "/tags", rule="delete_metadef_tags", noun=MetadefNamespace, verb="delete_tags",
             against=load, http=204)  # fmt: skip
def delete_tags(ask: Ask[Any]) -> None:
    ask.must("delete_metadef_namespace", target_of(ask.target))
    unprotected(ask, "namespace", ask.target.namespace)
    ask.tx.put(ask.target, tags=[])


@image.route("POST", PATH + "/tags/{name}", rule="add_metadef_tag", noun=MetadefNamespace, verb="add_tag",
             against=load, wrap="")  # fmt: skip
def create_tag(ask: Ask[Any]) -> Answer:
    name, row = ask.params["name"], ask.target
    schemas.read("tag", {"name": name})
    refuse_tag(ask, row.tags, name)
    tag = stamped(ask, {"name": name})
    ask.tx.put(row, tags=[*row.tags, tag])
    return Answer(201, timed(ask, tag))


@image.route("GET", PATH + "/tags/{name}", rule="get_metadef_tag", noun=MetadefNamespace, verb="show_tag",
             against=load)  # fmt: skip
def show_tag(ask: Ask[Any]) -> Answer:
    row: MetadefNamespace = ask.target
    return Answer(200, timed(ask, row.tags[place(ask, "tag", row.tags, ask.params["name"])]))


@image.route("PUT", PATH + "/tags/{name}", rule="modify_metadef_tag", noun=MetadefNamespace, verb="update_tag",
             against=load, wrap="")  # fmt: skip
def update_tag(ask: Ask[Any]) -> Answer:
    row, old, new = ask.target, ask.params["name"], schemas.read("tag", ask.body)["name"]
    at = place(ask, "tag", row.tags, old)
    refuse_tag(ask, [*row.tags[:at], *row.tags[at + 1 :]], new)
    tag = stamped(ask, {"name": new}, row.tags[at])
    ask.tx.put(row, tags=replaced(row.tags, at, tag))
    return Answer(200, timed(ask, tag))


@image.route("DELETE", PATH + "/tags/{name}", rule="delete_metadef_tag", noun=MetadefNamespace, verb="delete_tag",
             against=load, http=204)  # fmt: skip
def delete_tag(ask: Ask[Any]) -> None:
    row, name = ask.target, ask.params["name"]
    at = place(ask, "tag", row.tags, name)
    unprotected(ask, "tag", name)
    ask.tx.put(row, tags=[*row.tags[:at], *row.tags[at + 1 :]])


# -- the kinds of resources


@image.route("GET", "/metadefs/resource_types", rule="list_metadef_resource_types", noun=MetadefResourceType,
             verb="list")  # fmt: skip
def list_resource_types(ask: Ask[Any]) -> Answer:
    time, rows = ask.service.time, ask.tx.find(MetadefResourceType, order="created_at, id")
    return Answer(200, {"resource_types": [
        {"name": r.name, "created_at": time(r.created_at), "updated_at": time(r.updated_at or r.created_at)}
        for r in rows
    ]})  # fmt: skip


@image.route("GET", PATH + "/resource_types", rule="list_metadef_resource_types", noun=MetadefNamespace,
             verb="resource_types", against=load)  # fmt: skip
def list_associations(ask: Ask[Any]) -> Answer:
    row: MetadefNamespace = ask.target
    shown = [timed(ask, a) for a in newest_first(row.associations)]
    allowed = ask.may("get_metadef_resource_type", target_of(row))
    return Answer(200, {"resource_type_associations": shown if allowed else []})


@image.route("POST", PATH + "/resource_types", rule="add_metadef_resource_type_association", noun=MetadefNamespace,
             verb="associate", against=load, wrap="")  # fmt: skip
def associate(ask: Ask[Any]) -> Answer:
    body, row = schemas.read("resource_type", ask.body), ask.target
    if any(a["name"] == body["name"] for a in row.associations):
        raise Conflict(
            f"The metadata definition resource-type association of resource-type={body['name']} to"
            f" namespace={row.namespace} already exists."
        )
    made = stamped(ask, body)
    remember_types(ask.tx, ask.tx.put(row, associations=[*row.associations, made]), ask.new_id)
    return Answer(201, timed(ask, made))


@image.route("DELETE", PATH + "/resource_types/{name}", rule="remove_metadef_resource_type_association",
             noun=MetadefNamespace, verb="dissociate", against=load, http=204)  # fmt: skip
def dissociate(ask: Ask[Any]) -> None:
    row, name = ask.target, ask.params["name"]
    at = next((i for i, a in enumerate(row.associations) if a["name"] == name), None)
    if at is None:
        raise NotFound(kind="Resource type", id=name)
    unprotected(ask, "resource-type-association", name)
    ask.tx.put(row, associations=[*row.associations[:at], *row.associations[at + 1 :]])
