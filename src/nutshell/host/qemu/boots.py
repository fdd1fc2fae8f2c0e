"""Lets guests boot one per processor: kernels that starve while they boot fail their timer checks and stop for good."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_S = 6.0  # after this a guest is past its early boot even when it never writes to its serial port


class Boots:
    """Slots for guests in early boot. With virtual processors in hardware there is no need: `limited` says so."""

    def __init__(self, limited: Callable[[], bool], at_once: int | None = None) -> None:
        self._limited = limited
        self._slots = threading.Semaphore(at_once or os.cpu_count() or 1)

    @contextmanager
    def turn(self, console: Path, booting: Callable[[], bool]) -> Iterator[None]:
        """Blocks until the guest may boot. After the block, which starts it, the slot is given back when the guest
        speaks on its console, boots no more, or had time enough."""
        if not self._limited():
            yield
            return
        self._slots.acquire()
        before = _size(console)
        try:
            yield
        except BaseException:
            self._slots.release()
            raise
        threading.Thread(target=self._watch, args=(console, before, booting), daemon=True).start()

    def _watch(self, console: Path, before: int, booting: Callable[[], bool]) -> None:
        until = time.monotonic() + _LONGEST_S
        try:
            while time.monotonic() < until and booting() and _size(console) <= before:
                time.sleep(0.1)
        finally:
            self._slots.release()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
