"""One cloud: its state, clock, policy, services, drivers and loops, as every part finds them."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from nutshell.core.clock import Clock
from nutshell.core.config import Settings
from nutshell.core.drivers import Watched
from nutshell.core.errors import Unavailable
from nutshell.core.explain import Explains
from nutshell.core.faults import Faults
from nutshell.core.policy import Rules, Who
from nutshell.core.quota import Quotas
from nutshell.core.service import Service
from nutshell.core.store import Store, Tx
from nutshell.core.trace import Recorder

T = TypeVar("T")
MOST_WAITING = 200  # hashes take some 30 ms each: who comes later would wait for seconds


class HashLine(ThreadPoolExecutor):
    """Threads for what takes a core's time, at most one for each core, and a line before them that has an end."""

    def __init__(self, cores: int, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(cores, "hash")
        self._most, self._inside, self._count = most_waiting + cores, 0, threading.Lock()

    def submit(self, work: Callable[..., T], /, *args: Any, **named: Any) -> "Future[T]":
        """As of any executor; Unavailable (503 with Retry-After) when the line is full."""
        with self._count:
            if self._inside >= self._most:
                raise Unavailable("Too many requests wait for a free core; try again.", headers={"Retry-After": "2"})
            self._inside += 1
        try:
            future = super().submit(work, *args, **named)
        except BaseException:
            self._left(None)
            raise
        future.add_done_callback(self._left)
        return future

    def _left(self, _: object) -> None:
        with self._count:
            self._inside -= 1


@dataclass
class Cloud:
    """Wiring, made by `app.py`. Services find each other by `port(Protocol)`, drivers by `driver(Protocol)`."""

    store: Store
    clock: Clock
    settings: Settings
    services: Sequence[Service]
    rules: Rules
    quotas: Quotas
    authenticate: Callable[[str], Who] | None = None  # a token's caller; raises Unauthorized
    admits: Callable[[Who, Service, str, str], None] | None = None  # (caller, service, method, path); raises
    faults: Faults | None = None  # failures on purpose, where the configuration allows them
    recorder: Recorder | None = None  # keeps what requests, loops and drivers did
    explainers: dict[str, Explains] = field(default_factory=dict)  # "server": why it is in its state
    ports: dict[type, Any] = field(default_factory=dict)
    mounts: dict[str, Callable[..., Any]] = field(default_factory=dict)  # first part of the path → an ASGI application
    listeners: dict[int, Callable[..., Any]] = field(default_factory=dict)  # further TCP ports → an ASGI application
    drivers: dict[type, Any] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "work"), repr=False)
    hashing: HashLine = field(default_factory=lambda: HashLine(os.cpu_count() or 1), repr=False)

    def port(self, kind: type[T]) -> T:
        """What another service offers."""
        return cast(T, self.ports[kind])

    def driver(self, kind: type[T]) -> T:
        """The driver serving a capability. LookupError when this cloud's driver lacks it."""
        found = self.drivers.get(kind)
        if found is None:
            raise LookupError(f"no driver of this cloud offers {kind.__name__}")
        return cast(T, Watched(found, kind.__module__.split(".")[1], self.faults, self.recorder))

    def has_driver(self, kind: type) -> bool:
        return kind in self.drivers

    def read(self, work: Callable[[Tx], T]) -> T:
        return self.store.read(work)

    def write(self, work: Callable[[Tx], T]) -> T:
        """Blocks until flushed. For loops and threads, never inside a transaction or on the event loop."""
        return self.store.write(work)

    async def write_async(self, work: Callable[[Tx], T]) -> T:
        """As `write`, for streaming routes."""
        return await asyncio.wrap_future(self.store.submit(work))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Blocking work off the event loop."""
        done: Future[T] = self.threads.submit(work)
        return await asyncio.wrap_future(done)
