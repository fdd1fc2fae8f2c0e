"""The reading half of the index: lookups and pages, on a connection of the calling thread."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from nutshell.object_store.engine.statements import OBJECT
from nutshell.object_store.rows import AccountRow, Blob, ContainerRow, ObjectRow, Place, Usage

ENCODER = msgspec.msgpack.Encoder()
_META = msgspec.msgpack.Decoder(dict[str, str])
_SHOWN = msgspec.msgpack.Decoder(dict[str, Any])
_PLACES = msgspec.msgpack.Decoder(list[Place])
STORED = (
    f"SELECT {', '.join('o.' + c for c in OBJECT.split(', '))}, b.id, b.refs, b.size, b.sums, b.places, b.policy,"
    " b.key, b.sealed FROM objects o LEFT JOIN blobs b ON b.id = o.blob WHERE o.container=? AND o.name=?"
)
NOTHING = ENCODER.encode({})


def read_meta(raw: bytes) -> dict[str, str]:
    return _META.decode(raw) if raw != NOTHING else {}


def object_row(c: Sequence[Any]) -> ObjectRow:
    shown = _SHOWN.decode(c[11]) if c[11] != NOTHING else {}
    return ObjectRow(c[0], c[1], c[2], c[3], c[4], c[5], c[6], read_meta(c[7]), c[8], c[9], c[10], shown)


def container_row(c: Sequence[Any]) -> ContainerRow:
    return ContainerRow(c[0], c[1], c[2], c[3], c[4], c[5], read_meta(c[6]))


def after_prefix(prefix: str) -> str:
    """The least text that is greater than everything with this prefix ("" when there is none)."""
    for i in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[i])
        if point < 0x10FFFF:
            point = 0xE000 if point == 0xD7FF else point + 1  # surrogates are no characters
            return prefix[:i] + chr(point)
    return ""


def bounds(column: str, after: str, until: str, prefix: str, reverse: bool) -> tuple[list[str], list[Any]]:
    """Conditions that make the page a walk along the primary key."""
    low, high = (until, after) if reverse else (after, until)
    terms: list[str] = []
    values: list[Any] = []
    if prefix and low < prefix:
        terms.append(f"{column} >= ?")
        values.append(prefix)
    elif low:
        terms.append(f"{column} > ?")
        values.append(low)
    end = after_prefix(prefix) if prefix else ""
    if high and not (end and end < high):
        terms.append(f"{column} < ?")
        values.append(high)
    elif end:
        terms.append(f"{column} < ?")
        values.append(end)
    return terms, values


class Reader:
    """The reading half of `Index` (port.py)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection.execute

    def account(self, name: str) -> AccountRow | None:
        c = self._sql("SELECT id, name, created, changed, meta, deleted_at FROM accounts WHERE name=?", (name,))
        row = c.fetchone()
        return AccountRow(row[0], row[1], row[2], row[3], read_meta(row[4]), row[5]) if row else None

    def account_by_id(self, account_id: int) -> AccountRow | None:
        row = self._sql("SELECT name FROM accounts WHERE id=?", (account_id,)).fetchone()
        return self.account(row[0]) if row else None

    def container(self, account_id: int, name: str) -> ContainerRow | None:
        row = self._sql(
            "SELECT id, account, name, policy, created, changed, meta FROM containers WHERE account=? AND name=?",
            (account_id, name),
        ).fetchone()
        return container_row(row) if row else None

    def container_by_id(self, container_id: int) -> ContainerRow | None:
        row = self._sql(
            "SELECT id, account, name, policy, created, changed, meta FROM containers WHERE id=?", (container_id,)
        ).fetchone()
        return container_row(row) if row else None

    def object(self, container_id: int, name: str) -> ObjectRow | None:
        row = self._sql(f"SELECT {OBJECT} FROM objects WHERE container=? AND name=?", (container_id, name)).fetchone()
        return object_row(row) if row else None

    def stored(self, container_id: int, name: str) -> tuple[ObjectRow, Blob | None] | None:
        """As `object`, with its blob: in one look."""
        row = self._sql(STORED, (container_id, name)).fetchone()
        if row is None:
            return None
        b = row[12:]
        blob = Blob(b[0], b[1], b[2], b[3], _PLACES.decode(b[4]), b[5], b[6], b[7]) if b[0] is not None else None
        return object_row(row), blob

    def version(self, container_id: int, name: str, version: int) -> ObjectRow | None:
        row = self._sql(
            f"SELECT {OBJECT} FROM versions WHERE container=? AND name=? AND version=?", (container_id, name, version)
        ).fetchone()
        return object_row(row) if row else None

    def blob(self, blob_id: int) -> Blob | None:
        row = self._sql(
            "SELECT id, refs, size, sums, places, policy, key, sealed FROM blobs WHERE id=?", (blob_id,)
        ).fetchone()
        return Blob(row[0], row[1], row[2], row[3], _PLACES.decode(row[4]), row[5], row[6], row[7]) if row else None

    def account_usage(self, account_id: int) -> dict[int, Usage]:
        rows = self._sql("SELECT policy, containers, objects, bytes FROM account_usage WHERE account=?", (account_id,))
        return {r[0]: Usage(*r[1:]) for r in rows}

    def container_usage(self, container_id: int) -> Usage:
        row = self._sql("SELECT objects, bytes FROM containers WHERE id=?", (container_id,)).fetchone()
        return Usage(1, row[0], row[1]) if row else Usage()

    def list_accounts(self, after: str, limit: int) -> list[AccountRow]:
        rows = self._sql(
            "SELECT id, name, created, changed, meta, deleted_at FROM accounts WHERE name > ? ORDER BY name LIMIT ?",
            (after, limit),
        )
        return [AccountRow(r[0], r[1], r[2], r[3], read_meta(r[4]), r[5]) for r in rows]

    def list_containers(
        self, account_id: int, *, after: str, until: str, prefix: str, limit: int, reverse: bool
    ) -> list[tuple[ContainerRow, Usage]]:
        terms, values = bounds("name", after, until, prefix, reverse)
        rows = self._sql(
            "SELECT id, account, name, policy, created, changed, meta, objects, bytes FROM containers WHERE"
            f" {' AND '.join(['account=?', *terms])} ORDER BY name{' DESC' if reverse else ''} LIMIT ?",
            (account_id, *values, limit),
        )
        return [(container_row(r), Usage(1, r[7], r[8])) for r in rows]

    def list_objects(
        self, container_id: int, *, after: str, until: str, prefix: str, limit: int, reverse: bool
    ) -> list[ObjectRow]:
        return list(map(object_row, self.pages(container_id, (after, until, prefix), limit, reverse)))

    def pages(self, container_id: int, span: tuple[str, str, str], limit: int, reverse: bool) -> Iterable[Any]:
        """As `list_objects`, the bare columns (`OBJECT`): for listings that look at a few of them."""
        terms, values = bounds("name", *span, reverse)
        return self._sql(
            f"SELECT {OBJECT} FROM objects WHERE {' AND '.join(['container=?', *terms])}"
            f" ORDER BY name{' DESC' if reverse else ''} LIMIT ?",
            (container_id, *values, limit),
        )

    def list_versions(
        self, container_id: int, *, after: tuple[str, int], prefix: str, limit: int, reverse: bool = False
    ) -> list[ObjectRow]:
        terms, values = bounds("name", "", "", prefix, False)
        name, version = after
        order = "name DESC, version" if reverse else "name, version DESC"
        beyond, newer = ("<", ">") if reverse else (">", "<")
        if name and version:
            terms.append(f"(name {beyond} ? OR (name = ? AND version {newer} ?)) AND name {beyond}= ?")
            values += [name, name, version, name]
        elif name:
            terms.append(f"name {beyond} ?")
            values.append(name)
        rows = self._sql(
            f"SELECT {OBJECT} FROM versions WHERE {' AND '.join(['container=?', *terms])} ORDER BY {order} LIMIT ?",
            (container_id, *values, limit),
        )
        return list(map(object_row, rows))

    def list_due(self, now_s: int, limit: int) -> list[tuple[int, str]]:
        return self._sql(
            "SELECT container, name FROM objects WHERE delete_at > 0 AND delete_at <= ? ORDER BY delete_at LIMIT ?",
            (now_s, limit),
        ).fetchall()

    # -- what keeping the devices in order asks
    def segments(self, device: str) -> dict[int, tuple[int, int]]:
        """Segment → (bytes, dead bytes)."""
        rows = self._sql("SELECT segment, bytes, dead FROM segments WHERE device=?", (device,))
        return {r[0]: (r[1], r[2]) for r in rows}

    def count_blobs(self) -> int:
        return int(self._sql("SELECT count(*) FROM blobs").fetchone()[0])

    def list_blobs(self, after: int, limit: int) -> list[Blob]:
        rows = self._sql(
            "SELECT id, refs, size, sums, places, policy, key, sealed FROM blobs WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        return [Blob(r[0], r[1], r[2], r[3], _PLACES.decode(r[4]), r[5], r[6], r[7]) for r in rows]

    def repairs(self, limit: int) -> list[int]:
        return [r[0] for r in self._sql("SELECT blob FROM repairs LIMIT ?", (limit,))]

    def list_synced(self) -> list[ContainerRow]:
        """Containers with a target to synchronise with."""
        rows = self._sql(
            "SELECT id, account, name, policy, created, changed, meta FROM containers"
            " WHERE instr(meta, CAST('x-container-sync-to' AS BLOB))"
        )
        return [container_row(r) for r in rows]

    def newest(self, container_id: int) -> tuple[int, int]:
        """(how many objects, the newest one's time)."""
        row = self._sql("SELECT count(*), max(ts) FROM objects WHERE container=?", (container_id,)).fetchone()
        return row[0], row[1] or 0
