"""One run of Swift's own functional tests, its S3 tests among them, over exact test ids.

The tests are in Swift's source distribution, which `make conformance` unpacks beside an environment that can run them.
Source: https://docs.openstack.org/swift/latest/development_guidelines.html ("Functional Tests").
"""

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from clouds import Cloud

FOLDERS = {"swift-functional": ("test/functional", "--ignore=test/functional/s3api"),
           "swift-s3": ("test/functional/s3api", "test/s3api")}  # fmt: skip
SECRET = "testing"
# The number in the configuration → (user, project, role): two owners, one who may do nothing of himself, an owner in
# another domain, and an administrator of all accounts. The three first use S3.
PEOPLE = {1: ("tester", "test", "member"), 2: ("tester2", "test2", "member"), 3: ("tester3", "test", "guest"),
          4: ("tester4", "test4", "member"), 6: ("tester6", "test", "ResellerAdmin")}  # fmt: skip
AWAY = {4: "test-domain"}  # the others are of the default domain
LOGINS = {1: "auth_uri = {url}/auth/v1.0", 3: "auth_version = 3\nauth_uri = {url}/identity/v3"}
CONFIGURATION = """
[func_test]
{login}
s3_storage_url = {s3}/
s3_region = us-east-1
collate = C
insecure = no
{people}
[s3api_test]
endpoint = {s3}
region = us-east-1
s3_acl_tests_enabled = True
{keys}
"""
WORST = ("passed", "skipped", "failed")


class SwiftTests:
    """Swift's tests with a configuration for this cloud, where their users are made."""

    def __init__(self, environment: Path, folder: Path, cloud: Cloud, suite: str) -> None:
        self._python, self._suite = environment.absolute() / "bin" / "python", suite
        self._source = next((environment / "source").glob("swift-*"))
        self._folder = folder
        make_people(cloud)
        self._cloud = cloud
        people, keys = [], []
        for n, (user, project, _) in PEOPLE.items():
            end = "" if n == 1 else str(n)
            mine = {"account": project, "username": user, "password": SECRET, "domain": AWAY.get(n, "Default"),
                    "s3_access_key": f"{project}:{user}", "s3_secret_key": SECRET}  # fmt: skip
            people += [f"{key}{end} = {value}" for key, value in mine.items()]
            keys += [] if n > 3 else [f"access_key{n} = {project}:{user}", f"secret_key{n} = {SECRET}"]
        places = {"url": cloud.url, "s3": f"http://127.0.0.1:{cloud.s3_port}"}
        for version, login in LOGINS.items():
            said = {"login": login.format(**places), "people": "\n".join(people), "keys": "\n".join(keys)}
            (folder / f"swift-v{version}.conf").write_text(CONFIGURATION.format(**places, **said))

    def run(self, ids: Sequence[str], workers: int, serial: bool = False) -> dict[str, str]:
        """Every id → passed, failed, skipped or not run. One after the other: the tests share their accounts.

        What skips itself with logins of version 1 is asked again with those of identity's API.
        """
        found = self._run(ids, 1)
        skipped = [i for i in ids if found[i] == "skipped"]
        if not skipped or self._suite != "swift-functional":
            return found
        move_accounts_to_the_root(self._cloud)
        return found | self._run(skipped, 3)

    def _run(self, ids: Sequence[str], version: int) -> dict[str, str]:
        report = self._folder / "report.xml"
        report.unlink(missing_ok=True)
        what = [node(i) for i in ids] if len(ids) < 100 else FOLDERS[self._suite]
        command = [self._python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *what]
        environment = os.environ | {"SWIFT_TEST_CONFIG_FILE": str(self._folder / f"swift-v{version}.conf")}
        environment.pop("AWS_CA_BUNDLE", None)
        subprocess.run(command, cwd=self._source, check=False, env=environment)
        found = verdicts(report)
        return {i: found.get(i, "not run") for i in ids}


def node(test_id: str) -> str:
    """As pytest wants it: "test.functional.test_account.TestAccount.test_x" → "test/…/test_account.py::…::…"."""
    *modules, name, test = test_id.split(".")
    return f"{'/'.join(modules)}.py::{name}::{test}"


def verdicts(report: Path) -> dict[str, str]:
    """Every id of pytest's report → passed, failed or skipped; of what comes twice, the worse."""
    found: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        test_id = f"{case.get('classname')}.{case.get('name')}"
        kinds = {child.tag for child in case}
        word = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[test_id] = max(word, found.get(test_id, "passed"), key=WORST.index)
    return found


def make_people(cloud: Cloud) -> None:
    """The tests' users, each with a key for S3 that the configuration can name beforehand."""
    roles = {r["name"]: r["id"] for r in cloud.call("/identity/v3/roles")["roles"]}
    projects: dict[str, str] = {}
    domains = {name: cloud.call("/identity/v3/domains", {"domain": {"name": name}})["domain"]["id"]
               for name in AWAY.values()}  # fmt: skip
    for n, (user, project, role) in PEOPLE.items():
        domain = domains[AWAY[n]] if n in AWAY else "default"
        if project not in projects:
            made = cloud.call("/identity/v3/projects", {"project": {"name": project, "domain_id": domain}})
            projects[project] = made["project"]["id"]
        if role not in roles:
            roles[role] = cloud.call("/identity/v3/roles", {"role": {"name": role}})["role"]["id"]
        home = projects[project]
        person = {"name": user, "password": SECRET, "domain_id": domain, "default_project_id": home}
        user_id = cloud.call("/identity/v3/users", {"user": person})["user"]["id"]
        cloud.call(f"/identity/v3/projects/{home}/users/{user_id}/roles/{roles[role]}", method="PUT")
        key = json.dumps({"access": f"{project}:{user}", "secret": SECRET})
        given = {"type": "ec2", "user_id": user_id, "project_id": home, "blob": key}
        cloud.call("/identity/v3/credentials", {"credential": given})


def move_accounts_to_the_root(cloud: Cloud) -> None:
    """In the catalog: the tests cut the account out of an address by its place."""
    for one in cloud.call("/identity/v3/endpoints")["endpoints"]:
        if "/object-store/v1/" in one["url"]:
            url = one["url"].replace("/object-store/v1/", "/v1/")
            cloud.call(f"/identity/v3/endpoints/{one['id']}", {"endpoint": {"url": url}}, method="PATCH")
