"""Stores: the places where images' data can be, each with a name that users may choose (Image API v2, "Stores").

A location of an image names its store; the data of a file store lies under the image's id, a web store only points.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nutshell.core.config import ConfigError
from nutshell.core.errors import Conflict
from nutshell.image.fetch import Download, FetchRefused, FetchRules
from nutshell.image.files import CHUNK, PARTIAL, sync

Location = Mapping[str, Any]  # {"store": id, "url": address, "metadata": {...}} as the row holds it


class StoreFault(Exception):
    """A store could not do what was asked; the text says why, for the user."""


class ImageStore(Protocol):
    """One place. Methods block; each may be repeated. StoreFault when the place fails."""

    @property
    def id(self) -> str: ...

    @property
    def kind(self) -> str:
        """Its type, as operators know it: "file", "http"."""
        ...

    @property
    def read_only(self) -> bool: ...

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
            raise StoreFault(f"store {self.id} cannot take the data: {why.strerror}") from why
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
        self.path(url).unlink(missing_ok=True)

    def properties(self) -> Mapping[str, Any]:
        return {"data_dir": str(self.directory), "chunk_size": CHUNK, "thin_provisioning": False}


@dataclass(frozen=True)
class WebStore:
    """Images that stay where they are: at an http or https address that the rules of fetching allow."""

    id: str
    rules: FetchRules
    kind: str = "http"
    read_only: bool = True

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


@dataclass
class Stores:
    """All stores of a cloud, the first is the default. Other services may add theirs while the cloud is wired."""

    by_id: dict[str, ImageStore] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Sequence[str], weights: Sequence[str], default: FileStore, rules: FetchRules) -> "Stores":
        """From the settings: "file", "name=/directory", "name=http". ConfigError."""
        found = cls(weights=_weights(weights))
        for text in names:
            name, _, place = text.partition("=")
            if name in found.by_id or not name or name.startswith("os_glance_") or "," in name:
                raise ConfigError(f"image.stores: {text!r} is not a new name")
            if not place:
                found.add(FileStore(name, default.directory, default.durable))
            elif place == "http":
                found.add(WebStore(name, rules))
            elif place.startswith("/"):
                Path(place).mkdir(parents=True, exist_ok=True)
                found.add(FileStore(name, Path(place), default.durable))
            else:
                raise ConfigError(f"image.stores: {text!r} is none of NAME, NAME=/directory, NAME=http")
        if not names or "=" in names[0]:
            raise ConfigError("image.stores: the first store is the default one, in the state directory: only a name")
        unknown = set(found.weights) - set(found.by_id)
        if unknown:
            raise ConfigError(f"image.store_weights: there is no store {sorted(unknown)[0]}")
        return found

    def add(self, store: ImageStore) -> None:
        self.by_id[store.id] = store

    @property
    def default(self) -> ImageStore:
        return next(iter(self.by_id.values()))

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

    def delete(self, locations: Sequence[Location]) -> None:
        for one in locations:
            store = self.by_id.get(one["store"])
            if store is not None:
                store.delete(one["url"])


def _weights(texts: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = int(number)
        except ValueError:
            raise ConfigError(f"image.store_weights: {text!r} is not NAME=NUMBER") from None
    return found
