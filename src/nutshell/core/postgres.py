"""State on PostgreSQL: several processes may share it.

Every write is a SERIALIZABLE transaction, tried again when the server says it could not be serialised. Commits are
told to every process with NOTIFY; a loop runs in one process at a time, who holds its advisory lock.
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-SERIALIZABLE
"""

import json
import logging
import os
import random
import select
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from itertools import count
from typing import Any, TypeVar

import psycopg
import psycopg.adapt
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from nutshell.core.clock import Clock
from nutshell.core.errors import Duplicate, Unavailable, Unstorable
from nutshell.core.events import UNHEARD, Event, current_request
from nutshell.core.postgres_schema import SCHEMA_LOCK, create_schema
from nutshell.core.store import Cursor, Tx

T = TypeVar("T")
log = logging.getLogger("nutshell.postgres")
CHANNEL = "nutshell"
PATIENCE_S = 30.0  # how long a transaction is tried again
OPEN_TRIES = 2  # tries beside all others; then those that keep losing take turns
PAYLOAD_LIMIT = 7000  # bytes; PostgreSQL takes fewer than 8000
TURN_LOCK = 0x6E757475


@lru_cache(maxsize=8192)
def translated(text: str) -> str:
    """SQL with `?` placeholders as psycopg wants it."""
    return text.replace("%", "%%").replace("?", "%s")


class PostgresDialect:
    sql: sa.Dialect = postgresql.dialect(paramstyle="qmark")  # type: ignore[no-untyped-call]

    def run(self, connection: Any, text: str, values: Sequence[Any]) -> Cursor:
        try:
            found: Cursor = connection.execute(translated(text), values)
        except psycopg.errors.UniqueViolation as why:
            raise Duplicate(why=str(why.diag.message_detail or why)) from None
        except (psycopg.DataError, UnicodeEncodeError) as why:  # a number beyond 64 bits, a NUL, half a character
            raise Unstorable(why=str(why).splitlines()[0]) from None
        return found


