"""Conditions on JSON columns, in the words of each database (SQLite's json_each, PostgreSQL's jsonb operators)."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement


class _Inside(ColumnElement[bool]):
    """What the column's object (or array) holds."""

    inherit_cache = False
    type = sa.Boolean()

    def __init__(self, column: Any, value: str, key: str | None) -> None:
        self.column, self.value = column, sa.literal(value)
        self.key_named = None if key is None else sa.literal(key)


def has_member(column: Any, key: str, value: str) -> ColumnElement[bool]:
    """The object in this column has the member with this text."""
    return _Inside(column, value, key)


def has_item(column: Any, value: str) -> ColumnElement[bool]:
    """The array in this column has this text among its items."""
    return _Inside(column, value, None)


@compiles(_Inside, "sqlite")
def _on_sqlite(element: _Inside, compiler: Any, **rest: Any) -> str:
    column, value = compiler.process(element.column, **rest), compiler.process(element.value, **rest)
    if element.key_named is None:
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE json_each.value = {value})"
    # The key comes after the value in the text: parameters are bound by position, in the order they are compiled.
    key = compiler.process(element.key_named, **rest)
    return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE json_each.value = {value} AND json_each.key = {key})"


@compiles(_Inside, "postgresql")
def _on_postgresql(element: _Inside, compiler: Any, **rest: Any) -> str:
    column, value = compiler.process(element.column, **rest), compiler.process(element.value, **rest)
    if element.key_named is None:
        return f"(CAST({column} AS JSONB) @> jsonb_build_array(CAST({value} AS TEXT)))"
    key = compiler.process(element.key_named, **rest)
    return f"({value} = (CAST({column} AS JSONB) ->> CAST({key} AS TEXT)))"
