"""Keeping the devices in order: bytes where they belong and whole, space given back.

All of it runs beside requests, in small steps, each safe to repeat: a crash between any two leaves every object
readable, and the next pass goes on.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nutshell.object_store.engine import recovery
from nutshell.object_store.engine.devices import Device, DeviceState, choose, read_table, write_table
from nutshell.object_store.engine.fetching import SUM_BYTES
from nutshell.object_store.engine.local import LocalEngine
from nutshell.object_store.engine.segments import HEADER
from nutshell.object_store.engine.staging import CHUNK, blob_file, sum_of
from nutshell.object_store.errors import EngineError
from nutshell.object_store.rows import Blob, Place

log = logging.getLogger("nutshell.object_store")
PAGE = 500
DEAD_SHARE = 0.5  # a segment with so much rubbish is compacted
MOST_FAILURES = 20  # mending is tried again in some seconds
PAUSE_S = 60.0  # until a pass that could not move everything is repeated
MOVE_BYTES = 4 << 20  # live bytes that one change moves


@dataclass
class Report:
    """What the last or running pass over all blobs found."""

    began: float = 0.0
    ended: float = 0.0
    of: int = 0
    done: int = 0
    bytes: int = 0
    moved: int = 0
    damaged: list[str] = field(default_factory=list)
    repaired: int = 0
    lost: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # what could not be moved now, and why


@dataclass
class Holding:
    """Blobs and bytes with a replica on a device; `alone`: blobs without another that can be read."""

    blobs: int = 0
    bytes: int = 0
    alone: int = 0


class Keeper:
    """One per engine."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self.report = Report()
        self._swept: set[str] = set()
        self._settled: tuple[Device, ...] | None = None  # the table that the last pass found all of its bytes to follow
        self._next_pass = 0.0
        self._rewrapped = False

    # -- files that nothing refers to
    def remove_freed(self, now: float | None = None) -> int:
        """Files of blobs that were released a while ago."""
        engine, now = self._engine, time.monotonic() if now is None else now
        due = [f for f in engine.freed if f[0] <= now]
        engine.freed[:] = [f for f in engine.freed if f[0] > now]
        for _, blob_id, places in due:
            self._unlink(blob_id, places)
        return len(due)

    def _unlink(self, blob_id: int, places: Sequence[Place]) -> None:
        for place in places:
            device = self._engine.device(place.device)
            if place.segment == 0 and device is not None:
                with contextlib.suppress(OSError):
                    blob_file(device, blob_id).unlink()

    def sweep_orphans(self) -> int:
        """Once a start: files of uploads that a crash cut off, or of blobs released before it."""
        removed = 0
        for device in list(self._engine.devices):
            if device.name in self._swept or device.state == DeviceState.LOST:
                continue
            self._swept.add(device.name)
            for path in (device.directory / "data").glob("??/*"):
                if path.suffix == ".part":
                    path.unlink(missing_ok=True)
                    continue
                blob_id = int(path.name, 16)
                if blob_id >= self._engine.first_id:
                    continue  # of this process: named yet or not
                blob = self._engine.read(lambda i, b=blob_id: i.blob(b))  # type: ignore[misc]
                if blob is None or all(p.device != device.name or p.segment for p in blob.places):
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    # -- logs
    def compact(self) -> int:
        """Move what lives out of segments that are mostly rubbish, then remove them. Returns how many went."""
        gone = 0
        for device in list(self._engine.devices):
            journal = self._engine.log_of(device.name)
            if journal is None or device.state == DeviceState.LOST:
                continue
            used = self._engine.read(lambda i, d=device.name: i.segments(d))  # type: ignore[misc]
            for segment in journal.numbers():
                size, dead = used.get(segment, (0, 0))
                if segment < journal.segment and dead >= size * DEAD_SHARE:
                    gone += self._empty(device, segment)
        return gone

    def _empty(self, device: Device, segment: int) -> bool:
        """Move the living and remove the segment, once the index is on disk beyond it."""
        journal = self._engine.log_of(device.name)
        assert journal is not None
        batch: list[tuple[int, Place, bytes]] = []
        size = 0
        for record in journal.records(segment):
            for blob_id, offset, length, sums in record.said.blobs:
                place = Place(device.name, segment, record.offset + HEADER.size + offset)
                blob = self._engine.read(lambda i, b=blob_id: i.blob(b))  # type: ignore[misc]
                if blob is None or place not in blob.places:
                    continue
                data = journal.read(segment, place.offset, length)
                if data is None or sum_of(data) != sums:
                    log.warning("object store: blob %d on %s is damaged; its segment stays", blob_id, device.name)
                    return False
                batch.append((blob_id, place, data))
                size += length
                if size >= MOVE_BYTES:
                    self._move(batch)
                    batch, size = [], 0
        self._move(batch)
        if not self._index_on_disk():
            return False
        self._engine.change_now(lambda index: index.run("segment-", device.name, segment))
        journal.forget(segment)
        return True

    def _move(self, batch: Sequence[tuple[int, Place, bytes]]) -> None:
        def work(index: Any) -> None:
            for blob_id, place, data in batch:
                index.relocate(blob_id, place, place.device, data)

        if batch:
            self._engine.change_now(work)

    def _index_on_disk(self) -> bool:
        """Flush the index itself, so that the logs before this moment are not needed to bring it up to date."""
        if not self._engine.settings.durable:
            return True
        connection = recovery.connect(self._engine.directory / "index.db", True)
        try:
            busy, pages, done = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            return bool(busy == 0 and pages == done)
        finally:
            connection.close()

    # -- blobs
    def pass_over(self, verify: bool, mib_per_s: float = 0.0) -> Report:
        """Look at every blob: replicas where the device table wants them, and (with `verify`) every byte as it was."""
        report = self.report = Report(began=time.time())
        report.of = self._engine.read(lambda i: i.count_blobs())
        for blob in self._blobs():
            began = time.monotonic()
            try:
                self.tend(blob, verify)
            except (EngineError, OSError) as why:
                report.failed.append(f"blob {blob.id}: {why}")
            report.done += 1
            if verify and mib_per_s:
                report.bytes += blob.size * len(blob.places)
                time.sleep(max(0.0, blob.size * len(blob.places) / (mib_per_s * 2**20) - (time.monotonic() - began)))
        report.ended = time.time()
        return report

    def scrub(self, mib_per_s: float) -> Report:
        """A verifying pass."""
        return self.pass_over(True, mib_per_s)

    def _blobs(self) -> Iterator[Blob]:
        after = 0
        while page := self._engine.read(lambda i: i.list_blobs(after, PAGE)):  # noqa: B023 - called at once
            yield from page
            after = page[-1].id

    def repair_noted(self) -> int:
        """Blobs that a reader found damaged, or that were written with too few copies."""
        noted = self._engine.read(lambda i: i.repairs(PAGE))
        failures = 0
        for blob_id in noted:
            blob = self._engine.read(lambda i, b=blob_id: i.blob(b))  # type: ignore[misc]
            try:
                if blob is not None:
                    self.tend(blob, True)
            except (EngineError, OSError) as why:  # it stays noted: the device may come back
                log.warning("object store: blob %d could not be mended: %s", blob_id, why)
                failures += 1
                if failures == MOST_FAILURES:
                    break
                continue
            self._engine.change_now(lambda index, b=blob_id: index.run("repair-", b))  # type: ignore[misc]
        return len(noted)

    def rewrap(self) -> int:
        """Once a start, where there are older roots: every blob's key is wrapped under the one that seals now. How many
        were; then the older roots open nothing that is still there."""
        sealer = self._engine.settings.sealer
        if self._rewrapped or sealer is None or not sealer.active or not sealer.older:
            return 0
        done, after = 0, 0
        while page := self._engine.read(lambda i: i.list_blobs(after, PAGE)):  # noqa: B023 - called at once
            after = page[-1].id
            fresh = {b.id: (b.sealed, again) for b in page if b.sealed and (again := sealer.rewrap(b.sealed))}

            def work(index: Any, fresh: dict[int, tuple[bytes, bytes]] = fresh) -> None:
                for blob_id, (old, again) in fresh.items():
                    now = index.blob(blob_id)
                    if now is not None and now.sealed == old:
                        index.run("sealed", again, blob_id)

            if fresh:
                self._engine.change_now(work)
                done += len(fresh)
        self._rewrapped = True
        return done

    def watch(self) -> list[Device]:
        """Devices that went or came back. Before anything else the index goes to its own disk: part of what would bring
        it up to date after a crash may have been on the one that went."""
        changed = self._engine.look_at_devices()
        if any(d.state == DeviceState.LOST for d in changed):
            self._index_on_disk()
        self._swept -= {d.name for d in changed}
        return changed

    def follow_table(self, now: float | None = None) -> Report | None:
        """Passes until every blob lies where the table wants it; None when there is nothing to do (now)."""
        now = time.monotonic() if now is None else now
        table, kept = tuple(self._engine.devices), self._engine.directory / "settled.json"
        if self._settled is None and kept.exists():
            self._settled = tuple(read_table(kept, kept))
        if self._settled == table or now < self._next_pass:
            return None
        report = self.pass_over(verify=False)
        if not report.moved and not report.failed:
            write_table(kept, table)
            self._settled = table
        elif report.failed:
            self._next_pass = now + PAUSE_S
        return report

    def tend(self, blob: Blob, verify: bool) -> None:
        """One blob: copies to where it belongs and is not, from one that is whole; what is too much goes."""
        with self._lock:  # the scrubber and the other loop may meet
            self._tend(blob, verify)

    def _tend(self, blob: Blob, verify: bool) -> None:
        engine, report = self._engine, self.report
        replicas = engine.policies[blob.policy].replicas
        wanted = [d.name for d in choose(blob.key, replicas, engine.devices)]
        here = [p for p in blob.places if engine.device(p.device) is not None]
        bad = [p for p in here if verify and not self.whole(blob, p)]
        report.damaged += [f"blob {blob.id} on {p.device}" for p in bad]
        good = [p for p in here if p not in bad]
        missing = [n for n in wanted if all(p.device != n for p in good)]
        extra = [p for p in blob.places if p.device not in wanted or p in bad]
        if not missing and not (extra and wanted):
            return
        if not good:
            report.lost.append(blob.id)
            log.error("object store: no replica of blob %d is whole", blob.id)
            return
        source = next((p for p in good if verify or self.whole(blob, p)), None)
        if source is None:
            report.lost.append(blob.id)
            return
        kept = [p for p in good if p.device in wanted]
        self._copy(blob, source, missing, kept)
        report.moved += len(missing)
        report.repaired += len(bad)

    def _copy(self, blob: Blob, source: Place, missing: Sequence[str], kept: Sequence[Place]) -> None:
        """Write the missing replicas, then let the index say so."""
        small = source.segment != 0
        data = self._engine.raw(blob, source, 0, blob.size) if small else b""
        if not small:
            for name in missing:
                self._copy_file(blob, source, name)

        def work(index: Any) -> list[Place]:
            now = index.blob(blob.id)
            if now is None or now.places != blob.places:
                return []  # it changed meanwhile: looked at again in the next pass
            if small:
                made = [index.append(n, blob.id, data, blob.sums) for n in missing]
            else:
                made = [Place(n, 0, 0) for n in missing]
            index.replace_places(now, [*kept, *made])
            return [p for p in blob.places if p not in kept and all(p.device != m.device for m in made)]

        gone = self._engine.change_now(work)
        self._unlink(blob.id, gone)

    def _copy_file(self, blob: Blob, source: Place, name: str) -> None:
        target = self._engine.device(name)
        if target is None:
            raise EngineError(f"device {name} is not here")
        path = blob_file(target, blob.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        with open(partial, "wb") as out:
            for at in range(0, blob.size, CHUNK):
                out.write(self._engine.raw(blob, source, at, min(at + CHUNK, blob.size)))
            out.flush()
            if self._engine.settings.durable:
                os.fsync(out.fileno())
        partial.rename(path)

    def whole(self, blob: Blob, place: Place) -> bool:
        """Whether this replica's bytes are those that were written."""
        try:
            for number, at in enumerate(range(0, blob.size, CHUNK)):
                data = self._engine.raw(blob, place, at, min(at + CHUNK, blob.size))
                if sum_of(data) != blob.sums[number * SUM_BYTES : (number + 1) * SUM_BYTES]:
                    return False
        except OSError:
            return False
        return True

    def on_devices(self) -> dict[str, Holding]:
        """What each device holds, and how much of it nothing else does."""
        found: dict[str, Holding] = {}
        here = {d.name for d in self._engine.devices if d.state != DeviceState.LOST}
        for blob in self._blobs():
            names = {p.device for p in blob.places}
            for name in names:
                held = found.setdefault(name, Holding())
                held.blobs += 1
                held.bytes += blob.size
                held.alone += not (names & here) - {name}
        return found
