"""Carries imports out: data is fetched, checked, converted and put into stores, one step at a time.

A process that dies in between goes on where it was: what is staged stays until the last row is written.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import Fault
from nutshell.core.store import Tx
from nutshell.image import convert, decompress, hashing, limits, machines, remote, signatures
from nutshell.image.data import files_of
from nutshell.image.fetch import Download, FetchRefused
from nutshell.image.files import PARTIAL, STAGED, Sums
from nutshell.image.formats import ImageRefused
from nutshell.image.images import Image, Status, leave_data
from nutshell.image.imports import FAILED, GOING
from nutshell.image.placing import activate, put_into
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import StoreFault, Stores
from nutshell.image.tasks import OPEN, ImageTask, close_tasks

log = logging.getLogger("nutshell.image")
FAULTS = (
    ImageRefused,
    StoreFault,
    FetchRefused,
    remote.RemoteFault,
    convert.ConvertFault,
    decompress.PackedRefused,
    machines.OvaRefused,
    Fault,
    OSError,
)
AGAIN_S = 1.0  # when another thread has the image's data in hand
MIB, GB = 1 << 20, 1 << 30


class Gone(Exception):
    """The image was deleted meanwhile."""


@dataclass(frozen=True)
class Work:
    """One import under way."""

    cloud: Cloud
    image_id: str
    task: ImageTask

    @property
    def order(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.task.input.get("import_req", {})
        return found

    @property
    def method(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.order.get("method", {})
        return found

    @property
    def must_succeed(self) -> bool:
        return bool(self.order.get("all_stores_must_succeed", True))

    def row(self) -> Image:
        """As it is now. Gone."""
        found = self.cloud.read(lambda tx: tx.get(Image, self.image_id))
        if found is None:
            raise Gone()
        return found

    def change(self, make: Callable[[Image], Mapping[str, Any]], verb: str = "import") -> Image:
        """Write what `make` makes of the row as it is then. Gone."""
        found = self.cloud.write(lambda tx: self._put(tx, make, verb))
        if found is None:
            raise Gone()
        return found

    def end(self, facts: Mapping[str, Any], why: str = "", *, verb: str = "import", message: str = "") -> None:
        """The last write: the row as it stays, and the task's end, in failure when there is a reason."""

        def work(tx: Tx) -> None:
            self._put(tx, lambda row: {**facts, "due_at": None}, verb)
            close_tasks(tx, self.image_id, why, message)

        self.cloud.write(work)

    def _put(self, tx: Tx, make: Callable[[Image], Mapping[str, Any]], verb: str) -> Image | None:
        row = tx.get(Image, self.image_id)
        return None if row is None else tx.put(row, verb=verb, **make(row))


def settle(cloud: Cloud, row: Image) -> None:
    """The next move for an image that is due; everything, unless somebody else holds its data."""
    task = cloud.read(lambda tx: tx.one(ImageTask, image_id=row.id, status=list(OPEN)))
    if task is None:
        cloud.write(lambda tx: tx.put(row, due_at=None, quiet=True, touch=False))
        return
    files = files_of(cloud)
    if not files.claim(row.id):
        later = cloud.clock.now() + AGAIN_S
        cloud.write(lambda tx: tx.put(row, due_at=later, quiet=True, touch=False))
        return
    work = Work(cloud, row.id, task)
    try:
        if task.kind == "location_import":
            hashing.settle(work)
        elif task.kind == "api_image_import" and work.method.get("name") == "copy-image":
            _copy(work)
        else:
            _import(work)
    except Gone:
        cloud.write(lambda tx: close_tasks(tx, row.id, "The image was deleted."))
        files.staged(row.id).unlink(missing_ok=True)
    finally:
        files.let_go(row.id)


def _import(work: Work) -> None:
    files, row = files_of(work.cloud), work.row()
    staged = files.staged(row.id)
    try:
        if not staged.exists():
            _fetch(work, staged)
        ready, sums = _make_ready(work, staged)
        row = work.row()
        _check_room(work.cloud, row, sums)
    except FAULTS as why:
        _give_up(work, str(why))
        _unlink(staged)
        return
    message = _put_all(work, ready, sums)
    if message is not None:
        work.end({}, message=message)
    _unlink(staged)


