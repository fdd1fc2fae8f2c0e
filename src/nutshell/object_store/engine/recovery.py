"""Opening the index: tables made, and what the logs hold beyond it repeated (after a loss of power)."""

import logging
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from nutshell.object_store.engine.segments import HEADER, Log, Record
from nutshell.object_store.engine.staging import sums_of
from nutshell.object_store.engine.statements import CHANGES, SCHEMA

log = logging.getLogger("nutshell.object_store")


def connect(path: Path, durable: bool, *, reads: bool = False) -> sqlite3.Connection:
    """A connection to the index. The logs make changes durable, so its own commits need no flush."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={'NORMAL' if durable else 'OFF'}")
    connection.execute("PRAGMA cache_size=-32768" if not reads else "PRAGMA cache_size=-16384")
    connection.execute("PRAGMA mmap_size=1073741824")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    if reads:
        connection.execute("PRAGMA query_only=1")
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name='repairs'").fetchone()
    if known is None:
        connection.execute("BEGIN")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("COMMIT")


def catch_up(connection: sqlite3.Connection, logs: Mapping[str, Log]) -> tuple[int, int]:
    """Repeat what the logs hold and the index does not. (The last sequence number, how many batches were repeated.)

    A batch counts when its record is whole on every device that took part and is here.
    """
    found = connection.execute("SELECT value FROM state WHERE name='seq'").fetchone()
    seq = int(found[0]) if found else 0
    tails = {d: (s, t) for d, s, t in connection.execute("SELECT device, segment, tail FROM tails")}
    coming: dict[int, dict[str, tuple[int, Record]]] = {}
    for name, journal in logs.items():
        segment, tail = tails.get(name, (0, 0))
        for number in journal.numbers():
            if number < segment:
                continue
            for record in journal.records(number, tail if number == segment else 0):
                if record.seq > seq:
                    coming.setdefault(record.seq, {})[name] = (number, record)
    repeated = 0
    for number in sorted(coming):
        if not _whole(coming[number], logs):
            log.warning("object store: a batch of changes was cut off by a crash; nobody had been told it was done")
            continue
        _repeat(connection, number, coming[number])
        seq, repeated = number, repeated + 1
    return seq, repeated


def _whole(records: Mapping[str, tuple[int, Record]], logs: Mapping[str, Log]) -> bool:
    """The record is on every device that took part and is here, its bytes as they were."""
    _, any_record = next(iter(records.values()))
    for device in any_record.said.devices:
        if device not in logs:
            continue  # a lost disk: the others' word counts
        if device not in records:
            return False
        segment, record = records[device]
        for _, offset, length, sums in record.said.blobs:
            data = logs[device].read(segment, record.offset + HEADER.size + offset, length)
            if data is None or len(data) != length or sums_of(data) != sums:
                return False
    return True


def _repeat(connection: sqlite3.Connection, seq: int, records: Mapping[str, tuple[int, Record]]) -> None:
    _, record = next(iter(records.values()))
    connection.execute("BEGIN IMMEDIATE")
    for statement, values in record.said.changes:
        connection.execute(CHANGES[statement], values)
    connection.execute("INSERT OR REPLACE INTO state VALUES ('seq', ?)", (seq,))
    for device, (segment, one) in records.items():
        connection.execute("INSERT OR REPLACE INTO tails VALUES (?,?,?)", (device, segment, one.end))
    connection.execute("COMMIT")


def first_id(connection: sqlite3.Connection, now_ms: int) -> int:
    """Ids go on from here: larger than any that was given out, whatever the clock says."""
    tables = ("blobs", "accounts", "containers")
    known = [connection.execute(f"SELECT max(id) FROM {t}").fetchone()[0] or 0 for t in tables]
    return int(max(now_ms << 20, *[k + 1 for k in known]))


def mark_of(directory: Path, durable: bool) -> str:
    """The id of the device in a directory, made where there is none: a directory of the same path may be another's."""
    path = directory / "device.id"
    if path.exists():
        return path.read_text().strip()
    directory.mkdir(parents=True, exist_ok=True)
    mark = os.urandom(16).hex()
    with open(path, "x") as file:
        file.write(mark)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    return mark
