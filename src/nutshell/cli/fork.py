"""`nutshell fork` and `nutshell restore`: a saved cloud on another port beside the first, or again in its own place.

A restore is done in two steps that a kill cannot tear apart: everything is copied into `.restoring`, which then is
renamed `.restored`; from there on every command that needs the cloud first finishes moving it into place.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from nutshell.cli import copying, processes, saves, states
from nutshell.cli.launch import check_port, free_port
from nutshell.cli.places import Places, read_json, write_private
from nutshell.cli.save import all_or_nothing, copy_state, ready, savable
from nutshell.cli.says import Refusal, state_option

Say = Callable[[str], None]
RESTORING, RESTORED, CLEARED = ".restoring", ".restored", ".cleared"


def make_fork(
    places: Places, name: str, host: str, port: int | None, state: Path | None, say: Say
) -> dict[str, object]:
    """Make the state directory of a fork (of a saved cloud, or without a name of this one as it is now). Returns with
    which settings to start it."""
    port = port or free_port(host)
    with states.one_command_at_a_time(places):
        began = time.perf_counter()
        ready(places)
        source, what = places, "the cloud as it is now"
        if name:
            saved = saves.find(places, name)
            source, what = Places(saves.folder(places) / name / "state"), f"saved cloud {name}"
            simulated, region = saved.simulate, saved.region
        else:
            mark = savable(places)
            simulated, region = bool(mark.get("simulate")), str(saves.facts_of(places).get("region") or "RegionOne")
        if not simulated:
            raise Refusal(
                "only simulated clouds are forked: two of a real one would claim the same networks and addresses of "
                f"this machine. It can be restored in its place: nutshell restore NAME{state_option(places)}"
            )
        fork = Places((state or _home(places) / f"{name or 'now'}-{port}").absolute())
        _check_free(fork, port)
        check_port(host, port)
        _settle(source, fork, name, port, places.state)
        ms = (time.perf_counter() - began) * 1000
        say(f"forked {what} into {fork.state} in {ms:.0f} ms")
    return {"simulate": True, "state": fork.state, "host": host, "port": port, "region": region, "endpoint": ""}


def _home(places: Places) -> Path:
    return places.state.with_name(f"{places.state.name}.forks")


def _check_free(fork: Places, port: int) -> None:
    if read_json(fork.mark) is not None:
        running = processes.find(fork.run / "api.json")
        more = (
            f"it runs at {running.facts['endpoint']}" if running else f"start it: nutshell up --simulate --port {port}"
        )
        raise Refusal(
            f"there is a fork in {fork.state} already ({more}{'' if running else state_option(fork)}); erase it with "
            f"nutshell reset --yes{state_option(fork)}, or choose another --port or --state"
        )
    if fork.state.exists() and any(fork.state.iterdir()):
        raise Refusal(f"{fork.state} is not empty; choose another --state DIR", 2)


def _settle(source: Places, fork: Places, name: str, port: int, home: Path) -> None:
    """Copy, and make it a cloud of its own: another short id, other names in clouds.yaml."""
    fork.state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for half in fork.state.parent.glob(f".{fork.state.name}.*.part"):
        copying.remove(half)  # of a fork that was killed: this command holds the lock
    half = fork.state.with_name(f".{fork.state.name}.{os.getpid()}.part")
    with all_or_nothing(half):
        copy_state(source, half, durable=False)
        mark = read_json(half / source.mark.name) or {}
        write_private(half / source.mark.name, json.dumps({**mark, "id": secrets.token_hex(3)}))
        write_private(half / "fork.json", json.dumps({"of": name, "clouds": f"nutshell-{port}"}))
        table = half / "objects" / "devices.json"  # paths in it lead to the cloud that was saved
        if table.exists():
            table.write_text(table.read_text().replace(f'"{home}/', f'"{fork.state}/'))
        if fork.state.exists():
            fork.state.rmdir()
        half.rename(fork.state)


def restore(places: Places, name: str, say: Say, *, yes: bool = False) -> None:
    """Put a saved cloud in the place of the one that is here. Raises Refusal while that one runs."""
    with states.one_command_at_a_time(places):
        began = time.perf_counter()
        ready(places)
        finish_restore(places)
        saved = saves.find(places, name)
        _check_down(places)
        if read_json(places.mark) is not None and not yes:
            raise Refusal(
                f"this replaces all that is stored in {places.state}; to do so: nutshell restore {name} --yes"
                f"{state_option(places)}",
                2,
            )
        states.check(places, saved.simulate) if read_json(places.mark) is None else None
        places.state.mkdir(parents=True, exist_ok=True)
        half = places.state / RESTORING
        copying.remove(half)
        with all_or_nothing(half):
            copy_state(Places(saves.folder(places) / name / "state"), half, durable=True)
            half.rename(places.state / RESTORED)
        finish_restore(places)
        ms = (time.perf_counter() - began) * 1000
        flag = " --simulate" if saved.simulate else ""
        say(f"restored {name} ({saved.kind}, saved {saves.age(saved.made_at)}) in {ms:.0f} ms")
        say(f"Next: nutshell up{flag}{state_option(places)}")


def _check_down(places: Places) -> None:
    if processes.find(places.run / "api.json") or processes.find(places.run / "host.json"):
        raise Refusal(f"the cloud in {places.state} runs; first: nutshell down{state_option(places)}")


def finish_restore(places: Places) -> None:
    """Carry a restore that reached its point of no return to its end; nothing to do otherwise. May be repeated."""
    restored = places.state / RESTORED
    if not restored.is_dir():
        copying.remove(places.state / RESTORING)
        return
    if not (restored / CLEARED).exists():
        for old in places.state.iterdir():
            if old.name not in (RESTORED, "run", "log"):
                _remove(old)
        (restored / CLEARED).touch()
        copying.sync(restored)
    for new in sorted(restored.iterdir()):
        if new.name != CLEARED:
            new.rename(places.state / new.name)
    copying.sync(places.state)
    copying.remove(restored)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
