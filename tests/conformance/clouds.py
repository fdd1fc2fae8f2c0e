"""A cloud for one run of tests: started with its own state on a free port, filled with what Tempest expects, ended."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PASSWORD = "conformance"
SETTINGS = "[compute]\nhosts = 2\n"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
    return port


class Cloud:
    """Simulated, or with real servers (as root), with its state in `folder`."""

    def __init__(self, folder: Path, real: bool, settings: str = "", database: str = "") -> None:
        self.database = database  # a URL; "": SQLite in the state directory
        self.folder, self.real, self.token, self.services = folder, real, "", set[str]()
        self.port, self.s3_port = free_port(), free_port()
        self.settings = settings.replace("@FOLDER@", str(folder)).replace("@S3_PORT@", str(self.s3_port))
        self.url = f"http://127.0.0.1:{self.port}"

    def command(self, *words: str) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "src"),
            "OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml"),
        }
        if self.database:
            environment["NUTSHELL_CLOUD_DATABASE"] = self.database
        command = [sys.executable, "-m", "nutshell.cli", *words, "--state", str(self.folder / "state")]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    def up(self) -> None:
        settings = self.folder / "nutshell.toml"
        settings.write_text(("" if self.real else SETTINGS) + self.settings)
        self.folder.chmod(0o755)  # real: the API runs as another user
        kind = () if self.real else ("--simulate",)
        rest = ("--admin-password", PASSWORD, "--config", str(settings))
        self.command("up", *kind, "--port", str(self.port), *rest)
        self.token, found = self._sign_in()
        self.services = {entry["type"] for entry in found["token"]["catalog"]}

    def _sign_in(self) -> tuple[str, Any]:
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        with self._open("/identity/v3/auth/tokens", body) as answer:
            return answer.headers["X-Subject-Token"], json.load(answer)

    def _open(self, path: str, body: object = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("X-Auth-Token", self.token)
        request.add_header("Content-Type", "application/json")
        return urllib.request.urlopen(request)

    def call(self, path: str, body: object = None, method: str | None = None) -> Any:
        with self._open(path, body, method) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def facts(self, http_image: str, more_extensions: str) -> dict[str, str]:
        """What the configuration names of this cloud; flavors, types and roles that tests use are made."""
        images = {i["name"]: i["id"] for i in self.call("/image/v2/images")["images"]}
        networks = self.call("/network/v2.0/networks?router:external=true")["networks"]
        extensions = self.call("/network/v2.0/extensions")["extensions"]
        for n, ram in ((1, 128), (2, 192)):
            flavor = {"id": f"tempest-{n}", "name": f"tempest-{n}", "ram": ram, "disk": n, "vcpus": 1}
            self.call("/compute/v2.1/flavors", {"flavor": flavor})
        shared = {"name": "multiattach", "extra_specs": {"multiattach": "<is> True"}}
        self.call("/volume/v3/types", {"volume_type": shared})
        self._make_roles("ResellerAdmin", "creator")
        pool = self.call("/volume/v3/scheduler-stats/get_pools?detail=true")["pools"][0]["capabilities"]
        tiny = self.folder / "state" / "cache" / "tiny.qcow2"
        return {
            "PASSWORD": PASSWORD,
            "IDENTITY": f"{self.url}/identity/v3",
            "IMAGE": images["cirros"],
            "OTHER_IMAGE": images["cirros-alt"],
            "FLAVOR": "tempest-1",
            "OTHER_FLAVOR": "tempest-2",
            "PUBLIC": networks[0]["id"],
            "EXTENSIONS": ",".join(
                [*sorted(e["alias"] for e in extensions), *filter(None, more_extensions.split(","))]
            ),
            "PROTOCOL": pool["storage_protocol"],
            "VENDOR": pool["vendor_name"],
            "HYPERVISOR": "QEMU" if self.real else "memory",
            "HOST": self._first_host(),
            "HOSTS": "1" if self.real else "2",
            "SWIFT": str("object-store" in self.services).lower(),
            "REAL": str(self.real).lower(),
            "PATIENCE": "300" if self.real else "1",  # seconds for a guest to answer; simulated ones never do
            "HTTP_IMAGE": http_image,
            "IMAGE_FILE": str(tiny if self.real else self.folder / "served" / "image.qcow2"),
        }

    def _first_host(self) -> str:
        """Hosts are taken in hand by a loop, a moment after the cloud answers."""
        end = time.monotonic() + 60
        while not (found := self.call("/compute/v2.1/os-services?binary=nova-compute")["services"]):
            assert time.monotonic() < end, "the cloud has no hosts"
            time.sleep(0.05)
        return min(one["host"] for one in found)

    def register_limits(self) -> None:
        """What an operator registers before services take their quotas from identity; the tests set their own."""
        services = {s["name"]: s["id"] for s in self.call("/identity/v3/services")["services"]}
        names = {
            "glance": ("image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"),
            "nova": ("servers", "class:VCPU", "class:MEMORY_MB", "class:DISK_GB"),
        }
        given = [
            {"service_id": services[s], "region_id": "RegionOne", "resource_name": name, "default_limit": 100_000}
            for s, resources in names.items()
            for name in resources
        ]
        self.call("/identity/v3/registered_limits", {"registered_limits": given})

    def _make_roles(self, *wanted: str) -> None:
        there = {r["name"] for r in self.call("/identity/v3/roles")["roles"]}
        for name in wanted:
            if name not in there:
                self.call("/identity/v3/roles", {"role": {"name": name}})


def wait_until(what: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
