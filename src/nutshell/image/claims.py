"""Who has which image's data in hand: one at a time, in this process and in every other on the same state directory
(fcntl(2), "Advisory record locking"). A process that dies has nothing in hand any more.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock


@dataclass
class Claims:
    """`file`: of which each image locks one byte, far apart; None where there is one process only."""

    file: Path | None = None
    mine: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def take(self, image_id: str) -> bool:
        """Whether it is ours now; False when anybody has it."""
        with self._lock:
            if image_id in self.mine or not self._lock_byte(image_id):
                return False
            self.mine.add(image_id)
            return True

    def give_back(self, image_id: str) -> None:
        with self._lock:
            if image_id in self.mine:
                self.mine.discard(image_id)
                if self.file is not None:
                    fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _place(image_id))

    @contextmanager
    def held(self, image_id: str) -> Iterator[None]:
        """Take it, as soon as nobody else has it."""
        while not self.take(image_id):
            time.sleep(0.01)
        try:
            yield
        finally:
            self.give_back(image_id)

    @cached_property
    def _fd(self) -> int:
        """Open as long as the process lives: closing any descriptor of the file would let go of every lock."""
        assert self.file is not None
        return os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _lock_byte(self, image_id: str) -> bool:
        if self.file is None:
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(image_id))
        except OSError:
            return False
        return True


def _place(image_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=7).digest(), "big")
