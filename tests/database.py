"""The database a test's cloud is made on: SQLite, or a PostgreSQL database of its own with `--database postgresql`.

Whoever builds a cloud for a test asks here: `database_for(state)` for a cloud in process, `environment_for(state)` for
one started by command. The same state directory gets the same database, so that a cloud can be started again.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

SERVER = "TESTS_POSTGRESQL"  # URL of the test run's server, without a database; unset: SQLite
TEMPLATE = "nutshell_template"


def on_postgresql() -> bool:
    return SERVER in os.environ


def database_for(state: Path | None) -> str:
    """The URL of this cloud's database, or "" for SQLite in its state directory."""
    if not on_postgresql() or state is None:
        return ""
    server = os.environ[SERVER]
    name = "t" + hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]
    with connected(server) as c:
        if c.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            c.execute(f"CREATE DATABASE {name} TEMPLATE {_template(c, server)}")
    return f"{server}/{name}"


def environment_for(state: Path) -> dict[str, str]:
    """What a command that starts the cloud of this directory needs in its environment."""
    url = database_for(state)
    return {"NUTSHELL_CLOUD_DATABASE": url} if url else {}


def everything_kept(state: Path) -> bytes:
    """What stands in this cloud's database, to look for what must not be there."""
    if not on_postgresql():
        return b"".join(p.read_bytes() for p in state.glob("cloud.db*"))
    import psycopg

    with psycopg.connect(database_for(state)) as c:
        tables = c.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [c.execute(f'SELECT t::text FROM "{name}" t').fetchall() for (name,) in tables]
    return repr(rows).encode()


def drop_unused(server: str) -> None:
    """Drop the databases that no cloud has open."""
    with connected(server) as c:
        for (name,) in c.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 't%' AND NOT datistemplate AND datname <> 'template1'"
            " AND datname NOT IN (SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL)"
        ).fetchall():
            c.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def connected(server: str) -> Any:
    import psycopg

    return psycopg.connect(server + "/postgres", autocommit=True)


def _template(c: Any, server: str) -> str:
    """A database with every table, made once: copying it is several times quicker than making them again."""
    if c.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone() is None:
        import psycopg

        from nutshell import app
        from nutshell.core.postgres import create_schema

        app.parts()
        c.execute(f"CREATE DATABASE {TEMPLATE}")
        with psycopg.connect(f"{server}/{TEMPLATE}", autocommit=True) as fresh:
            create_schema(fresh)
    return TEMPLATE
