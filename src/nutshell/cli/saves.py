"""Saved clouds: each a directory beside the cloud's own, whole or not there at all.

`<state>.saved/<name>/` holds `save.json` and `state/`. It is made under a hidden name and renamed when everything is
on the disk; what a killed command left is removed by the next one.
"""

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nutshell.cli import copying, processes, states
from nutshell.cli.places import Places, read_json, write_private
from nutshell.cli.says import Refusal, state_option

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Saved:
    """What is known of a saved cloud."""

    name: str
    made_at: float
    version: str
    simulate: bool
    cloud_id: str
    region: str
    bytes: int  # of the files it does not share with the cloud
    note: str = ""

    @property
    def kind(self) -> str:
        return "simulated" if self.simulate else "real"


def folder(places: Places) -> Path:
    """Where this cloud's saved ones are: beside it, so that files can be linked and `reset` leaves them."""
    return places.state.with_name(f"{places.state.name}.saved")


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Refusal(f"{name!r} is no name for a saved cloud: letters, digits, dots, dashes, at most 64 characters", 2)


def find(places: Places, name: str) -> Saved:
    """Raises Refusal naming those that there are."""
    check_name(name)
    known = {one.name: one for one in every(places)}
    if name not in known:
        there = ", ".join(known) or f"none; make one: nutshell save NAME{state_option(places)}"
        raise Refusal(f"no saved cloud is called {name!r}; there are: {there}")
    return known[name]


def every(places: Places) -> list[Saved]:
    """All that are whole, oldest first."""
    found = []
    for one in sorted(folder(places).glob("*/save.json")):
        said = read_json(one)
        if said is not None and not one.parent.name.startswith("."):
            found.append(Saved(**said))
    return sorted(found, key=lambda saved: saved.made_at)


def delete(places: Places, name: str) -> None:
    """Gone in one step: a command killed here leaves nothing that can be restored."""
    with states.one_command_at_a_time(places):
        tidy(folder(places))
        find(places, name)
        doomed = folder(places) / f".{name}.{os.getpid()}.part"
        (folder(places) / name).rename(doomed)
        copying.remove(doomed)
        with suppress(OSError):  # the last one
            folder(places).rmdir()


def tidy(directory: Path) -> None:
    """Remove what killed commands left; called with the cloud's lock held. A save that was being replaced is there
    again unless the new one is."""
    for old in directory.glob(".*.old"):
        whole = directory / old.name.removeprefix(".").removesuffix(".old")
        if whole.exists():
            copying.remove(old)
        else:
            old.rename(whole)
    for half in directory.glob(".*.part"):
        copying.remove(half)


def write(places: Places, saved: Saved, made: Path) -> None:
    """Give a whole copy its name, replacing one that is there."""
    write_private(made / "save.json", json.dumps(asdict(saved)))
    final = folder(places) / saved.name
    old = folder(places) / f".{saved.name}.old"
    if final.exists():
        final.rename(old)
    made.rename(final)
    copying.sync(folder(places))
    copying.remove(old)


def facts_of(places: Places) -> dict[str, Any]:
    """What the running cloud recorded of itself; empty when it does not run."""
    record = processes.find(places.run / "api.json")
    return record.facts if record is not None else {}


def age(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def as_text(found: list[Saved]) -> str:
    """A table for people."""
    rows = [
        (one.name, one.kind, age(one.made_at), f"{one.bytes / 2**20:.1f} MiB", one.version, one.note) for one in found
    ]
    heads = ("name", "kind", "saved", "own size", "version", "note")
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows))


def as_json(found: list[Saved]) -> str:
    return json.dumps([asdict(one) for one in found])
