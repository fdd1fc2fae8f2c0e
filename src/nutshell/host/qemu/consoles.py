"""Console logs: QEMU appends to a file per guest, which is turned over before it grows large."""

import shutil
import threading
from contextlib import suppress
from pathlib import Path

_TURN_OVER = 512 << 10  # bytes; as many again are kept in the file before
_EVERY_S = 5.0


def last_lines(text: str, lines: int | None) -> str:
    """As `os-getConsoleOutput` counts: what stands behind the last newline is a line, even when empty."""
    if lines is None:
        return text
    return "\n".join(text.split("\n")[-lines:]) if lines > 0 else ""


class ConsoleLogs:
    """Looks after every `console.log` below a directory, in a thread of its own."""

    def __init__(self, guests: Path) -> None:
        self._guests = guests
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-logs", daemon=True)
        self._thread.start()

    def read(self, log: Path) -> str:
        text = b""
        for path in (_older(log), log):
            with suppress(FileNotFoundError):
                text += path.read_bytes()
        return text.decode(errors="replace").replace("\r\n", "\n").replace("\0", "")

    def close(self) -> None:
        self._closing.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._closing.wait(_EVERY_S):
            for log in self._guests.glob("*/console.log"):
                with suppress(OSError):  # the guest is being removed
                    turn_over(log)


def turn_over(log: Path, limit: int = _TURN_OVER) -> None:
    """Copy and truncate, for QEMU holds the file open for appending; a line written in between may be lost."""
    if log.stat().st_size > limit:
        fresh = log.with_name(".console.tmp")
        shutil.copyfile(log, fresh)
        log.open("r+b").truncate(0)
        fresh.replace(_older(log))


def _older(log: Path) -> Path:
    return log.with_name("console.1.log")
