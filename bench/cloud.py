"""A cloud of its own for a benchmark, and a keep-alive client for it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nutshell.testing.client import Client


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def nutshell(*arguments: str, **rest: Any) -> subprocess.CompletedProcess[str]:
    """Run the command; raises with its words when it fails."""
    env = os.environ | {"OS_CLIENT_CONFIG_FILE": rest.pop("clouds", os.devnull)}
    done = subprocess.run(
        [sys.executable, "-m", "nutshell.cli", *arguments], capture_output=True, text=True, env=env, timeout=600
    )
    if done.returncode:
        raise RuntimeError(f"nutshell {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done


@contextmanager
def cloud(*, simulate: bool = True) -> Iterator[tuple[str, Path]]:
    """A running cloud in a temporary state directory: (base URL, state)."""
    with tempfile.TemporaryDirectory(prefix="nutshell-bench-") as name:
        port = free_port()
        state = Path(name)
        nutshell("up", *(["--simulate"] if simulate else []), "--state", name, "--port", str(port))
        try:
            yield f"http://127.0.0.1:{port}", state
        finally:
            nutshell("down", "--state", name)


def admin(base: str, state: Path, name: str = "admin") -> Client:
    """Logged in as "admin" or "demo" with the generated password."""
    found = json.loads((state / "credentials.json").read_text())[name]
    client = Client(base, name, found["password"], found["project"])
    client.login()
    return client


def pss_mib(pids: list[int]) -> float:
    """Proportional set size of processes: shared pages divided by their users."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def wait(check: Any, timeout_s: float = 120, pause_s: float = 0.002) -> Any:
    """Ask until the answer is true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(pause_s)
    raise TimeoutError
