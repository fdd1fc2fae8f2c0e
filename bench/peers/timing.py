"""Milliseconds of a call, once or for some seconds."""

import time
from collections.abc import Callable
from typing import Any

Taken = list[tuple[str, str, list[float], bool]]
SECONDS = 3.0


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def repeat(work: Callable[[int], Any], seconds: float = SECONDS, least: int = 5) -> list[float]:
    """Milliseconds of each call for some seconds, at least `least` of them; the first is left out."""
    work(-1)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < least:
        number = len(taken)
        taken.append(timed(lambda number=number: work(number)))  # type: ignore[misc]
    return taken


def both(what: str, taken: list[float]) -> Taken:
    return [(f"{what}, rate", "/s", [1000 * len(taken) / sum(taken)], True), (f"{what}, median", "ms", taken, False)]
