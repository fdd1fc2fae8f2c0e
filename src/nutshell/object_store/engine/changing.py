"""The changing half of the index: one batch's transaction, which writes down what it does for the log to repeat."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from nutshell.object_store.engine.reading import ENCODER, NOTHING, Reader
from nutshell.object_store.engine.statements import CHANGES
from nutshell.object_store.rows import AccountRow, Blob, ContainerRow, ObjectRow, Place, Usage

MOST_CONTAINERS = 4096


def pack(value: dict[str, Any]) -> bytes:
    return ENCODER.encode(value) if value else NOTHING


class Changer(Reader):
    """`Index` (port.py) as a change sees it. Counters are gathered and written when read, or at the batch's end."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        ids: Callable[[], int],
        placed: Callable[[Any], Any],
        append: Callable[[str, int, bytes, bytes], Place],
        containers: dict[int, ContainerRow],
        copies: Callable[[int], int],
    ) -> None:
        """`containers`: those known, kept from batch to batch."""
        super().__init__(connection)
        self.new_id = ids
        self._placed = placed  # staged bytes → (blob id, size, sums, places, policy, key, sealed)
        self.append = append  # (device, blob id, bytes, sums) → their place in that device's log
        self.changes: list[tuple[str, tuple[Any, ...]]] = []
        self.freed: list[tuple[int, Sequence[Place], int]] = []  # blobs whose bytes go after the commit
        self.kept: list[Any] = []  # staged bytes that have a name once this commits
        self.touched: set[str] = set()  # accounts and containers whose rows changed
        self._counts: dict[int, list[int]] = {}  # container → objects, bytes
        self._usage: dict[tuple[int, int], list[int]] = {}  # (account, policy) → containers, objects, bytes
        self._dead: dict[tuple[str, int], int] = {}
        self._containers = containers
        self._copies = copies  # policy → how many there should be

    def run(self, statement: str, *values: Any) -> None:
        """Carry out a named statement and remember it."""
        self._sql(CHANGES[statement], values)
        self.changes.append((statement, values))

    # -- accounts and containers
    def container_by_id(self, container_id: int) -> ContainerRow | None:
        row = self._containers.get(container_id)
        if row is None:
            row = super().container_by_id(container_id)
            if row is not None:
                if len(self._containers) > MOST_CONTAINERS:
                    self._containers.clear()
                self._containers[container_id] = row
        return row

    def put_account(self, row: AccountRow) -> None:
        self.touched.add(row.name)
        self.run("account", row.id, row.name, row.created, row.changed, pack(row.meta), row.deleted_at)

    def drop_account(self, account_id: int) -> None:
        row = self.account_by_id(account_id)
        if row is not None:
            self.touched.add(row.name)
        self.settle()
        self.run("usage-", account_id)
        self.run("account-", account_id)

    def put_container(self, row: ContainerRow) -> None:
        known = self.container_by_id(row.id)
        self._touch(row)
        self.run("container", row.id, row.account_id, row.name, row.policy, row.created, row.changed, pack(row.meta))
        if known is None:
            self._use(row.account_id, row.policy, 1, 0, 0)

    def drop_container(self, row: ContainerRow) -> None:
        self._touch(row)
        self.settle()
        self.run("container-", row.id)
        self._use(row.account_id, row.policy, -1, 0, 0)

    def _touch(self, row: ContainerRow) -> None:
        self._containers.pop(row.id, None)
        account = self.account_by_id(row.account_id)
        self.touched.add(f"{account.name if account else ''}/{row.name}")

    # -- objects
    def put_object(self, row: ObjectRow, old: ObjectRow | None) -> None:
        self.run("object", *self._columns(row))
        if old is None:
            self._count(row.container_id, 1, row.size)
        else:
            self._count(row.container_id, 0, row.size - old.size)
            if old.blob:
                self.release(old.blob)

    def drop_object(self, row: ObjectRow) -> None:
        self.run("object-", row.container_id, row.name)
        self._count(row.container_id, -1, -row.size)
        if row.blob:
            self.release(row.blob)

    def put_version(self, row: ObjectRow) -> None:
        self.run("version", *self._columns(row))
        self._count(row.container_id, 0, row.size)

    def drop_version(self, row: ObjectRow) -> None:
        self.run("version-", row.container_id, row.name, row.version)
        self._count(row.container_id, 0, -row.size)
        if row.blob:
            self.release(row.blob)

    @staticmethod
    def _columns(r: ObjectRow) -> tuple[Any, ...]:
        return (r.container_id, r.name, r.ts, r.size, r.etag, r.type, r.blob, pack(r.meta), r.delete_at, r.version,
                r.kind, pack(r.shown))  # fmt: skip

    # -- bytes
    def keep(self, staged: Any) -> int:
        if not staged.size:
            return 0
        blob_id, size, sums, places, policy, key, sealed = self._placed(staged)
        self.run("blob", blob_id, size, sums, ENCODER.encode(places), policy, key, sealed)
        if len(places) < self._copies(policy):  # a device was left out: made up for later
            self.run("repair", blob_id, "written with too few copies")
        self.kept.append(staged)
        return int(blob_id)

    def share(self, blob_id: int) -> int:
        if blob_id:
            self.run("share", blob_id)
        return blob_id

    def release(self, blob_id: int) -> None:
        """One reference less; the last takes the bytes along."""
        blob = self.blob(blob_id)
        if blob is None:
            return
        if blob.refs > 1:
            self.run("release", blob_id)
            return
        self.run("blob-", blob_id)
        self.forget(blob.places, blob.size)
        self.freed.append((blob_id, blob.places, blob.size))

    def forget(self, places: Sequence[Place], size: int) -> None:
        """These places' bytes in log segments are dead from now on."""
        for place in places:
            if place.segment:
                at = (place.device, place.segment)
                self._dead[at] = self._dead.get(at, 0) + size

    def relocate(self, blob_id: int, old: Place, device: str, data: bytes) -> None:
        """A replica in a log is written anew, if it still is where it was."""
        blob = self.blob(blob_id)
        if blob is not None and old in blob.places:
            fresh = self.append(device, blob_id, data, blob.sums)
            self.replace_places(blob, [fresh if p == old else p for p in blob.places])

    def replace_places(self, blob: Blob, places: Sequence[Place]) -> None:
        """The replicas are here from now on."""
        self.run("places", ENCODER.encode(list(places)), blob.id)
        self.forget([p for p in blob.places if p not in places], blob.size)

    # -- counters
    def account_usage(self, account_id: int) -> dict[int, Usage]:
        self.settle()
        return super().account_usage(account_id)

    def container_usage(self, container_id: int) -> Usage:
        self.settle()
        return super().container_usage(container_id)

    def _count(self, container_id: int, objects: int, size: int) -> None:
        row = self.container_by_id(container_id)
        assert row is not None, "an object's container exists"
        counts = self._counts.setdefault(container_id, [0, 0])
        counts[0] += objects
        counts[1] += size
        self._use(row.account_id, row.policy, 0, objects, size)

    def _use(self, account_id: int, policy: int, containers: int, objects: int, size: int) -> None:
        usage = self._usage.setdefault((account_id, policy), [0, 0, 0])
        usage[0] += containers
        usage[1] += objects
        usage[2] += size

    def settle(self) -> None:
        """Write the gathered counters."""
        for container_id, (objects, size) in self._counts.items():
            if objects or size:
                self.run("counts", objects, size, container_id)
        for (account_id, policy), used in self._usage.items():
            if any(used):
                self.run("usage", account_id, policy, *used)
        for (device, segment), dead in self._dead.items():
            self.run("segment", device, segment, 0, dead)
        self._counts.clear()
        self._usage.clear()
        self._dead.clear()
