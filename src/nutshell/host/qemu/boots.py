"""Lets guests boot one per processor: kernels that starve while they boot fail their timer checks and stop for good."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

_LONGEST_S = 6.0  # after this a guest is past its early boot even when it never writes to its serial port


class Boots:
    """Slots for guests in early boot."""

    def __init__(self, at_once: int | None = None) -> None:
        self._slots = threading.Semaphore(at_once or os.cpu_count() or 1)

    def begin(self) -> None:
        """Blocks until the guest may boot; `ended` or `watch` must follow."""
        self._slots.acquire()

    def ended(self) -> None:
        self._slots.release()

    def watch(self, console: Path, alive: Callable[[], bool]) -> None:
        """Give the slot back when the guest speaks on its console, is gone, or had time enough."""
        before = _size(console)
        threading.Thread(target=self._watch, args=(console, before, alive), daemon=True).start()

    def _watch(self, console: Path, before: int, alive: Callable[[], bool]) -> None:
        until = time.monotonic() + _LONGEST_S
        try:
            while time.monotonic() < until and alive() and _size(console) <= before:
                time.sleep(0.1)
        finally:
            self._slots.release()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
