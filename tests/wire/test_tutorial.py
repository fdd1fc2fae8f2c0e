"""docs/TUTORIAL.md, run as a reader would: every command in one shell, what it prints compared with the page."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.database import environment_for
from tests.ports import free_port

from nutshell.app import SERVICES

NEEDED = ("identity", "image", "placement", "compute", "network", "volume")
PAGE = Path(__file__).parents[2] / "docs" / "TUTORIAL.md"
PATIENCE_S = 180


@dataclass(frozen=True)
class Step:
    line: int
    command: str
    expected: tuple[str, ...]


def steps(text: str, kind: str) -> Iterator[Step]:
    """The page's commands, of the blocks for everybody and of those for this kind of cloud."""
    taking, command, expected, line = False, "", [], 0
    for number, row in enumerate(text.splitlines(), 1):
        if row.startswith("```"):
            if command:
                yield Step(line, command, tuple(expected))
                command = ""
            words = row.removeprefix("```").split()
            taking = bool(words) and words[0] == "console" and words[1:] in ([], [kind])
        elif taking and row.startswith("$ "):
            if command:
                yield Step(line, command, tuple(expected))
            command, expected, line = row.removeprefix("$ "), [], number
        elif taking:
            expected.append(row)


def matches(expected: tuple[str, ...], got: str) -> bool:
    """Whether the output is what stands below the command; a line `…` stands for any lines."""
    pattern = "\n".join(".*" if row == "…" else re.escape(row.rstrip()) for row in expected)
    rows = "\n".join(row.rstrip() for row in got.strip().splitlines())
    return re.fullmatch(pattern, rows, re.DOTALL) is not None


def openstack() -> str | None:
    beside = Path(sys.executable).parent / "openstack"
    return str(beside) if beside.exists() else shutil.which("openstack")


class Shell:
    """One bash that keeps its variables from step to step."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.end = "--end of step--"
        self.process = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=environment, text=True, bufsize=1, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "stderr").open("w"),
        )  # fmt: skip

    def run(self, command: str) -> tuple[int, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{{ {command}\n}} </dev/null\necho; echo '{self.end}' $?\n")
        said: list[str] = []
        for row in self.process.stdout:
            if row.startswith(self.end):
                return int(row.split()[-1]), "".join(said)
            said.append(row)
        return 255, "".join(said)


def walk(tmp_path: Path, kind: str) -> None:
    port = free_port()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nutshell").write_text(f'#!/bin/sh\nexec {sys.executable} -m nutshell.cli "$@"\n')
    (tmp_path / "bin" / "nutshell").chmod(0o755)
    client = openstack()
    assert client is not None
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("OS_", "NUTSHELL_"))},
        "PATH": f"{tmp_path / 'bin'}:{Path(client).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml"),
        **environment_for(tmp_path / "state"),
        "NUTSHELL_CLOUD_STATE": str(tmp_path / "state"),
        "NUTSHELL_CLOUD_PORT": str(port),
    }
    shell = Shell(tmp_path, environment)
    try:
        shell.run("set -a")  # commands that wait run in a shell of their own
        for step in steps(PAGE.read_text(), kind):
            code, got = shell.run(
                f"timeout {PATIENCE_S} bash -c {_quoted(step.command)}" if _loops(step) else step.command
            )
            where = f"{PAGE.name}:{step.line}: {step.command}"
            assert code == 0, f"{where}\nended with {code}: {got}{(tmp_path / 'stderr').read_text()[-1500:]}"
            assert matches(step.expected, got), f"{where}\nprinted {got!r}\nand not {step.expected}"
    finally:
        shell.process.kill()
        down = [sys.executable, "-m", "nutshell.cli", "reset", "--yes"]
        subprocess.run(down, env=environment, check=True, stdout=subprocess.DEVNULL)


def _loops(step: Step) -> bool:
    """Commands that wait are cut off when what they wait for does not come."""
    return step.command.startswith("until ")


def _quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


def test_the_runner_reads_the_page() -> None:
    page = "```console\n$ a\n$ b\nx\n```\ntext\n```console real\n$ c\n…\n```\n```sh\n$ d\n```\n"
    assert [(s.command, s.expected) for s in steps(page, "simulated")] == [("a", ()), ("b", ("x",))]
    assert [s.command for s in steps(page, "real")] == ["a", "b", "c"]
    assert matches(("x", "…"), "x\n1\n2\n")
    assert not matches(("x",), "y")
    assert not matches((), "y")


@pytest.mark.slow
@pytest.mark.skipif(not set(NEEDED) <= set(SERVICES), reason="needs all six services")
@pytest.mark.skipif(openstack() is None, reason="needs python-openstackclient")
def test_the_tutorial_on_a_simulated_cloud(tmp_path: Path) -> None:
    walk(tmp_path, "simulated")


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(openstack() is None, reason="needs python-openstackclient")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_tutorial_on_real_servers(short_path: Path) -> None:
    walk(short_path, "real")
