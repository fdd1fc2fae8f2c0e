"""`nutshell demo` on a simulated cloud, twice, and on real servers; a failure is a failure."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.database import environment_for
from tests.ports import free_port

from nutshell.app import SERVICES

NEEDED = {"identity", "image", "placement", "compute", "network", "volume"}
pytestmark = pytest.mark.skipif(not set(SERVICES) >= NEEDED, reason="needs all six services")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(short_path: Path) -> Iterator[Run]:
    environment = {
        **os.environ,
        **environment_for(short_path / "state"),
        "OS_CLIENT_CONFIG_FILE": str(short_path / "clouds.yaml"),
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nutshell.cli", *arguments, "--state", str(short_path / "state")]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)

    yield call
    call("reset", "--yes")


def test_it_shows_what_a_simulated_cloud_can_and_runs_again(run: Run) -> None:
    up = run("up", "--simulate", "--port", str(free_port()))
    assert up.returncode == 0, up.stderr
    for _ in range(2):
        shown = run("demo")
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert "FAILED" not in shown.stdout
        assert "ok       boot server nutshell-demo-two" in shown.stdout
        assert "skipped  read the file on the second server" in shown.stdout
    assert json.loads(run("status", "--json").stdout)["state"] == "up"


def test_without_a_cloud_it_says_how_to_get_one(run: Run) -> None:
    shown = run("demo")
    assert (shown.returncode, "nutshell up" in shown.stderr) == (1, True)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_it_shows_everything_on_real_servers(run: Run) -> None:
    up = run("up", "--port", str(free_port()))
    assert up.returncode == 0, up.stderr
    shown = run("demo")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "skipped" not in shown.stdout
    assert "ok       read the file on the second server" in shown.stdout
    assert run("down").returncode == 0
