"""Simulated hosts that die on purpose, for the operator's fault rules (docs/FAULTS.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class Mortal(Protocol):
    """What a driver with simulated hosts offers beyond its capabilities."""

    def host_names(self) -> Sequence[str]: ...
    def lose_host(self, host: str) -> None: ...
    def find_host(self, host: str) -> None: ...
    def restart_host(self, host: str) -> None: ...


@dataclass(frozen=True)
class SimulatedHosts:
    """Implements `compute.port.Hosts`."""

    driver: Mortal

    def names(self) -> Sequence[str]:
        return self.driver.host_names()

    def lose(self, host: str) -> None:
        self.driver.lose_host(host)

    def find(self, host: str) -> None:
        self.driver.find_host(host)

    def restart(self, host: str) -> None:
        self.driver.restart_host(host)
