"""Which of the processes that share a state directory has the engine: the one that holds a lock on a file (flock(2)).

Logs and index have one writer. The kernel lets go of the lock when its holder dies; whoever asks next is the holder.
"""

import fcntl
import os
import threading
from pathlib import Path


class Claim:
    """`told`: what the others read about the holder."""

    def __init__(self, path: Path, told: str) -> None:
        self._path, self._told = path, told
        self._fd: int | None = None
        self._lock = threading.Lock()

    def holder(self) -> str:
        """Empty when it is this process: now, if nobody was."""
        if self._fd is not None:
            return ""
        with self._lock:
            if self._fd is not None:
                return ""
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                try:
                    return os.pread(fd, 200, 0).decode() or "another process"  # the latter: it has not said yet
                finally:
                    os.close(fd)
            os.ftruncate(fd, 0)
            os.pwrite(fd, self._told.encode(), 0)
            self._fd = fd
            return ""

    def release(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, None
            if fd is not None:
                os.close(fd)
