"""Values from JSON schemas: such as fit, such as nearly fit, and such as nobody expects; from a seed."""

from collections.abc import Mapping
from random import Random
from typing import Any

Schema = Mapping[str, Any]
TEXTS = ("", " ", "a", "0", "-1", "null", "true", "x" * 64, "x" * 256, "x" * 70000, "é", "\u0000", "a\u0000b", "\ud7ff",
         "\U0001f600", "../../etc/passwd", "%00", "%(id)s", "{0}", "${x}", "' OR '1'='1", "<b>", "1.5", "1e400",
         "10.0.0.1", "10.0.0.0/24", "10.0.0.0/33", "::1", "fe80::/10", "fa:16:3e:00:00:01", "2026-01-01T00:00:00Z",
         "9999-99-99", "[::", "http://[", "available", "error", "active", "default", "nova", "tcp", "in", "NaN", "\\",
         "(", "*", "a" * 36, "11111111-1111-4111-8111-111111111111", "f" * 32)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63),
           -(2**63) - 1, 10**30, 0.5, -0.0, 1e300)  # fmt: skip
ODD: tuple[Any, ...] = (None, True, False, [], {}, [None], [[]], {"": ""}, {"a": {"b": {}}}, *TEXTS[:8], *NUMBERS[:12])


class Values:
    """Draws values; `ids` are put where an id may stand."""

    def __init__(self, random: Random, components: Mapping[str, Schema], ids: list[str]) -> None:
        self.random, self.components, self.ids = random, components, ids

    def fitting(self, schema: Schema, depth: int = 0) -> Any:
        """A value the schema allows, as far as it says."""
        r = self.random
        if "$ref" in schema:
            return self.fitting(self.components[schema["$ref"].rsplit("/", 1)[-1]], depth + 1)
        for word in ("oneOf", "anyOf"):
            if word in schema:
                return self.fitting(r.choice(schema[word]), depth + 1)
        if "enum" in schema:
            return r.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = r.choice(kind)
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                count = 0 if depth > 6 else r.choice((0, 1, 1, 2))
                return [self.fitting(schema.get("items", {}), depth + 1) for _ in range(count)]
            case "string":
                return self._text(schema)
            case "integer" | "number":
                low, high = int(schema.get("minimum", 0)), int(schema.get("maximum", 2**31 - 1))
                return r.choice((low, min(low + 1, high), min(low + 7, high), high))
            case "boolean":
                return r.random() < 0.5
            case "null":
                return None
        return r.choice((*ODD, *self.ids[:5]))

    def _text(self, schema: Schema) -> str:
        r = self.random
        if self.ids and r.random() < 0.4:
            return r.choice(self.ids)
        text = r.choice(TEXTS)
        return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), "x")

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        r = self.random
        found: dict[str, Any] = {}
        required = set(schema.get("required", ()))
        for name, inner in schema.get("properties", {}).items():
            if name in required or (depth < 6 and r.random() < 0.4):
                found[name] = self.fitting(inner, depth + 1)
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping) and depth < 6:
            found |= {r.choice((*TEXTS[2:12], "a", "b")): self.fitting(more, depth + 1) for _ in range(r.randrange(3))}
        return found

    def spoilt(self, value: Any) -> Any:
        """The value with one thing in it changed to something odd."""
        r = self.random
        if isinstance(value, dict) and value and r.random() < 0.85:
            name = r.choice(list(value))
            changed = dict(value)
            match r.randrange(6):
                case 0:
                    del changed[name]
                case 1:
                    changed[r.choice(("x", "id", "project_id", "", "\u0000"))] = r.choice(ODD)
                case _:
                    changed[name] = self.spoilt(value[name])
            return changed
        if isinstance(value, list) and value and r.random() < 0.7:
            at = r.randrange(len(value))
            return [*value[:at], self.spoilt(value[at]), *value[at + 1 :]]
        return r.choice((*ODD, *TEXTS, *NUMBERS))


def fits(value: Any, schema: Schema, components: Mapping[str, Schema], where: str = "$") -> str:
    """Empty, or where and how the value is not what the schema says."""
    if "$ref" in schema:
        return fits(value, components[schema["$ref"].rsplit("/", 1)[-1]], components, where)
    if "anyOf" in schema:
        wrong = [fits(value, s, components, where) for s in schema["anyOf"]]
        return "" if not all(wrong) else wrong[0]
    if "enum" in schema and value not in schema["enum"]:
        return f"{where}: {value!r} is none of {schema['enum']}"
    kinds = schema.get("type")
    if kinds and not any(_is(value, k) for k in (kinds if isinstance(kinds, list) else [kinds])):
        return f"{where}: {value!r} is no {kinds}"
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                return f"{where}: {name} is missing"
        for name, inner in schema.get("properties", {}).items():
            if name in value and (wrong_here := fits(value[name], inner, components, f"{where}.{name}")):
                return wrong_here
    if isinstance(value, list) and "items" in schema:
        for n, one in enumerate(value):
            if wrong_here := fits(one, schema["items"], components, f"{where}[{n}]"):
                return wrong_here
    return ""


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return value is None
