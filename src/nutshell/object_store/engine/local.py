"""The engine on directories of this machine: `ObjectEngine` (port.py)."""

import asyncio
import json
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from nutshell.object_store.engine import recovery
from nutshell.object_store.engine.changing import Changer
from nutshell.object_store.engine.committing import Change, Committer, Grounds
from nutshell.object_store.engine.devices import (
    Device,
    DeviceState,
    Policy,
    choose,
    hash_name,
    read_table,
    replace_file,
    write_table,
)
from nutshell.object_store.engine.fetching import Fetcher
from nutshell.object_store.engine.owning import Claim
from nutshell.object_store.engine.reading import Reader
from nutshell.object_store.engine.sealing import Sealer
from nutshell.object_store.engine.segments import Log
from nutshell.object_store.engine.staging import Crowd, Inlet, LocalUpload, blob_file
from nutshell.object_store.errors import EngineError, HeldElsewhere, NoRoom, NotWritable
from nutshell.object_store.rows import AccountRow, Blob, ContainerRow, Place

T = TypeVar("T")
SUSPENDED_S = 5.0  # how long a device that failed is left out
GRACE_S = 30.0  # how long a removed blob's file stays for those who read it
MOST_CACHED = 20_000


@dataclass(frozen=True)
class EngineSettings:
    """`directory`: None keeps everything in a temporary one."""

    directory: Path | None
    policies: Sequence[Policy]
    durable: bool = True
    verify: str = "small"  # which reads are verified: all, small, none
    reserve_bytes: int = 64 << 20  # room that uploads leave, so that things can still be deleted
    sealer: Sealer | None = None
    claim: Claim | None = None  # where several processes share the directory


@dataclass
class _Open:
    """What exists once the engine was first used."""

    directory: Path
    devices: list[Device]
    logs: dict[str, Log]
    committer: Committer
    connections: list[sqlite3.Connection]
    scratch: Any = None
    local: threading.local = field(default_factory=threading.local)


