"""The tables on PostgreSQL, and by which statements each was made: the server does not keep their text.

A row of `schema_mark` holds the digest of a table's statements (docs/decisions/0030-upgrades.md).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from nutshell.core.resource import METADATA
from nutshell.core.sqlite_schema import refuse_schema

SCHEMA_LOCK = 0x6E757473
MARKS = "schema_mark"


def schema() -> dict[str, list[str]]:
    """Table name → the statements that make it and its indexes."""
    dialect = postgresql.dialect(paramstyle="qmark")  # type: ignore[no-untyped-call]
    found = {}
    for table in METADATA.sorted_tables:
        made = [str(CreateTable(table).compile(dialect=dialect)).strip()]
        for index in sorted(table.indexes, key=lambda i: str(i.name)):
            if "where" in index.info:
                index.dialect_options["postgresql"]["where"] = index.info["where"]
            made.append(str(CreateIndex(index).compile(dialect=dialect)))
        if table.name == "event":
            made.append("ALTER TABLE event ALTER COLUMN txid SET DEFAULT txid_current()")
        found[table.name] = made
    return found


def digest(statements: Sequence[str]) -> str:
    """The same however the statements are spaced."""
    return hashlib.sha256("\n".join(" ".join(s.split()) for s in statements).encode()).hexdigest()


def marks(c: Any) -> dict[str, str]:
    """Table → digest of what made it. A table that nobody marked has the digest ""."""
    c.execute(f"CREATE TABLE IF NOT EXISTS {MARKS} (name TEXT PRIMARY KEY, digest TEXT NOT NULL)")
    marked = dict(c.execute(f"SELECT name, digest FROM {MARKS}").fetchall())
    there = c.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
    return {name: marked.get(name, "") for (name,) in there}


def make_table(c: Any, name: str, statements: Sequence[str]) -> None:
    for statement in statements:
        c.execute(statement)
    c.execute(
        f"INSERT INTO {MARKS} VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
        (name, digest(statements)),
    )


def drop_tables(c: Any) -> int:
    """Drop what was made here, and nothing else that is in the database; how many tables that was."""
    mine = [name for name, made in marks(c).items() if made]
    with c.transaction():
        for name in (*mine, MARKS):
            c.execute(f'DROP TABLE "{name}"')
    return len(mine)


def create_schema(c: Any) -> None:
    """Make what is missing; UnknownSchema when a table that is there was made otherwise. Processes that start together
    take turns."""
    c.execute("SELECT pg_advisory_lock(%s, 0)", (SCHEMA_LOCK,))
    try:
        known, wanted = marks(c), schema()
        refuse_schema([n for n, made in wanted.items() if n in known and known[n] != digest(made)])
        for name, made in wanted.items():
            if name not in known:
                with c.transaction():
                    make_table(c, name, made)
    finally:
        c.execute("SELECT pg_advisory_unlock(%s, 0)", (SCHEMA_LOCK,))
