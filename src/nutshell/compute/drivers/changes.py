"""Which guests changed since a cursor, for callers that wait for news instead of asking again and again."""

import threading
import time
from collections.abc import Callable, Iterable

_KEPT = 20_000  # marks kept; a cursor older than the oldest is answered with every guest


class Changes:
    """A cursor is valid over restarts: one from an earlier life is older than this life's first mark."""

    def __init__(self, everything: Callable[[], Iterable[str]]) -> None:
        self._everything = everything
        self._news = threading.Condition()
        self._last = time.time_ns() // 1000
        self._floor = self._last
        self._marks: dict[str, int] = {}  # server id → its last mark, oldest first
        self._ended = False

    def end(self) -> None:
        """Nobody waits any more."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def mark(self, server_id: str) -> None:
        """Something about this guest is not as it was."""
        with self._news:
            self._last += 1
            self._marks.pop(server_id, None)
            self._marks[server_id] = self._last
            if len(self._marks) > _KEPT:
                oldest = next(iter(self._marks))
                self._floor = self._marks.pop(oldest)
            self._news.notify_all()

    def wait(self, after: int, timeout_s: float) -> tuple[int, list[str]]:
        """The new cursor and the guests changed since `after`; blocks until there is one or the time is up."""
        with self._news:
            known = self._floor <= after <= self._last
            if known and after == self._last:
                self._news.wait_for(lambda: self._last > after or self._ended, timeout_s)
            cursor = self._last
            if known and after >= self._floor:
                recent = []
                for server_id, mark in reversed(self._marks.items()):
                    if mark <= after:
                        break
                    recent.append(server_id)
                return cursor, recent[::-1]
            marked = list(self._marks)
        return cursor, list(dict.fromkeys([*marked, *self._everything()]))
