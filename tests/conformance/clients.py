"""Runs the official clients' own functional tests, unmodified, on a cloud of their own: `make conformance-clients`.

python tests/conformance/clients.py [SUITE …] [--only REGEX] [--venv DIR] [--keep DIR]
The clients (`clients.txt`) lie in an environment of their own; their tests are part of their packages. What failed is
run once more, alone. Each whole run writes its figures into `clients.json`; what cannot pass stands in `CANNOT`, with
its reason, and anything else that does not pass fails the run.
"""

import argparse
import csv
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clouds import PASSWORD, ROOT, Cloud, wait_until
from tempest_runs import WORDS

HERE = Path(__file__).parent
RESULTS = HERE / "clients.json"


@dataclass(frozen=True)
class Client:
    """Tests of a client's package below a folder of it."""

    name: str
    package: str  # as pip knows it
    tests: str  # the module below which they lie
    serial: bool = False  # tests that give the same name to what they make


CLIENTS = (
    Client("osc-identity", "python-openstackclient", "openstackclient.tests.functional.identity.v3"),
    Client("osc-image", "python-openstackclient", "openstackclient.tests.functional.image.v2"),
    Client("keystoneclient", "python-keystoneclient", "keystoneclient.tests.functional"),
    Client("glanceclient", "python-glanceclient", "glanceclient.tests.functional.v2"),
    Client("sdk-identity", "openstacksdk", "openstack.tests.functional.identity", serial=True),
    Client("sdk-image", "openstacksdk", "openstack.tests.functional.image", serial=True),
)
CANNOT: Mapping[str, str] = {}


def reason_of(test_id: str) -> str:
    """Why this test cannot pass, or "" where nothing says so."""
    return next((why for pattern, why in CANNOT.items() if re.search(pattern, test_id)), "")


def clouds_yaml(cloud: Cloud) -> str:
    """The names that DevStack gives, by which the tests find their cloud."""
    users = {
        "devstack-admin": ("admin", PASSWORD, "project_name: admin, project_domain_id: default"),
        "devstack-system-admin": ("admin", PASSWORD, "system_scope: all"),
    }
    given = json.loads((cloud.folder / "state" / "credentials.json").read_text())["demo"]["password"]
    users["devstack"] = ("demo", given, "project_name: demo, project_domain_id: default")
    users["devstack-alt"] = ("alt_demo", PASSWORD, "project_name: alt_demo, project_domain_id: default")
    lines = ["clouds:"]
    for name, (user, password, scope) in users.items():
        auth = f"auth_url: {cloud.url}/identity, username: {user}, user_domain_id: default, password: {password}, "
        lines += [f"  {name}:", f"    auth: {{{auth}{scope}}}", "    region_name: RegionOne"]
    return "\n".join(lines) + "\n"


def prepare(cloud: Cloud) -> None:
    """What DevStack makes beside our first users."""
    domain = {"domain_id": "default"}
    project = cloud.call("/identity/v3/projects", {"project": {"name": "alt_demo", **domain}})["project"]["id"]
    wanted = {"user": {"name": "alt_demo", "password": PASSWORD, **domain}}
    user = cloud.call("/identity/v3/users", wanted)["user"]["id"]
    roles = {r["name"]: r["id"] for r in cloud.call("/identity/v3/roles")["roles"]}
    cloud.call(f"/identity/v3/projects/{project}/users/{user}/roles/{roles['member']}", method="PUT")


