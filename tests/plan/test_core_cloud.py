"""The line before the cores has an end."""

import threading

import pytest

from nutshell.core.cloud import HashLine
from nutshell.core.errors import Unavailable


def test_a_full_line_refuses_and_empties_again() -> None:
    line, free = HashLine(1, most_waiting=2), threading.Event()
    first = [line.submit(free.wait, 10) for _ in range(3)]  # one works, two wait
    with pytest.raises(Unavailable) as refused:
        line.submit(free.wait, 10)
    assert refused.value.headers["Retry-After"] == "2"
    free.set()
    assert all(f.result(timeout=10) for f in first)
    assert line.submit(lambda: 5).result(timeout=10) == 5
    line.shutdown()
    with pytest.raises(RuntimeError):
        line.submit(lambda: 5)
