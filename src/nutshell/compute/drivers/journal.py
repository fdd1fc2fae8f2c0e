"""An append-only file of records that outlives the process: the last record of a key is its value.

A line goes to the kernel in one write, so a killed process loses nothing it acknowledged; a line that a power cut
tore is dropped. Losing power may lose the last lines: the simulated world promises no more.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

_SLACK = 2_000  # superseded lines allowed before the file is written anew


class Journal:
    """Records by (kind, key). Calls must not overlap: the owner holds its own lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._records: dict[tuple[str, str], msgspec.Raw] = {}
        self._lines = 0
        self._read()
        self._fd = -1
        self._compact()

    def records(self) -> list[tuple[str, str, msgspec.Raw]]:
        return [(kind, key, value) for (kind, key), value in self._records.items()]

    def put(self, kind: str, key: str, value: Any) -> None:
        """Record the value; None forgets the key."""
        raw = msgspec.json.encode(value)
        os.write(self._fd, msgspec.json.encode((kind, key, msgspec.Raw(raw))) + b"\n")
        self._lines += 1
        if value is None:
            self._records.pop((kind, key), None)
        else:
            self._records[kind, key] = msgspec.Raw(raw)
        if self._lines > 2 * len(self._records) + _SLACK:
            self._compact()

    def close(self) -> None:
        os.close(self._fd)

    def _read(self) -> None:
        if not self._path.exists():
            return
        decoder = msgspec.json.Decoder(tuple[str, str, msgspec.Raw])
        for line in self._path.read_bytes().splitlines():
            try:
                kind, key, value = decoder.decode(line)
            except msgspec.DecodeError:
                continue  # torn by a power cut
            if bytes(value) == b"null":
                self._records.pop((kind, key), None)
            else:
                self._records[kind, key] = msgspec.Raw(bytes(value))

    def _compact(self) -> None:
        fresh = self._path.with_suffix(".new")
        lines = [msgspec.json.encode((kind, key, value)) for kind, key, value in self.records()]
        fresh.write_bytes(b"".join(line + b"\n" for line in lines))
        fresh.replace(self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._lines = len(lines)
