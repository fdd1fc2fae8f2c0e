"""The kill farm: `kill -9` at random moments under random work, and a check after each that nothing was lost.

`make kill-farm [SEED=…] [KILLS=…] [DATABASE=postgresql] [REAL=1]`. The same seed asks for the same work in the same
order of each worker; what the moments of death meet is as the machine has it.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    ROOT = Path(__file__).parents[3]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    os.environ["PYTHONPATH"] = str(ROOT / "src")  # for the processes of the clouds

from tests import database
from tests.crash.farm.check import adopt, settle
from tests.crash.farm.ledger import Ledger
from tests.crash.farm.lives import Real, Simulated
from tests.crash.farm.objects import check_objects
from tests.crash.farm.work import WORKERS, Given, Worker
from tests.crash.killed import KilledCloud

from nutshell.testing.client import Client

LONGEST_S = 0.6  # of work between two kills


@dataclass
class Report:
    kills: int = 0
    asked: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    logged: dict[str, int] = field(default_factory=dict)


class Farm:
    """One cloud that is killed again and again."""

    def __init__(self, seed: str, state: Path, real: bool) -> None:
        self.seed, self.state, self.real = seed, state, real
        self.random = random.Random(seed)
        self.patience_s = 120.0 if real else 30.0
        self.report = Report()
        self.begin()

    def begin(self) -> None:
        self.ledger = Ledger()
        self.cloud = KilledCloud(self.state)
        self.life = (Real if self.real else Simulated)(self.cloud, self.random)
        self.users = self.cloud.client(), self.cloud.client("admin")
        end = time.monotonic() + 60
        while True:
            try:
                self.given = Given(*self.clients())
                return
            except IndexError:  # the first image is still made
                assert time.monotonic() < end
                time.sleep(0.2)

    def clients(self) -> tuple[Client, Client]:
        """Connections of their own with the tokens of the first login, which outlive every kill."""
        demo, admin = (copy(user) for user in self.users)
        for client in (demo, admin):
            client.connection = HTTPConnection("127.0.0.1", self.cloud.port, timeout=120)
        return demo, admin

    def kill(self) -> None:
        self.life.kill()
        self.report.kills += 1

    def start(self) -> None:
        self.report.kills += self.life.start()

    def round(self, number: int) -> None:
        """Work, kill, start, sometimes kill again while it recovers, check."""
        ended = threading.Event()
        if number % 50 == 0:  # tokens live for an hour
            self.users = self.cloud.client(), self.cloud.client("admin")
        workers = [Worker(n, f"{self.seed}-{number}", self.ledger, self.clients(), self.given) for n in range(WORKERS)]
        threads = [threading.Thread(target=w.run, args=(ended,)) for w in workers]
        for thread in threads:
            thread.start()
        moment = self.random.uniform(0, LONGEST_S) * (3 if self.real else 1)
        time.sleep(moment)
        self.kill()
        ended.set()
        for thread in threads:
            thread.join()
        self.start()
        while self.random.random() < 0.25:  # while the loops go on with what was left
            time.sleep(self.random.uniform(0, 0.15))
            self.kill()
            self.start()
        demo, admin = self.clients()
        lost = check_objects(demo, self.ledger.stored)  # they need no time to settle
        view, wrong = settle(demo, admin, self.ledger, self.patience_s)
        wrong += lost + [w for worker in workers for w in worker.wrong]
        self.report.asked += sum(len(w.done) for w in workers)
        if wrong:
            last = {w.number: w.done[-12:] for w in workers}
            self.find({"round": number, "moment_s": round(moment, 3), "wrong": wrong, "asked": last})
        else:
            adopt(self.ledger, view)

    def find(self, finding: dict[str, Any]) -> None:
        """Keep what is needed to look into it, and go on with a new cloud."""
        kept = self.state.with_name(f"{self.state.name}-finding-{len(self.report.findings)}")
        shutil.copytree(self.state, kept, ignore=shutil.ignore_patterns("*.sock", "disks", "s"), dirs_exist_ok=True)
        self.report.findings.append(finding | {"kept": str(kept)})
        print(json.dumps(finding, indent=1, default=str), flush=True)
        self.read_log()
        self.end()
        self.begin()

    def read_log(self) -> None:
        """What the processes wrote of exceptions nobody expected."""
        for log in (self.state / "log").glob("*.log"):
            for line in log.read_text(errors="replace").splitlines():
                with suppress(ValueError):
                    said = json.loads(line)
                    if "exception" in said:
                        last = f"{said['log']}: {said['message'][:40]}: {said['exception'].splitlines()[-1][:160]}"
                        self.report.logged[last] = self.report.logged.get(last, 0) + 1

    def end(self) -> None:
        self.life.end()


@contextmanager
def on(kind: str) -> Iterator[None]:
    """With a PostgreSQL server of the farm's own, where that is asked for."""
    if kind == "sqlite" or database.on_postgresql():
        yield
        return
    with database.server() as url:
        os.environ[database.SERVER] = url
        try:
            yield
        finally:
            del os.environ[database.SERVER]


def farm(seed: str, kills: int, kind: str = "sqlite", real: bool = False) -> Report:
    """Kill so often; what was found."""
    parent = Path(tempfile.mkdtemp(prefix="nutshell-farm-"))
    parent.chmod(0o755)
    began = time.monotonic()
    with on(kind) if kind == "postgresql" else nullcontext():
        made = Farm(seed, parent / "s", real)
        number = 0
        try:
            while made.report.kills < kills:
                number += 1
                made.round(number)
                if number % 10 == 0:
                    took = time.monotonic() - began
                    print(
                        f"{made.report.kills} kills, {made.report.asked} requests, "
                        f"{len(made.report.findings)} findings, {took:.0f} s",
                        flush=True,
                    )
        finally:
            made.read_log()
            made.end()
    if not made.report.findings:
        shutil.rmtree(parent, ignore_errors=True)
    return made.report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", default="1")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--real", action="store_true", help="QEMU instead of the simulation (as root)")
    given = parser.parse_args()
    report = farm(given.seed, given.kills, given.database, given.real)
    for line, count in sorted(report.logged.items()):
        print(f"logged {count} times: {line}")
    for one in report.findings:
        print(f"finding in round {one['round']}: {one['wrong']}; kept in {one['kept']}")
    print(f"{report.kills} kills, {report.asked} requests answered or cut off, {len(report.findings)} findings")
    raise SystemExit(bool(report.findings))


if __name__ == "__main__":
    main()
