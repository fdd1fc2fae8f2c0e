"""The seam: "put these bytes, get those bytes, list this index". Swift and S3 speak to these Protocols alone.

`LocalEngine` (engine/local.py) implements them on directories of this machine; an engine on RADOS would implement the
same three: bytes as objects, the index as omap keys.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nutshell.object_store.rows import AccountRow, Blob, ContainerRow, ObjectRow, Usage

T = TypeVar("T")


class Staged(Protocol):
    """Bytes that were taken in whole and wait to be named. Nothing refers to them yet."""

    @property
    def size(self) -> int: ...

    @property
    def md5(self) -> str: ...


class Upload(Protocol):
    """Use as a context: `async with engine.upload(...) as up`. What was not named when it ends is thrown away."""

    size: int

    async def feed(self, data: bytes) -> None:
        """The next bytes. Waits while the disks are behind. NoRoom when they are full."""
        ...

    async def draw(self, fill: Callable[[memoryview], int]) -> None:
        """The next bytes, which a thread gets by `fill(buffer)`, until that does not fill its buffer or others want
        the thread. Raises what `fill` does."""
        ...

    async def finish(self) -> Staged:
        """All bytes came. Large ones are flushed when this returns; small ones are with the change that names them."""
        ...

    async def __aenter__(self) -> "Upload": ...

    async def __aexit__(self, *why: object) -> None: ...


class Index(Protocol):
    """One consistent view. Inside `read` only the upper half works; inside `change` all of it, in one transaction.

    A `change`'s work looks first and writes then: what raises after its first write undoes all of it.
    """

    def account(self, name: str) -> AccountRow | None: ...

    def container(self, account_id: int, name: str) -> ContainerRow | None: ...

    def container_by_id(self, container_id: int) -> ContainerRow | None: ...

    def object(self, container_id: int, name: str) -> ObjectRow | None: ...

    def version(self, container_id: int, name: str, version: int) -> ObjectRow | None: ...

    def blob(self, blob_id: int) -> Blob | None: ...

    def stored(self, container_id: int, name: str) -> tuple[ObjectRow, Blob | None] | None:
        """An object with its bytes, None where it has none."""
        ...

    def account_usage(self, account_id: int) -> Mapping[int, Usage]:
        """By policy."""
        ...

    def container_usage(self, container_id: int) -> Usage:
        """Objects now, and all bytes, past versions' too."""
        ...

    def list_accounts(self, after: str, limit: int) -> Sequence[AccountRow]: ...

    def list_containers(
        self, account_id: int, *, after: str, until: str, prefix: str, limit: int, reverse: bool
    ) -> Sequence[tuple[ContainerRow, Usage]]:
        """By name, strictly between `after` and `until` ("" is no bound; reversed, `after` is the upper bound)."""
        ...

    def list_objects(
        self, container_id: int, *, after: str, until: str, prefix: str, limit: int, reverse: bool
    ) -> Sequence[ObjectRow]:
        """Likewise. Costs what the page costs, wherever it begins."""
        ...

    def list_versions(
        self, container_id: int, *, after: tuple[str, int], prefix: str, limit: int, reverse: bool = False
    ) -> list[ObjectRow]:
        """Past versions and delete markers, by name, the newest first, after that (name, version)."""
        ...

    def list_due(self, now_s: int, limit: int) -> Sequence[tuple[int, str]]:
        """(container id, name) of objects whose time to be deleted has come."""
        ...

    def list_synced(self) -> Sequence[ContainerRow]:
        """Containers with `x-container-sync-to` among their metadata."""
        ...

    def newest(self, container_id: int) -> tuple[int, int]:
        """(how many objects, the newest one's time)."""
        ...

    # -- changes
    def put_account(self, row: AccountRow) -> None: ...

    def drop_account(self, account_id: int) -> None:
        """An empty one."""
        ...

    def put_container(self, row: ContainerRow) -> None: ...

    def drop_container(self, row: ContainerRow) -> None:
        """An empty one."""
        ...

    def put_object(self, row: ObjectRow, old: ObjectRow | None) -> None:
        """Instead of `old` (what `object` answers): counters follow. The new row's blob must be kept or shared; the old
        one's is released."""
        ...

    def drop_object(self, row: ObjectRow) -> None: ...

    def put_version(self, row: ObjectRow) -> None:
        """Add to the past. Its blob must be kept or shared."""
        ...

    def drop_version(self, row: ObjectRow) -> None: ...

    def keep(self, staged: Any) -> int:
        """The staged bytes become a blob with one reference: its id (0 for no bytes)."""
        ...

    def share(self, blob_id: int) -> int:
        """One more reference to the same bytes."""
        ...

    def new_id(self) -> int:
        """Larger than every one before."""
        ...


