"""The examples of docs/TESTING.md, run as their readers would: files of a test suite of their own."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest.importorskip("openstack")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "TESTING.md").read_text()


def examples() -> dict[str, str]:
    return {m[1]: m[2] for m in re.finditer(r"^```python (test_\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)}


def test_the_examples_pass(tmp_path: Path) -> None:
    found = examples()
    assert len(found) == 3
    for name, code in found.items():
        (tmp_path / name).write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
    installed = any(point.name == "nutshell" for point in entry_points(group="pytest11"))  # then pytest finds it itself
    plugin = [] if installed else ["-p", "nutshell.testing.plugin"]
    options = ["-q", "--durations=4", *plugin, "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)], capture_output=True, text=True, env=env, timeout=300
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"{sum(code.count('def test_') for code in found.values())} passed" in done.stdout


def test_the_first_example_passes() -> None:
    code = re.search(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert code is not None
    exec(compile(code[1], "docs/TESTING.md", "exec"), {})
