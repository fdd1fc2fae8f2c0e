"""A second engine: `ObjectEngine` of port.py on plain dictionaries, to show that the seam is one.

Swift's API and the network drive are run on it by the same tests; nothing of the engine on directories is imported.
"""

import asyncio
import copy
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from nutshell.object_store.rows import AccountRow, Blob, ContainerRow, ObjectRow, Usage

T = TypeVar("T")


@dataclass
class State:
    """Everything: what a change works on is a copy of it, which takes its place when the change is done."""

    accounts: dict[str, AccountRow] = field(default_factory=dict)
    containers: dict[tuple[int, str], ContainerRow] = field(default_factory=dict)
    objects: dict[int, dict[str, ObjectRow]] = field(default_factory=dict)
    versions: dict[int, dict[tuple[str, int], ObjectRow]] = field(default_factory=dict)
    blobs: dict[int, Blob] = field(default_factory=dict)
    last_id: int = 1 << 40

    def copied(self) -> "State":
        inner = {k: dict(v) for k, v in self.objects.items()}
        past = {k: dict(v) for k, v in self.versions.items()}
        return State(dict(self.accounts), dict(self.containers), inner, past, dict(self.blobs), self.last_id)


def page(names: Sequence[str], after: str, until: str, prefix: str, limit: int, reverse: bool) -> list[str]:
    low, high = (until, after) if reverse else (after, until)
    found = [n for n in sorted(names) if n.startswith(prefix) and n > low and (not high or n < high)]
    return (found[::-1] if reverse else found)[:limit]


@dataclass
class Index:
    """`Index` of port.py."""

    state: State
    data: dict[int, bytes]

    def account(self, name: str) -> AccountRow | None:
        return self.state.accounts.get(name)

    def container(self, account_id: int, name: str) -> ContainerRow | None:
        return self.state.containers.get((account_id, name))

    def container_by_id(self, container_id: int) -> ContainerRow | None:
        return next((c for c in self.state.containers.values() if c.id == container_id), None)

    def object(self, container_id: int, name: str) -> ObjectRow | None:
        return self.state.objects.get(container_id, {}).get(name)

    def stored(self, container_id: int, name: str) -> tuple[ObjectRow, Blob | None] | None:
        row = self.object(container_id, name)
        return None if row is None else (row, self.blob(row.blob))

    def version(self, container_id: int, name: str, version: int) -> ObjectRow | None:
        return self.state.versions.get(container_id, {}).get((name, version))

    def blob(self, blob_id: int) -> Blob | None:
        return self.state.blobs.get(blob_id)

    def container_usage(self, container_id: int) -> Usage:
        if self.container_by_id(container_id) is None:
            return Usage()
        now = self.state.objects.get(container_id, {}).values()
        past = self.state.versions.get(container_id, {}).values()
        return Usage(1, len(now), sum(r.size for r in (*now, *past)))

    def account_usage(self, account_id: int) -> dict[int, Usage]:
        out: dict[int, Usage] = {}
        for row in self.state.containers.values():
            if row.account_id == account_id:
                a, b = out.get(row.policy, Usage()), self.container_usage(row.id)
                out[row.policy] = Usage(a.containers + 1, a.objects + b.objects, a.bytes + b.bytes)
        return out

    def list_accounts(self, after: str, limit: int) -> list[AccountRow]:
        return [self.state.accounts[n] for n in page(list(self.state.accounts), after, "", "", limit, False)]

    def list_containers(
        self, account_id: int, *, after: str, until: str, prefix: str, limit: int, reverse: bool
    ) -> list[tuple[ContainerRow, Usage]]:
        mine = {name: row for (account, name), row in self.state.containers.items() if account == account_id}
        names = page(list(mine), after, until, prefix, limit, reverse)
        return [(mine[n], self.container_usage(mine[n].id)) for n in names]

    def list_objects(
        self, container_id: int, *, after: str, until: str, prefix: str, limit: int, reverse: bool
    ) -> list[ObjectRow]:
        mine = self.state.objects.get(container_id, {})
        return [mine[n] for n in page(list(mine), after, until, prefix, limit, reverse)]

    def list_versions(
        self, container_id: int, *, after: tuple[str, int], prefix: str, limit: int, reverse: bool = False
    ) -> list[ObjectRow]:
        mine = self.state.versions.get(container_id, {})
        keys = sorted((n, -v) for n, v in mine if n.startswith(prefix))
        name, version = after
        if name:
            mark = (name, -version) if version else (name, float("-inf") if reverse else float("inf"))
            keys = [k for k in keys if (k < mark if reverse else k > mark)]
        return [mine[n, -v] for n, v in (keys[::-1] if reverse else keys)[:limit]]

    def list_due(self, now_s: int, limit: int) -> list[tuple[int, str]]:
        rows = (r for some in self.state.objects.values() for r in some.values() if 0 < r.delete_at <= now_s)
        return [(r.container_id, r.name) for r in sorted(rows, key=lambda r: r.delete_at)[:limit]]

    def list_synced(self) -> list[ContainerRow]:
        return [c for c in self.state.containers.values() if "x-container-sync-to" in c.meta]

    def newest(self, container_id: int) -> tuple[int, int]:
        mine = self.state.objects.get(container_id, {})
        return len(mine), max((r.ts for r in mine.values()), default=0)

    # -- changes
    def put_account(self, row: AccountRow) -> None:
        self.state.accounts[row.name] = row

    def drop_account(self, account_id: int) -> None:
        self.state.accounts = {n: r for n, r in self.state.accounts.items() if r.id != account_id}

    def put_container(self, row: ContainerRow) -> None:
        self.state.containers[row.account_id, row.name] = row

    def drop_container(self, row: ContainerRow) -> None:
        del self.state.containers[row.account_id, row.name]

    def put_object(self, row: ObjectRow, old: ObjectRow | None) -> None:
        self.state.objects.setdefault(row.container_id, {})[row.name] = copy.deepcopy(row)
        if old is not None:
            self._release(old.blob)

    def drop_object(self, row: ObjectRow) -> None:
        del self.state.objects[row.container_id][row.name]
        self._release(row.blob)

    def put_version(self, row: ObjectRow) -> None:
        self.state.versions.setdefault(row.container_id, {})[row.name, row.version] = row

    def drop_version(self, row: ObjectRow) -> None:
        del self.state.versions[row.container_id][row.name, row.version]
        self._release(row.blob)

    def keep(self, staged: "Taken") -> int:
        if not staged.size:
            return 0
        blob_id = self.new_id()
        self.state.blobs[blob_id] = Blob(blob_id, 1, staged.size, b"", [], staged.policy, 0)
        self.data[blob_id] = staged.data
        return blob_id

    def share(self, blob_id: int) -> int:
        if blob_id:
            blob = self.state.blobs[blob_id]
            self.state.blobs[blob_id] = msgspec.structs.replace(blob, refs=blob.refs + 1)
        return blob_id

    def _release(self, blob_id: int) -> None:
        blob = self.state.blobs.get(blob_id)
        if blob is None:
            return
        if blob.refs > 1:
            self.state.blobs[blob_id] = msgspec.structs.replace(blob, refs=blob.refs - 1)
        else:
            del self.state.blobs[blob_id]

    def new_id(self) -> int:
        self.state.last_id += 1
        return self.state.last_id