class ObjectEngine(Protocol):
    """One per cloud, found by `cloud.port(ObjectEngine)`; opens its files when first used.

    `used`: whether anything is stored; `synced`: containers as the last pass of syncing.py saw them.
    """

    synced: dict[int, tuple[int, int]]

    @property
    def used(self) -> bool: ...

    def read(self, work: Callable[[Index], T]) -> T:
        """Look things up, inline: a lookup is some microseconds."""
        ...

    async def change(self, work: Callable[[Index], T]) -> T:
        """All or nothing, and on disk (with the bytes it keeps) when it returns. NoRoom, or what `work` raises."""
        ...

    def change_now(self, work: Callable[[Index], T]) -> T:
        """As `change`, blocking: for loops and threads."""
        ...

    def find(self, account: str, container: str) -> tuple[AccountRow | None, ContainerRow | None]:
        """From memory while they did not change. For what every request needs."""
        ...

    def upload(
        self, key: str, policy: int, size: int | None = None, hashes: Sequence[Any] = (), seal: bool = False
    ) -> Upload:
        """Take in bytes. `key`: "account/container/object", which decides where they go; `size`: if it is known;
        `hashes`: objects with `update(bytes)` that are to see the bytes too (off the event loop where it is large);
        `seal`: encrypt them whatever the settings say."""
        ...

    def fetch(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes start to end. Verified as the settings say; another replica where one is bad. DamagedBytes if none."""
        ...

    def peek(self, blob: Blob, start: int, end: int) -> bytes | None:
        """The same at once, where it is little and lies in memory; else None."""
        ...

    def path(self, blob: Blob) -> str | None:
        """A file that holds exactly these bytes, if there is one; it stays for some seconds even if deleted."""
        ...


class Keeping(Protocol):
    """The devices' housekeeping (engine/keeping.py)."""

    report: Any

    def remove_freed(self, now: float | None = None) -> int: ...

    def sweep_orphans(self) -> int: ...

    def repair_noted(self) -> int: ...

    def rewrap(self) -> int: ...

    def watch(self) -> Sequence[Any]: ...

    def follow_table(self, now: float | None = None) -> Any: ...

    def compact(self) -> int: ...

    def pass_over(self, verify: bool, mib_per_s: float = 0.0) -> Any: ...

    def scrub(self, mib_per_s: float) -> Any: ...

    def on_devices(self) -> Mapping[str, Any]: ...


class Depot(Protocol):
    """Large files of the cloud's own services, kept as objects of an account that is no project's.

    Blocks, outside the event loop and outside transactions. OSError says why not: ENOSPC, FileNotFoundError, EIO.
    """

    def put(self, container: str, name: str, source: Path, segment_bytes: int) -> None:
        """A whole copy of the file, on disk when this returns; larger ones in segments. Half of one has no name."""
        ...

    def read(self, container: str, name: str, start: int, end: int) -> Iterator[bytes]: ...

    def size(self, container: str, name: str) -> int: ...

    def delete(self, container: str, name: str) -> None:
        """With what an interrupted `put` left. Absent is success."""
        ...
