"""A small cloud on the `linux` network driver, and the API's metadata endpoint in its place, for tests."""

import http.server
import json
import os
from pathlib import Path
from threading import Thread
from typing import Any

from tests.contract.standins import StandIn

from nutshell.host.net.driver import LinuxNetwork
from nutshell.network.capability import FloatingIp, Group, Lease, Network, Port, Router, RouterLeg, Rule, Subnet

SECRET = "swordfish"


def any_egress() -> Rule:
    return Rule("egress", 4, None, None, None, None, None)


def tcp_in(port: int, *, cidr: str | None = None, group: str | None = None) -> Rule:
    return Rule("ingress", 4, "tcp", port, port, cidr, group)


PING_IN = Rule("ingress", 4, "icmp", 8, 0, None, None)


class FakeApi(http.server.ThreadingHTTPServer):
    """Stands for the API's metadata endpoint and remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/metadata"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FakeApi

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        answer = json.dumps({"path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None: ...


class World:
    """One cloud: a tenant network with three ports, a router, an external network; number keeps clouds apart."""

    def __init__(self, directory: Path, number: int, api: FakeApi, cloud: str = "") -> None:
        self.directory = directory
        self.cloud = cloud or f"w{number}{os.getpid() % 0xFFFF:04x}"
        self.api = api
        self.guests: dict[int, StandIn] = {}
        octet = 40 + number
        self.external = Network(
            f"ext-{number}",
            900,
            1500,
            True,
            (Subnet("sx", f"172.31.{octet}.0/24", 4, f"172.31.{octet}.1", False, None),),
        )
        self.outside = f"172.31.{octet}"
        leases = tuple(Lease(f"p{n}", mac(n), f"10.9.0.{10 + n}", f"vm{n}") for n in (1, 2, 3))
        subnet = Subnet(
            "s1", "10.9.0.0/24", 4, "10.9.0.1", True, "10.9.0.2", (), (("10.77.0.0/16", "10.9.0.9"),), leases
        )
        self.network = Network("net-1", 7, 1442, False, (subnet,), "cloud.test", "dhcp-1", "fa:16:3e:09:00:02")
        self.groups = {
            "web": Group("web", (any_egress(), tcp_in(80), PING_IN), ("10.9.0.11",)),
            "plain": Group("plain", (any_egress(),), ("10.9.0.12", "10.9.0.13")),
        }
        self.ports = {
            n: Port(f"p{n}", "net-1", mac(n), (f"10.9.0.{10 + n}",), True, ("web",) if n == 1 else ("plain",))
            for n in (1, 2, 3)
        }
        self.router = Router(
            "r1", True, (RouterLeg("leg-1", "net-1", "fa:16:3e:09:00:01", ("10.9.0.1/24",)),),
            RouterLeg("gw-1", f"ext-{number}", f"fa:16:3e:09:0{number}:fe", (f"{self.outside}.10/24",)),
            f"{self.outside}.1", True, (FloatingIp(f"{self.outside}.101", "10.9.0.11"),),
        )  # fmt: skip
        self.driver = self.start()

    def start(self) -> LinuxNetwork:
        self.driver = LinuxNetwork(self.directory, self.cloud, (self.api.base, SECRET))
        return self.driver

    def build(self) -> None:
        self.driver.ensure_network(self.external)
        self.driver.ensure_network(self.network)
        self.driver.ensure_groups(list(self.groups.values()))
        self.driver.ensure_ports(list(self.ports.values()))
        self.driver.ensure_router(self.router)

    def set_group(self, group_id: str, *rules: Rule, members: tuple[str, ...] | None = None) -> None:
        group = self.groups[group_id]
        self.groups[group_id] = Group(group_id, rules or group.rules, group.members if members is None else members)
        self.driver.ensure_groups([self.groups[group_id]])

    def guest(self, number: int) -> StandIn:
        """The guest on that port, addressed by DHCP."""
        if number not in self.guests:
            tap = self.driver.open_tap(f"p{number}")
            self.guests[number] = StandIn(self.directory, f"{self.cloud}-guest{number}", mac(number), tap)
            assert self.guests[number].dhcp()["ip"] == f"10.9.0.{10 + number}"
        return self.guests[number]

    def close(self) -> None:
        for guest in self.guests.values():
            guest.close()
        self.driver.remove_everything()
        self.driver.close()


def mac(number: int) -> str:
    return f"fa:16:3e:09:01:{number:02x}"