def _unlink(staged: Path) -> None:
    staged.unlink(missing_ok=True)
    _converted(staged).unlink(missing_ok=True)


def _fetch(work: Work, staged: Path) -> None:
    """Get the data that was not staged by its user. FAULTS."""
    settings, method = work.cloud.settings[ImageConfig], work.method
    if method.get("name") == "glance-download":
        images = work.cloud.port(remote.RemoteImages)
        shown = images.show(work.task.id, method)
        facts = {n: shown[n] for n in ("disk_format", "container_format") if shown.get(n)}
        work.change(lambda r: {**facts, "extra": {**r.extra, **remote.copied(shown)}})
        _write(work, staged, images.read(work.task.id, method))
    elif work.task.kind == "import" or method.get("name") == "web-download":
        url = work.task.input.get("import_from") or method["uri"]
        with Download(url, settings.fetch_rules()) as answer:
            _write(work, staged, iter(answer))
    else:
        raise StoreFault("the staged data is gone")


def _write(work: Work, staged: Path, chunks: Iterator[bytes]) -> None:
    """Data as it comes, under its final name when whole. Stops when the project has no more room."""
    owner = work.row().project_id or ""
    left = work.cloud.read(lambda tx: limits.room(work.cloud, tx, owner, "image_size_total"))
    files = files_of(work.cloud)
    partial = staged.with_name(f"{staged.name}{PARTIAL}")
    size = since_look = 0
    try:
        with open(partial, "wb") as out:
            for data in chunks:
                out.write(data)
                size += len(data)
                since_look += len(data)
                if left is not None and size > left:
                    raise StoreFault("Resource image_size_total is over limit")
                if since_look > GB:
                    since_look = 0
                    work.row()
        files.keep(partial, staged)
    finally:
        partial.unlink(missing_ok=True)


def _make_ready(work: Work, staged: Path) -> tuple[Path, Sums]:
    """Check what is staged, unpack and convert it if so configured: the file that goes into stores. FAULTS."""
    files, row, target = files_of(work.cloud), work.row(), work.cloud.settings[ImageConfig].convert_to
    converted = _converted(staged)
    if target and converted.exists() and converted.stat().st_mtime >= staged.stat().st_mtime:
        work.change(lambda r: {"disk_format": target})  # we were killed in between
        return converted, files.sum_up(converted, target)
    if row.container_format != "compressed":
        _decompress(work, row, staged)
    if row.container_format == "ova":
        row = machines.take_apart(work, row, staged)
    checks = signatures.verifier(work.cloud, row.extra)
    sums = files.sum_up(staged, row.judged_as, checks)
    if checks is not None:
        checks.verify()
    if target and row.disk_format != target and row.disk_format in convert.FORMATS and row.judged_as != "ami":
        fresh = staged.with_name(f"{staged.name}.converted{PARTIAL}")
        convert.convert(staged, row.disk_format, fresh, target)
        sums = files.sum_up(fresh, target)
        files.keep(fresh, converted)
        work.change(lambda r: {"disk_format": target})
        return converted, sums
    return staged, sums


def _converted(staged: Path) -> Path:
    """Where the converted copy of what is staged lies."""
    return staged.with_name(f"{staged.name.removesuffix(STAGED)}.converted{STAGED}")


def _decompress(work: Work, row: Image, staged: Path) -> None:
    """What is staged, unpacked, if it is packed and that is configured. FAULTS."""
    settings = work.cloud.settings[ImageConfig]
    kind = decompress.packing(staged) if settings.decompress else None
    if kind is None:
        return
    left = work.cloud.read(lambda tx: limits.room(work.cloud, tx, row.project_id or "", "image_size_total"))
    most = settings.decompress_max_mib * MIB
    fresh = staged.with_name(f"{staged.name}.unpacked{PARTIAL}")
    decompress.unpack(staged, fresh, kind, most if left is None else min(most, left))
    files_of(work.cloud).keep(fresh, staged)


def _check_room(cloud: Cloud, row: Image, sums: Sums) -> None:
    left = cloud.read(lambda tx: limits.room(cloud, tx, row.project_id or "", "image_size_total"))
    if left is not None and sums.size > left:
        raise StoreFault("Resource image_size_total is over limit")


