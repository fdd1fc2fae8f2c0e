"""Runs OpenStack's own tests against a cloud of their own and says what passed: `make conformance [SUITE=…] [REAL=1]`.

A suite is an exact list of ids; one that was skipped or did not run counts as not passed. What passed once has to pass
again: a test of the ratchet that fails is run once more, alone, and if it fails again the run fails, as it does for a
test that did not pass and has no reason in `EXPECTED.md`. `--update` adds to the ratchet what passes now. Each whole
run writes its figures into `results.json`. With `--database postgresql` the cloud's state is on a PostgreSQL server
started for the run; the ratchet is the same.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import suites
from clouds import ROOT, Cloud
from suites import HERE, Suite
from swift_runs import SwiftTests
from tempest_runs import Workspace, served

RESULTS = HERE / "results.json"


@dataclass(frozen=True)
class Outcome:
    """What a run found: every id's verdict, and which of the ratchet passed only when run alone, or not at all."""

    suite: Suite
    verdicts: dict[str, str]
    alone: list[str]
    lost: list[str]
    seconds: float
    where: str  # simulated, postgresql (simulated, its state there) or real

    @property
    def real(self) -> bool:
        return self.where == "real"

    def count(self, word: str) -> int:
        return Counter(self.verdicts.values())[word]


def run_suite(suite: Suite, options: argparse.Namespace) -> Outcome | None:
    """A cloud, its tests, its end; None where the cloud does not have the service."""
    folder = Path(options.keep or tempfile.mkdtemp(prefix="conformance-"))
    folder.mkdir(parents=True, exist_ok=True)
    ids = [i for i in suite.ids() if re.search(options.only, i)]
    began = time.monotonic()
    with database(options.database) as url:
        return _with_cloud(suite, ids, Cloud(folder, options.real, suite.settings, url), options, began)


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL of an empty database on a server of its own, or "" for SQLite."""
    if kind != "postgresql":
        yield ""
        return
    sys.path.insert(0, str(ROOT))
    from tests.database import connected, server

    with server() as url:
        with connected(url) as c:
            c.execute("CREATE DATABASE conformance")
        yield f"{url}/conformance"


def _with_cloud(
    suite: Suite, ids: list[str], cloud: Cloud, options: argparse.Namespace, began: float
) -> Outcome | None:
    folder = cloud.folder
    cloud.up()
    try:
        if suite.needs not in cloud.services or not suite.installed:
            return None
        if suite.limits:
            cloud.register_limits()
        with served(folder / "served") as image:
            workspace = workspace_for(suite, options, folder, cloud, image)
            verdicts = workspace.run(ids, options.workers, suite.serial)
            failed = [i for i in ids if verdicts[i] != "passed" and i in suites.ratchet(suite.name, options.real)]
            if failed:
                print(f"{len(failed)} that passed before are run again, alone", flush=True)
                verdicts |= workspace.run(failed, 1, True)
    finally:
        cloud.command("reset" if options.keep is None else "down", *(["--yes"] if options.keep is None else []))
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    lost = [i for i in failed if verdicts[i] != "passed"]
    where = "real" if options.real else "postgresql" if options.database == "postgresql" else "simulated"
    return Outcome(suite, verdicts, [i for i in failed if i not in lost], lost, time.monotonic() - began, where)


def workspace_for(
    suite: Suite, options: argparse.Namespace, folder: Path, cloud: Cloud, image: str
) -> Workspace | SwiftTests:
    """What runs the suite's tests. `image`: where one can be fetched."""
    if suite.runner == "swift":
        return SwiftTests(options.swift, folder, cloud, suite.name)
    return Workspace(options.tempest / "bin", folder, cloud.facts(image, suite.extensions), suite.flags)


