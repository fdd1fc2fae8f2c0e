"""The tables on SQLite, which keeps the text that made each: what is there is compared with what is declared."""

import sqlite3
from collections.abc import Sequence

from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from nutshell.core.config import ConfigError
from nutshell.core.resource import METADATA


class UnknownSchema(ConfigError):
    """The database is not one this version can use; it is left as it was."""


def schema() -> dict[str, list[str]]:
    """Table name → the statements that make it and its indexes."""
    dialect = sqlite_dialect.dialect(paramstyle="qmark")
    return {
        table.name: [
            str(CreateTable(table).compile(dialect=dialect)).strip(),
            *(str(CreateIndex(i).compile(dialect=dialect)) for i in sorted(table.indexes, key=lambda i: i.name or "")),
        ]
        for table in METADATA.sorted_tables
    }


def existing(c: sqlite3.Connection) -> dict[str, list[str]]:
    """As `schema`, of the tables that are there, with single spaces."""
    found: dict[str, list[str]] = {}
    for name, sql in c.execute(
        "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        " ORDER BY type = 'index', name"
    ):
        found.setdefault(name, []).append(" ".join(sql.split()))
    return found


def _spaced(statements: Sequence[str]) -> list[str]:
    return [" ".join(s.split()) for s in statements]


def refuse_schema(other: Sequence[str]) -> None:
    """UnknownSchema when there are tables that this version would have made otherwise."""
    if other:
        raise UnknownSchema(
            f"the database was made by another version of Nutshell ({', '.join(sorted(other)[:3])} differ); start that"
            " version, or erase the cloud with: nutshell reset --yes"
        )


def create_schema(c: sqlite3.Connection) -> None:
    """Make the tables that are missing; UnknownSchema when one that is there is not as this version has it."""
    known, wanted = existing(c), schema()
    refuse_schema([n for n, made in wanted.items() if n in known and known[n] != _spaced(made)])
    missing = [statement for n, made in wanted.items() if n not in known for statement in made]
    if missing:
        c.executescript("BEGIN;" + ";\n".join(missing) + ";COMMIT;")
