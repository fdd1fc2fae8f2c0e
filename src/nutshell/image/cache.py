"""The cache: copies of images' data on this machine, wherever their store is (Image API v2, "Cache management")."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.image.files import PARTIAL, ImageFiles
from nutshell.image.formats import ImageRefused
from nutshell.image.images import Image, Status
from nutshell.image.service import ImageNotFound, image
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import FileStore, StoreFault, Stores

MIB = 1 << 20


class CachedImage(Resource, service="image", one="cached_image", many="cached_images", unique=(("image_id",),)):
    """An image that is, or shall be, in the cache."""

    image_id: str = field()
    cached: bool = field(default=False)
    hits: int = field(default=0)
    size: int = field(default=0)
    last_accessed: float = field(default=0.0)
    last_modified: float = field(default=0.0)
    due_at: float | None = field(default=None, index=True)


@dataclass(frozen=True)
class ImageCache:
    """A directory with one file an image; `CachedImage` rows say which are whole."""

    cloud: Cloud
    directory: Path

    def path(self, image_id: str) -> Path:
        return self.directory / image_id

    def file(self, image_id: str) -> Path | None:
        """The whole copy, where there is one; it counts as used."""
        found = self.path(image_id)
        if not found.exists():
            return None

        def hit(tx: Tx) -> None:
            row = tx.one(CachedImage, image_id=image_id)
            if row is not None:
                tx.put(row, hits=row.hits + 1, last_accessed=tx.now, quiet=True, touch=False)

        self.cloud.store.submit(hit)
        return found

    def fill(self, row: Image) -> Path:
        """A whole, inspected copy; made once, however many ask for it. Blocks. StoreFault."""
        target = self.path(row.id)
        with self.cloud.port(ImageFiles).held(f"cache of {row.id}"):
            if not target.exists():
                self._fill(row, target)
                self.cloud.write(lambda tx: _filled(self.cloud, tx, row.id, target))
        return target

    def _fill(self, row: Image, target: Path) -> None:
        stores = self.cloud.port(Stores)
        self.directory.mkdir(parents=True, exist_ok=True)
        local = stores.local(row.locations)
        if local is not None:
            FileStore("cache", self.directory, durable=False).put(row.id, local)
            return
        if not row.locations:
            raise StoreFault(f"Image {row.id} has no data")
        partial = target.with_name(f"{row.id}{PARTIAL}")
        try:
            self._write(row, partial, stores.read(row.locations, 0, row.size or 1 << 62))
            partial.replace(target)
        except (ImageRefused, OSError) as why:
            raise StoreFault(f"Image {row.id} cannot be used: {why}") from why
        finally:
            partial.unlink(missing_ok=True)

    def _write(self, row: Image, partial: Path, chunks: Iterator[bytes]) -> None:
        """The data, judged on the way: other tools will open this file."""
        inspector = self.cloud.port(ImageFiles).inspector(row.judged_as)
        digest = hashlib.new(row.os_hash_algo or "sha512", usedforsecurity=False)
        with open(partial, "wb") as out:
            for data in chunks:
                inspector.feed(data)
                digest.update(data)
                out.write(data)
        inspector.finish()
        if row.os_hash_value and digest.hexdigest() != row.os_hash_value:
            raise ImageRefused("its data is not what it was")

    def drop(self, image_ids: list[str]) -> None:
        for one in image_ids:
            self.path(one).unlink(missing_ok=True)


def queue(cloud: Cloud, tx: Tx, image_id: str) -> None:
    """Have the image cached soon; nothing changes for one that is queued or cached."""
    if not tx.count(CachedImage, image_id=image_id):
        tx.add(CachedImage(id=cloud.clock.new_id(), image_id=image_id, due_at=tx.now))


def _filled(cloud: Cloud, tx: Tx, image_id: str, path: Path) -> None:
    """The copy is there: its entry says so."""
    facts: dict[str, Any] = {
        "cached": True,
        "size": path.stat().st_size,
        "last_modified": tx.now,
        "last_accessed": tx.now,
        "due_at": None,
    }
    row = tx.one(CachedImage, image_id=image_id)
    if row is None:
        tx.add(CachedImage(id=cloud.clock.new_id(), image_id=image_id, **facts))
    else:
        tx.put(row, **facts)


def tend(cloud: Cloud) -> None:
    """Copies of images that are gone go, and what was not used for longest beyond the cache's size."""
    cache, most = cloud.port(ImageCache), cloud.settings[ImageConfig].cache_max_mib * MIB

    def work(tx: Tx) -> list[str]:
        rows = tx.find(CachedImage, cached=True, order="last_accessed, id")
        alive = {r.id for r in tx.find(Image, id=[r.image_id for r in rows])} if rows else set()
        gone = [r for r in rows if r.image_id not in alive]
        gone += beyond([r for r in rows if r.image_id in alive], most)
        for row in gone:
            tx.drop(row)
        return [r.image_id for r in gone]

    if cloud.read(lambda tx: tx.count(CachedImage)):
        cache.drop(cloud.write(work))