def show(outcome: Outcome) -> list[str]:
    """What is neither passed nor expected, then the table of the services; returned: what has no reason."""
    reasons = suites.expected(outcome.suite.name, outcome.real)
    unexplained = []
    for i, word in sorted(outcome.verdicts.items()):
        reason = suites.reason_of(i, reasons)
        if word == "passed" and reason:
            print(f"passed, though EXPECTED.md says it cannot: {i}")
        elif word != "passed" and not reason:
            print(f"{word}: {i}")
            unexplained.append(i)
    for i in outcome.alone:
        print(f"passed only when run alone: {i}")
    for i in outcome.lost:
        print(f"LOST (it passed before): {i}")
    rows: dict[str, Counter[str]] = {}
    for i, word in outcome.verdicts.items():
        rows.setdefault(_service(i), Counter())[word] += 1
    print(f"\n{outcome.suite.title}, {outcome.where}: {outcome.seconds:.0f} s")
    print(f"{'':32}{'tests':>7}{'passed':>8}{'failed':>8}{'skipped':>9}{'not run':>9}")
    for name, row in [*sorted(rows.items()), ("all", Counter(outcome.verdicts.values()))]:
        cells = row["passed"], row["failed"], row["skipped"], row["not run"]
        print(f"{name:32}{row.total():7}{cells[0]:8}{cells[1]:8}{cells[2]:9}{cells[3]:9}")
    return [i for i in unexplained if i not in outcome.lost]


def _service(test_id: str) -> str:
    parts = test_id.split(".")
    return ".".join(parts[1:3]) if parts[0] == "tempest" and parts[1] == "api" else ".".join(parts[:2])


def record(outcome: Outcome) -> None:
    """Writes the figures of a whole run."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    entry = {
        "suite": outcome.suite.name,
        "where": outcome.where,
        "tests": len(outcome.verdicts),
        **{word.replace(" ", "_"): outcome.count(word) for word in ("passed", "failed", "skipped", "not run")},
        "seconds": round(outcome.seconds),
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
    }
    kept = [e for e in json.loads(RESULTS.read_text()) if (e["suite"], e["where"]) != (entry["suite"], entry["where"])]
    order = [s.name for s in suites.SUITES]
    kept = sorted([*kept, entry], key=lambda e: (order.index(e["suite"]), suites.WHERE.index(e["where"])))
    RESULTS.write_text("[\n" + ",\n".join(f" {json.dumps(e)}" for e in kept) + "\n]\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="*", help=f"of: {' '.join(s.name for s in suites.SUITES)}; none: all")
    parser.add_argument("--real", action="store_true", help="with real servers, as root; tests log in to guests")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--only", default="", help="a regular expression the ids must match; figures are not kept")
    parser.add_argument("--update", action="store_true", help="add what passes to the ratchet")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tempest", type=Path, default=Path(os.environ.get("TEMPEST", ROOT / ".venv-tempest")))
    parser.add_argument("--swift", type=Path, default=Path(os.environ.get("SWIFT", ROOT / ".venv-swift")))
    parser.add_argument("--keep", help="a directory for the cloud's state and the tests' logs; kept")
    parser.add_argument(
        "--standing", action="store_true", help="run nothing; list what is neither passed nor explained"
    )
    options = parser.parse_args()
    every = suites.REAL if options.real else [s.name for s in suites.SUITES if s.name != suites.REFERENCE]
    known = {s.name for s in suites.SUITES}
    if unknown := [name for name in options.suite if name not in known]:
        parser.error(f"no suite {unknown[0]}; there are: {' '.join(sorted(known))}")
    options.suite = options.suite or every
    return options


def show_standing(names: list[str], real: bool) -> int:
    """What the books say of each suite; 1 when something is open."""
    left = 0
    for name in names:
        passed, cannot, still = suites.standing(suites.find(name), real)
        for i in still:
            print(f"open: {i}")
        print(f"{name:24} passed {len(passed)}, cannot {len(cannot)}, open {len(still)}")
        left += len(still)
    return 1 if left else 0


def main() -> int:
    options, lost = parse(), 0
    if options.standing:
        return show_standing(options.suite, options.real)
    summary = []
    for name in options.suite:
        suite = suites.find(name)
        outcome = run_suite(suite, options)
        if outcome is None:
            summary.append(f"{name:24} not run: the cloud has no service of type {suite.needs}")
            continue
        unexplained = show(outcome)
        if not options.only and name != suites.REFERENCE:
            record(outcome)
        if options.update and name != suites.REFERENCE:
            passed = [i for i, word in outcome.verdicts.items() if word == "passed"]
            print(f"new in the ratchet: {suites.raise_ratchet(suite, options.real, passed)}")
        lost += len(outcome.lost) + len(unexplained)
        summary.append(f"{name:24} passed {outcome.count('passed')} of {len(outcome.verdicts)}")
    print("\n" + "\n".join(summary))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
