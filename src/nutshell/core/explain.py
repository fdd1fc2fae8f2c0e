"""Why a resource is as it is: what each service can say of its own, for `/nutshell/v1/explain` (docs/EXPLAIN.md)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nutshell.core.resource import Resource


@dataclass(frozen=True)
class Explained:
    """Sentences, the most telling first, and the facts behind them. Times are seconds since the epoch."""

    status: str
    because: Sequence[str]
    facts: Mapping[str, Any]
    request_id: str = ""  # the request that last set something going
    for_operators: Mapping[str, Any] = field(default_factory=dict)  # what projects are not told


@dataclass(frozen=True)
class Explains:
    """`explain(ask, row)` of one noun; the caller may see the row."""

    noun: type[Resource]
    explain: Callable[[Any, Any], Explained]
