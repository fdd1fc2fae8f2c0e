"""Where images' data lies: one file an image, made under another name and renamed when whole."""

import errno
import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from nutshell.image.claims import Claims
from nutshell.image.formats import Inspector

CHUNK = 1 << 20
WORTH_A_THREAD = 1 << 16
BEHIND = 4  # pieces that may wait to be hashed
FLUSHED = 32 << 20  # so much is flushed at a time
PARTIAL, STAGED = ".part", ".staged"


@dataclass(frozen=True)
class Sums:
    """What is known of data that was read to its end."""

    size: int
    virtual_size: int
    md5: str
    os_hash: str
    algorithm: str = "sha512"  # of os_hash


@dataclass
class ImageFiles:
    """The directory of one cloud."""

    directory: Path
    durable: bool = True
    any_raw: bool = False  # content without a format's sign may be declared as anything
    algorithm: str = "sha512"  # of os_hash_value
    any_partitions: bool = False  # what a partition table says is the guest's affair
    claims: Claims = field(default_factory=Claims)
    scratch: tempfile.TemporaryDirectory[str] | None = None  # a cloud without a state directory

    @classmethod
    def of(cls, state: Path | None, durable: bool) -> "ImageFiles":
        if state is None:
            scratch = tempfile.TemporaryDirectory(prefix="nutshell-images-")
            return cls(Path(scratch.name), False, scratch=scratch)
        directory = state / "images"
        directory.mkdir(parents=True, exist_ok=True)
        return cls(directory, durable, claims=Claims(state / "image-claims"))

    def inspector(self, declared: str) -> Inspector:
        """One that is as strict as the settings say."""
        return Inspector(declared, any_raw=self.any_raw, any_partitions=self.any_partitions)

    def sum_up(self, path: Path, declared: str, also: "Watcher | None" = None) -> Sums:
        """Hash and judge a file where it lies. ImageRefused, OSError."""
        inspector = self.inspector(declared)
        with open(path, "rb") as source, Digests(self.algorithm, also) as digests:
            while data := source.read(CHUNK):
                inspector.feed(data)
                digests.feed(data)
            return digests.sums(inspector.size, inspector.finish().virtual_size)

    def path(self, image_id: str) -> Path:
        return self.directory / image_id

    def staged(self, image_id: str) -> Path:
        return self.directory / (image_id + STAGED)

    def claim(self, image_id: str) -> bool:
        """Take the image's data in hand; False when it is in somebody's already."""
        return self.claims.take(image_id)

    def let_go(self, image_id: str) -> None:
        self.claims.give_back(image_id)

    def held(self, image_id: str) -> AbstractContextManager[None]:
        """Claim the image's data, as soon as nobody else has it."""
        return self.claims.held(image_id)

    def keep(self, source: Path, target: Path) -> None:
        """Give a whole file its final name, on disk when this returns (in real mode)."""
        if self.durable:
            sync(source)
        os.replace(source, target)
        if self.durable:
            sync(self.directory)

    def remove(self, image_id: str) -> None:
        """Everything of an image; absent is success."""
        for path in (self.path(image_id), self.staged(image_id)):
            path.unlink(missing_ok=True)

    def found(self) -> Iterator[tuple[str, Path]]:
        """(image id, file) of all that lies here."""
        for path in self.directory.iterdir():
            if path.is_dir():
                continue
            yield path.name.split(".")[0], path


class Watcher(Protocol):
    """What else wants to see all data (a signature's check)."""

    def update(self, data: bytes) -> None: ...


