"""What a cloud acknowledged: every thing's last certain state, and what is open because no answer came.

A fact is a set of values: one when it is certain, several while a change was sent and not answered.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.crash.farm.objects import Stored

THERE, GONE, EITHER = "there", "gone", "either"


@dataclass
class Thing:
    """One resource that a worker made. `path` is where it is read; `owner` the worker that alone changes it."""

    kind: str
    id: str
    name: str
    path: str
    owner: int
    state: str = THERE
    source: str = ""  # the server that an image is a snapshot of: it goes with it while it is made
    facts: dict[str, set[Any]] = field(default_factory=dict)

    def fact(self, name: str) -> Any:
        """The value if it is certain, else None."""
        values = self.facts.get(name, set())
        return next(iter(values)) if len(values) == 1 else None


class Ledger:
    """Things by id, and creations that were sent and not answered, by kind and name. Used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.things: dict[str, Thing] = {}
        self.sent: dict[tuple[str, str], Thing] = {}
        self.stored = Stored()

    def sending(self, thing: Thing) -> None:
        with self._lock:
            self.sent[thing.kind, thing.name] = thing

    def made(self, thing: Thing, thing_id: str, path: str) -> None:
        with self._lock:
            self.sent.pop((thing.kind, thing.name), None)
            thing.id, thing.path = thing_id, path
            self.things[thing_id] = thing

    def refused(self, thing: Thing) -> None:
        with self._lock:
            self.sent.pop((thing.kind, thing.name), None)

    def of(self, owner: int, kind: str, **facts: Any) -> list[Thing]:
        """This worker's things that are certainly there, with these facts certain."""
        with self._lock:
            found = [t for t in self.things.values() if (t.owner, t.kind, t.state) == (owner, kind, THERE)]
        return [t for t in found if all(t.fact(name) == value for name, value in facts.items())]

    def all(self) -> Iterator[Thing]:
        with self._lock:
            yield from list(self.things.values())

    def forget_gone(self) -> None:
        """What was seen to be gone need not be asked for again."""
        with self._lock:
            self.things = {i: t for i, t in self.things.items() if t.state != GONE}
