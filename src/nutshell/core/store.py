"""The cloud's state: transactions, rows with compare-and-swap, and the event that goes with every change.

All writes on SQLite go through one thread and are committed in groups (a savepoint each); a write is answered after
the group's flush. Reads run on the caller's thread with a connection of its own and see one snapshot.
"""

# house: mutable-state waived 2026-11-22: one row reader for each noun, made at its first use

import queue
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as sqlite_dialect

from nutshell.core.clock import Clock
from nutshell.core.compiled import text_of
from nutshell.core.errors import Duplicate, NotFound, StaleRow, Unstorable
from nutshell.core.events import EVENTS, Event, Request, current_request
from nutshell.core.resource import Loader, Resource, Row
from nutshell.core.sqlite_schema import create_schema

T = TypeVar("T")
GROUP = 64  # writes flushed together at most
Item = tuple[Callable[["Tx"], Any], "Future[Any]", Request]
_LOADERS: dict[type[Resource], Loader[Any]] = {}


def loader(noun: type[Row]) -> Loader[Row]:
    found = _LOADERS.get(noun)
    if found is None:
        found = _LOADERS[noun] = Loader(noun)
    return found


class Cursor(Protocol):
    rowcount: int
    description: Any

    def fetchall(self) -> list[Any]: ...
    def fetchone(self) -> Any: ...


class Dialect(Protocol):
    """What differs between databases."""

    sql: sa.Dialect

    def run(self, connection: Any, text: str, values: Sequence[Any]) -> Cursor: ...


class SqliteDialect:
    sql: sa.Dialect = sqlite_dialect.dialect(paramstyle="qmark")

    def run(self, connection: Any, text: str, values: Sequence[Any]) -> Cursor:
        try:
            found: Cursor = connection.execute(text, values)
        except sqlite3.IntegrityError as why:
            raise Duplicate(why=str(why)) from None
        except (OverflowError, UnicodeEncodeError) as why:  # a number beyond 64 bits, half a character
            raise Unstorable(why=str(why)) from None
        return found