class Digests:
    """md5 and another hash of data, and whoever else sees it, each on a thread of its own. Use as a context."""

    def __init__(self, algorithm: str, also: Watcher | None = None) -> None:
        self._md5, self._hash = hashlib.md5(usedforsecurity=False), hashlib.new(algorithm)
        watchers: list[Watcher] = [self._md5, self._hash] + ([also] if also is not None else [])
        self._watchers = [(one, ThreadPoolExecutor(1, "digest")) for one in watchers]  # starts none before it is used
        self._under_way: deque[list[Future[None]]] = deque()

    def __enter__(self) -> "Digests":
        return self

    def __exit__(self, *why: object) -> None:
        for _, thread in self._watchers:
            thread.shutdown()

    def feed(self, data: bytes) -> None:
        """Take the next bytes; hashing goes on beside what the caller does then, some pieces behind."""
        if len(data) < WORTH_A_THREAD and not self._under_way:
            for one, _ in self._watchers:
                one.update(data)
            return
        self._under_way.append([thread.submit(one.update, data) for one, thread in self._watchers])
        self._wait(BEHIND)

    def _wait(self, most: int) -> None:
        while len(self._under_way) > most:
            for one in self._under_way.popleft():
                one.result()

    def finish(self) -> None:
        """All that was fed is hashed when this returns; raises what a watcher raised."""
        self._wait(0)

    def sums(self, size: int, virtual_size: int) -> Sums:
        self.finish()
        return Sums(size, virtual_size, self._md5.hexdigest(), self._hash.hexdigest(), self._hash.name)


class Flusher:
    """Has the system write a file to disk while it still grows, so that little is left for the last flush."""

    def __init__(self, fd: int) -> None:
        self._fd, self._since = fd, 0
        self._thread = ThreadPoolExecutor(1, "flush")
        self._under_way: Future[None] | None = None

    def wrote(self, count: int) -> None:
        """OSError when an earlier flush failed."""
        self._since += count
        if self._since < FLUSHED or (self._under_way is not None and not self._under_way.done()):
            return
        self.check()
        self._since, self._under_way = 0, self._thread.submit(os.fdatasync, self._fd)

    def check(self) -> None:
        """Wait for the flush under way. OSError: the disk tells each failure once, so it must not be lost."""
        if self._under_way is not None:
            self._under_way.result()

    def close(self) -> None:
        self._thread.shutdown()


class Receiver:
    """Writes data as it comes, hashing and judging it on the way. `close` removes what was not kept.

    `most`: TooMuch beyond so many bytes.
    """

    def __init__(
        self,
        files: ImageFiles,
        image_id: str,
        declared: str | None,
        *,
        also: Watcher | None = None,
        most: int | None = None,
    ) -> None:
        self._files, self._most = files, most
        self._partial = files.directory / f"{image_id}{PARTIAL}"
        self._out: BinaryIO = open(self._partial, "wb", buffering=0)  # noqa: SIM115 - `close` closes it
        self._inspector = files.inspector(declared) if declared is not None else None
        self._digests = Digests(files.algorithm, also) if declared is not None else None
        self._flusher = Flusher(self._out.fileno()) if files.durable else None
        self.size = 0

    def close(self) -> None:
        """Blocks while a flush is under way."""
        if self._digests is not None:
            self._digests.__exit__()
        if self._flusher is not None:
            self._flusher.close()
        self._out.close()
        self._partial.unlink(missing_ok=True)

    def feed(self, data: bytes) -> None:
        """The next bytes. ImageRefused as soon as they show what must not be here; OSError when there is no room."""
        self.size += len(data)
        if self._most is not None and self.size > self._most:
            raise TooMuch(self._most)
        if self._inspector is not None and self._digests is not None:
            self._inspector.feed(data)
            self._digests.feed(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._out.write(rest) :]
        if self._flusher is not None:
            self._flusher.wrote(len(data))

    def finish(self) -> None:
        """All data came: it is hashed when this returns."""
        if self._digests is not None:
            self._digests.finish()

    def keep(self, target: Path) -> Sums:
        """The data is whole: it gets its name. ImageRefused when the whole is not acceptable."""
        virtual = self._inspector.finish().virtual_size if self._inspector is not None else 0
        if self._flusher is not None:
            self._flusher.check()
        self._out.close()
        self._files.keep(self._partial, target)
        return self._digests.sums(self.size, virtual) if self._digests is not None else Sums(self.size, 0, "", "")


class TooMuch(Exception):
    """The data is larger than its project may have."""


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as why:
        if why.errno != errno.EINVAL:  # directories cannot be synced on every file system
            raise
    finally:
        os.close(fd)
