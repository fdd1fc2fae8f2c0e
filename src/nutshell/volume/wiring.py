"""Wiring of the volume service."""

import uuid
from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.drivers import find_driver
from nutshell.core.reconcile import Loop, settling
from nutshell.core.store import Tx
from nutshell.volume import (
    actions,
    attachments,
    backups,
    drivers,
    encryption,
    hosts,
    limits,
    messages,
    metadata,
    places,
    qos,
    transfers,
    types,
)
from nutshell.volume.capability import Growable, ImageMaking, Snapshotting, VolumeDriver
from nutshell.volume.explanation import EXPLAINS
from nutshell.volume.offers import VolumeOffers
from nutshell.volume.port import Volumes
from nutshell.volume.service import volume as service
from nutshell.volume.settling import settle, settle_snapshot
from nutshell.volume.tables import DEFAULT_TYPE, Snapshot, Volume, VolumeType

ROUTES_IN = (
    actions,
    attachments,
    encryption,
    hosts,
    limits,
    messages,
    metadata,
    places,
    qos,
    transfers,
    types,
)  # for their routes
CAPABILITIES = (VolumeDriver, Growable, Snapshotting, ImageMaking)
SPACE = uuid.UUID("6e757473-6865-6c6c-8000-766f6c756d65")
quotas = dict(limits.NAMES)


@dataclass(frozen=True)
class VolumeConfig:
    """The volume service. There is nothing to set yet."""

    table: ClassVar[str] = "volume"


config = VolumeConfig


def wire(cloud: Cloud) -> None:
    settings = cloud.settings[CloudConfig]
    if settings.own_world:
        directory = settings.state / "simulated" if settings.state is not None else None
        driver = find_driver("volume", "memory", drivers.BUILT_IN)(directory)
    else:
        from nutshell.host.rpc import proxy

        assert settings.state is not None
        driver = proxy(settings.state / "run" / "host.sock", "volume", CAPABILITIES)
    for capability in CAPABILITIES:
        cloud.drivers[capability] = driver
    cloud.explainers |= EXPLAINS
    cloud.ports[Volumes] = VolumeOffers(cloud)


def loops(cloud: Cloud) -> list[Loop]:
    return [
        settling("volumes", Volume, settle, workers=4),
        settling("volume-backups", backups.Backup, backups.settle, workers=2),
        settling("volume-snapshots", Snapshot, settle_snapshot, workers=2),
    ]


def seed(cloud: Cloud, tx: Tx) -> None:
    """The type that volumes have when none is named."""
    type_id = str(uuid.uuid5(SPACE, DEFAULT_TYPE))
    if not tx.find(VolumeType, id=type_id, deleted=True):
        tx.add(VolumeType(id=type_id, name=DEFAULT_TYPE, description="Default Volume Type"))


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
