"""What other services may ask of compute."""

from collections.abc import Sequence
from typing import Protocol

from nutshell.core.store import Tx


class Servers(Protocol):
    def host_names(self, tx: Tx) -> Sequence[str]:
        """Every host servers may be on: what projects are not told."""
        ...

    def volume_extended(self, tx: Tx, volume_id: str) -> None:
        """The volume has grown: servers that have it tell their guests, and have it among their actions."""
        ...


class Hosts(Protocol):
    """Simulated hosts, which may die on purpose. Absent where hosts are real."""

    def names(self) -> Sequence[str]: ...
    def lose(self, host: str) -> None:
        """It does not answer any more; repeated is success."""
        ...

    def find(self, host: str) -> None:
        """It answers again, with its guests as they were."""
        ...

    def restart(self, host: str) -> None:
        """It went down and is back; its guests are lost."""
        ...
