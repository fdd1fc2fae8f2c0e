"""What the declarations cannot say about how rows come from one release to the next, oldest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NEXT = "next"


@dataclass(frozen=True)
class Change:
    """How a database comes to the release `to` from the one before.

    `values`: (table, column) → SQL over the columns of the old row. `renamed`: old → new name of a table. `dropped`:
    tables whose rows may go. `after`: statements run at the end. All SQL must be good for both databases.
    """

    to: str
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    after: Sequence[str] = ()


# The last may be to NEXT, the version that is not released yet; `make release` gives it its name.
CHANGES: tuple[Change, ...] = ()
