"""A database to be upgraded: what it holds, a copy of it, statements in one transaction.

Sources: sqlite3.Connection.backup; pg_dump(1). Neither knows what a release is.
"""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nutshell.core.errors import Unavailable


class Database(Protocol):
    kind: str

    def tables(self) -> dict[str, str]:
        """Table → what tells by which statements it was made."""
        ...

    def token(self, statements: Sequence[str]) -> str:
        """The same for statements."""
        ...

    def columns(self, table: str) -> list[str]: ...
    def lock(self) -> None:
        """Keep other upgrades away until `end`."""
        ...

    def run(self, statement: str) -> None: ...
    def make(self, table: str, statements: Sequence[str]) -> None: ...
    def set_aside(self, table: str, old: str) -> None:
        """Rename a table so that its name and those of its indexes are free."""
        ...

    def carry_numbers(self, old: str, table: str) -> None:
        """The new table numbers its rows on from where the old one was."""
        ...

    def end(self, keep: bool) -> None:
        """Commit or roll back, and close."""
        ...

    def back_up(self, folder: Path) -> str:
        """Copy the whole; where the copy is. What is done then is one transaction."""
        ...


class OnSqlite:
    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._c = sqlite3.connect(path, isolation_level=None)
        self._c.execute("PRAGMA legacy_alter_table=ON")  # a renamed table is not renamed in others' statements

    def tables(self) -> dict[str, str]:
        from nutshell.core.sqlite_schema import existing

        return {name: self.token(made) for name, made in existing(self._c).items()}

    def token(self, statements: Sequence[str]) -> str:
        return "\n".join(" ".join(s.split()) for s in statements)

    def columns(self, table: str) -> list[str]:
        return [row[1] for row in self._c.execute(f"PRAGMA table_info({table})")]

    def lock(self) -> None:
        self._c.execute("BEGIN IMMEDIATE")

    def run(self, statement: str) -> None:
        self._c.execute(statement)

    def make(self, table: str, statements: Sequence[str]) -> None:
        for statement in statements:
            self._c.execute(statement)

    def set_aside(self, table: str, old: str) -> None:
        found = "SELECT name FROM sqlite_master WHERE type='index' AND tbl_name=? AND sql IS NOT NULL"
        for (index,) in self._c.execute(found, (table,)).fetchall():
            self._c.execute(f'DROP INDEX "{index}"')
        self._c.execute(f'ALTER TABLE "{table}" RENAME TO "{old}"')

    def carry_numbers(self, old: str, table: str) -> None:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
        if self._c.execute(there).fetchone() and "AUTOINCREMENT" in self.tables()[table]:
            self._c.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            self._c.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?, seq FROM sqlite_sequence WHERE name = ?",
                (table, old),
            )

    def end(self, keep: bool) -> None:
        if self._c.in_transaction:
            self._c.execute("COMMIT" if keep else "ROLLBACK")
        self._c.close()

    def back_up(self, folder: Path) -> str:
        target = _fresh(folder, self._path.stem, ".db")
        copy = sqlite3.connect(target)
        os.chmod(target, 0o600)
        seen = sqlite3.connect(self._path)  # its own: the copy waits for ever for one that is in a transaction
        seen.backup(copy)
        for c in (seen, copy):
            c.close()
        return str(target)


class OnPostgres:
    kind = "postgresql"

    def __init__(self, url: str, programs: Sequence[str] | None = None) -> None:
        """`programs`: the pg_dumps to try; None: those that are found."""
        from nutshell.core.postgres import connect

        self._url, self._programs = url, _programs() if programs is None else programs
        self._c = connect(url)

    def tables(self) -> dict[str, str]:
        from nutshell.core.postgres_schema import MARKS, marks

        return {name: made for name, made in marks(self._c).items() if name != MARKS}

    def token(self, statements: Sequence[str]) -> str:
        from nutshell.core.postgres_schema import digest

        return digest(statements)

    def columns(self, table: str) -> list[str]:
        found = self._c.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = %s ORDER BY ordinal_position",
            (table,),
        )
        return [row[0] for row in found]

    def lock(self) -> None:
        from nutshell.core.postgres_schema import SCHEMA_LOCK

        self._c.execute("SELECT pg_advisory_lock(%s, 0)", (SCHEMA_LOCK,))  # goes with the connection

    def run(self, statement: str) -> None:
        self._c.execute(statement)

    def make(self, table: str, statements: Sequence[str]) -> None:
        from nutshell.core.postgres_schema import make_table

        make_table(self._c, table, statements)

    def set_aside(self, table: str, old: str) -> None:
        self._c.execute(f'ALTER TABLE "{table}" RENAME TO "{old}"')
        found = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s"
        for (index,) in self._c.execute(found, (old,)).fetchall():  # a constraint's too, which is renamed with it
            self._c.execute(f'ALTER INDEX "{index}" RENAME TO "{index[:55]}__old"')

    def carry_numbers(self, old: str, table: str) -> None:
        for column in self.columns(table):
            numbers = [
                row[0]
                for one in (old, table)
                if column in self.columns(one)
                for row in self._c.execute("SELECT pg_get_serial_sequence(%s, %s)", (f'"{one}"', column))
            ]
            if len(numbers) == 2 and all(numbers):
                self._c.execute(f"SELECT setval('{numbers[1]}', last_value, is_called) FROM {numbers[0]}")

    def end(self, keep: bool) -> None:
        if not self._c.closed:
            self._c.execute("COMMIT" if keep else "ROLLBACK")  # without a transaction: a warning
            self._c.close()

    def back_up(self, folder: Path) -> str:
        """By pg_dump where there is one that is new enough; else as a schema of the same database."""
        where = self._copied(folder)
        self._c.execute("BEGIN")
        return where

    def _copied(self, folder: Path) -> str:
        target = _fresh(folder, "postgresql", ".dump")
        for program in self._programs:
            done = subprocess.run([program, "--format=custom", f"--file={target}", self._url], capture_output=True)
            if done.returncode == 0:
                target.chmod(0o600)
                return str(target)
        target.unlink(missing_ok=True)
        name = f"nutshell_backup_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}"
        with self._c.transaction():
            self._c.execute(f"CREATE SCHEMA {name}")
            for table in self.tables():
                self._c.execute(f'CREATE TABLE {name}."{table}" AS TABLE "{table}"')
        return f"schema {name} of the database"


def _programs() -> list[str]:
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), key=lambda p: -int(p.parts[4]))
    on_path = shutil.which("pg_dump")
    return [*([on_path] if on_path else []), *map(str, newest)]


def _fresh(folder: Path, name: str, ending: str) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}{ending}"


def open_database(url: str, state: Path | None) -> Database:
    if url:
        return OnPostgres(url)
    if state is None:
        raise Unavailable("A cloud in memory has no database of another version.")
    return OnSqlite(state / "cloud.db")
