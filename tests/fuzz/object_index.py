"""What the object store's index holds, read beside the engine: to see whether a request changed anything."""

import hashlib
import sqlite3
from pathlib import Path

TABLES = ("accounts", "containers", "objects", "versions", "blobs")


class IndexWatch:
    """`watch.digest()` is the same as long as nothing changed; cheap while it is so."""

    def __init__(self, state: Path) -> None:
        self._connection = sqlite3.connect(f"file:{state}/objects/index.db?mode=ro", uri=True, check_same_thread=False)
        self._version = -1
        self._digest = ""

    def digest(self) -> str:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            found = hashlib.sha256()
            for table in TABLES:
                for row in self._connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
                    found.update(repr((table, row)).encode("utf-8", "surrogatepass"))
            self._version, self._digest = version, found.hexdigest()
        return self._digest