@dataclass
class Taken:
    """`Staged` of port.py."""

    data: bytes
    policy: int

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def md5(self) -> str:
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()


class Upload:
    """`Upload` of port.py."""

    def __init__(self, policy: int, hashes: Sequence[Any]) -> None:
        self.size, self._parts, self._policy, self._hashes = 0, [b""], policy, hashes

    async def feed(self, data: bytes) -> None:
        self.size += len(data)
        self._parts.append(bytes(data))
        for one in self._hashes:
            one.update(data)

    async def draw(self, fill: Callable[[memoryview], int]) -> None:
        buffer = memoryview(bytearray(1 << 20))
        while came := await asyncio.to_thread(fill, buffer):
            await self.feed(bytes(buffer[:came]))

    async def finish(self) -> Taken:
        return Taken(b"".join(self._parts), self._policy)

    async def __aenter__(self) -> "Upload":
        return self

    async def __aexit__(self, *why: object) -> None:
        self._parts.clear()


class MemoryEngine:
    """`ObjectEngine` of port.py."""

    used = True

    def __init__(self) -> None:
        self._state, self._data, self._lock = State(), dict[int, bytes](), threading.Lock()
        self.synced: dict[int, tuple[int, int]] = {}

    def read(self, work: Callable[[Any], T]) -> T:
        return work(Index(self._state, self._data))

    async def change(self, work: Callable[[Any], T]) -> T:
        await asyncio.sleep(0)
        return self.change_now(work)

    def change_now(self, work: Callable[[Any], T]) -> T:
        with self._lock:
            state = self._state.copied()
            done = work(Index(state, self._data))
            self._state = state
            return done

    def find(self, account: str, container: str) -> tuple[AccountRow | None, ContainerRow | None]:
        index = Index(self._state, self._data)
        row = index.account(account)
        return row, index.container(row.id, container) if row is not None and container else None

    def upload(self, key: str, policy: int, size: int | None = None, hashes: Sequence[Any] = ()) -> Upload:
        return Upload(policy, hashes)

    async def fetch(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, 65536):
            yield self._data[blob.id][at : min(at + 65536, end)]

    def peek(self, blob: Blob, start: int, end: int) -> bytes | None:
        return None

    def path(self, blob: Blob) -> str | None:
        return None

    def close(self) -> None:
        """Nothing to close."""
