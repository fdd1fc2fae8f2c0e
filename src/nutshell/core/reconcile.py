"""Loops that make the world as the rows want it: woken by events and by the clock, safe to repeat.

A `Loop` looks at everything it cares about in one call. `settling` makes one that looks at single rows whose `due_at`
has come, several at once, each isolated: a row that fails is tried again with growing pauses, the others go on.
"""

import logging
import threading
import time
import typing as t
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from nutshell.core.errors import Fault, StaleRow
from nutshell.core.events import UNHEARD, Event, Request, set_request
from nutshell.core.resource import Resource

if t.TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

log = logging.getLogger("nutshell.reconcile")
FOLLOWER_PAUSE_S = 5.0  # how often a process that does not run a loop tries to take it over
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0


@dataclass(frozen=True)
class Loop:
    """`run(cloud)` carries out one pass; it may return in how many seconds it wants to run again.

    watches: event kinds that wake it ("compute.server"); every_s: the slow sweep.
    """

    name: str
    run: Callable[["Cloud"], float | None]
    watches: frozenset[str] = frozenset()
    every_s: float = 60.0
    end: Callable[[], None] | None = None  # lets go of what it holds, after its last pass
    paused: Callable[["Cloud", float], set[str]] | None = None  # ids that it leaves alone for longer than that
    blocks: bool = False  # a pass waits for news from outside
    everywhere: bool = False  # in each process of the cloud, not in one of them


def settling(
    name: str,
    noun: type[Resource],
    settle: Callable[["Cloud", t.Any], None],
    *,
    watches: Sequence[str] = (),
    workers: int = 8,
) -> Loop:
    """A loop over rows of a noun that has a column `due_at: float | None` (indexed): seconds since the epoch from
    which the row wants attention, None while it is settled.

    `settle(cloud, row)` makes the next move for one row and records it (clearing or moving `due_at`, with
    compare-and-swap). Verbs set `due_at=ask.now`. An exception leaves the row due again after a growing pause;
    deciding when to give up is settle's own business (a deadline in the row or its operation).
    """
    runner = _Settling(name, noun, settle, workers)
    return Loop(
        name, runner.run, frozenset({noun.event_kind, *watches}), every_s=30.0, end=runner.end, paused=runner.paused
    )


class _Settling:
    def __init__(self, name: str, noun: type[Resource], settle: Callable[["Cloud", t.Any], None], workers: int) -> None:
        self.name, self.noun, self.settle, self.workers = name, noun, settle, workers
        self._busy: dict[str, int] = {}  # row → the thread at work on it, once there is one
        self._pauses: dict[str, tuple[float, float]] = {}  # id → (pause, not before)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def paused(self, cloud: "Cloud", seconds: float) -> set[str]:
        with self._lock:
            after = cloud.clock.elapsed() + seconds
            asleep = {i for i, thread in self._busy.items() if cloud.clock.sleeps_until(thread) > after}
            return asleep | {i for i, (_, at) in self._pauses.items() if at > after}

    def end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, cloud: "Cloud") -> float | None:
        now = cloud.clock.now()
        column = self.noun.table.c["due_at"]
        rows = cloud.read(lambda tx: tx.find(self.noun, column <= now, order="due_at", limit=1000))
        coming = cloud.read(
            lambda tx: tx.sql(f"SELECT min(due_at) FROM {self.noun.table.name} WHERE due_at > ?", now).fetchone()[0]
        )
        waits = [coming - now] if coming is not None else []
        mine = []
        with self._lock:
            for row in rows:
                _, not_before = self._pauses.get(row.id, (0.0, 0.0))
                if row.id in self._busy:
                    continue
                if not_before > cloud.clock.elapsed():
                    waits.append(not_before - cloud.clock.elapsed())
                    continue
                self._busy[row.id] = 0
                mine.append(row)
        if self._pool is None and mine:
            self._pool = ThreadPoolExecutor(self.workers, self.name)
        for row in mine:
            assert self._pool is not None
            self._pool.submit(self._one, cloud, row)
        return min(waits, default=None)

    def _one(self, cloud: "Cloud", row: Resource) -> None:
        again = True
        recorder, started, failed = cloud.recorder, time.time(), None
        self._busy[row.id] = threading.get_ident()
        try:
            cause = getattr(row, "request_id", "") or (recorder.cause_of(row.id) if recorder is not None else "")
            set_request(Request(cause, "", getattr(row, "project_id", "") or ""))
            self.settle(cloud, row)
            with self._lock:
                self._pauses.pop(row.id, None)
        except StaleRow:
            pass  # somebody changed it meanwhile: look again at once
        except BaseException as why:
            failed = why
            if isinstance(why, Fault) or why.__class__.__name__ == "DriverFault":
                log.warning("%s: %s %s: %s", self.name, row.one, row.id, why)
            else:
                log.exception("%s: %s %s", self.name, row.one, row.id)
            with self._lock:
                pause = min(LONGEST_PAUSE_S, 2 * self._pauses.get(row.id, (FIRST_PAUSE_S / 2, 0.0))[0])
                self._pauses[row.id] = (pause, cloud.clock.elapsed() + pause)
        finally:
            if recorder is not None:
                recorder.looked(self.name, row, started, failed)
            with self._lock:
                self._busy.pop(row.id, None)
            if again:
                runner = cloud.ports.get(Runner)
                if runner is not None:
                    runner.wake(self.name)


