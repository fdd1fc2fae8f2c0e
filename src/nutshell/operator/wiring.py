"""What `app.py` takes from the operator's API."""

from collections.abc import Mapping, Sequence

from nutshell.core.cloud import Cloud
from nutshell.core.reconcile import Loop
from nutshell.core.store import Tx
from nutshell.operator.fault_rules import Counts, FaultsConfig
from nutshell.operator.rulebook import Rulebook
from nutshell.operator.service import operator as service

config = FaultsConfig
quotas: Mapping[str, int] = {}


def wire(cloud: Cloud) -> None:
    book = Rulebook(cloud, cloud.settings[FaultsConfig].enabled)
    cloud.ports[Counts] = cloud.ports[Rulebook] = book
    if book.enabled:
        cloud.faults = book
        book.load()


def loops(cloud: Cloud) -> Sequence[Loop]:
    return []


def seed(cloud: Cloud, tx: Tx) -> None:
    """Nothing: rules are set by their API."""


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
