"""A cloud of real servers that is killed: how it is used, and how what its API says is compared with the machine."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.crash.killed import KilledCloud, acknowledged, until
from tests.crash.machine import Machine, identify

from nutshell.cli.demo.guests import Guest, make_key
from nutshell.cli.processes import find
from nutshell.testing.client import Client

PATIENCE_S = 120.0
VERSION = {"OpenStack-API-Version": "compute 2.90"}
BOTH = ("api", "host")
SERVERS, PORTS = "/compute/v2.1/servers", "/network/v2.0/ports"
VOLUMES, FLOATING = "/volume/v3/volumes", "/network/v2.0/floatingips"
ROUTERS, NETWORKS = "/network/v2.0/routers", "/network/v2.0/networks"


class RealCloud:
    """`nutshell up` in `state`; `client` is demo's, `admin` sees everything. Both are new after each restart."""

    def __init__(self, state: Path) -> None:
        self.cloud = KilledCloud(state)
        self.state = state

    def up(self) -> None:
        self.cloud.up()
        self.machine: Machine = identify(self.state)
        self.client: Client = self.cloud.client()
        self.admin: Client = self.cloud.client("admin")

    def kill(self, *which: str) -> None:
        """SIGKILL to these processes, all at the same moment."""
        for pid in [self.pid(one) for one in which]:
            os.kill(pid, signal.SIGKILL)

    def pid(self, which: str) -> int:
        return int(json.loads((self.state / "run" / f"{which}.json").read_text())["pid"])

    def alive(self) -> list[str]:
        """Which of our processes run."""
        return [one for one in BOTH if find(self.state / "run" / f"{one}.json") is not None]

    def strike(self, which: Iterable[str], moment_s: float, work: Callable[[], tuple[int, Any, Any]]) -> Any:
        """Do the work, kill `moment_s` after it began, start again. (status, body) if it was acknowledged."""
        killer = threading.Timer(moment_s, self.kill, args=tuple(which))
        killer.start()
        answer = acknowledged(work)
        killer.join()
        self.up()
        return answer

    # things of the demo project

    def ready(self) -> None:
        """Open the default group, upload a key, learn image, flavor and networks."""
        self.key, public = make_key(self.state)
        self.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "public_key": public}}, 201)
        group = self.client.get("/network/v2.0/security-groups?name=default")["security_groups"][0]["id"]
        for protocol in ("icmp", "tcp"):
            rule = {"security_group_id": group, "direction": "ingress", "protocol": protocol}
            self.post("/network/v2.0/security-group-rules", {"security_group_rule": rule}, 201)
        until(lambda: self._image() is not None, "an active image", PATIENCE_S)
        self.image = str(self._image())
        flavors = self.client.get("/compute/v2.1/flavors/detail")["flavors"]
        self.flavor = str(min(flavors, key=lambda f: (f["ram"], f["disk"]))["id"])
        self.private = str(self.client.get(f"{NETWORKS}?name=private")["networks"][0]["id"])
        self.public = str(self.client.get(f"{NETWORKS}?name=public")["networks"][0]["id"])

    def _image(self) -> str | None:
        images = self.client.get("/image/v2/images?status=active")["images"]
        return next((one["id"] for one in images if "tiny" in one["name"] or "cirros" in one["name"]), None)

    def post(self, path: str, body: Any, wanted: int) -> Any:
        status, _, made = self.client.call("POST", path, body, VERSION)
        assert status == wanted, (path, status, made)
        return made

    def server_body(self, **more: Any) -> dict[str, Any]:
        nets = [{"uuid": self.private}]
        wanted = {"name": "s", "imageRef": self.image, "flavorRef": self.flavor, "networks": nets, "key_name": "k"}
        return {"server": {**wanted, **more}}

    def make_server(self, **more: Any) -> str:
        server_id = str(self.post(SERVERS, self.server_body(**more), 202)["server"]["id"])
        self.await_server(server_id, "ACTIVE")
        return server_id

    def server(self, server_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"{SERVERS}/{server_id}")["server"]
        return found

    def await_server(self, server_id: str, wanted: str, seconds: float = PATIENCE_S) -> None:
        def settled() -> bool:
            found = self.server(server_id)
            assert wanted == "ERROR" or found["status"] != "ERROR", found
            return bool(found["status"] == wanted and found["OS-EXT-STS:task_state"] is None)

        until(settled, f"server {server_id} {wanted}", seconds)

    def make_volume(self) -> str:
        made = self.post(VOLUMES, {"volume": {"size": 1, "name": "v"}}, 202)["volume"]
        self.await_volume(made["id"], "available")
        return str(made["id"])

    def await_volume(self, volume_id: str, wanted: str) -> None:
        until(lambda: self.volume(volume_id) == wanted, f"volume {volume_id} {wanted}", PATIENCE_S)

    def volume(self, volume_id: str) -> str:
        return str(self.client.get(f"{VOLUMES}/{volume_id}")["volume"]["status"])

    def port_of(self, server_id: str) -> str:
        return str(self.client.get(f"{PORTS}?device_id={server_id}")["ports"][0]["id"])

    def make_floating(self, port_id: str | None = None) -> tuple[str, str]:
        """(id, address)"""
        wanted = {"floating_network_id": self.public, **({"port_id": port_id} if port_id else {})}
        made = self.post(FLOATING, {"floatingip": wanted}, 201)["floatingip"]
        return str(made["id"]), str(made["floating_ip_address"])

    def post_floating(self, floating_id: str, port_id: str | None) -> None:
        """Lead the floating IP to the port, or nowhere."""
        body = {"floatingip": {"port_id": port_id}}
        status, _, answer = self.client.call("PUT", f"{FLOATING}/{floating_id}", body)
        assert status == 200, answer

    def address_of(self, server_id: str) -> str:
        """The server's floating IP."""
        found = self.server(server_id)["addresses"]
        return str(next(a["addr"] for n in found.values() for a in n if a["OS-EXT-IPS:type"] == "floating"))

    def guest(self, address: str) -> Guest:
        return Guest(address, self.key)

    def delete(self, path: str) -> None:
        status, _, body = self.client.call("DELETE", path)
        assert status in (202, 204, 404), (path, status, body)

    def gone(self, path: str) -> None:
        until(lambda: self.client.call("GET", path)[0] == 404, f"{path} gone", PATIENCE_S)

    # comparing

    def differences(self) -> dict[str, Any]:
        """What the API and the machine do not agree on, and what is between two states."""
        servers = self.admin.get(f"{SERVERS}/detail?all_tenants=1")["servers"]
        volumes = self.admin.get(f"{VOLUMES}/detail?all_tenants=1")["volumes"]
        ports = self.admin.get(PORTS)["ports"]
        networks = {n["id"] for n in self.admin.get(NETWORKS)["networks"]}
        routers = self.admin.get(ROUTERS)["routers"]
        floating = self.admin.get(FLOATING)["floatingips"]
        groups = {g["id"] for g in self.admin.get("/network/v2.0/security-groups")["security_groups"]}
        here = self.machine
        mine = {p["id"] for p in ports if p["device_owner"].startswith("compute:")}
        served = {p["network_id"] for p in ports if p["device_owner"] == "network:dhcp"}
        placed = {s["id"] for s in servers}
        pairs: dict[str, tuple[set[Any], set[Any]]] = {
            "guests": ({s["id"] for s in servers if s["status"] == "ACTIVE"}, set(here.guests())),
            "guests' files": (placed, here.names("guests")),
            "sockets": ({s["id"] for s in servers if s["status"] == "ACTIVE"}, _stems(here.names("s"))),
            "disks": (placed, here.names("disks")),
            "volumes": ({v["id"] for v in volumes}, here.names("volumes", ends=".raw") - {"snapshots"}),
            "taps": (mine, here.links("tap")),
            "tap files": (mine, here.names("net", "ports", ends=".json")),
            "bridges": (networks, here.links("br")),
            "network files": (networks, here.names("net", "networks", ends=".json")),
            "network spaces": (served, here.namespaces("n-")),
            "router spaces": ({r["id"] for r in routers}, here.namespaces("r-")),
            "router files": ({r["id"] for r in routers}, here.names("net", "routers", ends=".json")),
            "groups": (groups, here.names("net", "groups", ends=".json")),
            "devices of ports": ({p["device_id"] for p in ports if p["id"] in mine}, placed),
            "DHCP servers": ({len(served)}, {len(here.servers_of_names())}),
            "halves": (set(), set(here.halves())),
            "server states": (set(), {s["id"] for s in servers if s["OS-EXT-STS:task_state"]}),
            "volume states": (set(), {v["status"] for v in volumes} - {"available", "in-use"}),
            "floating states": (set(), {f["id"] for f in floating if f["status"] != _wanted(f)}),
            "attachments": (_attached(servers), _held(volumes)),
        }
        return {what: {"API": said, "machine": there} for what, (said, there) in pairs.items() if said != there}

    def settles(self) -> None:
        """Everything agrees within a time, and still does a moment later."""
        end = time.monotonic() + PATIENCE_S
        calm = 0
        while calm < 2:
            found = self.differences()
            calm = 0 if found else calm + 1
            assert time.monotonic() < end, found
            time.sleep(0.2)


def _stems(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _wanted(floating: dict[str, Any]) -> str:
    return "ACTIVE" if floating["port_id"] else "DOWN"


def _attached(servers: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(s["id"], v["id"]) for s in servers for v in s["os-extended-volumes:volumes_attached"]}


def _held(volumes: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(a["server_id"], v["id"]) for v in volumes for a in v["attachments"]}
