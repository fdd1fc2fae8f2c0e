"""Runs a pinned list of Tempest's tests against a simulated cloud of its own and says what passed.

`make conformance SUITE=compute`, or `python tests/conformance/run.py compute [--only REGEX]`. A test of the list that
was skipped or did not run counts as not passed. Source: https://docs.openstack.org/tempest/latest/.
"""

import argparse
import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PASSWORD = "conformance"
SETTINGS = "[compute]\nhosts = 2\n"


class Cloud:
    """A simulated cloud on a free port, with its state in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, ""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def command(self, *words: str) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "src"),
            "OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml"),
        }
        command = [sys.executable, "-m", "nutshell.cli", *words, "--state", str(self.folder / "state")]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    def up(self) -> None:
        (self.folder / "nutshell.toml").write_text(SETTINGS)
        rest = ["--admin-password", PASSWORD, "--config", str(self.folder / "nutshell.toml")]
        self.command("up", "--simulate", "--port", str(self.port), *rest)
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        request = urllib.request.Request(f"{self.url}/identity/v3/auth/tokens", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            self.token = answer.headers["X-Subject-Token"]

    def call(self, path: str, body: object = None, method: str | None = None) -> dict[str, list[dict[str, str]]]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("X-Auth-Token", self.token)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            found: dict[str, list[dict[str, str]]] = json.load(answer)
        return found

    def facts(self) -> dict[str, str]:
        """What the configuration names of this cloud; the flavors and the volume type Tempest uses are made."""
        images = self.call("/image/v2/images")["images"]
        networks = self.call("/network/v2.0/networks?router:external=true")["networks"]
        for n, ram in ((1, 128), (2, 192)):
            flavor = {"id": f"tempest-{n}", "name": f"tempest-{n}", "ram": ram, "disk": n, "vcpus": 1}
            self.call("/compute/v2.1/flavors", {"flavor": flavor})
        shared = {"name": "multiattach", "extra_specs": {"multiattach": "<is> True"}}
        self.call("/volume/v3/types", {"volume_type": shared})
        return {
            "PASSWORD": PASSWORD,
            "IDENTITY": f"{self.url}/identity/v3",
            "IMAGE": images[0]["id"],
            "OTHER_IMAGE": images[1]["id"],
            "FLAVOR": "tempest-1",
            "OTHER_FLAVOR": "tempest-2",
            "PUBLIC": networks[0]["id"],
        }


def wanted(suite: str, only: str) -> list[str]:
    """The ids of a list, narrowed by a regular expression."""
    ids = (HERE / "lists" / f"{suite}.txt").read_text().split("\n")
    return [i for i in ids if i and re.search(only, i)]


def run_tempest(binaries: Path, folder: Path, facts: dict[str, str], ids: Sequence[str], workers: int) -> None:
    """One run in a new workspace; its output goes to the screen."""
    workspace = folder / "workspace"
    registry = ["--workspace-path", str(folder / "workspaces.yaml")]
    init = [str(binaries / "tempest"), "init", str(workspace), *registry]
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
    text = (HERE / "tempest.conf").read_text()
    for name, value in {**facts, "WORKSPACE": str(workspace)}.items():
        text = text.replace(f"@{name}@", value)
    (workspace / "etc" / "tempest.conf").write_text(text)
    (workspace / "ids.txt").write_text("\n".join(ids) + "\n")
    command = [str(binaries / "tempest"), "run", "-w", str(workers), "--load-list", "ids.txt", *registry]
    subprocess.run(command, cwd=workspace, check=False)


def results(binaries: Path, folder: Path) -> dict[str, str]:
    """Test id → success, failure or skip; a class that could not be set up stands under its own name."""
    last = subprocess.run([binaries / "stestr", "last", "--subunit"], cwd=folder / "workspace", capture_output=True)
    table = subprocess.run([binaries / "subunit2csv"], input=last.stdout, capture_output=True)
    rows = csv.DictReader(table.stdout.decode().splitlines())
    return {r["test"]: r["status"] for r in rows}


def judge(ids: Sequence[str], found: dict[str, str]) -> dict[str, str]:
    """Every id of the list → passed, failed, skipped or not run."""
    words = {"success": "passed", "failure": "failed", "skip": "skipped"}
    classes = {m[1]: s for t, s in found.items() if (m := re.match(r"setUpClass \((.*)\)", t))}
    judged = {}
    for i in ids:
        status = found.get(i) or classes.get(i.split("[")[0].rpartition(".")[0], "")
        judged[i] = words.get(status, "not run")
    return judged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", help="a name in tests/conformance/lists")
    parser.add_argument("--only", default="", help="a regular expression the ids must match")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tempest", type=Path, default=Path(os.environ.get("TEMPEST", ROOT / ".venv-tempest")))
    parser.add_argument("--keep", type=Path, help="a directory for the workspace; kept")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="conformance-"))
    folder.mkdir(parents=True, exist_ok=True)
    ids, cloud, began = wanted(options.suite, options.only), Cloud(folder), time.monotonic()
    cloud.up()
    try:
        run_tempest(options.tempest / "bin", folder, cloud.facts(), ids, options.workers)
        judged = judge(ids, results(options.tempest / "bin", folder))
    finally:
        cloud.command("down")
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    for i, word in sorted(judged.items()):
        if word in ("failed", "not run"):
            print(f"{word}: {i}")
    counts = Counter(judged.values())
    print(f"{options.suite}: {len(ids)} tests, {time.monotonic() - began:.0f} s")
    for word in ("passed", "failed", "skipped", "not run"):
        print(f"  {word:8}{counts[word]:5}")
    return 0 if counts["passed"] + counts["skipped"] == len(ids) else 1


if __name__ == "__main__":
    sys.exit(main())
