"""What metadata definitions may hold, as JSON schema (Image API v2, "Metadata definition schemas")."""

from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.service import Ask
from nutshell.image.schemas import collection
from nutshell.image.service import image
from nutshell.image.shapes import fault_in

Schema = dict[str, Any]
WORDS: Schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
PROPERTY_KINDS = ["array", "boolean", "integer", "number", "object", "string", None]
NATURAL: Schema = {"$ref": "#/definitions/positiveInteger"}
NATURAL_OR_0: Schema = {"$ref": "#/definitions/positiveIntegerDefault0"}
READ_ONLY = ("created_at", "updated_at")


def _text(longest: int | None = None, about: str = "") -> Schema:
    found: Schema = {"type": "string"}
    if about:
        found["description"] = about
    if longest is not None:
        found["maxLength"] = longest
    return found


def _stamps(what: str) -> Schema:
    fixed = {"type": "string", "readOnly": True, "format": "date-time"}
    return {
        "created_at": {**fixed, "description": f"When the {what} was made"},
        "updated_at": {**fixed, "description": f"When the {what} was last changed"},
    }


PROPERTY: Schema = {
    "name": _text(80),
    "title": _text(),
    "description": _text(),
    "operators": {"type": "array", "items": {"type": "string"}},
    "type": {"type": "string", "enum": PROPERTY_KINDS},
    "required": {"$ref": "#/definitions/stringArray"},
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "maxLength": NATURAL,
    "minLength": NATURAL_OR_0,
    "pattern": {"type": "string", "format": "regex"},
    "enum": {"type": "array"},
    "readonly": {"type": "boolean"},
    "default": {},
    "items": {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": PROPERTY_KINDS}, "enum": {"type": "array"}},
    },
    "maxItems": NATURAL,
    "minItems": NATURAL_OR_0,
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": {"type": "boolean"},
}
DEFINITIONS: Schema = {
    "positiveInteger": {"type": "integer", "minimum": 0},
    "positiveIntegerDefault0": {"allOf": [NATURAL, {"default": 0}]},
    "stringArray": WORDS,
    "property": {
        "type": "object",
        "additionalProperties": {"type": "object", "required": ["title", "type"], "properties": PROPERTY},
    },
}
FIXED: Schema = {"readOnly": True, "type": "string"}
OBJECT: Schema = {
    "name": _text(80),
    "description": _text(),
    "required": {"$ref": "#/definitions/stringArray"},
    "properties": {"$ref": "#/definitions/property"},
}
NAMED: Schema = {"type": "object", "properties": {"name": {"type": "string"}}}
NAMESPACE: Schema = {
    "namespace": _text(80, "The name of the namespace; there is one of each."),
    "display_name": _text(80, "The name people see."),
    "description": _text(500, "What the namespace is about."),
    "visibility": {"type": "string", "enum": ["public", "private"], "description": "Who may see the namespace."},
    "protected": {"type": "boolean", "description": "If true, the namespace cannot be deleted."},
    "owner": _text(255, "The project it belongs to."),
    **_stamps("namespace"),
    "schema": FIXED,
    "self": FIXED,
    "resource_type_associations": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {n: {"type": "string"} for n in ("name", "prefix", "properties_target")},
        },
    },
    "properties": {"$ref": "#/definitions/property"},
    "objects": {"type": "array", "items": {"type": "object", "properties": {**OBJECT, "name": {"type": "string"}}}},
    "tags": {"type": "array", "items": NAMED},
}
RESOURCE_TYPE: Schema = {
    "name": _text(80, "The kind of resource, as orchestration names it (OS::Nova::Server)."),
    "prefix": _text(80, "What the namespace's properties are prefixed with on such resources, separator included."),
    "properties_target": _text(80, "Which of a resource's several sets of properties is meant."),
    **_stamps("association"),
}
TAG: Schema = {"name": _text(80), **_stamps("tag")}


def _closed(name: str, properties: Schema, required: list[str], definitions: Schema | None = None) -> Schema:
    found: Schema = {"name": name, "properties": properties, "additionalProperties": False, "required": required}
    return found | ({"definitions": definitions} if definitions else {})


PLAIN_DEFINITIONS = {
    "positiveInteger": DEFINITIONS["positiveInteger"],
    "positiveIntegerDefault0": DEFINITIONS["positiveIntegerDefault0"],
    "stringArray": {**WORDS, "minItems": 1},
}
SCHEMAS: Mapping[str, Schema] = {
    "namespace": _closed("namespace", NAMESPACE, ["namespace"], DEFINITIONS),
    "resource_type": _closed("resource_type_association", RESOURCE_TYPE, ["name"]),
    "property": _closed("property", PROPERTY, ["type", "title", "name"], PLAIN_DEFINITIONS),
    "object": _closed("object", {**OBJECT, "schema": FIXED, "self": FIXED, **_stamps("object")}, ["name"], DEFINITIONS),
    "tag": _closed("tag", TAG, ["name"]),
}
TAG_LIST: Schema = {
    "properties": {"tags": {"type": "array", "items": {**NAMED, "required": ["name"], "additionalProperties": False}}},
    "additionalProperties": False,
}


def read(kind: str, body: Any, *, read_only: tuple[str, ...] = READ_ONLY) -> dict[str, Any]:
    """The body, if it is what the schema says. 400; 403 for members that are the service's own."""
    if body is None:
        raise BadRequest("Body expected in request.")
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    for name in read_only:
        if name in body:
            raise Forbidden(f"Attribute '{name}' is read-only.")
    fault = fault_in(body, TAG_LIST if kind == "tags" else SCHEMAS[kind])
    if fault:
        raise BadRequest(f"Provided object does not match schema '{kind}': {fault}")
    return body


def plural(kind: str) -> str:
    return {"property": "properties"}.get(kind, kind + "s")


def listing(kind: str) -> Schema:
    """The schema of several of a kind."""
    item = dict(SCHEMAS[kind])
    definitions = item.pop("definitions", None)
    name = plural(item["name"])
    if kind == "property":
        item["required"] = ["type", "title"]
        found = collection(name, item, pages=True)
        found["properties"][name] = {"type": "object", "additionalProperties": item}
    else:
        found = collection(name, item, pages=True)
    return found | ({"definitions": definitions} if definitions else {})


def _declare(kind: str) -> None:
    @image.route("GET", f"/schemas/metadefs/{kind}", rule="get_metadef_namespaces")
    def show(ask: Ask[Any]) -> Schema:
        return SCHEMAS[kind]

    @image.route("GET", f"/schemas/metadefs/{plural(kind)}", rule="get_metadef_namespaces")
    def show_many(ask: Ask[Any]) -> Schema:
        return listing(kind)


for each in SCHEMAS:
    _declare(each)