def beyond(rows: Sequence[CachedImage], most: int) -> list[CachedImage]:
    """The first of these that are more than so many bytes."""
    total, gone = sum(r.size for r in rows), list[CachedImage]()
    for row in rows:
        if total <= most:
            break
        total -= row.size
        gone.append(row)
    return gone


def settle(cloud: Cloud, row: CachedImage) -> None:
    """Fill what is queued; what cannot be filled is forgotten."""
    found = cloud.read(lambda tx: tx.get(Image, row.image_id))
    if row.cached or found is None or found.status != Status.ACTIVE:
        cloud.write(lambda tx: tx.put(row, due_at=None, quiet=True) if row.cached else tx.drop(row))
        return
    try:
        path = cloud.port(ImageCache).fill(found)
    except StoreFault:
        cloud.write(lambda tx: tx.drop(row))
        return
    cloud.write(lambda tx: _filled(cloud, tx, row.image_id, path))


@image.route("GET", "/cache", rule="cache_list", noun=CachedImage, verb="list")
def show_cache(ask: Ask[Any]) -> Answer:
    rows = ask.tx.find(CachedImage, order="created_at, id")
    shown = [{n: getattr(r, n) for n in ("image_id", "hits", "last_accessed", "last_modified", "size")}
             for r in rows if r.cached]  # fmt: skip
    return Answer(200, {"cached_images": shown, "queued_images": [r.image_id for r in rows if not r.cached]})


@image.route("PUT", "/cache/{image_id}", rule="cache_image", noun=CachedImage, verb="create", wrap="")
def queue_image(ask: Ask[Any]) -> Answer:
    found = ask.tx.get(Image, ask.params["image_id"])
    if found is None:
        raise ImageNotFound(id=ask.params["image_id"])
    if found.status != Status.ACTIVE:
        raise BadRequest("Only images with status active can be targeted for queueing")
    queue(ask.cloud, ask.tx, found.id)
    return Answer(202)


@image.route("DELETE", "/cache/{image_id}", rule="cache_delete", noun=CachedImage, verb="delete", http=204)
def remove_image(ask: Ask[Any]) -> None:
    image_id = ask.params["image_id"]
    row = ask.tx.one(CachedImage, image_id=image_id)
    if row is None and ask.tx.get(Image, image_id) is None:
        raise ImageNotFound(id=image_id)
    if row is not None:
        _forget(ask, [row])


@image.route("DELETE", "/cache", rule="cache_delete", noun=CachedImage, verb="clear", http=204)
def clear(ask: Ask[Any]) -> None:
    target = ask.headers.get("x-image-cache-clear-target", "").lower()
    if target not in ("", "cache", "queue"):
        raise BadRequest("If provided 'x-image-cache-clear-target' must be 'cache', 'queue' or empty string.")
    rows = ask.tx.find(CachedImage)
    _forget(ask, [r for r in rows if not target or r.cached == (target == "cache")])


def _forget(ask: Ask[Any], rows: list[CachedImage]) -> None:
    for row in rows:
        ask.tx.drop(row)
    gone, cache = [r.image_id for r in rows], ask.cloud.port(ImageCache)
    ask.tx.after_commit.append(lambda: cache.drop(gone))


@image.route("POST", "/cache/clean", rule="cache_clean", noun=CachedImage, verb="clean", wrap="")
def clean(ask: Ask[Any]) -> Answer:
    """Entries whose image or file is gone go; so do files that no entry knows."""
    cache = ask.cloud.port(ImageCache)
    rows = ask.tx.find(CachedImage)
    alive = {r.id for r in ask.tx.find(Image, id=[r.image_id for r in rows])}
    _forget(ask, [r for r in rows if r.image_id not in alive or (r.cached and not cache.path(r.image_id).exists())])
    known = {r.image_id for r in rows}
    stray = [p.name for p in cache.directory.iterdir() if p.name not in known] if cache.directory.is_dir() else []
    ask.tx.after_commit.append(lambda: cache.drop(stray))
    return Answer(200)


@image.route("POST", "/cache/prune", rule="cache_prune", noun=CachedImage, verb="prune", wrap="")
def prune(ask: Ask[Any]) -> Answer:
    """What was not used for longest goes, until the rest is within the cache's size."""
    rows = ask.tx.find(CachedImage, cached=True, order="last_accessed, id")
    gone = beyond(rows, ask.cloud.settings[ImageConfig].cache_max_mib * MIB)
    _forget(ask, gone)
    return Answer(200, {"total_files_pruned": len(gone), "total_bytes_pruned": sum(r.size for r in gone)})


@image.route("GET", "/cache/nodes/{image_id}", rule="list_cached_nodes", noun=CachedImage, verb="nodes")
def list_nodes(ask: Ask[Any]) -> Answer:
    raise Conflict("Centralized caching is not enabled")
