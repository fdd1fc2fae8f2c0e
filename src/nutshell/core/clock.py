"""Time, ids and randomness come from here, so that a test can stop, step and seed them."""

import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache


class Clock:
    """The cloud's clock. `stop` and `step` move its time; `real()` is never moved (token validity)."""

    def __init__(self, seed: int | None = None) -> None:
        self._offset_s = 0.0
        self._stopped: tuple[float, float] | None = None  # what `time` and `monotonic` said then
        self._random = random.Random(seed) if seed is not None else None  # noqa: S311 - ids only, never secrets
        self._lock = threading.Lock()
        self._news = threading.Condition()
        self._sleepers: dict[int, float] = {}  # thread → until when
        self._ended = False
        self._on_step: list[Callable[[], None]] = []

    def now(self) -> float:
        """Seconds since the epoch, as the cloud sees it."""
        return (time.time() if self._stopped is None else self._stopped[0]) + self._offset_s

    def elapsed(self) -> float:
        """Seconds that only grow, stopped and stepped as `now` is; for pauses and patience."""
        return (time.monotonic() if self._stopped is None else self._stopped[1]) + self._offset_s

    @staticmethod
    def real() -> float:
        return time.time()

    def twin(self, seed: int | None = None) -> "Clock":
        """Another clock that shows the same time, and stands if this one does."""
        made = Clock(seed)
        made._offset_s, made._stopped = self._offset_s, self._stopped
        return made

    @property
    def stopped(self) -> bool:
        return self._stopped is not None

    def stop(self) -> None:
        if self._stopped is None:
            self._stopped = (time.time(), time.monotonic())

    def step(self, seconds: float) -> None:
        """Move time forward; whoever waits on timers is woken."""
        if seconds < 0:
            raise ValueError("time goes forward only")
        self._offset_s += seconds
        with self._news:
            self._news.notify_all()
        for wake in self._on_step:
            wake()

    def sleep(self, seconds: float) -> None:
        """Block for so long by this clock."""
        until = self.elapsed() + seconds
        with self._news:
            self._sleepers[threading.get_ident()] = until
            try:
                while not self._ended and (left := until - self.elapsed()) > 0:
                    self._news.wait(left if self._stopped is None else None)
            finally:
                del self._sleepers[threading.get_ident()]

    def sleeps_until(self, thread: int) -> float:
        """Until when (by `elapsed`) this thread sleeps; 0 when it does not."""
        return self._sleepers.get(thread, 0.0)

    def end(self) -> None:
        """Nobody sleeps any more: the cloud ends."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def on_step(self, wake: Callable[[], None]) -> None:
        self._on_step.append(wake)

    def new_id(self) -> str:
        """A UUID with dashes (compute, network, volume, image)."""
        if self._random is None:
            return str(uuid.uuid4())
        with self._lock:
            return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def new_hex_id(self) -> str:
        """A UUID without dashes (identity)."""
        return self.new_id().replace("-", "")


def iso_seconds(at: float) -> str:
    """ "2026-11-22T10:00:00Z" (compute, network, image)."""
    return _second(int(at))


@lru_cache(maxsize=16384)
def _second(at: int) -> str:
    """Kept, for the rows of a page are often of the same few seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_micros(at: float) -> str:
    """ "2026-11-22T10:00:00.000000" (volume)."""
    second, micros = divmod(round(at * 1_000_000), 1_000_000)
    return f"{_second(second)[:-1]}.{micros:06d}"


def iso_micros_z(at: float) -> str:
    """ "2026-11-22T10:00:00.000000Z" (identity)."""
    return iso_micros(at) + "Z"


def parse_iso(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; without a zone it is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text.strip())
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
