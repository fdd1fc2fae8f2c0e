"""Wiring of the object store: its settings, the engine, and the applications that hang on it."""

import typing as t
from collections.abc import Mapping

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop
from nutshell.core.store import Tx
from nutshell.object_store import background
from nutshell.object_store.engine.devices import Policy
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.service import objects as service
from nutshell.object_store.settings import ObjectStoreConfig

quotas: Mapping[str, int] = {}


config = ObjectStoreConfig


def policies(config: ObjectStoreConfig) -> list[Policy]:
    return [Policy(0, "standard", config.replicas), Policy(1, "silver", config.silver_replicas)]


def wire(cloud: Cloud) -> None:
    from nutshell.object_store.engine.local import EngineSettings, LocalEngine

    mine, whole = cloud.settings[ObjectStoreConfig], cloud.settings[CloudConfig]
    engine = LocalEngine(
        EngineSettings(
            whole.state / "objects" if whole.state is not None else None,
            policies(mine),
            durable=not whole.simulate and whole.state is not None,
            verify=mine.verify_reads,
            reserve_bytes=mine.reserve_mib << 20,
        )
    )
    seam: ObjectEngine = engine
    cloud.ports[ObjectEngine] = seam
    for name in ("object-store", "v1", "info", "healthcheck", "crossdomain.xml", "auth"):
        cloud.mounts[name] = _when_called(cloud, name)


def _when_called(cloud: Cloud, name: str) -> t.Any:
    """The application behind a mount, loaded with the first request that wants it."""

    async def first(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        from nutshell.object_store.swift.mounting import applications

        cloud.mounts.update(applications(cloud))
        await cloud.mounts[name](scope, receive, send)

    return first


def loops(cloud: Cloud) -> list[Loop]:
    return background.loops()


def seed(cloud: Cloud, tx: Tx) -> None:
    return None


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