@dataclass
class _State:
    loop: Loop
    wake: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    passing: bool = False
    passes: int = 0
    failures: int = 0


class Runner:
    """Runs every loop on a thread of its own. Woken after the commit of an event it watches."""

    def __init__(self, cloud: "Cloud", loops: Sequence[Loop]) -> None:
        self._cloud = cloud
        self._states = {loop.name: _State(loop) for loop in loops}
        if len(self._states) != len(loops):
            raise ValueError("two loops have one name")
        self._by_kind: dict[str, list[_State]] = {}
        for s in self._states.values():
            for kind in s.loop.watches:
                self._by_kind.setdefault(kind, []).append(s)
        self._ended = threading.Event()
        cloud.ports[Runner] = self
        cloud.store.on_commit(self._told)
        cloud.clock.on_step(self.wake_all)

    def _told(self, events: Sequence[Event]) -> None:
        if any(e.kind == UNHEARD for e in events):
            self.wake_all()
        for kind in {e.kind for e in events}:
            for s in self._by_kind.get(kind, ()):
                s.wake.set()

    def wake(self, name: str) -> None:
        self._states[name].wake.set()

    def wake_all(self) -> None:
        for s in self._states.values():
            s.wake.set()

    def start(self) -> None:
        for s in self._states.values():
            s.thread = threading.Thread(target=self._run, args=(s,), name=f"loop-{s.loop.name}", daemon=True)
            s.thread.start()

    def stop(self) -> None:
        self._ended.set()
        self.wake_all()
        for s in self._states.values():
            if s.thread is not None:
                s.thread.join(timeout=10)
        for s in self._states.values():
            if s.loop.end is not None:
                s.loop.end()

    def paused(self, seconds: float) -> set[str]:
        """The rows that failed and are left alone for longer than that."""
        loops = [s.loop for s in self._states.values()]
        return set().union(*(loop.paused(self._cloud, seconds) for loop in loops if loop.paused is not None))

    def busy(self) -> list[str]:
        """The loops that were woken or are in a pass, but for those that wait for news."""
        states = [(s.loop, s.wake.is_set() or s.passing) for s in self._states.values()]
        return [loop.name for loop, busy in states if busy and not loop.blocks]

    def run_once(self, name: str = "") -> None:
        """One pass on this thread, for tests that want no threads."""
        for s in self._states.values():
            if not name or s.loop.name == name:
                s.loop.run(self._cloud)

    def status(self) -> list[dict[str, t.Any]]:
        return [{"name": s.loop.name, "passes": s.passes, "failures": s.failures} for s in self._states.values()]

    def _run(self, s: _State) -> None:
        wait_s: float = 0.0
        while not self._ended.is_set():
            s.wake.wait(wait_s)
            s.passing = True
            s.wake.clear()
            if self._ended.is_set():
                return
            wait_s = s.loop.every_s
            try:
                if not (s.loop.everywhere or self._cloud.store.lead(s.loop.name)):
                    wait_s = FOLLOWER_PAUSE_S
                    continue
                s.passes += 1
                asked = s.loop.run(self._cloud)
                if asked is not None:
                    wait_s = max(0.0, min(asked, wait_s))
            except Exception:
                s.failures += 1
                log.exception("loop %s", s.loop.name)
                wait_s = min(5.0, wait_s)
            finally:
                s.passing = False
