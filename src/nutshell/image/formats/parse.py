"""What a format's parser is: a generator that asks for pieces of the file, front to back, and says what it holds.

`data = (yield Window(offset, length)).data`: the bytes there, fewer where the file ends. `end = yield Tail(length)`:
its last bytes and its size, once, as the last thing asked. It returns the bytes a guest sees; what must not be used
raises ImageRefused. A window starts where the one before ended or later, or lies in the file's first 40 KiB.
"""

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

WINDOW_LIMIT = 1 << 20
VIRTUAL_SIZE_LIMIT = 1 << 50  # 1 PiB: nothing stored here is larger, and sums of it fit a 64-bit column


class ImageRefused(Exception):
    """The content is not what it was declared to be, or is unsafe; `why` is a sentence for the user."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Window:
    """Bytes a parser wants to see."""

    offset: int
    length: int


@dataclass(frozen=True)
class Tail:
    """The file's last bytes."""

    length: int


@dataclass(frozen=True)
class Piece:
    """What was asked for. `size` is the file's, known with its tail."""

    data: bytes
    size: int = 0

    def get(self, layout: str, offset: int, what: str = "header") -> tuple[Any, ...]:
        """The fields at an offset. ImageRefused when the piece ends before."""
        if offset + struct.calcsize(layout) > len(self.data):
            raise ImageRefused(f"the {what} is cut off")
        return struct.unpack_from(layout, self.data, offset)


Parse = Generator[Window | Tail, Piece, int]


def possible(virtual_size: int) -> int:
    """The size, if anything can be so large. ImageRefused."""
    if virtual_size > VIRTUAL_SIZE_LIMIT:
        raise ImageRefused(f"a virtual size of {virtual_size} bytes is more than the limit of {VIRTUAL_SIZE_LIMIT}")
    return virtual_size
