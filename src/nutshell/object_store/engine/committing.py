"""One batch of changes after another: many in one transaction, one log record a device, one flush.

Order: the work runs against the index (uncommitted), its bytes and the statements it ran are appended to the logs and
flushed, then the index commits (without a flush of its own: after a loss of power it is brought up to date from the
logs), then the answers go out.

Whoever holds the turn commits. Changes that an event loop asked for are carried out on its own thread, all that came in
one round of it, and written by another, which waits for the disk meanwhile: a thread for the whole would contend with
the loop for the interpreter at each statement, which was found to cost more than the statements.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from nutshell.object_store.engine.changing import Changer
from nutshell.object_store.engine.devices import Device
from nutshell.object_store.engine.segments import HEADER, SEGMENT_BYTES, Described, Log, frame
from nutshell.object_store.engine.staging import StagedBytes
from nutshell.object_store.errors import EngineError, NoRoom, NotWritable
from nutshell.object_store.rows import ContainerRow, Place

log = logging.getLogger("nutshell.object_store")
MOST_CHANGES, MOST_BYTES = 256, 16 << 20
COPIES = 2  # of changes without bytes, where there are so many devices


@dataclass
class Change:
    """One caller's work and where its result goes."""

    work: Callable[[Any], Any]
    loop: asyncio.AbstractEventLoop | None
    future: Any  # the loop's future, or a thread's
    weight: int = 0
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        if self.future.cancelled() or self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


@dataclass
class Pending:
    """What one batch appends to one device's log."""

    log: Log
    start: int
    data: list[bytes] = field(default_factory=list)
    size: int = 0
    blobs: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    record: list[bytes] = field(default_factory=list)


class _Partly(Exception):
    """A change raised after it had written something."""


class _DeviceFailed(Exception):
    def __init__(self, device: str, why: EngineError) -> None:
        self.device, self.why = device, why


@dataclass
class Grounds:
    """What the committer works on."""

    connection: sqlite3.Connection
    logs: Callable[[str], Log]
    targets: Callable[[int, int, int], list[Device]]
    spread: Callable[[], Sequence[Device]]  # devices for changes without bytes
    failed: Callable[[str, EngineError], None]
    refusal: Callable[[], EngineError]  # why no device takes anything now
    copies: Callable[[int], int]  # policy → how many there should be
    new_id: Callable[[], int]
    done: Callable[[Changer], None]  # after a commit


