"""Upgrades: toy releases through all kinds of change, and every released version's database to today's tables."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nutshell import app
from nutshell.core.clock import Clock
from nutshell.core.config import CloudConfig
from nutshell.core.sqlite_schema import UnknownSchema
from nutshell.core.store import SqliteStore
from nutshell.upgrade.changes import CHANGES, NEXT, Change
from nutshell.upgrade.databases import Database, OnPostgres, OnSqlite
from nutshell.upgrade.releases import Release, Tables, declared, record, released
from nutshell.upgrade.run import upgrade, upgrade_at_start

COUNTED = {
    "sqlite": "CREATE TABLE log (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, word TEXT NOT NULL{more})",
    "postgresql": "CREATE TABLE log (seq BIGSERIAL NOT NULL PRIMARY KEY, word TEXT NOT NULL{more})",
}


def log(more: str = "") -> dict[str, str]:
    return {kind: text.format(more=more) for kind, text in COUNTED.items()}


def both(tables: dict[str, list[str]], counted: dict[str, str]) -> dict[str, Tables]:
    return {kind: tables | {"log": [counted[kind]]} for kind in COUNTED}


BOATS = "CREATE TABLE boats (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, length FLOAT, UNIQUE (name))"
ONE = both({"boats": [BOATS, "CREATE INDEX ix_name ON boats (name)"], "ports": ["CREATE TABLE ports (id TEXT)"]}, log())
# a column that must have a value, one that goes, an index that changes; a table that is renamed
TWO = both(
    {
        "boats": [
            "CREATE TABLE boats (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, size TEXT NOT NULL, UNIQUE (name))",
            "CREATE INDEX ix_name ON boats (size, name)",
        ],
        "harbours": ["CREATE TABLE harbours (id TEXT, name TEXT)"],
    },
    log(),
)
# a table is dropped, one is new, the numbered one is remade
NOW = both(
    {"boats": TWO["sqlite"]["boats"], "crews": ["CREATE TABLE crews (boat TEXT NOT NULL)"]},
    log(", at FLOAT DEFAULT 0 NOT NULL"),
)
STEPS = (
    Change(
        "2.0.0",
        values={("boats", "size"): "CASE WHEN length > 10 THEN 'big' ELSE 'small' END"},
        renamed={"ports": "harbours"},
        after=["UPDATE harbours SET name = 'port of ' || id"],
    ),
    Change(NEXT, dropped=frozenset({"harbours"}), after=["INSERT INTO crews SELECT id FROM boats"]),
)
RELEASES = [Release("1.0.0", ONE), Release("2.0.0", TWO)]
Open = Callable[[], Any]


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the test's database, again and again."""
    if request.param == "sqlite":
        yield lambda: OnSqlite(tmp_path / "cloud.db")
    else:
        url = request.getfixturevalue("postgres_url")
        yield lambda: OnPostgres(url)


def build(database: Any, tables: Tables, *more: str) -> None:
    database.lock()
    for name, made in tables.items():
        database.tables()
        database.make(name, made)
    for statement in more:
        database.run(statement)
    database.end(True)


def rows(database: Any, query: str) -> list[tuple[Any, ...]]:
    found = [tuple(row) for row in database._c.execute(query).fetchall()]
    database.end(False)
    return found


FILLED = (
    "INSERT INTO boats VALUES ('a', 'Anna', 12), ('b', 'Berta', 7)",
    "INSERT INTO ports VALUES ('kiel')",
    "INSERT INTO log (word) VALUES ('one'), ('two'), ('three')",
    "DELETE FROM log WHERE word = 'three'",
)


