"""Wiring of the object store: its settings, the engine, and the applications that hang on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, setting
from nutshell.core.reconcile import Loop
from nutshell.core.store import Tx
from nutshell.object_store.engine.devices import Policy
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.service import objects as service

quotas: Mapping[str, int] = {}


@dataclass(frozen=True)
class ObjectStoreConfig:
    """The object store: what it keeps, how often, and how carefully it reads."""

    table: ClassVar[str] = "object_store"

    replicas: int = setting(2, "How often the standard policy keeps bytes, on devices of different zones; with fewer"
                               " devices, as often as there are.")  # fmt: skip
    silver_replicas: int = setting(1, "The same for the policy silver.")
    verify_reads: str = setting(
        "small", "Which bytes are verified when they are read.", choices=("all", "small", "none")
    )
    reserve_mib: int = setting(64, "Room that uploads leave on a device, so that things can still be deleted.")


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


def loops(cloud: Cloud) -> list[Loop]:
    return []


def seed(cloud: Cloud, tx: Tx) -> None:
    return None


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
