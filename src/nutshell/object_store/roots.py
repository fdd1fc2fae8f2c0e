"""The root secrets of encryption at rest: files in the state directory, one made when encryption is first used.

Rotation: put a new file `objects-<name>` beside the old ones in keys/; the last by name seals what is new, all open.
"""

import contextlib
import os
import secrets
from pathlib import Path

from nutshell.object_store.engine.sealing import Sealer

LEAD = "objects-"


def load_sealer(state: Path | None, encrypt: bool) -> Sealer:
    """What opens and seals blobs; `encrypt`: all new ones. Its first root is made when something is to be sealed."""
    if state is None:
        return Sealer({"1": secrets.token_bytes(32)}, "1", seals=encrypt)
    folder = state / "keys"
    roots = {p.name.removeprefix(LEAD): p.read_bytes() for p in sorted(folder.glob(LEAD + "*"))}

    def first() -> tuple[str, bytes]:
        folder.mkdir(mode=0o700, exist_ok=True)
        return "1", _make(folder / (LEAD + "1"))

    return Sealer(roots, max(roots, default=""), encrypt, first)


def _make(path: Path) -> bytes:
    """The secret at this path, on disk before anything is sealed with it; whoever comes second takes the first's."""
    secret = secrets.token_bytes(32)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return path.read_bytes()
