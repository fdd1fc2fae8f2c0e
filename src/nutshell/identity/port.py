"""What other services may ask of identity."""

from typing import Protocol

from nutshell.core.policy import Who
from nutshell.core.store import Tx


class Identity(Protocol):
    def who(self, token: str) -> Who:
        """The caller a token stands for, from a cache while nothing relevant changed. Raises Unauthorized."""
        ...

    def project_exists(self, tx: Tx, project_id: str) -> bool: ...

    def project_name(self, tx: Tx, project_id: str) -> str: ...

    def find_project(self, tx: Tx, name: str) -> str | None:
        """The id of the default domain's project of this name (for seeds: "admin", "demo")."""
        ...

    def find_user(self, tx: Tx, name: str) -> str | None: ...
