"""One cloud: its state, clock, policy, services, drivers and loops, as every part finds them."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from nutshell.core.clock import Clock
from nutshell.core.config import Settings
from nutshell.core.drivers import Watched
from nutshell.core.faults import Faults
from nutshell.core.policy import Rules, Who
from nutshell.core.quota import Quotas
from nutshell.core.service import Service
from nutshell.core.store import Store, Tx

T = TypeVar("T")


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
    ports: dict[type, Any] = field(default_factory=dict)
    mounts: dict[str, Callable[..., Any]] = field(default_factory=dict)  # first part of the path → an ASGI application
    drivers: dict[type, Any] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "work"), repr=False)
    hashing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(os.cpu_count() or 1, "hash"), repr=False
    )

    def port(self, kind: type[T]) -> T:
        """What another service offers."""
        return cast(T, self.ports[kind])

    def driver(self, kind: type[T]) -> T:
        """The driver serving a capability. LookupError when this cloud's driver lacks it."""
        found = self.drivers.get(kind)
        if found is None:
            raise LookupError(f"no driver of this cloud offers {kind.__name__}")
        return cast(T, Watched(found, kind.__module__.split(".")[1], self.faults))

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
