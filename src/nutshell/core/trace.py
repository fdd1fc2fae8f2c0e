"""What each request did: the access log, counters for /metrics, and what a recorder wants to know of it."""

# house: parameters waived 2026-11-22: one line of a trace has this many columns

import asyncio
import logging
import time
import typing as t
from collections.abc import Sequence

import msgspec

from nutshell.core.policy import Who
from nutshell.core.service import Ask

log = logging.getLogger("nutshell.access")
NOBODY = Who()
LOG_EVERY_S = 0.1  # lines of the access log are written together: one by one they cost a quarter of a small request
ENCODE = msgspec.json.Encoder().encode


class Entries(list[tuple[float, bytes]]):
    """A log record's message that is many lines: (time, JSON)."""

    def __str__(self) -> str:
        return b"\n".join(line for _, line in self).decode()


class Recorder(t.Protocol):
    """Keeps what it is told, on the caller's thread: it must be quick and never fail."""

    def request(self, request_id: str, entry: bytes, ask: Ask[t.Any] | None, refused: Exception | None) -> None:
        """A request is over; `entry` is its line in the access log, JSON."""
        ...

    def driver(self, service: str, method: str, given: Sequence[t.Any], started: float, why: Exception | None) -> None:
        """A driver's call is over; it began at `started` (time.time)."""
        ...

    def looked(self, loop: str, row: t.Any, started: float, why: BaseException | None) -> None:
        """A loop has looked at a row."""
        ...

    def cause_of(self, resource_id: str) -> str:
        """The id of the last request known to have changed it; "" when none is."""
        ...


class Traces:
    """Bounded; nothing here is ever written to the database."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
        self._count: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self._unwritten = Entries()

    def finished(
        self,
        ask: Ask[t.Any] | None,
        request_id: str,
        method: str,
        path: str,
        http: int,
        seconds: float,
        sent: int,
        service: str,
        who: Who = NOBODY,
        refused: Exception | None = None,
    ) -> None:
        """One request is over. `who`: the caller, where there is no `ask` (mounted applications); `refused`: what
        was raised instead of an answer."""
        tx = ask.tx if ask is not None else None
        who = ask.who if ask is not None else who
        key = (service, method, http)
        self._count[key] = self._count.get(key, 0) + 1
        self._seconds[(service, method)] = self._seconds.get((service, method), 0.0) + seconds
        logs = log.isEnabledFor(logging.INFO)
        if self.recorder is None and not logs:
            return
        now = time.time()
        entry = ENCODE(
            {
                "at": now,
                "request_id": request_id,
                "method": method,
                "path": path,
                "status": http,
                "ms": round(seconds * 1000, 3),
                "bytes": sent,
                "sql": tx.sql_count if tx is not None else 0,
                "sql_ms": round(tx.sql_s * 1000, 3) if tx is not None else 0,
                "user_id": who.user_id,
                "project_id": who.project_id,
                "service": service,
                "verb": f"{ask.route.noun.event_kind}.{ask.route.verb}" if ask is not None and ask.route.noun else "",
            }
        )
        if self.recorder is not None:
            self.recorder.request(request_id, entry, ask, refused)
        if logs:
            self._log(now, entry)

    def _log(self, now: float, entry: bytes) -> None:
        waiting = self._unwritten
        waiting.append((now, entry))
        if len(waiting) == 1:
            asyncio.get_running_loop().call_later(LOG_EVERY_S, self.flush)
        elif now - waiting[0][0] > 2 * LOG_EVERY_S:  # that loop has ended
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait. A killed process takes them along."""
        waiting, self._unwritten = self._unwritten, Entries()
        if waiting:
            log.handle(logging.LogRecord(log.name, logging.INFO, "", 0, waiting, (), None))

    def metrics(self) -> str:
        """Prometheus text exposition format, version 0.0.4."""
        lines = ["# HELP nutshell_requests_total Requests answered.", "# TYPE nutshell_requests_total counter"]
        lines += [
            f'nutshell_requests_total{{service="{s}",method="{m}",status="{h}"}} {n}'
            for (s, m, h), n in sorted(self._count.items())
        ]
        lines += [
            "# HELP nutshell_request_seconds_total Time spent answering.",
            "# TYPE nutshell_request_seconds_total counter",
        ]
        lines += [
            f'nutshell_request_seconds_total{{service="{s}",method="{m}"}} {v:.6f}'
            for (s, m), v in sorted(self._seconds.items())
        ]
        return "\n".join(lines) + "\n"
