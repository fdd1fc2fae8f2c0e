"""The schemas of released versions: the statements that made each table, on both databases."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RELEASED = Path(__file__).parent / "released"

Tables = Mapping[str, list[str]]  # table → the statements that make it and its indexes


@dataclass(frozen=True)
class Release:
    """`tables`: by kind of database, "sqlite" and "postgresql"."""

    version: str
    tables: Mapping[str, Tables]


def declared(kind: str) -> Tables:
    """The schema of this very version. Its services must have been imported."""
    if kind == "sqlite":
        from nutshell.core.sqlite_schema import schema

        return schema()
    from nutshell.core.postgres_schema import schema as on_postgresql

    return on_postgresql()


def released(folder: Path = RELEASED) -> list[Release]:
    """Every released version, oldest first."""
    found = [Release(path.stem, json.loads(path.read_text())) for path in folder.glob("*.json")]
    return sorted(found, key=lambda r: number(r.version))


def record(version: str, folder: Path = RELEASED) -> Path:
    """Write down today's schema as that of a version. ValueError when it is not newer than the last one."""
    before = released(folder)
    if before and number(version) <= number(before[-1].version):
        raise ValueError(f"{version} is not newer than {before[-1].version}, which was released")
    tables = {kind: dict(declared(kind)) for kind in ("sqlite", "postgresql")}
    path = folder / f"{version}.json"
    path.write_text(json.dumps(tables, indent=1) + "\n")
    return path


def number(version: str) -> tuple[int, ...]:
    """ "1.10.0" → (1, 10, 0). ValueError for anything else."""
    parts = tuple(int(part) for part in version.split("."))
    if len(parts) != 3:
        raise ValueError(f"{version} is no version: it has three numbers")
    return parts