class Runner:
    """stestr in a folder with the tests of one client."""

    def __init__(self, venv: Path, folder: Path, client: Client, clouds: str) -> None:
        self.binaries, self.path = venv.resolve() / "bin", folder / "run"
        self.path.mkdir(parents=True)
        self.site = next((venv.resolve() / "lib").glob("python*/site-packages"))
        config = folder / "clouds.yaml"
        config.write_text(clouds)
        (self.path / "clouds.yaml").write_text(clouds)  # where a client looks whose environment is emptied
        below = self.site / client.tests.replace(".", "/")
        (self.path / ".stestr.conf").write_text(f"[DEFAULT]\ntest_path={below}\ntop_dir={self.site}\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "PYTHON"))}
        self.environment = kept | {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "OS_CLIENT_CONFIG_FILE": str(config),
            "OS_GLANCECLIENT_EXEC_DIR": str(self.binaries),
            "OS_TEST_TIMEOUT": "600",
        }
        (self.path / "CONTRIBUTING.rst").write_text(
            "A file that tests upload.\n" * 40
        )  # of the folder they are run from
        self.call("init")
        self._server: subprocess.Popen[bytes] | None = None
        if client.package == "python-openstackclient":
            self._load_client(folder)

    def _load_client(self, folder: Path) -> None:
        """The client once in memory, instead of from the disk for each command."""
        command = folder / "bin" / "openstack"
        command.parent.mkdir()
        words = [self.binaries / "python", HERE / "quick_openstack.py", folder / "client.sock", command]
        self._server = subprocess.Popen(words, cwd=self.path, env=self.environment)
        if not wait_until(command.exists, 300):
            raise SystemExit("the client was not loaded")
        self.environment["PATH"] = f"{command.parent}:{self.environment['PATH']}"

    def close(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait()

    def call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self.binaries / "stestr"), *words]
        return subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True)

    def ids(self, only: str) -> list[str]:
        done = self.call("list")
        if done.returncode:
            raise SystemExit(f"stestr list: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return [i for i in done.stdout.split() if re.search(only, i)]

    def run(self, ids: Sequence[str], workers: int) -> dict[str, str]:
        """Every id → passed, failed, skipped or not run; what failed is said on the screen."""
        (self.path / "ids.txt").write_text("\n".join(ids) + "\n")
        done = self.call("run", "--concurrency", str(workers), "--load-list", "ids.txt")
        raw = subprocess.run(
            [self.binaries / "stestr", "last", "--subunit"], cwd=self.path, env=self.environment, capture_output=True
        )
        table = subprocess.run([self.binaries / "subunit2csv"], input=raw.stdout, capture_output=True)
        rows = list(csv.DictReader(table.stdout.decode().splitlines()))
        if not rows or any(r["status"] == "failure" for r in rows):
            print(done.stdout[-60_000:], done.stderr[-4000:], flush=True)
        return judge(ids, [(r["test"], r["status"]) for r in rows])


def judge(ids: Sequence[str], rows: Sequence[tuple[str, str]]) -> dict[str, str]:
    """A class that could not be set up, or was skipped whole, is reported once and stands for all its tests."""
    tests = dict(rows)
    classes = {m[1]: s for t, s in rows if (m := re.match(r"setUpClass \((.*)\)", t))}
    return {i: WORDS.get(tests.get(i) or classes.get(i.rpartition(".")[0], ""), "not run") for i in ids}


def run_client(client: Client, options: argparse.Namespace) -> bool:
    """Whether all that can pass passed."""
    folder = Path(options.keep or tempfile.mkdtemp(prefix="clients-")) / client.name
    folder.mkdir(parents=True, exist_ok=True)
    cloud, began = Cloud(folder, False), time.monotonic()
    cloud.up()
    try:
        prepare(cloud)
        runner = Runner(options.venv, folder, client, clouds_yaml(cloud))
        try:
            ids = runner.ids(options.only)
            verdicts = runner.run(ids, 1 if client.serial else options.workers)
            failed = [i for i in ids if verdicts[i] in {"failed", "not run"} and not reason_of(i)]
            if failed:
                print(f"{len(failed)} are run again, alone", flush=True)
                verdicts |= runner.run(failed, 1)
        finally:
            runner.close()
    finally:
        cloud.command("reset", "--yes")
        if options.keep is None:
            shutil.rmtree(folder.parent, ignore_errors=True)
    return show(client, verdicts, time.monotonic() - began, bool(options.only))


def show(client: Client, verdicts: Mapping[str, str], seconds: float, part: bool) -> bool:
    left = [i for i, word in verdicts.items() if word != "passed" and not reason_of(i)]
    for i in sorted(left):
        print(f"{verdicts[i]}: {i}")
    for i, word in verdicts.items():
        if word == "passed" and reason_of(i):
            print(f"passed, though CANNOT says otherwise: {i}")
    counts = Counter(verdicts.values())
    print(f"{client.name}: passed {counts['passed']} of {len(verdicts)} in {seconds:.0f} s, {dict(counts)}", flush=True)
    if not part:
        record(client, verdicts, seconds, len(left))
    return not left


def record(client: Client, verdicts: Mapping[str, str], seconds: float, left: int) -> None:
    """Writes the figures of a whole run."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    counts = Counter(verdicts.values())
    entry = {
        "suite": client.name,
        "client": pinned(client.package),
        "tests": len(verdicts),
        **{word.replace(" ", "_"): counts[word] for word in ("passed", "failed", "skipped", "not run")},
        "open": left,
        "seconds": round(seconds),
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
    }
    order = [c.name for c in CLIENTS]
    kept = [e for e in json.loads(RESULTS.read_text()) if e["suite"] in order and e["suite"] != client.name]
    kept = sorted([*kept, entry], key=lambda e: order.index(e["suite"]))
    RESULTS.write_text("[\n" + ",\n".join(f" {json.dumps(e)}" for e in kept) + "\n]\n")


def pinned(package: str) -> str:
    lines = (HERE / "clients.txt").read_text().split("\n")
    return next(line.replace("==", " ") for line in lines if line.startswith(f"{package}=="))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="*", help=f"of: {' '.join(c.name for c in CLIENTS)}; none: all")
    parser.add_argument("--only", default="", help="a regular expression the ids must match; figures are not kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-clients")
    parser.add_argument("--keep", help="a directory for the clouds' states and the tests' logs; kept")
    options = parser.parse_args()
    known = {c.name: c for c in CLIENTS}
    if unknown := [name for name in options.suite if name not in known]:
        parser.error(f"no suite {unknown[0]}; there are: {' '.join(known)}")
    done = [run_client(known[name], options) for name in options.suite or known]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
