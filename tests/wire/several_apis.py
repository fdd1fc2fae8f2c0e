"""Several API processes of one simulated cloud on one PostgreSQL database, for tests."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.ports import free_port

from nutshell.testing.client import Client

NEWEST = {"OpenStack-API-Version": "compute 2.90"}


class SeveralApis:
    """`nutshell up` and `nutshell join`: `ports` and `pids` in the order of their start."""

    def __init__(self, state: Path, url: str, count: int, toml: str = "") -> None:
        self.state, self.url = state, url
        self.ports = [free_port() for _ in range(count)]
        state.mkdir(parents=True)
        (state / "nutshell.toml").write_text(toml)
        self.run("up", "--simulate", "--port", str(self.ports[0]), "--database", url)
        for port in self.ports[1:]:
            self.run("join", "--port", str(port))
        names = ["api", *(f"api-{p}" for p in self.ports[1:])]
        self.pids = [json.loads((state / "run" / f"{name}.json").read_text())["pid"] for name in names]

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "nutshell.cli", *arguments, "--state", str(self.state)]
        env = os.environ | {"OS_CLIENT_CONFIG_FILE": str(self.state.parent / "clouds.yaml")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self, which: int, name: str = "demo") -> Client:
        """A user of its own connection to one of the processes."""
        found = json.loads((self.state / "credentials.json").read_text())[name]
        made = Client(f"http://127.0.0.1:{self.ports[which]}", name, found["password"], found["project"])
        made.login()
        return made

    def leaders(self) -> dict[int, int]:
        """How many loops each process leads, by pid."""
        import psycopg

        with psycopg.connect(self.url) as c:
            rows = c.execute(
                "SELECT a.application_name, count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND l.objid <> 0 AND a.datname = current_database() GROUP BY 1"
            ).fetchall()
        return {int(name.removeprefix("nutshell-")): count for name, count in rows}

    def end(self) -> None:
        self.run("down")


def until(check: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)
    return found
