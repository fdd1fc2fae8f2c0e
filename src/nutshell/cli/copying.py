"""Copies of a cloud's files: linked where a file is never written to again, cloned or copied sparsely elsewhere.

Source: ioctl_ficlone(2), link(2), lseek(2) (SEEK_DATA); SQLite's backup API for databases that are being written.
"""

import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FICLONE = 0x40049409
BLOCK = 4 << 20
LOCK_S = 30.0
DATABASE = b"SQLite format 3\0"
# What is about this machine's processes, or half written, and so no part of the cloud.
APART = frozenset({"run", "log"})
HALVES = (".part", ".new", "-wal", "-shm", "-journal", ".lock")
# Files below these are never written to again once the database names them, only replaced or removed.
IMMUTABLE = frozenset({"images", "cache"})
OBJECTS, BLOBS, SEGMENT = "objects", "data", ".seg"  # likewise an object store's blobs, and all but its last segments

Told = Callable[[int], None]


@dataclass(frozen=True)
class Found:
    """One file to copy: `how` is "database", "link" or "data"."""

    path: Path
    how: str
    info: os.stat_result
    log: int = 0  # bytes of a database that are in its write-ahead log still

    @property
    def cost(self) -> int:
        """Bytes that a copy takes on the disk, if it cannot be linked or cloned."""
        return 0 if self.how == "link" else self.info.st_blocks * 512 + self.log


def files_of(state: Path) -> list[Found]:
    """Everything of a cloud that is to be kept, relative to its state directory."""
    found: list[Found] = []
    for root, directories, names in os.walk(state):
        here = Path(root).relative_to(state)
        last = max((name for name in names if name.endswith(SEGMENT)), default="")
        directories[:] = [d for d in directories if (here.parts or d not in APART) and not d.startswith(".")]
        for name in names:
            if name.startswith(".") or name.endswith(HALVES):
                continue
            with suppress(FileNotFoundError):  # removed meanwhile, as images may be
                info = os.lstat(Path(root, name))
                if stat.S_ISREG(info.st_mode):
                    stays = _is_immutable(here, name, last)
                    how = "link" if stays else "database" if _is_database(Path(root, name)) else "data"
                    log = _size(Path(root, f"{name}-wal")) if how == "database" else 0
                    found.append(Found(here / name, how, info, log))
    return sorted(found, key=lambda one: one.how != "database")  # logs may be ahead of their index, not behind it


def _is_immutable(folder: Path, name: str, last_segment: str) -> bool:
    if not folder.parts or folder.parts[0] != OBJECTS:
        return bool(folder.parts) and folder.parts[0] in IMMUTABLE
    return BLOBS in folder.parts or (name.endswith(SEGMENT) and name != last_segment)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def own_size(directory: Path, files: list[Found]) -> int:
    """Bytes on the disk of those copies that share nothing with what they were made of."""
    return sum((directory / one.path).stat().st_blocks * 512 for one in files if one.how != "link")


def _is_database(path: Path) -> bool:
    if path.suffix not in (".db", ".sqlite"):
        return False
    with path.open("rb") as file:
        return file.read(len(DATABASE)) == DATABASE


@contextmanager
def still(state: Path, files: list[Found]) -> Iterator[None]:
    """While this holds, no transaction on the cloud's databases begins: writers wait. sqlite3.OperationalError when
    one that is open does not end."""
    with ExitStack() as locks:
        for one in files:
            if one.how == "database":
                lock = sqlite3.connect(state / one.path, isolation_level=None, timeout=0)
                locks.callback(lock.close)
                _take(lock)
        yield


def _take(lock: sqlite3.Connection) -> None:
    """Begin between two transactions of a busy writer: SQLite's own waiting looks too seldom to find the gap."""
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            lock.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.0002)


def copy_files(state: Path, target: Path, files: list[Found], told: Told = lambda _size: None) -> None:
    """Copy them into an empty directory; owners and modes stay. OSError when there is no room."""
    for one in files:
        source, copy = state / one.path, target / one.path
        _make_directories(state, target, one.path.parent)
        try:
            if one.how == "database":
                _copy_database(source, copy)
                told(one.cost)
            elif one.how != "link" or not _link(source, copy):
                _copy_data(source, copy, told)
        except FileNotFoundError:
            if source.exists():
                raise
            continue  # removed meanwhile
        if one.how != "link":
            _keep_owner(one.info, copy)


def room_needed(files: list[Found], state: Path, target: Path) -> int:
    """Bytes that a copy takes on the target's file system; nothing but the databases where files can be cloned."""
    same = os.stat(state).st_dev == os.stat(target).st_dev
    costs: list[int] = [one.cost if same or one.how != "link" else one.info.st_blocks * 512 for one in files]
    if same and sum(costs) > 0 and _clones(target):
        costs = [one.cost for one in files if one.how == "database"]
    return sum(costs)


def flush(directory: Path, files: list[Found]) -> None:
    """Have everything on the disk when this returns."""
    seen = {directory}
    for one in files:
        if one.how != "link":
            sync(directory / one.path)
        seen.update(directory / parent for parent in one.path.parents)
    for each in seen:
        sync(each)


def _copy_database(source: Path, copy: Path) -> None:
    with closing(sqlite3.connect(source)) as from_, closing(sqlite3.connect(copy)) as to:
        to.execute("PRAGMA synchronous=OFF")  # `flush` comes later
        from_.backup(to)


def _link(source: Path, copy: Path) -> bool:
    try:
        os.link(source, copy)
    except OSError as why:
        if why.errno in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            return False
        raise
    return True


def _copy_data(source: Path, copy: Path, told: Told) -> None:
    with source.open("rb") as from_, copy.open("wb") as to:
        if not _clone(from_.fileno(), to.fileno()):
            _copy_sparse(from_.fileno(), to.fileno(), told)


def _clone(from_: int, to: int) -> bool:
    try:
        fcntl.ioctl(to, FICLONE, from_)
    except OSError:
        return False
    return True


def _clones(directory: Path) -> bool:
    """Whether files can be cloned here."""
    one, two = directory / ".clone-1", directory / ".clone-2"
    try:
        with one.open("wb") as a, two.open("wb") as b:
            return _clone(a.fileno(), b.fileno())
    finally:
        one.unlink(missing_ok=True)
        two.unlink(missing_ok=True)


def _copy_sparse(from_: int, to: int, told: Told) -> None:
    """Holes stay holes; `told` of each block."""
    size, at = os.fstat(from_).st_size, 0
    os.ftruncate(to, size)
    while at < size:
        try:
            at = os.lseek(from_, at, os.SEEK_DATA)
        except OSError as why:
            if why.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(from_, at, os.SEEK_HOLE)
        os.lseek(to, at, os.SEEK_SET)
        while at < end:
            done = os.sendfile(to, from_, at, min(BLOCK, end - at))
            if not done:
                return
            at += done
            told(done)


def _make_directories(state: Path, target: Path, relative: Path) -> None:
    for step in (*reversed(relative.parents), relative):
        made = target / step
        if not made.exists():
            made.mkdir()
            _keep_owner(os.stat(state / step), made)


def _keep_owner(info: os.stat_result, copy: Path) -> None:
    copy.chmod(stat.S_IMODE(info.st_mode))
    if os.geteuid() == 0:
        os.chown(copy, info.st_uid, info.st_gid)


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # directories cannot be synced on every file system
            os.fsync(fd)
    finally:
        os.close(fd)


def remove(directory: Path) -> None:
    """Remove a directory and all in it; absent is success."""
    shutil.rmtree(directory, ignore_errors=True)