class Committer:
    def __init__(self, grounds: Grounds, seq: int) -> None:
        self._g, self._seq = grounds, seq
        self._waiting: deque[Change] = deque()  # of event loops
        self._called: asyncio.AbstractEventLoop | None = None  # it will look at what waits
        self._turn = threading.Lock()  # held from a batch's first statement to its commit
        self._pending: dict[str, Pending] = {}
        self._containers: dict[int, ContainerRow] = {}  # as this connection sees them
        self._writer = ThreadPoolExecutor(1, "objects-commit")
        self._flushers = ThreadPoolExecutor(4, "objects-flush")

    def submit(self, change: Change) -> None:
        """On the thread of the change's event loop, which must not wait."""
        assert change.loop is not None
        self._waiting.append(change)
        if self._called is not change.loop:
            self._called = change.loop
            change.loop.call_soon(self._begin, change.loop)

    def change_now(self, work: Callable[[Any], Any]) -> Any:
        done: Future[Any] = Future()
        with self._turn:
            self._commit([Change(work, None, done)])
        self._call_next()
        return done.result()

    def stop(self) -> None:
        if self._turn.acquire(timeout=30):
            while batch := self._next_batch():
                self._commit(batch)
            self._turn.release()
        self._writer.shutdown()
        self._flushers.shutdown()

    # -- batches of an event loop
    def _next_batch(self) -> list[Change]:
        batch: list[Change] = []
        weight = 0
        while self._waiting and len(batch) < MOST_CHANGES and weight < MOST_BYTES:
            one = self._waiting.popleft()
            batch.append(one)
            weight += one.weight
        return batch

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop's thread: carry out what waits, and have it written."""
        self._called = None
        if not self._turn.acquire(blocking=False):
            return  # who has it calls when done
        batch = self._next_batch()
        if not batch:
            self._turn.release()
            self._call_next()  # another loop's change may have come, and found the turn taken
            return
        changer: Changer | None = None
        try:
            changer = self._carry_out(batch)
        except Exception as why:  # again, and thoroughly, on the other thread
            log.debug("a batch is taken apart: %s", why)
        self._writer.submit(self._finish, batch, changer)

    def _finish(self, batch: list[Change], changer: Changer | None) -> None:
        """On the writing thread, which has been given the turn."""
        try:
            if changer is not None:
                try:
                    self._write_down(changer)
                    self._tell(batch)
                    return
                except Exception as why:
                    log.debug("a batch is written again: %s", why)
                    if isinstance(why, _DeviceFailed):
                        self._g.failed(why.device, why.why)
            self._commit(batch)
        finally:
            self._turn.release()
            self._call_next()

    def _call_next(self) -> None:
        """Somebody looks at what came meanwhile; every loop that waits is told, for one of them may stand still."""
        for loop in {one.loop for one in list(self._waiting)}:
            assert loop is not None
            try:
                loop.call_soon_threadsafe(self._begin, loop)
            except RuntimeError:  # that loop has ended, and with it whoever waits
                for one in [w for w in list(self._waiting) if w.loop is loop]:
                    with contextlib.suppress(ValueError):
                        self._waiting.remove(one)

    # -- a batch
    def _commit(self, batch: list[Change]) -> None:
        try:
            self._attempt(batch)
        except _Partly:
            for one in batch:
                self._alone(one)
        except BaseException as why:
            kind = _kind_of(why)
            if not isinstance(kind, EngineError):
                log.exception("a batch of changes failed")
            for one in batch:
                one.error = kind
        self._tell(batch)

    def _alone(self, one: Change) -> None:
        one.error = one.result = None
        try:
            self._attempt([one])
        except _Partly:
            pass  # its own error stands
        except BaseException as why:
            one.error = _kind_of(why)

    def _attempt(self, batch: list[Change]) -> None:
        """Commit the batch; devices that fail are left out and it is tried again. A change that wants its bytes on just
        such a device (a repair) is refused."""
        failed: set[str] = set()
        while True:
            try:
                self._once(batch)
                return
            except _DeviceFailed as why:
                self._g.failed(why.device, why.why)
                log.warning("object store: %s", why.why)
                if why.device in failed or not self._g.spread():
                    raise why.why from None
                failed.add(why.device)

    def _once(self, batch: list[Change]) -> None:
        self._write_down(self._carry_out(batch))

    def _carry_out(self, batch: list[Change]) -> Changer:
        """Run the work in a transaction that stays open. Where that fails, it is as if it had not been."""
        self._pending = {}
        g = self._g
        changer = Changer(g.connection, g.new_id, self._place, self._append, self._containers, g.copies)
        self._g.connection.execute("BEGIN IMMEDIATE")
        try:
            for one in batch:
                before = len(changer.changes)
                one.error = None
                try:
                    one.result = one.work(changer)
                except (_DeviceFailed, sqlite3.OperationalError):  # SQLite may have ended the transaction
                    raise
                except BaseException as why:
                    one.error = why
                    if len(changer.changes) != before:
                        raise _Partly() from None
            changer.settle()
            if changer.changes:
                self._frame(changer)
        except BaseException:
            self._undo()
            raise
        return changer

    def _write_down(self, changer: Changer) -> None:
        """Append the batch to the logs, flush them, commit. Where that fails, it is as if it had not been."""
        try:
            for name, p in self._pending.items():
                try:
                    p.log.append(p.record)
                except (NoRoom, NotWritable) as why:
                    raise _DeviceFailed(name, why) from None
            if self._pending:
                self._flush()
            self._g.connection.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        for staged in changer.kept:
            staged.kept = True
        self._g.done(changer)

    def _undo(self) -> None:
        self._containers.clear()
        if self._g.connection.in_transaction:  # SQLite itself ends it when a disk is full or fails
            self._g.connection.execute("ROLLBACK")
        for p in self._pending.values():
            if p.log.tail > p.start:
                p.log.take_back(p.start)

    def _place(self, staged: StagedBytes) -> tuple[Any, ...]:
        """Give staged bytes their places: those of their file, or the next in the logs."""
        if not staged.data:
            return (staged.blob_id, staged.size, staged.sums, staged.places, staged.policy, staged.key, staged.sealed)
        blob_id = self._g.new_id()
        places = []
        for device in self._g.targets(staged.key, staged.policy, len(staged.data)):
            places.append(self._append(device.name, blob_id, staged.data, staged.sums))
        return (blob_id, staged.size, staged.sums, places, staged.policy, staged.key, staged.sealed)

    def _append(self, device: str, blob_id: int, data: bytes, sums: bytes) -> Place:
        """The bytes will lie there when the batch is written."""
        pending = self._open(device)
        place = Place(device, pending.log.segment, pending.start + HEADER.size + pending.size)
        pending.blobs.append((blob_id, pending.size, len(data), sums))
        pending.data.append(data)
        pending.size += len(data)
        return place

    def _open(self, name: str) -> Pending:
        pending = self._pending.get(name)
        if pending is None:
            journal = self._g.logs(name)
            try:
                journal.begin(0 if journal.tail < SEGMENT_BYTES else SEGMENT_BYTES)
            except (NoRoom, NotWritable) as why:
                raise _DeviceFailed(name, why) from None
            pending = self._pending[name] = Pending(journal, journal.tail)
        return pending

    def _frame(self, changer: Changer) -> None:
        """Make the batch's records, and note in the index how far the logs will have come."""
        for device in self._g.spread()[: max(0, COPIES - len(self._pending))]:
            self._open(device.name)
        if not self._pending:
            raise self._g.refusal()
        self._seq += 1
        for name, p in self._pending.items():
            if p.size:
                changer.run("segment", name, p.log.segment, p.size, 0)
        execute = self._g.connection.execute
        execute("INSERT OR REPLACE INTO state VALUES ('seq', ?)", (self._seq,))
        for name, p in self._pending.items():
            parts = [b"".join(p.data)] if len(p.data) > 200 else p.data
            p.record = frame(self._seq, parts, Described(list(self._pending), p.blobs, changer.changes))  # type: ignore[arg-type]
            tail = p.start + sum(map(len, p.record))
            execute("INSERT OR REPLACE INTO tails VALUES (?,?,?)", (name, p.log.segment, tail))

    def _flush(self) -> None:
        def flush(name: str, p: Pending) -> None:
            try:
                p.log.flush()
            except (NoRoom, NotWritable) as why:
                raise _DeviceFailed(name, why) from None

        items = list(self._pending.items())
        others = [self._flushers.submit(flush, name, p) for name, p in items[1:]]
        try:
            flush(*items[0])
        finally:
            for one in others:
                one.exception()
        for one in others:
            one.result()

    @staticmethod
    def _tell(batch: Sequence[Change]) -> None:
        """Every answer goes out; those of one event loop in one call."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Change]] = {}
        for one in batch:
            if one.loop is None:
                one.answer()
            else:
                by_loop.setdefault(one.loop, []).append(one)
        for loop, mine in by_loop.items():
            try:
                loop.call_soon_threadsafe(_answer_all, mine)
            except RuntimeError:
                log.debug("an event loop ended before its answers")


def _kind_of(why: BaseException) -> BaseException:
    if isinstance(why, sqlite3.OperationalError):
        kind = why.sqlite_errorcode & 0xFF
        if kind == sqlite3.SQLITE_FULL:
            return NoRoom("the index's disk is full")
        if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            return NotWritable(f"the index's disk cannot be written: {why}")
    return why


def _answer_all(changes: Sequence[Change]) -> None:
    for one in changes:
        one.answer()
