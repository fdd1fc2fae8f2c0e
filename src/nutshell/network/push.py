"""Handing rows to the driver. Reading a row and pushing it are one step for each thing, so that an older state never
overtakes a newer one; who only needs a state at least as new as one that was pushed need not push again."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.drivers import DriverFault
from nutshell.core.store import Tx
from nutshell.network.capability import NetworkDriver
from nutshell.network.config import NetworkConfig
from nutshell.network.networks import Network
from nutshell.network.ports import Port
from nutshell.network.routers import Router
from nutshell.network.security_groups import SecurityGroup
from nutshell.network.world import group_objects, network_objects, port_objects, router_objects

ONE_BY_ONE = (Network, Router)  # the others go in one call for many


class Pushing:
    """What this process had the driver make: of each row the `wanted` it was pushed with."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: dict[tuple[type, str], Lock] = {}
        self._done: dict[str, int] = {}

    def push(
        self, cloud: Cloud, noun: type[Any], ids: Sequence[str], at_least: Mapping[str, int] | None = None
    ) -> list[Any]:
        """Have the driver make these rows as they are now; the rows that were pushed. Blocks; DriverFault.

        `at_least`: rows already pushed with this `wanted` or a later one are left out.
        """
        if noun in ONE_BY_ONE:
            return [row for i in ids for row in self._locked(cloud, noun, i, [i], at_least)]
        return self._locked(cloud, noun, "", ids, at_least)

    def _locked(
        self, cloud: Cloud, noun: type[Any], key: str, ids: Sequence[str], at_least: Mapping[str, int] | None
    ) -> list[Any]:
        with self._guard:
            lock = self._locks.setdefault((noun, key), Lock())
        with lock:
            if at_least is not None:
                ids = [i for i in ids if self._done.get(i, -1) < at_least[i]]
            if not ids:
                return []
            rows, found = cloud.read(lambda tx: _read(tx, noun, ids, cloud.settings[NetworkConfig].dns_domain))
            try:
                _send(cloud.driver(NetworkDriver), noun, found)
            except DriverFault:
                self.forget(ids)
                raise
            self._done.update((row.id, row.wanted) for row in rows)
            return rows

    def forget(self, ids: Sequence[str]) -> None:
        """They may not be in the world any more."""
        for i in ids:
            self._done.pop(i, None)


def _read(tx: Tx, noun: type[Any], ids: Sequence[str], domain: str) -> tuple[list[Any], Sequence[Any]]:
    if noun is Port:
        bound = tx.find(Port, Port.c("binding_host_id") != "", id=list(ids))
        return bound, port_objects(bound)
    rows: list[Any] = tx.find(noun, id=list(ids))
    if noun is Network:
        return rows, network_objects(tx, rows, domain)
    return rows, group_objects(tx, rows) if noun is SecurityGroup else router_objects(tx, rows)


def _send(driver: NetworkDriver, noun: type[Any], found: Sequence[Any]) -> None:
    if noun is SecurityGroup and found:
        driver.ensure_groups(found)
    elif noun is Port and found:
        driver.ensure_ports(found)
    elif noun in ONE_BY_ONE:
        for one in found:
            (driver.ensure_network if noun is Network else driver.ensure_router)(one)
