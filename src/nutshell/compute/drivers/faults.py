"""Knobs for tests: make the simulated world fail in chosen places."""

import threading
import time
from dataclasses import dataclass

from nutshell.core.drivers import DriverFault


@dataclass
class _Planned:
    remaining: int
    times: int
    why: str
    final: bool


class Faults:
    """Which calls fail or take long, and which hosts are gone. Empty at first: nothing fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: dict[str, list[_Planned]] = {}
        self._delays: dict[str, float] = {}
        self.gone_hosts: set[str] = set()
        self.calls: dict[str, int] = {}  # method → how often it was called

    def fail(
        self, method: str, nth: int = 1, times: int = 1, why: str = "simulated fault", final: bool = False
    ) -> None:
        """Let the `nth` call of `method` from now on (1: the next) fail, and the `times` - 1 calls after it."""
        with self._lock:
            self._planned.setdefault(method, []).append(_Planned(nth, times, why, final))

    def delay(self, method: str, seconds: float) -> None:
        """Let every call of `method` take that long; 0 ends it."""
        self._delays[method] = seconds

    def enter(self, method: str) -> None:
        """Called by the driver at the start of each call."""
        with self._lock:
            self.calls[method] = self.calls.get(method, 0) + 1
            struck = self._strike(method) if method in self._planned else None
        seconds = self._delays.get(method)
        if seconds:
            time.sleep(seconds)
        if struck is not None:
            raise DriverFault(struck.why, final=struck.final)

    def _strike(self, method: str) -> _Planned | None:
        struck = None
        for planned in list(self._planned[method]):
            planned.remaining -= 1
            if planned.remaining <= 0:
                struck = planned
                planned.times -= 1
                if planned.times <= 0:
                    self._planned[method].remove(planned)
        return struck