def test_a_database_goes_through_every_release_and_keeps_its_rows(opened: Open, tmp_path: Path) -> None:
    kind = opened().kind
    build(opened(), ONE[kind], *FILLED)
    assert upgrade(opened(), tmp_path / "backups", RELEASES, NOW[kind], STEPS) == "1.0.0"
    assert rows(opened(), "SELECT id, name, size FROM boats ORDER BY id") == [
        ("a", "Anna", "big"),
        ("b", "Berta", "small"),
    ]
    assert rows(opened(), "SELECT boat FROM crews ORDER BY boat") == [("a",), ("b",)]
    again = opened()
    again.run("INSERT INTO log (word) VALUES ('four')")
    assert rows(again, "SELECT seq, word, at FROM log ORDER BY seq")[-1][1:] == ("four", 0), (
        "numbers are not used twice"
    )
    fresh = opened()
    assert set(fresh.tables()) == set(NOW[kind])
    fresh.end(False)


def test_numbers_go_on_where_they_were(opened: Open, tmp_path: Path) -> None:
    kind = opened().kind
    build(opened(), ONE[kind], *FILLED)
    upgrade(opened(), tmp_path / "backups", RELEASES, NOW[kind], STEPS)
    again = opened()
    again.run("INSERT INTO log (word) VALUES ('four')")
    assert rows(again, "SELECT seq FROM log WHERE word = 'four'") == [(4,)]


def test_the_backup_is_the_database_as_it_was(opened: Open, tmp_path: Path) -> None:
    kind = opened().kind
    build(opened(), ONE[kind], *FILLED)
    upgrade(opened(), tmp_path / "backups", RELEASES, NOW[kind], STEPS)
    (copy,) = (tmp_path / "backups").iterdir()
    assert copy.stat().st_mode & 0o77 == 0
    if kind == "sqlite":
        with sqlite3.connect(copy) as c:
            assert c.execute("SELECT id, length FROM boats ORDER BY id").fetchall() == [("a", 12.0), ("b", 7.0)]
    else:
        assert copy.read_bytes().startswith(b"PGDMP")


def test_without_pg_dump_the_tables_are_copied_inside_the_server(postgres_url: str, tmp_path: Path) -> None:
    build(OnPostgres(postgres_url), ONE["postgresql"], *FILLED)
    database = OnPostgres(postgres_url, programs=[])
    where = database.back_up(tmp_path).split()[1]
    assert rows(database, f"SELECT name FROM {where}.boats ORDER BY name") == [("Anna",), ("Berta",)]


def test_a_later_release_skips_the_first_steps(opened: Open, tmp_path: Path) -> None:
    kind = opened().kind
    build(opened(), TWO[kind], "INSERT INTO boats VALUES ('c', 'Cilli', 'middle')")
    assert upgrade(opened(), tmp_path / "backups", RELEASES, NOW[kind], STEPS) == "2.0.0"
    assert rows(opened(), "SELECT size FROM boats") == [("middle",)]


@pytest.mark.parametrize("wrong", ["unknown", "unfinished", "failing"])
def test_what_does_not_work_changes_nothing(opened: Open, tmp_path: Path, wrong: str) -> None:
    kind = opened().kind
    tables, steps = dict(ONE[kind]), STEPS
    if wrong == "unknown":
        tables["boats"] = ["CREATE TABLE boats (id TEXT NOT NULL PRIMARY KEY, colour TEXT)"]
        filled: tuple[str, ...] = ("INSERT INTO boats VALUES ('a', 'red')",)
    else:
        filled = FILLED
        steps = (STEPS[0],) if wrong == "unfinished" else (Change("2.0.0", renamed={"ports": "harbours"}), STEPS[1])
    build(opened(), tables, *filled)
    before = opened()
    known, content = before.tables(), rows(before, "SELECT * FROM boats ORDER BY id")
    with pytest.raises(Exception, match=r"released|did not lead|size|NOT NULL"):
        upgrade(opened(), tmp_path / "backups", RELEASES, NOW[kind], steps)
    after = opened()
    assert after.tables() == known
    assert rows(after, "SELECT * FROM boats ORDER BY id") == content


