"""What `app.py` takes from placement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.cloud import Cloud
from nutshell.core.reconcile import Loop
from nutshell.core.store import Tx
from nutshell.placement import allocations, candidates, inventories, names, providers
from nutshell.placement.port import Placement
from nutshell.placement.scheduling import Scheduling
from nutshell.placement.service import placement as service

__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]


@dataclass(frozen=True)
class PlacementConfig:
    """Settings of placement. There are none yet."""

    table: ClassVar[str] = "placement"


config = PlacementConfig
ROUTES = (providers, inventories, names, allocations, candidates)  # importing them registers their routes
quotas: Mapping[str, int] = {}


def wire(cloud: Cloud) -> None:
    cloud.ports[Placement] = Scheduling()


def loops(cloud: Cloud) -> Sequence[Loop]:
    return []


def seed(cloud: Cloud, tx: Tx) -> None:
    """Nothing: compute registers its hosts."""
