"""A simulated cloud that is killed and started again, and what must hold of it afterwards."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.database import environment_for
from tests.ports import free_port

from nutshell.testing.client import Client

SETTLE_S = 30.0


class KilledCloud:
    """`nutshell up` with `options`; `kill` is SIGKILL, `restart` another `up` on the same state."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state, self.options = state, options
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> str:
        env = os.environ | environment_for(self.state) | {"OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml")}
        done = subprocess.run(
            [sys.executable, "-m", "nutshell.cli", *arguments, "--state", str(self.state)],
            capture_output=True, text=True, env=env, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self) -> None:
        self.command("up", *self.options, "--port", str(self.port))

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.command("status", "--json"))["pids"]
        return found

    def kill(self, which: str = "api") -> None:
        pid = self.pids_now[which]
        os.kill(pid, signal.SIGKILL)

    def remember_pids(self) -> None:
        self.pids_now = self.pids()

    def client(self, name: str = "demo") -> Client:
        found = json.loads((self.state / "credentials.json").read_text())[name]
        client = Client(self.base, name, found["password"], found["project"])
        client.login()
        return client

    def down(self) -> None:
        self.command("down")


def acknowledged(work: Callable[[], tuple[int, Any, Any]]) -> tuple[int, Any] | None:
    """(status, body) of a call, or None when the cloud died before it answered."""
    try:
        status, _, body = work()
    except (OSError, AssertionError) as why:
        if isinstance(why, AssertionError):
            raise
        return None
    except Exception as why:  # http.client raises several kinds when the other side vanishes
        if type(why).__module__ == "http.client":
            return None
        raise
    return status, body


def kill_after(cloud: KilledCloud, delay_s: float, work: Callable[[], tuple[int, Any, Any]], which: str = "api") -> Any:
    """Start the call, kill the process `delay_s` after it was sent; what was acknowledged."""
    killer = threading.Timer(delay_s, cloud.kill, args=(which,))
    killer.start()
    answer = acknowledged(work)
    killer.join()
    return answer


def until(check: Callable[[], Any], what: str, seconds: float = SETTLE_S) -> Any:
    """Ask until the answer is true; fail naming what never came."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.02)
