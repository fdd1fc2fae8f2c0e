"""What every noun of network shows alike: owner under both names, times, revision and tags.

Source: Networking API v2.0, "Standard Attributes"; RFC 4122 for what an id looks like.
"""

# house: tenant waived 2026-11-22: fields that the wire calls by this name

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from nutshell.core.clock import iso_seconds
from nutshell.core.render import Context
from nutshell.core.resource import Resource
from nutshell.core.service import Ask
from nutshell.network.errors import InvalidAttribute

UUID = re.compile(r"[a-fA-F0-9]{8}-?(?:[a-fA-F0-9]{4}-?){3}[a-fA-F0-9]{12}")


def standard(noun: type[Resource], *, tags: bool = True) -> None:
    """Give a noun the standard attributes, and filters by owner, description and tags."""

    @noun.shows("tenant_id")
    def tenant_id(row: Any, ctx: Context) -> str:
        owner: str = row.project_id
        return owner

    @noun.shows("created_at")
    def created_at(row: Any, ctx: Context) -> str:
        return iso_seconds(row.created_at)

    @noun.shows("updated_at")
    def updated_at(row: Any, ctx: Context) -> str:
        return iso_seconds(row.updated_at or row.created_at)

    @noun.shows("revision_number")
    def revision_number(row: Any, ctx: Context) -> int:
        number: int = row.generation
        return number

    @noun.filters_by("tenant_id")
    def by_tenant(ask: Ask[Any], values: list[str]) -> Any:
        return noun.c("project_id").in_(values)

    @noun.filters_by("revision_number")
    def by_revision(ask: Ask[Any], values: list[str]) -> Any:
        return noun.c("generation").in_([int(v) for v in values if v.isdecimal() and len(v) < 19])

    if tags:
        _tag_filters(noun)


def _tag_filters(noun: type[Resource]) -> None:
    def has(tag: str) -> Any:
        """The column is a JSON list: the tag follows its bracket or a comma."""
        text = msgspec.json.encode(tag).decode()
        column = noun.table.c.tags
        return sa.or_(column.contains("[" + text, autoescape=True), column.contains("," + text, autoescape=True))

    def names(values: list[str]) -> list[str]:
        return [tag for v in values for tag in v.split(",") if tag]

    noun.filters_by("tags")(lambda ask, values: sa.and_(sa.true(), *(has(n) for n in names(values))))
    noun.filters_by("tags-any")(lambda ask, values: sa.or_(sa.false(), *(has(n) for n in names(values))))
    noun.filters_by("not-tags")(lambda ask, values: sa.not_(sa.and_(sa.true(), *(has(n) for n in names(values)))))
    noun.filters_by("not-tags-any")(lambda ask, values: sa.not_(sa.or_(sa.false(), *(has(n) for n in names(values)))))


def target_of(row: Resource) -> Mapping[str, Any]:
    return row.policy_target()


def uuid_of(name: str, value: Any) -> str:
    """An id as the API takes it, or 400."""
    if not isinstance(value, str) or not UUID.fullmatch(value):
        raise InvalidAttribute(name=name, why=f"'{value}' is not a valid UUID")
    return value