class PostgresStore:
    """As `SqliteStore`, on a PostgreSQL database by URL ("postgresql://…")."""

    def __init__(self, url: str, clock: Clock, *, writers: int = 4) -> None:
        self.clock, self._url = clock, url
        self._dialect = PostgresDialect()
        self._local = threading.local()
        self._open: list[psycopg.Connection[Any]] = []
        self._told: list[Callable[[Sequence[Event]], None]] = []
        self._writers = ThreadPoolExecutor(writers, "store-writer")
        self._ended, self._hearing = threading.Event(), threading.Event()
        self._hang_up = os.pipe()
        self._name = uuid.uuid4().hex
        self._leading: psycopg.Connection[Any] | None = None
        self._lead_lock = threading.Lock()
        with self._connect() as c:
            create_schema(c)
        self._listener = threading.Thread(target=self._listen, name="store-listener", daemon=True)
        self._listener.start()
        self._hearing.wait(10)  # before anything is read and remembered

    def _connect(self, kind: str = "") -> psycopg.Connection[Any]:
        c = connect(self._url)
        if kind == "writer":  # what a scan of a whole small table has read is in conflict with all writes to it
            c.execute("SET enable_seqscan = off")
        self._open.append(c)
        return c

    def _mine(self, kind: str) -> psycopg.Connection[Any]:
        """This thread's connection, made again when it broke."""
        c: psycopg.Connection[Any] | None = getattr(self._local, kind, None)
        if c is None or c.closed or c.broken:
            c = self._connect(kind)
            setattr(self._local, kind, c)
        return c

    def on_commit(self, told: Callable[[Sequence[Event]], None]) -> None:
        """Call `told(events)` after commits: this process's at once, the others' when they are heard of."""
        self._told.append(told)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run work on one snapshot, on this thread."""
        for attempt in (1, 2):
            c = self._mine("reader")
            try:
                c.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                try:
                    return work(Tx(c, self._dialect, self.clock))
                finally:
                    if not c.broken:
                        c.execute("COMMIT")
            except psycopg.OperationalError:
                if attempt == 2:
                    raise Unavailable("The database does not answer.") from None
        raise AssertionError("not reached")

    def submit(self, work: Callable[[Tx], T]) -> "Future[T]":
        """Run work in a transaction of its own; it may run several times until it can be serialised."""
        request = current_request()
        return self._writers.submit(self._write, work, request)

    def write(self, work: Callable[[Tx], T]) -> T:
        return self._write(work, current_request())

    def _write(self, work: Callable[[Tx], T], request: Any) -> T:
        deadline = time.monotonic() + PATIENCE_S
        for attempt in count(1):
            try:
                c = self._mine("writer")
                with _turn(c) if attempt > OPEN_TRIES else nullcontext():
                    tx, result = self._try(c, work, request)
            except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                if time.monotonic() > deadline:
                    raise Unavailable("The database is too busy with other changes to the same things.") from None
                time.sleep(random.uniform(0, 0.004 * min(attempt, 5)))  # noqa: S311 - spreads the retries
                continue
            except psycopg.OperationalError as why:
                log.warning("the database does not answer: %s", why)
                raise Unavailable("The database does not answer.") from None
            for done in tx.after_commit:
                done()
            if tx.events:
                self._pass_on(tx.events)
            return result
        raise AssertionError("not reached")

    def _try(self, c: psycopg.Connection[Any], work: Callable[[Tx], T], request: Any) -> tuple[Tx, T]:
        tx = Tx(c, self._dialect, self.clock, request)
        c.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        try:
            result = work(tx)
            tx.flush_events()
            self._notify(tx)
            c.execute("COMMIT")
        except BaseException:
            if not (c.broken or c.closed):
                c.execute("ROLLBACK")
            raise
        return tx, result

    def _pass_on(self, events: Sequence[Event]) -> None:
        for told in self._told:
            told(events)

    def _notify(self, tx: Tx) -> None:
        """Tell the other processes: every event, or only the kinds when they are many."""
        if not tx.events:
            return
        told = sorted({(e.kind, e.verb, e.resource_id, e.project_id) for e in tx.events})
        text = json.dumps([self._name, told])
        if len(text) > PAYLOAD_LIMIT:
            text = json.dumps([self._name, sorted({(e.kind, "", "", "") for e in tx.events})])
        tx.sql("SELECT pg_notify(?, ?)", CHANNEL, text)

    def _listen(self) -> None:
        """Tell this process's loops what any process committed."""
        while not self._ended.is_set():
            try:
                with connect(self._url) as c:
                    c.execute(f"LISTEN {CHANNEL}")
                    if self._hearing.is_set():
                        self._pass_on([Event(self.clock.now(), UNHEARD, "", "")])
                    self._hearing.set()
                    while not self._ended.is_set():
                        if select.select([c.fileno(), self._hang_up[0]], [], [], 60)[0]:
                            for note in c.notifies(timeout=0):
                                self._tell(note.payload)
                        else:
                            c.execute("SELECT 1")  # a connection that is dead unnoticed ends here
            except (psycopg.Error, OSError) as why:
                self._pass_on([Event(self.clock.now(), UNHEARD, "", "")])
                if not self._ended.wait(1.0):
                    log.warning("listening again: %s", why)

    def _tell(self, payload: str) -> None:
        sender, entries = json.loads(payload)
        if sender == self._name:
            return  # told already, at the commit itself
        self._pass_on([Event(self.clock.now(), *entry) for entry in entries])

    def lead(self, name: str) -> bool:
        """Whether this process runs the loop of this name; held until the process ends."""
        with self._lead_lock:
            if self._leading is None or self._leading.closed or self._leading.broken:
                self._leading = self._connect()
                for wait in (
                    "idle = 5",
                    "interval = 2",
                    "count = 3",
                ):  # of a machine that is gone, the server learns soon
                    self._leading.execute(f"SET tcp_keepalives_{wait}")
                self._held: set[str] = set()
            if name in self._held:
                try:
                    self._leading.execute("SELECT 1")
                    return True
                except psycopg.Error:
                    self._leading = None
                    return False
            row = self._leading.execute("SELECT pg_try_advisory_lock(%s, %s)", (SCHEMA_LOCK, _number(name))).fetchone()
            if row is not None and row[0]:
                self._held.add(name)
                return True
            return False

    def close(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        os.write(self._hang_up[1], b"x")
        self._writers.shutdown(wait=True)
        self._listener.join(timeout=5)
        for c in self._open:
            c.close()
        for fd in self._hang_up:
            os.close(fd)


def connect(url: str) -> psycopg.Connection[Any]:
    alive = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5}
    c = psycopg.connect(url, autocommit=True, application_name=f"nutshell-{os.getpid()}", **alive)  # type: ignore[arg-type]
    c.prepare_threshold = 3
    c.adapters.register_loader("numeric", NumberLoader)
    return c


class NumberLoader(psycopg.adapt.Loader):
    """Sums of whole numbers are `numeric` here; they are plain numbers everywhere else."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


@contextmanager
def _turn(c: psycopg.Connection[Any]) -> Iterator[None]:
    """One at a time of those that lost before. Taken outside the transaction, which must see what the last one did."""
    c.execute("SELECT pg_advisory_lock(%s, 0)", (TURN_LOCK,))
    try:
        yield
    finally:
        if not (c.broken or c.closed):
            c.execute("SELECT pg_advisory_unlock(%s, 0)", (TURN_LOCK,))


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) - 2**31
