"""Nutshell beside real OpenStack, measured in one run: both columns and the ratio of medians (as root, Debian).

python bench/peers/compare.py [--only tokens,lists,…] [--servers 100] [--dir DIR] [--keep] [--cloud FILE:NAME]
Installs and starts the peer on request (peer.py; minutes the first time), starts a simulated cloud of ours, takes each
measure on one after the other with the same client, prints the table, and stops both. --cloud measures any other
OpenStack cloud instead of the peer.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from cloud import cloud, nutshell, pss_mib
from measures import MEASURES
from peer import Layout, processes
from planted import AsRows, ByApi, own_hash_ms
from side import Side

HERE = Path(__file__).parent
Row = tuple[str, str, float, float, bool]  # what, unit, ours, theirs, whether more is better


def side_of(file: Path, name: str) -> Side:
    auth = yaml.safe_load(file.read_text())["clouds"][name]["auth"]
    return Side(name, auth["auth_url"], auth["username"], auth["password"], auth["project_name"])


@contextmanager
def ours() -> Iterator[tuple[Side, Path]]:
    with cloud() as (base, state):
        found = json.loads((state / "credentials.json").read_text())["admin"]
        yield Side("nutshell", f"{base}/identity", "admin", found["password"], found["project"]), state


def footprint(state: Path, at: Layout | None) -> list[Row]:
    """Processes and memory, both idle."""
    if at is None:
        return []
    own = json.loads(nutshell("status", "--json", "--state", str(state)).stdout)["pids"]
    pids, theirs = list(own.values()) if isinstance(own, dict) else own, processes(at)
    return [
        ("processes", "", len(pids), len(theirs), False),
        ("memory, idle (PSS)", "MiB", pss_mib(pids), pss_mib(theirs), False),
    ]


def show(row: Row) -> None:
    what, unit, a, b, more = row
    ratio = (a / b if more else b / a) if a and b else float("nan")
    print(f"| {what:<52} | {a:>10,.4g} {unit:<4} | {b:>10,.4g} {unit:<4} | {ratio:>7.1f} |", flush=True)


def take(measure: Callable[..., list[tuple[str, str, list[float], bool]]], sides: list[Side], n: int) -> None:
    """One measure on each side in turn."""
    for side in sides:
        side.login()
    columns = [measure(side, n) for side in sides]
    for (what, unit, a, more), (other, _, b, _) in zip(*columns, strict=True):
        said = what if what == other else f"{what} | theirs: {other}"
        show((said, unit, statistics.median(a), statistics.median(b), more))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MEASURES), help="comma separated: " + ", ".join(MEASURES))
    parser.add_argument("--servers", type=int, default=100, help="in the largest listing (1000 takes the peer an hour)")
    parser.add_argument("--dir", default="/var/tmp/openstack-peer")
    parser.add_argument("--port", type=int, default=17100)
    parser.add_argument("--keep", action="store_true", help="leave the peer running")
    parser.add_argument("--cloud", help="FILE:NAME of a clouds.yaml entry to measure instead of the peer")
    given = parser.parse_args()
    unknown = set(given.only.split(",")) - set(MEASURES)
    if unknown:
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    at = None if given.cloud else Layout(Path(given.dir).resolve(), given.port)
    if at is not None and not processes(at):
        for step in ("install", "start"):
            command = [sys.executable, str(HERE / "peer.py"), step, "--dir", str(at.root), "--port", str(at.port)]
            subprocess.run(command, check=True)
    file, _, name = given.cloud.rpartition(":") if at is None else (str(at.root / "clouds.yaml"), "", "peer")
    try:
        with ours() as (own, state):
            print(f"| {'what':<52} | {'nutshell':>15} | {name:>15} | {'ratio':>7} |\n|---|---|---|---|")
            for row in footprint(state, at):
                show(row)
            sides = [own, side_of(Path(file), name)]
            own.planter = ByApi(own, state)
            sides[1].planter = ByApi(sides[1]) if at is None else AsRows(at, own_hash_ms())
            for measure in given.only.split(","):
                take(MEASURES[measure], sides, given.servers)
    finally:
        if at is not None and not given.keep:
            subprocess.run([sys.executable, str(HERE / "peer.py"), "stop", "--dir", str(at.root)], check=False)


if __name__ == "__main__":
    main()
