"""How the farm's cloud is started and killed: a simulated one by a zygote, a real one by `nutshell up`."""

import json
import os
import random
from contextlib import suppress
from pathlib import Path

from tests import database
from tests.crash.farm.zygote import Zygote
from tests.crash.killed import KilledCloud

from nutshell.cli.up import bring_up, read_wanted


def up(cloud: KilledCloud, simulate: bool) -> None:
    """As `nutshell up`, without a process for the command."""
    state, before = cloud.state, dict(os.environ)
    os.environ |= database.environment_for(state)
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(state.parent / "clouds.yaml")
    given = {"state": state, "port": cloud.port, "simulate": simulate}
    try:
        bring_up(read_wanted(given, None, os.environ), lambda _: None)
    finally:  # what other tests start must not end up in this database
        os.environ.clear()
        os.environ.update(before)


def recorded(state: Path, which: str) -> int:
    pid: int = json.loads((state / "run" / f"{which}.json").read_text())["pid"]
    return pid


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, 9)


class Simulated:
    """One process; it is also killed while it starts."""

    def __init__(self, cloud: KilledCloud, moments: random.Random) -> None:
        self.cloud, self.random = cloud, moments
        up(cloud, True)
        self.pid = recorded(cloud.state, "api")
        self.zygote = Zygote(cloud.state, cloud.port, database.database_for(cloud.state))

    def kill(self) -> None:
        kill(self.pid)

    def start(self) -> int:
        """Start it again; how often it was killed on the way."""
        kills = 0
        while self.random.random() < 0.2:
            kills += self.zygote.start_and_kill(self.random.uniform(0, 0.3))
        self.pid = self.zygote.start()
        return kills

    def end(self) -> None:
        self.kill()
        self.zygote.end()
        with suppress(AssertionError):
            self.cloud.command("reset", "--yes")


class Real:
    """Two processes, of which either or both are killed; guests and networks outlive them."""

    def __init__(self, cloud: KilledCloud, moments: random.Random) -> None:
        self.cloud, self.random = cloud, moments
        up(cloud, False)

    def kill(self) -> None:
        which = self.random.choice([["api"], ["host"], ["api", "host"]])
        for pid in [recorded(self.cloud.state, one) for one in which]:
            kill(pid)

    def start(self) -> int:
        up(self.cloud, False)
        return 0

    def end(self) -> None:
        with suppress(AssertionError):
            self.cloud.command("reset", "--yes")
