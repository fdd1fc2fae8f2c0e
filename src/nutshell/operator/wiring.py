"""What `app.py` takes from the operator's API."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop
from nutshell.core.store import Tx
from nutshell.operator import documents, explain, requests  # noqa: F401 - for their routes
from nutshell.operator.fault_rules import Counts, FaultsConfig
from nutshell.operator.recorder import Ring, TracesConfig
from nutshell.operator.rulebook import Rulebook
from nutshell.operator.service import operator as service


class Ends(Protocol):
    """Something that has a last thing to do."""

    def close(self) -> None: ...


config = FaultsConfig
more_configs = (TracesConfig,)
quotas: Mapping[str, int] = {}


def wire(cloud: Cloud) -> None:
    book = Rulebook(cloud, cloud.settings[FaultsConfig].enabled)
    cloud.ports[Counts] = cloud.ports[Rulebook] = book
    if book.enabled:
        cloud.faults = book
        book.load()
    _record(cloud, cloud.settings[TracesConfig])


def _record(cloud: Cloud, settings: TracesConfig) -> None:
    ring = cloud.ports[Ring] = Ring(settings.keep, settings.keep_bytes)
    if settings.keep <= 0:
        return
    cloud.recorder = ring
    cloud.store.on_commit(ring.committed)
    if settings.otlp_endpoint:
        from nutshell.operator.otlp import Exporter

        exporter = Exporter(settings.otlp_endpoint, settings.otlp_queue, cloud.settings[CloudConfig].region)
        ring.finished, ring.noted = exporter.finished, exporter.noted
        cloud.ports[Exporter] = cloud.ports[Ends] = exporter


def loops(cloud: Cloud) -> Sequence[Loop]:
    """Nothing to do but at the end: what waits for the collector is sent."""
    end = cloud.ports.get(Ends)
    return [Loop("otlp", lambda cloud: None, every_s=3600.0, end=end.close)] if end is not None else []


def seed(cloud: Cloud, tx: Tx) -> None:
    """Nothing: rules are set by their API."""


__all__ = ["config", "loops", "more_configs", "quotas", "seed", "service", "wire"]
