"""What other services may ask of compute."""

from typing import Protocol

from nutshell.core.store import Tx


class Servers(Protocol):
    def volume_extended(self, tx: Tx, volume_id: str) -> None:
        """The volume has grown: servers that have it tell their guests, and have it among their actions."""
        ...
