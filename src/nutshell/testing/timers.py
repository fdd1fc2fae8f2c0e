"""The cloud's clock in a test's hand: its timers are virtual, the validity of tokens stays real."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from nutshell.core.clock import Clock


class Timers:
    """`step` lets hours pass at once: deadlines come, back-offs end, what expires is gone."""

    def __init__(self, clock: Clock, settle: Callable[[], None]) -> None:
        self._clock, self._settle = clock, settle

    def now(self) -> float:
        """Seconds since the epoch, as the cloud sees it."""
        return self._clock.now()

    def stop(self) -> None:
        """From now on time passes by `step` and `sleep` only."""
        self._clock.stop()

    def step(self, seconds: float, settle: bool = True) -> None:
        """Let time pass, then wait until what it set off is done (unless `settle` is false)."""
        self._clock.step(seconds)
        if settle:
            self._settle()

    def sleep(self, seconds: float) -> None:
        """As `step`, for code that is given its `sleep`."""
        self.step(seconds)

    @contextmanager
    def drives(self, *modules: ModuleType) -> Iterator[None]:
        """Within the `with`, what these modules find under `time` is this clock: their waiting takes no real time.

        For code that is not given its clock: `with cloud.clock.drives(openstack.utils): …` (the SDK's wait_for_…).
        """
        with ExitStack() as undo:
            for module in modules:
                if getattr(module, "time", None) is not time:
                    raise ValueError(f"{module.__name__} has no `import time` at its top")
                module.time = _Time(self)  # type: ignore[attr-defined]
                undo.callback(setattr, module, "time", time)
            yield


class _Time:
    """The module `time`, with this clock's hours."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self.time = self.monotonic = self.perf_counter = timers.now
        self.sleep = timers.sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
