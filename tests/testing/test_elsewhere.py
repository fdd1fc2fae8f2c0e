"""The GitHub Action and the container file: what can be checked of them without GitHub and without a container."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.ports import free_port

from nutshell.cli.places import read_json

ROOT = Path(__file__).parents[2]
KNOWN = {"FROM", "COPY", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with `nutshell` and `python`, as an installation makes them."""
    folder = tmp_path / "nutshell-bin"
    folder.mkdir()
    for name, more in (("nutshell", "-m nutshell.cli "), ("python", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {more}"$@"\n')
        script.chmod(0o755)
    return folder


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in text.splitlines() if line.strip()]


def environment(bin_folder: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "NUTSHELL_"))}
    path = f"{bin_folder}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path]), **more}


def test_the_container_file_says_what_it_should() -> None:
    said = instructions()
    assert {name for name, _ in said} <= KNOWN
    for name, rest in said:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    assert [rest for name, rest in said if name == "USER"] == ["5000"]
    assert [rest for name, rest in said if name == "EXPOSE"] == ["5000"]
    names = [name for name, _ in said]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")


def test_the_containers_command_starts_a_healthy_cloud_and_ends_on_sigterm(tmp_path: Path, bin_folder: Path) -> None:
    said = dict(instructions())
    port = str(free_port())
    env = environment(bin_folder, **dict(pair.split("=", 1) for pair in said["ENV"].split()))
    env |= {"NUTSHELL_CLOUD_STATE": str(tmp_path / "state"), "NUTSHELL_CLOUD_PORT": port, "HOME": str(tmp_path)}
    health = json.loads(said["HEALTHCHECK"].split("CMD", 1)[1])
    cloud = subprocess.Popen(json.loads(said["ENTRYPOINT"]), env=env, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(health, env=env, capture_output=True).returncode != 0:
            assert time.monotonic() < deadline
            assert cloud.poll() is None
            time.sleep(0.1)
        cloud.send_signal(signal.SIGTERM)
        assert cloud.wait(30) == 0
        assert cloud.stdout is not None
        assert f":{port}/" in cloud.stdout.read()
    finally:
        cloud.kill()
        cloud.communicate()
    assert subprocess.run(health, env=env, capture_output=True).returncode != 0


def test_the_action_starts_a_cloud_and_tells_where_it_is(tmp_path: Path, bin_folder: Path) -> None:
    action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    steps = {step["id"]: step for step in action["runs"]["steps"]}
    assert all("run" not in step or step["shell"] == "bash" for step in steps.values())
    assert not any("${{" in step.get("run", "") for step in steps.values())  # what users give stays out of the script
    for value in action["outputs"].values():
        name = re.fullmatch(r"\$\{\{ steps\.start\.outputs\.([\w-]+) \}\}", value["value"])
        assert name is not None
        assert f"{name[1]}=" in steps["start"]["run"]
    port = str(free_port())
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
    more = {"PORT": port, "STATE": "", "RUNNER_TEMP": str(tmp_path), "OS_CLIENT_CONFIG_FILE": str(tmp_path / "c.yaml")}
    env = environment(bin_folder, NUTSHELL_FAULTS_ENABLED="true", **files, **more)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", steps["start"]["run"]], env=env, capture_output=True, text=True, timeout=120
    )
    try:
        assert done.returncode == 0, done.stderr
        state = tmp_path / "nutshell-state"
        outputs = dict(line.split("=", 1) for line in Path(files["GITHUB_OUTPUT"]).read_text().splitlines())
        assert outputs["auth-url"] == f"http://127.0.0.1:{port}/identity/v3"
        assert outputs["state"] == str(state)
        assert "nutshell-admin" in yaml.safe_load(Path(outputs["clouds-yaml"]).read_text())["clouds"]
        assert "OS_CLIENT_CONFIG_FILE=" in Path(files["GITHUB_ENV"]).read_text()
        for account in (read_json(state / "credentials.json") or {}).values():
            assert f"::add-mask::{account['password']}\n" in done.stdout
            assert done.stdout.count(account["password"]) == 1
    finally:
        subprocess.run(["nutshell", "down", "--state", str(tmp_path / "nutshell-state")], env=env, check=True)
