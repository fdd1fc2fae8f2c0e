"""Stores: the places where images' data can be, each with a name that users may choose (Image API v2, "Stores").

A location of an image names its store; the data of a file store lies under the image's id, a web store only points.
"""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nutshell.core.errors import Conflict
from nutshell.image.fetch import Download, FetchRefused, FetchRules
from nutshell.image.files import CHUNK, PARTIAL, sync

log = logging.getLogger("nutshell.image")
Location = Mapping[str, Any]  # {"store": id, "url": address, "metadata": {...}} as the row holds it


class StoreFault(OSError):
    """A store could not do what was asked; the text says why, for the user."""


class StoreFull(StoreFault):
    """It has no room, or its owner's quota is used up."""


def refused(what: str, why: OSError) -> StoreFault:
    """`what` happened because of that."""
    full = why.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return (StoreFull if full else StoreFault)(f"{what}: {why.strerror}")


class ImageStore(Protocol):
    """One place. Methods block; each may be repeated. StoreFault when the place fails."""

    @property
    def id(self) -> str: ...

    @property
    def kind(self) -> str:
        """Its type, as operators know it: "file", "http", "swift", "s3"."""
        ...

    @property
    def read_only(self) -> bool: ...

    def address(self, image_id: str) -> str:
        """Where `put` puts the image; `delete` removes what lies there, whole or half."""
        ...

    def put(self, image_id: str, source: Path) -> str:
        """The address of a whole copy of the file."""
        ...

    def read(self, url: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to `end`."""
        ...

    def size(self, url: str) -> int: ...

    def delete(self, url: str) -> None:
        """Absent is success."""
        ...

    def properties(self) -> Mapping[str, Any]:
        """What administrators are shown of it."""
        ...


@runtime_checkable
class LocalStore(Protocol):
    """A store whose data are files of this machine."""

    def path(self, url: str) -> Path: ...


@dataclass(frozen=True)
class FileStore:
    """A directory with one file an image."""

    id: str
    directory: Path
    durable: bool = True
    kind: str = "file"
    read_only: bool = False

    def put(self, image_id: str, source: Path) -> str:
        target = self.directory / image_id
        partial = self.directory / f"{image_id}.copy{PARTIAL}"
        try:
            partial.unlink(missing_ok=True)
            try:
                os.link(source, partial)
            except OSError:  # another file system
                shutil.copyfile(source, partial)
            if self.durable:
                sync(partial)
            os.replace(partial, target)
            partial.unlink(missing_ok=True)  # a link to the same file is not replaced
            if self.durable:
                sync(self.directory)
        except OSError as why:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise refused(f"store {self.id} cannot take the data", why) from why
        return self.address(image_id)

    def address(self, image_id: str) -> str:
        return f"file://{self.directory / image_id}"

    def path(self, url: str) -> Path:
        """By the image's id alone: the directory may have moved since."""
        return self.directory / url.rpartition("/")[2]

    def read(self, url: str, start: int, end: int) -> Iterator[bytes]:
        try:
            with open(self.path(url), "rb") as source:
                source.seek(start)
                while start < end and (data := source.read(min(CHUNK, end - start))):
                    start += len(data)
                    yield data
        except OSError as why:
            raise StoreFault(f"store {self.id} has not the data: {why.strerror}") from why

    def size(self, url: str) -> int:
        try:
            return self.path(url).stat().st_size
        except OSError as why:
            raise StoreFault(f"store {self.id} has not the data: {why.strerror}") from why

    def delete(self, url: str) -> None:
        try:
            self.path(url).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as why:
            raise refused(f"store {self.id} cannot delete the data", why) from why

    def properties(self) -> Mapping[str, Any]:
        return {"data_dir": str(self.directory), "chunk_size": CHUNK, "thin_provisioning": False}


@dataclass(frozen=True)
class WebStore:
    """Images that stay where they are: at an http or https address that the rules of fetching allow."""

    id: str
    rules: FetchRules
    kind: str = "http"
    read_only: bool = True

    def address(self, image_id: str) -> str:
        return ""

    def put(self, image_id: str, source: Path) -> str:
        raise StoreFault(f"store {self.id} cannot be written")

    def read(self, url: str, start: int, end: int) -> Iterator[bytes]:
        """Web servers need not know of ranges: what comes before is read and dropped."""
        at = 0
        try:
            with Download(url, self.rules) as answer:
                for data in answer:
                    first, last = max(start - at, 0), min(end - at, len(data))
                    at += len(data)
                    if first < last:
                        yield data[first:last]
                    if at >= end:
                        return
        except FetchRefused as why:
            raise StoreFault(str(why)) from None

    def size(self, url: str) -> int:
        try:
            with Download(url, self.rules) as answer:
                return answer.size if answer.size is not None else sum(len(d) for d in answer)
        except FetchRefused as why:
            raise StoreFault(str(why)) from None

    def delete(self, url: str) -> None:
        """The data is another's."""

    def properties(self) -> Mapping[str, Any]:
        return {}


@dataclass(frozen=True)
class Stores:
    """All stores of a cloud. `home`: the one in the state directory, where data is received."""

    home: FileStore
    by_id: Mapping[str, ImageStore]
    default_id: str
    weights: Mapping[str, int] = field(default_factory=dict)

    @property
    def default(self) -> ImageStore:
        return self.by_id[self.default_id]

    def need(self, store_id: str) -> ImageStore:
        """409 for a store there is not."""
        found = self.by_id.get(store_id)
        if found is None:
            raise Conflict(f"Unknown scheme '{store_id}' found in URI. The stores are: {', '.join(self.by_id)}")
        return found

    def weight(self, store_id: str) -> int:
        return self.weights.get(store_id, 0)

    def sorted(self, locations: Sequence[Location]) -> list[Location]:
        """The heaviest store first, else in their order."""
        return sorted(locations, key=lambda one: -self.weight(one["store"]))

    def writable(self) -> list[str]:
        return [s.id for s in self.by_id.values() if not s.read_only]

    def for_url(self, url: str) -> ImageStore | None:
        """The store an address of a user's belongs to: only the web is open to all."""
        scheme = url.partition(":")[0].lower()
        kind = {"http": "http", "https": "http"}.get(scheme, "")
        return next((s for s in self.by_id.values() if s.kind == kind), None)

    def local(self, locations: Sequence[Location]) -> Path | None:
        """The file of this machine that holds the data, where there is one."""
        for one in self.sorted(locations):
            store = self.by_id.get(one["store"])
            if isinstance(store, LocalStore) and store.path(one["url"]).exists():
                return store.path(one["url"])
        return None

    def read(self, locations: Sequence[Location], start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to `end`, of the first store that gives any. Blocks. StoreFault when none does."""
        fault = StoreFault("there is no store that has the data")
        for one in self.sorted(locations):
            store = self.by_id.get(one["store"])
            if store is None:
                continue
            chunks = store.read(one["url"], start, end)
            try:
                first = next(chunks, b"")
            except StoreFault as why:
                log.warning("%s", why)
                fault = why
                continue
            return chain((first,), chunks)
        raise fault

    def delete(self, locations: Sequence[Location]) -> None:
        for one in locations:
            store = self.by_id.get(one["store"])
            if store is not None:
                store.delete(one["url"])
