"""How the demonstration shows its progress: a moving line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Note = Callable[[str], None]


@dataclass
class Screen:
    """Steps as they happen, and how long each took."""

    console: Any = None  # rich's, on a terminal
    write: Callable[[str], None] = print
    taken: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Note]:
        """One timed step. What is noted stands below it; the last note is its proof."""
        began = time.monotonic()
        notes: list[str] = []
        try:
            if self.console is None:
                self.write(f"...      {title}")
                yield lambda text: self.write(f"         {text}")
            else:
                with self.console.status(f"[bold]{_plain(title)}") as moving:

                    def note(text: str) -> None:
                        notes.append(text)
                        moving.update(f"[bold]{_plain(title)}[/] [dim]{_plain(text[:90])}")

                    yield note
        except BaseException:
            self._line("FAILED", title, began, "red")
            raise
        self._line("ok", title, began, "green")
        self.taken.append((title, time.monotonic() - began))
        if self.console is not None:
            for text in notes[-3:]:
                self.console.print(f"         [dim]{_plain(text)}")

    def skip(self, title: str, why: str) -> None:
        """A step that this cloud cannot show; it is said, not passed over."""
        self.write(f"skipped  {title}: {why}")

    def _line(self, word: str, title: str, began: float, colour: str) -> None:
        text = f"{title} ({time.monotonic() - began:.1f} s)"
        if self.console is None:
            self.write(f"{word:<8} {text}")
        else:
            self.console.print(f"[{colour}]{word:<8}[/] {_plain(text)}")


def open_screen() -> Screen:
    """For standard output as it is."""
    if not sys.stdout.isatty():
        return Screen(write=lambda text: print(text, flush=True))
    from rich.console import Console

    console = Console(highlight=False)
    return Screen(console, lambda text: console.print(_plain(text)))


def _plain(text: str) -> str:
    """Text that rich shows as it stands."""
    return text.replace("[", "\\[")
