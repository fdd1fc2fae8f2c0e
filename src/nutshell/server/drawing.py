"""A large body read from the socket by the thread that stores it, past the event loop (readv(2), FIONREAD of tcp(7)).

Applications find it in the scope, among "extensions", as "nutshell.draw"; `receive` goes on where it ended.
"""

import fcntl
import os
import select
import termios
import time
from collections.abc import Callable

LARGE = 1 << 20  # bodies from here on
LEAST = 64 << 10  # bytes that wait in the socket make it worth while
PATIENCE_S = 0.02  # in all; a client that is slower is waited for by the event loop


def waiting_in(fd: int) -> int:
    """Bytes that the kernel holds for a reader."""
    said = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    return int.from_bytes(said, "little")


class Draw:
    """Use as a context in the event loop, `fill` in one thread: the event loop keeps off the socket until the end."""

    def __init__(self, fd: int, left: int, ended: Callable[[int], None]) -> None:
        """`left`: bytes of the body; `ended` is told how many came."""
        self.left, self._all, self._ended = left, left, ended
        self._fd = os.dup(fd)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._patience_s = PATIENCE_S

    def __enter__(self) -> "Draw":
        return self

    def __exit__(self, *why: object) -> None:
        os.close(self._fd)
        self._ended(self._all - self.left)

    def fill(self, buffer: memoryview) -> int:
        """As many bytes as it holds; fewer where the body ends or the client pauses. ConnectionResetError: it left."""
        filled, wanted = 0, min(len(buffer), self.left)
        while filled < wanted:
            try:
                came = os.readv(self._fd, [buffer[filled:wanted]])
            except BlockingIOError:
                if not self._wait():
                    break
                continue
            if not came:
                raise ConnectionResetError("the client has left")
            filled += came
            self.left -= came
        return filled

    def _wait(self) -> bool:
        began = time.monotonic()
        more = bool(self._poll.poll(self._patience_s * 1000))
        self._patience_s = max(0.0, self._patience_s - (time.monotonic() - began))
        return more