class LocalEngine:
    """Opens lazily: a cloud that stores no objects pays nothing."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.policies = {p.index: p for p in settings.policies}
        self._lock = threading.RLock()
        self._state: _Open | None = None
        self._cache: dict[str, AccountRow | ContainerRow | None] = {}
        self._epoch = 0
        self._crowd = Crowd()
        self._failed: dict[str, tuple[float, EngineError]] = {}  # device → until when it is left out, and why
        self._next_id = 0
        self._id_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max(4, os.cpu_count() or 1), "objects")
        self._fetcher = Fetcher(self, self._threads)
        self._room: tuple[float, dict[str, int]] = (0.0, {})
        self.synced: dict[int, tuple[int, int]] = {}  # containers as the last pass of syncing.py saw them
        self.first_id = 0  # ids of this process begin here
        self.freed: list[tuple[float, int, Sequence[Place]]] = []  # when, blob, places: files to remove

    # -- opening
    def _opened(self) -> _Open:
        state = self._state
        if state is None:
            with self._lock:
                state = self._state or self._start()
        return state

    def _start(self) -> _Open:
        scratch = None
        directory = self.settings.directory
        if self.settings.claim is not None and (holder := self.settings.claim.holder()):
            raise HeldElsewhere(f"the objects are kept by another process of this cloud ({holder})")
        if directory is None:
            scratch = tempfile.TemporaryDirectory(prefix="nutshell-objects-")
            directory = Path(scratch.name)
        directory.mkdir(parents=True, exist_ok=True)
        durable = self.settings.durable
        devices = self._present(read_table(directory / "devices.json", directory / "d1"), directory / "marks.json")
        logs = {d.name: Log(d.name, d.directory, durable) for d in devices if d.state != DeviceState.LOST}
        connection = recovery.connect(directory / "index.db", durable)
        recovery.prepare(connection)
        seq, _ = recovery.catch_up(connection, logs)
        self._next_id = recovery.first_id(connection, int(time.time() * 1000))
        self.first_id = self._next_id
        grounds = Grounds(connection, lambda name: logs[name], self.targets, self.spread, self.suspend, self.refusal,
                          self.copies, self.new_id, self._committed)  # fmt: skip
        self._state = _Open(directory, devices, logs, Committer(grounds, seq), [connection], scratch)
        return self._state

    def _present(self, devices: list[Device], marks_file: Path) -> list[Device]:
        """The table with devices marked lost whose directory is not there or is another's (an unmounted disk)."""
        marks: dict[str, str] = json.loads(marks_file.read_text()) if marks_file.exists() else {}
        found: list[Device] = []
        fresh = dict(marks)
        for d in devices:
            here = (d.directory / "device.id").exists()
            lost = d.state == DeviceState.LOST or (d.name in marks and not here)
            if not lost:
                try:
                    mark = recovery.mark_of(d.directory, self.settings.durable)
                    lost = fresh.setdefault(d.name, mark) != mark
                except OSError:
                    lost = True
            found.append(Device(d.name, d.path, d.zone, d.weight, DeviceState.LOST) if lost else d)
        if fresh != marks:
            replace_file(marks_file, json.dumps(fresh))
        return found

    @property
    def in_use(self) -> Path | None:
        """Where everything is; None before it was first used."""
        return self._state.directory if self._state is not None else None

    def close(self) -> None:
        state, self._state = self._state, None
        if state is not None:
            state.committer.stop()
            for journal in state.logs.values():
                journal.close()
            for connection in state.connections:
                connection.close()
            if state.scratch is not None:
                state.scratch.cleanup()
        if self.settings.claim is not None:
            self.settings.claim.release()
        self._threads.shutdown()

    # -- devices
    @property
    def used(self) -> bool:
        """Whether there is anything stored: opened now, or by an earlier process."""
        directory = self.settings.directory
        return self._state is not None or (directory is not None and (directory / "index.db").exists())

    @property
    def directory(self) -> Path:
        return self._opened().directory

    @property
    def devices(self) -> list[Device]:
        return self._opened().devices

    def set_devices(self, devices: list[Device]) -> None:
        """Use another table from now on. One that is lost is written down as what it was: it may come back."""
        state = self._opened()
        with self._lock:
            path = state.directory / "devices.json"
            before = {d.name: d.state for d in read_table(path, state.directory / "d1")}
            kept = [
                replace(d, state=before.get(d.name, d.state)) if d.state == DeviceState.LOST else d for d in devices
            ]
            gone = {d.name for d in state.devices} - {d.name for d in devices}
            write_table(path, kept)
            present = self._present(devices, state.directory / "marks.json")
            for d in present:
                if d.name not in state.logs and d.state != DeviceState.LOST:
                    state.logs[d.name] = Log(d.name, d.directory, self.settings.durable)
            state.devices[:] = present
            self._room = (0.0, {})
        state.committer.change_now(lambda _: [state.logs.pop(name, None) for name in gone])

    @property
    def names_taken(self) -> set[str]:
        """Every name that a device has or had: the logs' records go on naming those that took part."""
        marks = self._opened().directory / "marks.json"
        return {d.name for d in self.devices} | set(json.loads(marks.read_text()) if marks.exists() else ())

    def look_at_devices(self) -> list[Device]:
        """Those that went or came back since the last look, as they are now."""
        state = self._opened()
        with self._lock:
            table = read_table(state.directory / "devices.json", state.directory / "d1")
            seen = self._present(table, state.directory / "marks.json")
            known = {d.name: d.state for d in state.devices}
            changed = [d for d in seen if d.name in known and DeviceState.LOST in (d.state, known[d.name])
                       and d.state != known[d.name]]  # fmt: skip
        for d in changed:
            if d.state != DeviceState.LOST:  # its old log may belong to a directory that is gone
                fresh = Log(d.name, d.directory, self.settings.durable)
                state.committer.change_now(lambda _: state.logs.update({d.name: fresh}))  # noqa: B023 - called at once
        if changed:
            with self._lock:
                self._room = (0.0, {})
                state.devices[:] = [next((c for c in changed if c.name == d.name), d) for d in state.devices]
        return changed

    def device(self, name: str) -> Device | None:
        return next((d for d in self._opened().devices if d.name == name and d.state != DeviceState.LOST), None)

    def log_of(self, name: str) -> Log | None:
        return self._opened().logs.get(name)

    def suspend(self, name: str, why: EngineError) -> None:
        self._failed[name] = (time.monotonic() + SUSPENDED_S, why)

    def refusal(self) -> EngineError:
        """Why no device takes anything now."""
        known = [why for _, why in sorted(self._failed.values(), key=lambda one: one[0])]
        return type(known[-1])(str(known[-1])) if known else NotWritable("no device takes writes")

    def copies(self, policy: int) -> int:
        """How many copies there should be, with the devices that are in use."""
        active = sum(d.state == DeviceState.ACTIVE for d in self._opened().devices)
        return min(self.policies[policy].replicas, active)

    def spread(self) -> list[Device]:
        """The devices that take writes now."""
        now = time.monotonic()
        usable = [d for d in self._opened().devices if d.state == DeviceState.ACTIVE]
        return [d for d in usable if d.name not in self._failed or self._failed[d.name][0] < now]

    def targets(self, key: int, policy: int, size: int) -> list[Device]:
        """Where bytes of that name go now. NoRoom when nothing takes them."""
        room = self.free_bytes()
        usable = self.spread()
        if not usable:
            raise self.refusal()
        able = [d for d in usable if room.get(d.name, 0) - size >= self.settings.reserve_bytes]
        if not able:
            raise NoRoom("no device has room for these bytes")
        return choose(key, self.policies[policy].replicas, able)

    def free_bytes(self) -> dict[str, int]:
        """Looked up twice a second."""
        at, known = self._room
        now = time.monotonic()
        if now - at > 0.5:
            known = {}
            for d in self._opened().devices:
                try:
                    found = os.statvfs(d.path)
                except OSError:
                    continue
                known[d.name] = found.f_bavail * found.f_frsize
            self._room = (now, known)
        return known

    def new_id(self) -> int:
        with self._id_lock:
            self._next_id += 1
            return self._next_id

    # -- the index
    def _reader(self) -> Reader:
        state = self._opened()
        found = getattr(state.local, "reader", None)
        if found is None:
            connection: sqlite3.Connection = recovery.connect(state.directory / "index.db", True, reads=True)
            state.connections.append(connection)
            found = state.local.reader = Reader(connection)
        reader: Reader = found
        return reader

    def read(self, work: Callable[[Any], T]) -> T:
        return work(self._reader())

    async def change(self, work: Callable[[Any], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._opened().committer.submit(Change(work, loop, future))
        return await future

    def change_now(self, work: Callable[[Any], T]) -> T:
        done: T = self._opened().committer.change_now(work)
        return done

    def find(self, account: str, container: str) -> tuple[AccountRow | None, ContainerRow | None]:
        key = f"{account}/{container}"
        try:
            return self._cache[account], self._cache[key] if container else None  # type: ignore[return-value]
        except KeyError:
            epoch = self._epoch
            reader = self._reader()
            found = reader.account(account)
            inside = reader.container(found.id, container) if found is not None and container else None
            with self._lock:
                if epoch == self._epoch:
                    if len(self._cache) > MOST_CACHED:
                        self._cache.clear()
                    self._cache[account] = found
                    if container:
                        self._cache[key] = inside
            return found, inside

    def _committed(self, changer: Changer) -> None:
        if changer.touched:
            with self._lock:
                self._epoch += 1
                for key in changer.touched:
                    self._cache.pop(key, None)
        due = time.monotonic() + GRACE_S
        for blob_id, places, _ in changer.freed:
            if any(p.segment == 0 for p in places):
                self.freed.append((due, blob_id, places))

    # -- bytes
    def upload(
        self, key: str, policy: int, size: int | None = None, hashes: Sequence[Any] = (), seal: bool = False
    ) -> LocalUpload:
        self._opened()
        sealer = self.settings.sealer
        if sealer is not None and not (seal or sealer.seals):
            sealer = None
        inlet = Inlet(self._threads, self.settings.durable, self.new_id, self.targets, self.suspend, sealer,
                      self._crowd)  # fmt: skip
        scope = "/".join(key.split("/", 2)[:2])
        return LocalUpload(inlet, (hash_name(key), scope), policy, size, hashes)

    def fetch(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        return self._fetcher.stream(blob, start, end)

    def peek(self, blob: Blob, start: int, end: int) -> bytes | None:
        return self._fetcher.peek(blob, start, end)

    def raw(self, blob: Blob, place: Place, start: int, end: int) -> bytes:
        """Stored bytes of one replica, as they lie there. OSError."""
        return self._fetcher.raw(blob, place, start, end)

    def path(self, blob: Blob) -> str | None:
        if blob.sealed or self.settings.verify == "all":
            return None
        for place in blob.places:
            device = self.device(place.device)
            if place.segment == 0 and device is not None:
                path = blob_file(device, blob.id)
                if path.exists():
                    return str(path)
        return None