def _put_all(work: Work, source: Path, sums: Sums | None) -> str | None:
    """Into every store that is still missing; the first makes the image active. None: it failed, all is undone."""
    cloud = work.cloud
    stores = cloud.port(Stores)
    failed: list[str] = []
    for store_id in work.task.stores:
        if any(one["store"] == store_id for one in work.row().locations):
            continue
        try:
            place = put_into(cloud, stores.by_id[store_id], work.image_id, source)
        except (StoreFault, KeyError) as why:
            failed.append(store_id)
            if work.must_succeed:
                _undo(work, failed, f"store {store_id}: {why}", keep_active=sums is None)
                return None
            work.change(lambda r, s=store_id: {"extra": _moved(r.extra, s, FAILED)})  # type: ignore[misc]
            continue
        try:
            _record(work, place, sums)
        except Gone:
            cloud.write(lambda tx, p=place: leave_data(cloud, tx, work.image_id, [p]))  # type: ignore[misc]
            raise
    if failed and len(failed) == len(work.task.stores):
        _undo(work, failed, f"no store took the data: {', '.join(failed)}", keep_active=sums is None)
        return None
    return f"Copied {-(-(sums.size if sums else 0) // 2**20)} MiB" if not failed else f"failed: {', '.join(failed)}"


def _record(work: Work, place: dict[str, Any], sums: Sums | None) -> None:
    """The data is in one more store."""
    cloud = work.cloud

    def done(tx: Tx) -> bool:
        row = tx.get(Image, work.image_id)
        if row is None:
            return False
        extra = _moved(row.extra, place["store"], "")
        if sums is not None and row.status == Status.IMPORTING:
            row = activate(cloud, tx, row, sums, [])
        tx.put(row, locations=[*row.locations, place], extra=extra, due_at=cloud.clock.now(), quiet=True)
        return True

    if not cloud.write(done):
        raise Gone()


def _moved(extra: Mapping[str, str], store_id: str, to: str) -> dict[str, str]:
    """The properties after a store is no longer waited for; `to`: the list it goes to, if any."""
    found = dict(extra)
    found[GOING] = ",".join(s for s in found.get(GOING, "").split(",") if s and s != store_id)
    if to:
        found[to] = ",".join([*(s for s in found.get(to, "").split(",") if s), store_id])
    return found


def _undo(work: Work, failed: list[str], why: str, *, keep_active: bool) -> None:
    """What this import put into stores is left; the image is as it was before."""
    cloud, wanted = work.cloud, set(work.task.stores)

    def undo(tx: Tx) -> None:
        row = tx.get(Image, work.image_id)
        if row is not None:
            put = [one for one in row.locations if one["store"] in wanted]
            leave_data(cloud, tx, row.id, put)
            kept = [one for one in row.locations if one not in put]
            extra = {**row.extra, GOING: "", FAILED: ",".join(failed)}
            facts: dict[str, Any] = {"locations": kept, "extra": extra, "due_at": None}
            if not keep_active:
                facts |= {"status": Status.QUEUED, "size": None, "virtual_size": None, "checksum": None}
                facts |= {"os_hash_algo": None, "os_hash_value": None}
            tx.put(row, verb="import_failed", **facts)
        close_tasks(tx, work.image_id, why)

    cloud.write(undo)
    files_of(cloud).staged(work.image_id).unlink(missing_ok=True)


def _give_up(work: Work, why: str) -> None:
    log.info("import of image %s failed: %s", work.image_id, why)
    _undo(work, list(work.task.stores), why, keep_active=False)


def _copy(work: Work) -> None:
    """Into more stores, from one that has the data."""
    stores, files, row = work.cloud.port(Stores), files_of(work.cloud), work.row()
    source, staged = stores.local(row.locations), files.staged(row.id)
    try:
        if source is None:
            _write(work, staged, stores.read(row.locations, 0, row.size or 1 << 62))
            source = staged
    except FAULTS as why:
        _undo(work, list(work.task.stores), str(why), keep_active=True)
        return
    message = _put_all(work, source, None)
    if message is not None:
        work.end({}, message=message)
    staged.unlink(missing_ok=True)
