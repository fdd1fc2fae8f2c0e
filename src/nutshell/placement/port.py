"""What other services may ask of placement. Everything runs in the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nutshell.core.store import Tx


@dataclass(frozen=True)
class Inventory:
    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 2**31 - 1
    step_size: int = 1
    allocation_ratio: float = 1.0


@dataclass(frozen=True)
class Wanted:
    """What a consumer needs of one provider."""

    resources: Mapping[str, int]  # resource class → amount
    required: frozenset[str] = frozenset()  # traits it must have
    forbidden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Candidate:
    provider_id: str
    name: str
    free: Mapping[str, int]  # resource class → what is left


@dataclass(frozen=True)
class Rejected:
    """A provider that does not fit, and what it lacked in words."""

    provider_id: str
    name: str
    lacked: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    candidates: Sequence[Candidate]
    rejected: Sequence[Rejected] = field(default=())


class Placement(Protocol):
    def ensure_provider(
        self, tx: Tx, provider_id: str, name: str, inventories: Mapping[str, Inventory], traits: frozenset[str]
    ) -> None:
        """A root provider with exactly these inventories (allocation ratios an operator set are kept) and at least
        these traits."""
        ...

    def set_disabled(self, tx: Tx, provider_id: str, disabled: bool) -> None:
        """A disabled provider takes nothing new; what is there stays."""
        ...

    def remove_provider(self, tx: Tx, provider_id: str) -> None: ...

    def fit(self, tx: Tx, wanted: Wanted, limit: int = 1000, explain: bool = False) -> Fit:
        """Providers with room, most free first; with `explain`, also why the others do not fit."""
        ...

    def claim(
        self, tx: Tx, consumer_id: str, provider_id: str, resources: Mapping[str, int], project_id: str, user_id: str
    ) -> bool:
        """Allocate, replacing the consumer's allocations there. False when it no longer fits (nothing changed)."""
        ...

    def release(self, tx: Tx, consumer_id: str) -> None: ...

    def move(self, tx: Tx, from_consumer: str, to_consumer: str) -> None:
        """Hand allocations over (resize: the server's old ones go to the migration)."""
        ...

    def allocations(self, tx: Tx, consumer_id: str) -> Mapping[str, Mapping[str, int]]:
        """Provider id → resource class → amount."""
        ...
