"""Filters of image listings, read from the query (Image API v2, "List images")."""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nutshell.core.clock import parse_iso
from nutshell.core.errors import BadRequest
from nutshell.core.json_columns import has_item, has_member
from nutshell.core.service import Ask

WORDS = ("name", "id", "status", "container_format", "disk_format")
PLAIN = ("owner", "checksum", "os_hash_value", "os_hash_algo")
SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
PAGING = ("limit", "marker", "sort", "sort_key", "sort_dir")
VISIBILITIES = ("community", "public", "private", "shared", "all")
COMPARE = {
    "gt": lambda c, v: c > v,
    "gte": lambda c, v: c >= v,
    "lt": lambda c, v: c < v,
    "lte": lambda c, v: c <= v,
    "neq": lambda c, v: c != v,
    "eq": lambda c, v: c == v,
}
Conditions = list[sa.ColumnElement[bool]]


def check_sorting(ask: Ask[Any]) -> None:
    """400 on keys and directions the API does not have; the rest of sorting is the core's."""
    keys, ways = ask.query.get("sort_key", []), ask.query.get("sort_dir", [])
    if "sort" in ask.query:
        if keys or ways:
            raise BadRequest("Old and new sorting syntax cannot be combined")
        pairs = [part.strip().partition(":") for part in ask.asked("sort").split(",")]
        keys, ways = [k for k, _, _ in pairs], [w or "desc" for _, _, w in pairs]
    for key in keys:
        if key.strip() not in SORT_KEYS:
            raise BadRequest(f"Invalid sort key: {key}. It must be one of the following: {', '.join(SORT_KEYS)}.")
    for way in ways:
        if way.strip() not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {way}")
    if len(ways) > 1 and len(ways) != len(keys):
        raise BadRequest("Number of sort dirs does not match the number of sort keys")


def conditions(ask: Ask[Any], table: sa.Table) -> Conditions:
    """Everything the query asks of an image but who may see it."""
    found: Conditions = []
    for name, given in ask.query.items():
        if name in PAGING or name in ("visibility", "member_status", "os_hidden"):
            continue
        value = given[-1]
        if name == "tag":
            found += [has_item(table.c.tags, tag.strip()) for tag in given]
        elif name.endswith(("_min", "_max")) and name[:-4] in ("size", "min_disk", "min_ram", "virtual_size"):
            found.append(_range(table, name, value))
        elif name in ("created_at", "updated_at"):
            found.append(_time(table.c[name], name, value))
        elif name in WORDS:
            found.append(_word(table.c[name], value))
        elif name == "protected":
            found.append(table.c.protected == _boolean(name, value))
        elif name == "changes-since":
            raise BadRequest('The "changes-since" filter is no longer available on v2.')
        elif name in PLAIN:
            found.append(table.c["project_id" if name == "owner" else name] == value)
        elif name in ("size", "min_ram", "min_disk", "virtual_size"):
            found.append(_range(table, name + "_is", value))
        else:
            found.append(has_member(table.c.extra, name, value))
    found.append(table.c.os_hidden == _boolean("os_hidden", ask.asked("os_hidden", "false").lower()))
    return found


def visibility(ask: Ask[Any]) -> str:
    found = ask.asked("visibility")
    if found and found not in VISIBILITIES:
        raise BadRequest(f"Invalid visibility value: {found}")
    return found


def member_status(ask: Ask[Any]) -> str:
    found = ask.asked("member_status", "accepted")
    if found not in ("pending", "accepted", "rejected", "all"):
        raise BadRequest(f"Invalid status: {found}")
    return found


def _boolean(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadRequest(f"Invalid value '{text}' for '{name}' filter. Valid values are 'true' or 'false'.")
    return text == "true"


def _range(table: sa.Table, name: str, text: str) -> sa.ColumnElement[bool]:
    try:
        value = int(text)
    except ValueError:
        raise BadRequest("Unable to filter on a range with a non-numeric value.") from None
    column, _, way = name.rpartition("_")
    return {"min": table.c[column] >= value, "max": table.c[column] <= value, "is": table.c[column] == value}[way]


def _time(column: sa.ColumnElement[Any], name: str, text: str) -> sa.ColumnElement[bool]:
    word, _, rest = text.partition(":")
    word, rest = (word, rest) if word in COMPARE else ("eq", text)
    try:
        at = parse_iso(rest)
    except ValueError:
        raise BadRequest(f'Bad "{name}" query filter format. Use ISO 8601 DateTime notation.') from None
    whole: sa.ColumnElement[Any] = sa.cast(column, sa.BigInteger)  # times are shown, and so compared, in whole seconds
    found: sa.ColumnElement[bool] = COMPARE[word](whole, at)
    return found


def _word(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    word, colon, rest = text.partition(":")
    if not colon:
        return column == text
    if word == "in":
        return column.in_(split_words(rest))
    if word == "eq":
        return column == rest
    raise BadRequest(f"Unable to filter by unknown operator '{word}'.")


def split_words(text: str) -> Sequence[str]:
    """`"a, b",c` → ["a, b", "c"]. 400 where quotes do not pair or are not followed by a comma."""
    found, rest = [], text
    while rest:
        m = re.match(r'"((?:[^"\\]|\\.)*)"(,|$)|([^",]*)(,|$)', rest)
        if m is None:
            raise BadRequest(f"Invalid filter value {text}. The quote is not closed.")
        found.append(m[3] if m[1] is None else re.sub(r"\\(.)", r"\1", m[1]))
        rest = rest[m.end() :]
    return found
