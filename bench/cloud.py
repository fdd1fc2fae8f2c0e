"""A cloud of its own for a benchmark, and a keep-alive client for it."""

import http.client
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
from urllib.parse import urlsplit


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


class Client:
    """One connection, one token. `call` returns (status, headers, decoded body)."""

    def __init__(self, base: str, user: str, password: str, project: str) -> None:
        at = urlsplit(base)
        self.connection = http.client.HTTPConnection(at.hostname or "", at.port or 80, timeout=120)
        self.token, self.project_id = "", ""
        self.login_body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "password": password, "domain": {"id": "default"}}},
                },
                "scope": {"project": {"name": project, "domain": {"id": "default"}}},
            }
        }

    def login(self) -> None:
        status, headers, body = self.call("POST", "/identity/v3/auth/tokens", self.login_body)
        assert status == 201, body
        self.token = headers["x-subject-token"]
        self.project_id = body["token"]["project"]["id"]

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        send = {"Content-Type": "application/json", **(headers or {})}
        if self.token:
            send["X-Auth-Token"] = self.token
        data = json.dumps(body).encode() if body is not None else None
        self.connection.request(method, path, data, send)
        answer = self.connection.getresponse()
        raw = answer.read()
        kept = {k.lower(): v for k, v in answer.getheaders()}
        decoded = json.loads(raw) if raw and "json" in kept.get("content-type", "") else raw
        return answer.status, kept, decoded

    def get(self, path: str, **rest: Any) -> Any:
        status, _, body = self.call("GET", path, **rest)
        assert status == 200, (path, status, body)
        return body


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
    """Logged in with the generated password; credentials.json is {"admin": {...}, "demo": {...}} or flat."""
    found = json.loads((state / "credentials.json").read_text())
    mine = found.get(name, found)
    password = mine["password"] if isinstance(mine, dict) else mine
    client = Client(base, name, password, name)
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
