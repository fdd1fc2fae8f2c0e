"""Wiring of the object store: its settings, the engine, and the applications that hang on it."""

import threading
import typing as t
from collections.abc import Mapping
from pathlib import Path

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop
from nutshell.core.store import Tx
from nutshell.object_store import administration, background, syncing
from nutshell.object_store.engine.devices import Policy
from nutshell.object_store.engine.owning import Claim
from nutshell.object_store.port import Depot, Keeping, ObjectEngine
from nutshell.object_store.s3 import wiring as s3_wiring
from nutshell.object_store.service import objects as service
from nutshell.object_store.settings import ObjectStoreConfig

quotas: Mapping[str, int] = {}
ROUTES_IN = (administration,)  # imported for the routes it declares


config = ObjectStoreConfig


def policies(config: ObjectStoreConfig) -> list[Policy]:
    return [Policy(0, "standard", config.replicas), Policy(1, "silver", config.silver_replicas)]


MOUNTS = ("object-store", "v1", "info", "healthcheck", "crossdomain.xml", "auth", "dav")


class Deferred:
    """An object made when something of it is first asked for: a cloud that stores no objects loads no engine."""

    def __init__(self, make: t.Callable[[], t.Any]) -> None:
        self._make, self._made, self._lock = make, None, threading.Lock()

    @property
    def loaded(self) -> bool:
        return self._made is not None

    def become(self, made: t.Any) -> None:
        """Stand for this one, which was made elsewhere."""
        self._made = made

    def __getattr__(self, name: str) -> t.Any:
        if self._made is None:
            with self._lock:
                self._made = self._made or self._make()
        return getattr(self._made, name)


def make_engine(cloud: Cloud) -> t.Any:
    from nutshell.object_store.engine.local import EngineSettings, LocalEngine
    from nutshell.object_store.roots import load_sealer

    mine, whole = cloud.settings[ObjectStoreConfig], cloud.settings[CloudConfig]
    engine: ObjectEngine = LocalEngine(
        EngineSettings(
            whole.state / "objects" if whole.state is not None else None,
            policies(mine),
            durable=not whole.simulate and whole.state is not None,
            verify=mine.verify_reads,
            reserve_bytes=mine.reserve_mib << 20,
            sealer=load_sealer(whole.state, mine.encrypt),
            claim=cloud.ports.get(Claim),
        )
    )
    return engine


def make_keeper(engine: t.Any) -> t.Any:
    from nutshell.object_store.engine.keeping import Keeper

    return Keeper(engine)


def make_depot(engine: t.Any) -> t.Any:
    from nutshell.object_store.depots import EngineDepot

    return EngineDepot(engine)


def wire(cloud: Cloud) -> None:
    if cloud.settings[CloudConfig].database:
        _share(cloud)
    engine = Deferred(lambda: make_engine(cloud))
    cloud.ports[ObjectEngine] = engine
    cloud.ports[Keeping] = Deferred(lambda: make_keeper(engine))
    cloud.ports[Depot] = Deferred(lambda: make_depot(engine))
    for name in MOUNTS:
        cloud.mounts[name] = _when_called(cloud, name)
    cloud.mounts["s3"] = s3_wiring.mounted(cloud)
    port = cloud.settings[ObjectStoreConfig].s3_port
    if port:
        cloud.listeners[port] = s3_wiring.listening(cloud)


def _share(cloud: Cloud) -> None:
    """Several processes may have this state directory: one has the engine, the others pass connections on to it."""
    from nutshell.server.passing import Passing

    whole = cloud.settings[CloudConfig]
    if whole.state is None:
        return
    mine = whole.state / "objects" / f"api-{whole.port}.sock"
    claim = cloud.ports[Claim] = Claim(mine.parent / "owner", mine.name)
    names = {name.encode() for name in (*MOUNTS, "s3")}
    ours = f"{service.mount}/".encode()

    def where(target: bytes) -> Path | None:
        first = target[1:].partition(b"?")[0].partition(b"/")[0]
        holder = claim.holder() if first in names or target.startswith(ours) else ""
        return mine.with_name(holder) if holder.endswith(".sock") else None

    cloud.ports[Passing] = Passing(mine, where)


def _when_called(cloud: Cloud, name: str) -> t.Any:
    """The application behind a mount, loaded with the first request that wants it."""

    async def first(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        from nutshell.object_store.swift.mounting import applications

        cloud.mounts.update(applications(cloud))
        await cloud.mounts[name](scope, receive, send)

    return first


def loops(cloud: Cloud) -> list[Loop]:
    return [
        Loop("objects-sync", syncing.sync, every_s=5.0, everywhere=True),
        *background.loops(),
        s3_wiring.lifecycle_loop(),
    ]


def seed(cloud: Cloud, tx: Tx) -> None:
    return None


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
