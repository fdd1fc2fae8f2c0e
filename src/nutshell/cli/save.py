"""`nutshell save`: the whole cloud under a name, whole or not at all; and copies of one made from there.

Of a running simulated cloud no transaction begins while its files are read: what is saved is what a power failure at
that moment would have left, and every start copes with that.
"""

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import nutshell
from nutshell.cli import copying, saves, states
from nutshell.cli.places import Places, read_json
from nutshell.cli.saves import Saved
from nutshell.cli.says import Refusal, state_option

Say = Callable[[str], None]
LONG = 64 << 20  # bytes from which on a terminal sees how far it is


def save(places: Places, name: str, say: Say, *, replace: bool = False, note: str = "") -> Saved:
    """Save the cloud under this name. Raises Refusal: no cloud, name taken, no room, or it cannot be saved so."""
    saves.check_name(name)
    with states.one_command_at_a_time(places):
        began = time.perf_counter()
        directory = ready(places)
        if (directory / name).exists() and not replace:
            at = saves.age(saves.find(places, name).made_at)
            raise Refusal(
                f"a saved cloud is called {name!r} already, made {at}; choose another name, or: "
                f"nutshell save {name} --replace{state_option(places)}"
            )
        mark = savable(places)
        half = directory / f".{name}.{os.getpid()}.part"
        with all_or_nothing(half):
            taken = copy_state(places, half / "state", durable=True)
            region = saves.facts_of(places).get("region") or "RegionOne"
            made = Saved(
                name,
                time.time(),
                nutshell.__version__,
                bool(mark.get("simulate")),
                str(mark["id"]),
                region,
                taken,
                note,
            )
            saves.write(places, made, half)
        ms = (time.perf_counter() - began) * 1000
        say(f"saved {name}: {made.kind} cloud {made.cloud_id}, {taken / 2**20:.1f} MiB of its own, in {ms:.0f} ms")
        return made


def ready(places: Places) -> Path:
    """The directory of the saved ones, without what killed commands left."""
    directory = saves.folder(places)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as why:
        raise Refusal(f"cannot make {directory}: {why.strerror}") from why
    saves.tidy(directory)
    return directory


def savable(places: Places) -> dict[str, object]:
    """The cloud's mark. Raises Refusal when there is nothing here that can be saved."""
    mark = read_json(places.mark)
    if mark is None:
        raise Refusal(f"there is no cloud in {places.state}; name one with --state DIR, or start one: nutshell up", 2)
    facts = saves.facts_of(places)
    if facts.get("database") == "postgresql" or not (places.state / "cloud.db").exists():
        raise Refusal(
            "this cloud keeps its rows in PostgreSQL, which save does not copy. Do it in three steps: "
            f"nutshell down{state_option(places)}; pg_dump (or CREATE DATABASE … TEMPLATE …) for the rows; "
            f"cp -a {places.state} for the rest"
        )
    outside = [path for path in _devices(places) if places.state not in path.parents]
    if outside:
        raise Refusal(
            f"the object store has a device outside the state directory, {outside[0]}, which save does not copy; take"
            " it out of the store first, or copy both by hand while the cloud is down"
        )
    if facts and not mark.get("simulate"):
        raise Refusal(
            "a real cloud is saved with its guests stopped, so that its disks are whole: "
            f"nutshell down{state_option(places)}; then save; the next nutshell up starts the guests again"
        )
    return mark


def _devices(places: Places) -> list[Path]:
    """Where the object store's devices are, if there are others than its own first one."""
    said = read_json(places.state / "objects" / "devices.json") or {"devices": []}
    return [Path(one["path"]) for one in said["devices"]]


def copy_state(places: Places, target: Path, *, durable: bool) -> int:
    """A copy of the cloud's files in a new directory, on the disk when this returns (if `durable`); the bytes that it
    does not share. Raises Refusal when there is no room for it."""
    target.mkdir(parents=True)
    files = copying.files_of(places.state)
    check_room(target, copying.room_needed(files, places.state, target), shutil.disk_usage(target).free)
    try:
        with _shown(sum(one.cost for one in files)) as told, copying.still(places.state, files):
            files = copying.files_of(places.state)
            copying.copy_files(places.state, target, files, told)
    except sqlite3.OperationalError as why:
        raise Refusal(f"the cloud's database is busy: {why}; try again") from why
    if durable:
        copying.flush(target, files)
    return copying.own_size(target, files)


def check_room(target: Path, needed: int, free: int) -> None:
    """Before anything is copied."""
    if needed > free:
        raise Refusal(f"no room for {target}: {needed / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free")


@contextmanager
def all_or_nothing(half: Path) -> Iterator[None]:
    """What is not finished is removed; a full disk is a Refusal."""
    try:
        yield
    except OSError as why:
        raise Refusal(f"{why.filename or half}: {why.strerror}; nothing was kept of it") from why
    finally:
        copying.remove(half)


def _shown(total: int) -> "nullcontext[copying.Told]":
    """A progress bar on a terminal, when it takes long."""
    if total < LONG or not sys.stderr.isatty():
        return nullcontext(lambda _size: None)
    return _bar(total)  # type: ignore[return-value]


@contextmanager
def _bar(total: int) -> Iterator[copying.Told]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("copying", total=total)
        yield lambda size: progress.advance(task, size)