class Tx:
    """One transaction. Rows read from it are frozen; changed rows are new objects."""

    def __init__(self, connection: Any, dialect: Dialect, clock: Clock, request: Request | None = None) -> None:
        self.connection, self.dialect, self.clock = connection, dialect, clock
        self.request = request or current_request()
        self.now = clock.now()
        self.events: list[Event] = []
        self.after_commit: list[Callable[[], None]] = []
        self.sql_count, self.sql_s = 0, 0.0
        self.memo: dict[Any, Any] = {}  # for one transaction: what ports and policies looked up already

    # -- raw
    def sql(self, text: str, *values: Any) -> Cursor:
        """Run text with `?` placeholders."""
        self.sql_count += 1
        started = time.perf_counter()
        try:
            return self.dialect.run(self.connection, text, values)
        finally:
            self.sql_s += time.perf_counter() - started

    def execute(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> list[Any]:
        """Run a SQLAlchemy statement; the rows as tuples."""
        text, bound = text_of(statement, self.dialect.sql, values)
        cursor = self.sql(text, *bound)
        return cursor.fetchall() if cursor.description is not None else []

    # -- reading
    def get(self, noun: type[Row], key: str | None) -> Row | None:
        """The living row with this id."""
        if key is None:
            return None
        found = self.find(noun, id=key)
        return found[0] if found else None

    def need(self, noun: type[Row], key: str | None) -> Row:
        """The living row with this id, or NotFound."""
        found = self.get(noun, key)
        if found is None:
            raise NotFound(kind=noun.one.replace("_", " ").capitalize(), id=key)
        return found

    def one(self, noun: type[Row], *conditions: sa.ColumnElement[bool], **equals: Any) -> Row | None:
        found = self.find(noun, *conditions, limit=1, **equals)
        return found[0] if found else None

    def find(
        self,
        noun: type[Row],
        *conditions: sa.ColumnElement[bool],
        order: str = "",
        limit: int | None = None,
        deleted: bool = False,
        **equals: Any,
    ) -> list[Row]:
        """Rows that meet all. `equals`: column=value (None: is null; a list: any of). `order`: "name, id desc".

        Deleted rows only with `deleted=True` (then living and dead).
        """
        load = loader(noun)
        text, values = self._where(noun, conditions, equals, deleted)
        if text is None:
            return []
        tail = (f" ORDER BY {order}" if order else "") + (f" LIMIT {int(limit)}" if limit is not None else "")
        cursor = self.sql(f"SELECT {load.columns} FROM {noun.table.name}{text}{tail}", *values)
        return [load.row(r) for r in cursor.fetchall()]

    def count(self, noun: type[Resource], *conditions: sa.ColumnElement[bool], **equals: Any) -> int:
        text, values = self._where(noun, conditions, equals, False)
        if text is None:
            return 0
        found: int = self.sql(f"SELECT count(*) FROM {noun.table.name}{text}", *values).fetchone()[0]
        return found

    def _where(
        self,
        noun: type[Resource],
        conditions: Sequence[sa.ColumnElement[bool]],
        equals: Mapping[str, Any],
        deleted: bool,
    ) -> tuple[str | None, list[Any]]:
        """SQL text and values; text None when no row can match (an empty `any of`)."""
        parts: list[str] = [] if deleted or not noun.tombstone else ["deleted_at IS NULL"]
        values: list[Any] = []
        for name, value in equals.items():
            if name not in noun.fields:
                raise LookupError(f"{noun.__name__} has no column {name}")
            if value is None:
                parts.append(f'"{name}" IS NULL')
            elif isinstance(value, list | tuple | set | frozenset):
                if not value:
                    return None, []
                parts.append(f'"{name}" IN ({",".join("?" * len(value))})')
                values.extend(value)
            else:
                parts.append(f'"{name}" = ?')
                values.append(value)
        for condition in conditions:
            text, bound = text_of(condition, self.dialect.sql)
            parts.append(f"({text})")
            values.extend(bound)
        return (" WHERE " + " AND ".join(parts) if parts else ""), values

    # -- writing
    def add(self, row: Row, *, quiet: bool = False, **facts: Any) -> Row:
        """Insert a row (its created_at is set) and its event."""
        load = loader(type(row))
        row = _changed(row, created_at=row.created_at or self.now)
        marks = ",".join("?" * len(load.names))
        values = [load.value(n, v) for n, v in row.__dict__.items()]
        self.sql(f"INSERT INTO {row.table.name} ({load.columns}) VALUES ({marks})", *values)
        if not quiet:
            self.tell(row, "create", facts)
        return row

    def put(
        self,
        row: Row,
        *,
        verb: str = "update",
        quiet: bool = False,
        facts: Mapping[str, Any] | None = None,
        touch: bool = True,
        **changes: Any,
    ) -> Row:
        """Change a row if nobody changed it since it was read, else StaleRow. `quiet`: no event."""
        load = loader(type(row))
        if touch:
            changes.setdefault("updated_at", self.now)
        changes["generation"] = row.generation + 1
        sets = ", ".join(f'"{n}" = ?' for n in changes)
        values = [load.value(n, v) for n, v in changes.items()]
        cursor = self.sql(
            f"UPDATE {row.table.name} SET {sets} WHERE id = ? AND generation = ?",
            *values,
            row.id,
            row.generation,
        )
        if cursor.rowcount != 1:
            raise StaleRow(kind=row.one, id=row.id)
        new = _changed(row, **changes)
        if not quiet:
            self.tell(new, verb, facts or {})
        return new

    def drop(self, row: Resource, *, quiet: bool = False, **facts: Any) -> None:
        """Delete a row: a tombstone where the noun keeps them, else for good."""
        if row.tombstone:
            self.put(row, quiet=True, deleted_at=self.now)
        else:
            cursor = self.sql(f"DELETE FROM {row.table.name} WHERE id = ? AND generation = ?", row.id, row.generation)
            if cursor.rowcount != 1:
                raise StaleRow(kind=row.one, id=row.id)
        if not quiet:
            self.tell(row, "delete", facts)

    def drop_where(self, noun: type[Resource], *conditions: sa.ColumnElement[bool], **equals: Any) -> int:
        """Delete rows for good, without events. For rows that live and die with another (links, tags, members)."""
        if not equals and not conditions:
            raise ValueError("drop_where needs a condition")
        text, values = self._where(noun, conditions, equals, True)
        return 0 if text is None else self.sql(f"DELETE FROM {noun.table.name}{text}", *values).rowcount

    def tell(self, row: Resource, verb: str, facts: Mapping[str, Any]) -> None:
        """Record an event about this row, and wake whoever watches its kind."""
        request = self.request
        self.events.append(
            Event(
                at=self.now,
                kind=row.event_kind,
                verb=verb,
                resource_id=row.id,
                project_id=getattr(row, "project_id", "") or "",
                user_id=request.user_id,
                request_id=request.id,
                facts=facts,
                row=row,
            )
        )

    def flush_events(self) -> None:
        for e in self.events:
            self.sql(
                f"INSERT INTO {EVENTS.name} (at, kind, verb, resource_id, project_id, user_id, request_id, facts)"
                " VALUES (?,?,?,?,?,?,?,?)",
                e.at,
                e.kind,
                e.verb,
                e.resource_id,
                e.project_id,
                e.user_id,
                e.request_id,
                msgspec.json.encode(e.facts).decode(),
            )


def _changed(row: Row, **changes: Any) -> Row:
    """dataclasses.replace, several times faster and without its checks."""
    made = object.__new__(type(row))
    made.__dict__.update(row.__dict__)
    made.__dict__.update(changes)
    return made


class Store(Protocol):
    clock: Clock

    def read(self, work: Callable[[Tx], T]) -> T: ...
    def submit(self, work: Callable[[Tx], T]) -> "Future[T]": ...
    def write(self, work: Callable[[Tx], T]) -> T: ...
    def on_commit(self, told: Callable[[Sequence[Event]], None]) -> None: ...
    def lead(self, name: str) -> bool:
        """Whether this process is the one that runs the loop of this name."""
        ...

    def close(self) -> None: ...


class SqliteStore:
    """State in one SQLite file (or in memory when `path` is None, there also as a copy of another's state)."""

    def __init__(
        self, path: Path | None, clock: Clock, *, durable: bool = True, like: "SqliteStore | None" = None
    ) -> None:
        self.clock, self._durable = clock, durable
        self._uri = f"file:{path}" if path else f"file:nutshell-{id(self)}?mode=memory&cache=shared"
        self._in_memory = path is None
        self._dialect = SqliteDialect()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._closing, self._closed = threading.Lock(), False
        self._told: list[Callable[[Sequence[Event]], None]] = []
        self._writer_connection = self._connect()
        self._memory_lock = threading.RLock()
        if like is None:
            create_schema(self._writer_connection)
        else:
            like.copy_to(self._writer_connection)
        self._thread = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        c = sqlite3.connect(
            self._uri, uri=True, check_same_thread=False, isolation_level=None, timeout=30, cached_statements=512
        )
        if not self._in_memory:
            c.execute("PRAGMA journal_mode=WAL")
            c.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MiB: whoever's commit fills it waits for the disk
            c.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
        c.execute("PRAGMA foreign_keys=OFF")
        c.execute("PRAGMA case_sensitive_like=ON")
        c.create_function("regexp", 2, _regexp, deterministic=True)  # SQLite has the operator, not the function
        return c

    def on_commit(self, told: Callable[[Sequence[Event]], None]) -> None:
        """Call `told(events)` after each commit, on the writer's thread; it must be quick."""
        self._told.append(told)

    def lead(self, name: str) -> bool:
        return True

    @contextmanager
    def _reading(self) -> Iterator[Tx]:
        if self._in_memory:  # shared-cache readers would block on table locks: share the writer's connection
            with self._memory_lock:
                yield Tx(self._writer_connection, self._dialect, self.clock)
            return
        c = getattr(self._local, "connection", None)
        if c is None:
            c = self._local.connection = self._connect()
            c.execute("PRAGMA query_only=ON")
            self._readers.append(c)
        c.execute("BEGIN")
        try:
            yield Tx(c, self._dialect, self.clock)
        finally:
            c.execute("COMMIT")

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run work on one snapshot, on this thread."""
        with self._reading() as tx:
            return work(tx)

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Make an empty database what this one is between two transactions."""
        if self._in_memory:
            with self._memory_lock:
                self._writer_connection.backup(target)
            return
        source = self._connect()
        try:
            source.backup(target)
        finally:
            source.close()

    def submit(self, work: Callable[[Tx], T]) -> "Future[T]":
        """Run work in a transaction of its own; the future is answered after the flush."""
        future: Future[T] = Future()
        with self._closing:
            if self._closed:  # a loop's worker that ends after the store: it must not wait for ever
                raise RuntimeError("the store is closed")
            self._queue.put((work, future, current_request()))
        return future

    def write(self, work: Callable[[Tx], T]) -> T:
        """As `submit`, and wait. Never call it from within a transaction."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a write inside a write would wait for itself")
        return self.submit(work).result()

    def close(self) -> None:
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout=30)
        for c in self._readers:
            c.close()
        self._writer_connection.close()

    def _write_loop(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            while len(batch) < GROUP:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    self._queue.put(None)
                    break
                batch.append(item)
            self._commit(batch)

    def _commit(self, batch: list[Item]) -> None:
        c = self._writer_connection
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        events: list[Event] = []
        after: list[Callable[[], None]] = []
        try:
            with self._memory_lock:
                _begin(c)
                for work, future, request in batch:
                    tx = Tx(c, self._dialect, self.clock, request)
                    c.execute("SAVEPOINT one")
                    try:
                        result = work(tx)
                        tx.flush_events()
                        c.execute("RELEASE one")
                    except BaseException as why:
                        c.execute("ROLLBACK TO one")
                        c.execute("RELEASE one")
                        answers.append((future, None, why))
                    else:
                        answers.append((future, result, None))
                        events.extend(tx.events)
                        after.extend(tx.after_commit)
                c.execute("COMMIT")
        except BaseException as why:  # the flush itself failed (disk full, I/O error): nothing of the group happened
            if c.in_transaction:
                c.execute("ROLLBACK")
            for _, future, _ in batch:
                future.set_exception(why)
            return
        for done in after:
            done()
        if events:
            for told in self._told:
                told(events)
        for future, result, refused in answers:
            if refused is None:
                future.set_result(result)
            else:
                future.set_exception(refused)


def _regexp(pattern: str, text: str | None) -> bool:
    return text is not None and re.search(pattern, text) is not None


def _begin(c: sqlite3.Connection) -> None:
    """BEGIN IMMEDIATE, waiting for another process (an upgrade, a backup) that holds the file."""
    for wait_s in (0.01, 0.1, 1.0):
        try:
            c.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            time.sleep(wait_s)
    c.execute("BEGIN IMMEDIATE")
