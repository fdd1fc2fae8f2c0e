"""Checks a JSON value against the part of JSON schema that this service's own schemas use (JSON Schema, draft 4)."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

KINDS: Mapping[str, tuple[type, ...]] = {
    "null": (type(None),),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
Schema = Mapping[str, Any]


def fault_in(value: Any, schema: Schema, root: Schema | None = None) -> str:
    """Why the value does not fit, in the words of JSON schema's checkers; "" when it does."""
    return next(_faults(value, schema, schema if root is None else root), "")


def _faults(value: Any, schema: Schema, root: Schema) -> Iterator[str]:
    if "$ref" in schema:
        yield from _faults(value, root["definitions"][schema["$ref"].rpartition("/")[2]], root)
        return
    for part in schema.get("allOf", ()):
        yield from _faults(value, part, root)
    kinds = schema.get("type")
    if kinds is not None:
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not any(isinstance(value, KINDS[k]) and (k == "boolean" or not isinstance(value, bool)) for k in kinds):
            yield f"{value!r} is not of type {', '.join(repr(k) for k in kinds)}"
            return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is not one of {schema['enum']!r}"
    if isinstance(value, str):
        yield from _text_faults(value, schema)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float):
        if value < schema.get("minimum", value):
            yield f"{value!r} is less than the minimum of {schema['minimum']!r}"
    elif isinstance(value, list):
        yield from _array_faults(value, schema, root)
    elif isinstance(value, dict):
        yield from _object_faults(value, schema, root)


def _text_faults(value: str, schema: Schema) -> Iterator[str]:
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{value!r} is too long"
    if len(value) < schema.get("minLength", 0):
        yield f"{value!r} is too short"
    if "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield f"{value!r} does not match {schema['pattern']!r}"


def _array_faults(value: list[Any], schema: Schema, root: Schema) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{value!r} is too short"
    if schema.get("uniqueItems") and len({json.dumps(v, sort_keys=True) for v in value}) != len(value):
        yield f"{value!r} has non-unique elements"
    if "items" in schema:
        for one in value:
            yield from _faults(one, schema["items"], root)


def _object_faults(value: dict[str, Any], schema: Schema, root: Schema) -> Iterator[str]:
    declared = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{name!r} is a required property"
    for name, one in value.items():
        if name in declared:
            yield from _faults(one, declared[name], root)
        elif isinstance(others, Mapping):
            yield from _faults(one, others, root)
        elif not others:
            yield f"Additional properties are not allowed ({name!r} was unexpected)"
