"""What every driver shares: how it fails, and how one is found by name.

A driver implements one or more capability Protocols (`compute/capability.py`, `network/capability.py`,
`volume/capability.py`). `isinstance(driver, SomeCapability)` is the capability flag.
"""

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nutshell.core.faults import Faults
    from nutshell.core.trace import Recorder


class DriverFault(Exception):
    """What a backend says when a call failed.

    `final` means that trying again cannot help (no such file, no space for this size, bad image):
    the loop gives up at once. Anything else is tried again until the operation's deadline.
    """

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.final = final


def find_driver(kind: str, name: str, built_in: Mapping[str, str]) -> Callable[..., Any]:
    """The driver class called `name`: a built-in ("module:Class") or an entry point in group `nutshell.<kind>`.

    Raises LookupError naming the drivers that exist.
    """
    target = built_in.get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), attribute)
        return found
    from importlib.metadata import entry_points

    others = {point.name: point for point in entry_points(group=f"nutshell.{kind}")}
    if name in others:
        loaded: Callable[..., Any] = others[name].load()
        return loaded
    known = ", ".join(sorted({*built_in, *others}))
    raise LookupError(f"no {kind} driver is called {name!r}; there are: {known}")


class Watched:
    """A driver as `Cloud.driver` hands it out: its calls are recorded, and may be struck by a fault rule."""

    __slots__ = ("_driver", "_faults", "_recorder", "_service")

    def __init__(self, driver: object, service: str, faults: "Faults | None", recorder: "Recorder | None") -> None:
        self._driver, self._service, self._faults, self._recorder = driver, service, faults, recorder

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if not callable(found):
            return found
        faults, recorder, service = self._faults, self._recorder, self._service

        def call(*given: Any, **named: Any) -> Any:
            started, why = time.time(), None
            try:
                if faults is not None and faults.on:
                    faults.driver(service, name, [*given, *named.values()])
                return found(*given, **named)
            except Exception as failed:
                why = failed
                raise
            finally:
                if recorder is not None:
                    recorder.driver(service, name, given, started, why)

        return call