def test_a_start_with_a_database_of_no_release_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "cloud.db", Clock()).close()
    with sqlite3.connect(tmp_path / "cloud.db") as c:
        c.execute("ALTER TABLE quota_limit ADD COLUMN colour TEXT")
    with pytest.raises(UnknownSchema, match="no released version"):
        app.open_store(CloudConfig(state=tmp_path), Clock())
    with sqlite3.connect(tmp_path / "cloud.db") as c:
        assert "colour" in str(c.execute("SELECT sql FROM sqlite_master WHERE name='quota_limit'").fetchone())


def test_a_release_records_todays_tables_and_must_be_newer(tmp_path: Path) -> None:
    app.parts()
    record("1.2.0", tmp_path)
    record("1.10.0", tmp_path)
    with pytest.raises(ValueError, match="not newer"):
        record("1.9.9", tmp_path)
    found = released(tmp_path)
    assert [r.version for r in found] == ["1.2.0", "1.10.0"]
    assert found[0].tables["sqlite"] == declared("sqlite")
    assert found[0].tables["postgresql"] == declared("postgresql")


@pytest.mark.parametrize("release", released(), ids=lambda r: r.version)
def test_every_released_database_becomes_todays(opened: Open, tmp_path: Path, release: Release) -> None:
    """With a row in each table, so that a value that is missing shows."""
    app.parts()
    database = opened()
    tables = release.tables[database.kind]
    build(database, tables)
    database = opened()
    for table in tables:
        fill(database, table)
    database.end(True)
    upgrade(opened(), tmp_path / "backups", released(), declared(database.kind), CHANGES)
    if isinstance(database, OnSqlite):
        SqliteStore(tmp_path / "cloud.db", Clock()).close()


def fill(database: Any, table: str) -> None:
    """One row with something in every column."""
    if database.kind == "sqlite":
        types = {r[1]: r[2] for r in database._c.execute(f'PRAGMA table_info("{table}")')}
    else:
        query = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s"
        types = dict(database._c.execute(query, (table,)).fetchall())
    names = ", ".join(f'"{name}"' for name in types)
    database.run(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(map(value_of, types.values()))})')


def value_of(kind: str) -> str:
    kind = kind.upper()
    if "BOOL" in kind:
        return "TRUE"
    if any(word in kind for word in ("INT", "FLOAT", "DOUBLE", "REAL", "NUMERIC")):
        return "1"
    return "'{}'" if "JSON" in kind else "'x'"


def test_at_start_an_earlier_releases_database_is_upgraded(tmp_path: Path) -> None:
    """Nothing is released but tables: a database that is current is left to itself."""
    SqliteStore(tmp_path / "cloud.db", Clock()).close()
    app.open_store(CloudConfig(state=tmp_path), Clock()).close()
    assert not (tmp_path / "backups").exists()
    (tmp_path / "other").mkdir()
    with pytest.raises(UnknownSchema):
        upgrade_at_start("", tmp_path / "other")


_: type[Database] = OnSqlite


def test_a_release_is_cut_from_the_tree(tmp_path: Path) -> None:
    """In a copy of the source: the schema is there, the versions are set, the pending change has its name."""
    root = Path(__file__).parents[2]
    copy = tmp_path / "tree"
    shutil.copytree(root / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", copy)
    changes = copy / "src" / "nutshell" / "upgrade" / "changes.py"
    said = changes.read_text().replace(
        "CHANGES: tuple[Change, ...] = ()", "CHANGES: tuple[Change, ...] = (Change(NEXT),)"
    )
    changes.write_text(said)
    command = [sys.executable, "-m", "nutshell.upgrade.release", "99.1.0"]
    done = subprocess.run(
        command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy / "src")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (copy / "src" / "nutshell" / "upgrade" / "released" / "99.1.0.json").exists()
    assert 'version = "99.1.0"' in (copy / "pyproject.toml").read_text()
    assert '__version__ = "99.1.0"' in (copy / "src" / "nutshell" / "__init__.py").read_text()
    assert '(Change("99.1.0"),)' in changes.read_text()
    again = subprocess.run(
        command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy / "src")}, capture_output=True, text=True
    )
    assert "not newer" in again.stderr
