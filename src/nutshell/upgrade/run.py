"""A released version's database becomes this version's: known by its tables, backed up, changed in one transaction.

docs/decisions/0030-upgrades.md. Called at start when a store finds tables that are not as declared; not imported else.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from nutshell.core.sqlite_schema import UnknownSchema
from nutshell.upgrade.changes import CHANGES, NEXT, Change
from nutshell.upgrade.databases import Database, open_database
from nutshell.upgrade.releases import Release, Tables, declared, released

log = logging.getLogger("nutshell.upgrade")


def upgrade_at_start(url: str, state: Path | None) -> None:
    """Upgrade the cloud's database. UnknownSchema when it is of no released version; it is as it was then."""
    database = open_database(url, state)
    upgrade(database, (state or Path(".")) / "backups", released(), declared(database.kind), CHANGES)


def upgrade(
    database: Database, backups: Path, known: Sequence[Release], target: Tables, changes: Sequence[Change]
) -> str:
    """Upgrade and close the database; the version it was of. `target`: what it must be afterwards."""
    done = False
    try:
        database.lock()
        at = identify(database, known, target)
        copy = database.back_up(backups)
        log.warning("the database is of version %s; copied to %s, upgrading", known[at].version, copy)
        by_release = {c.to: c for c in changes}
        hops = [(r.version, r.tables[database.kind]) for r in known[at + 1 :]] + [(NEXT, target)]
        for version, tables in hops:
            apply(database, tables, by_release.get(version, Change(version)))
        _check(database, target)
        done = True
        return known[at].version
    finally:
        database.end(done)


def identify(database: Database, known: Sequence[Release], target: Tables) -> int:
    """Which release's database it is. Tables that were added since, as they are declared now, do not matter."""
    found = database.tables()
    new = {name: database.token(made) for name, made in target.items()}
    for at in reversed(range(len(known))):
        its = {name: database.token(made) for name, made in known[at].tables[database.kind].items()}
        if its.items() <= found.items() and all(found[n] == new.get(n) for n in found.keys() - its.keys()):
            return at
    raise UnknownSchema(
        "the database is of no released version of Nutshell that this one knows; start the version that made it, or "
        "erase the cloud with: nutshell reset --yes"
    )


def apply(database: Database, tables: Tables, change: Change) -> None:
    """One release's step."""
    for old, new in change.renamed.items():
        database.run(f'ALTER TABLE "{old}" RENAME TO "{new}"')
    for name in change.dropped:
        database.run(f'DROP TABLE "{name}"')
    there = database.tables() | dict.fromkeys(change.renamed.values(), "")
    for name, made in tables.items():
        if name not in there:
            database.make(name, made)
        elif there[name] != database.token(made):
            _remake(database, name, made, change)
    for statement in change.after:
        database.run(statement)


def _remake(database: Database, table: str, made: Sequence[str], change: Change) -> None:
    """The table as it is to be, with the rows that were in it."""
    old = f"{table}__old"
    before = database.columns(table)
    database.set_aside(table, old)
    database.make(table, made)
    said = {column: sql for (name, column), sql in change.values.items() if name == table}
    taken = {c: said.get(c, f'"{c}"') for c in database.columns(table) if c in said or c in before}
    names = ", ".join(f'"{c}"' for c in taken)
    database.run(f'INSERT INTO "{table}" ({names}) SELECT {", ".join(taken.values())} FROM "{old}"')
    database.carry_numbers(old, table)
    database.run(f'DROP TABLE "{old}"')


def _check(database: Database, target: Tables) -> None:
    found = database.tables()
    wrong = sorted(n for n, made in target.items() if found.get(n) != database.token(made))
    wrong += sorted(found.keys() - target.keys())
    if wrong:
        raise UnknownSchema(
            f"the upgrade did not lead to this version's tables ({', '.join(wrong[:5])}); nothing was changed"
        )
