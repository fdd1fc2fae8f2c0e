"""Servers, ports and volumes under random work, against a small model of what must then be there.

After each step the loops settle; statuses, quotas, allocations, addresses and attachments agree with the model.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.fuzz.people import Side, _people
from tests.fuzz.world import Reply, World

COM, NET, VOL, PLA = "/compute/v2.1", "/network/v2.0", "/volume/v3", "/placement"
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
EXAMPLES = max(6, int(MINUTES * 12))
FLAVORS = {"small": (1, 64), "large": (2, 128)}  # name → vcpus, MiB
STABLE = {"ACTIVE", "SHUTOFF", "VERIFY_RESIZE", "PAUSED", "SUSPENDED", "SHELVED_OFFLOADED", "ERROR"}
SETTLED = {"available", "in-use", "error"}
pick = st.integers(0, 3)


@dataclass
class Guest:
    """What a server should be."""

    flavor: str
    status: str = "ACTIVE"
    ports: set[str] = field(default_factory=set)  # the user's own
    made: int = 0  # ports that were made for it
    volumes: set[str] = field(default_factory=set)
    before: str = ""  # the flavor it is resized from
    was: str = "ACTIVE"  # the status before the resize


class Cloudy(RuleBasedStateMachine):
    """Random work of one user; refused steps change nothing."""

    world: ClassVar[World]
    side: ClassVar[Side]
    flavors: ClassVar[dict[str, str]]
    network: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.guests: dict[str, Guest] = {}
        self.ports: dict[str, str] = {}  # id → server, or ""
        self.volumes: dict[str, int] = {}  # id → GiB
        self.log: list[str] = []

    # -- talking

    def ask(self, method: str, path: str, body: Any = None) -> Reply:
        reply = self.world.call(method, path, body, token=self.side.token)
        assert reply.status < 500, self.story(f"{method} {path} {body}: {reply.status} {reply.raw!r}")
        self.log.append(f"{method} {path} {body or ''} → {reply.status}")
        return reply

    def get(self, path: str, token: str = "") -> Any:
        reply = self.world.call("GET", path, token=token or self.side.token)
        assert reply.status == 200, self.story(f"{path}: {reply.status} {reply.raw!r}")
        return reply.body

    def story(self, why: str) -> str:
        return why + "\nthe steps were:\n" + "\n".join(self.log)

    def act(self, server: str, name: str, value: Any = None) -> bool:
        """Whether the action was accepted; settled afterwards."""
        accepted = self.ask("POST", f"{COM}/servers/{server}/action", {name: value}).status < 300
        self.settle()
        return accepted

    def settle(self) -> None:
        for server in self.guests:
            self.world.until(lambda server=server: self._still(server), 20)
        self.world.until(lambda: all(v["status"] in SETTLED for v in self._volumes().values()), 20)

    def _still(self, server: str) -> bool:
        found = self.get(f"{COM}/servers/{server}")["server"]
        return found["OS-EXT-STS:task_state"] is None and found["status"] in STABLE

    def _volumes(self) -> dict[str, Any]:
        return {v["id"]: v for v in self.get(f"{VOL}/volumes/detail")["volumes"]}

    @staticmethod
    def one_of(things: Any, which: int) -> str:
        known = sorted(things)
        return known[which % len(known)] if known else ""

    def holder(self, volume: str) -> str:
        return next((s for s, g in self.guests.items() if volume in g.volumes), "")

    # -- work

    @initialize()
    def begin(self) -> None:
        self.boot(0, False)

    @rule(size=st.integers(1, 3))
    def make_volume(self, size: int) -> None:
        if len(self.volumes) < 4:
            made = self.ask("POST", f"{VOL}/volumes", {"volume": {"size": size}})
            assert made.status == 202
            self.volumes[made.body["volume"]["id"]] = size
            self.settle()

    @rule()
    def make_port(self) -> None:
        if len(self.ports) < 4:
            made = self.ask("POST", f"{NET}/ports", {"port": {"network_id": self.network}})
            assert made.status == 201
            self.ports[made.body["port"]["id"]] = ""

    @rule(which=pick, own_port=st.booleans())
    def boot(self, which: int, own_port: bool) -> None:
        if len(self.guests) >= 3:
            return
        port = self.one_of(self.ports, which) if own_port else ""
        nic = {"port": port} if port else {"uuid": self.network}
        flavor = "large" if which == 3 else "small"
        given = {"name": "s", "flavorRef": self.flavors[flavor], "imageRef": self.side.ids["image"], "networks": [nic]}
        reply = self.ask("POST", f"{COM}/servers", {"server": given})
        taken = bool(port) and self.ports[port] != ""
        assert (reply.status == 202) is not taken, self.story(f"boot: {reply.raw!r}")
        if taken:
            return
        server = reply.body["server"]["id"]
        self.guests[server] = Guest(flavor, ports={port} if port else set(), made=0 if port else 1)
        if port:
            self.ports[port] = server
        self.settle()

    @rule(server=pick, volume=pick)
    def attach(self, server: int, volume: int) -> None:
        s, v = self.one_of(self.guests, server), self.one_of(self.volumes, volume)
        if not s or not v:
            return
        body = {"volumeAttachment": {"volumeId": v}}
        reply = self.ask("POST", f"{COM}/servers/{s}/os-volume_attachments", body)
        may = not self.holder(v) and self.guests[s].status not in ("VERIFY_RESIZE",)
        if reply.status < 300:
            assert may, self.story("an attached volume was attached again")
            self.guests[s].volumes.add(v)
        else:
            assert not may or self.guests[s].status == "SUSPENDED", self.story(f"attach: {reply.raw!r}")
        self.settle()

    @rule(server=pick, volume=pick)
    def detach(self, server: int, volume: int) -> None:
        s, v = self.one_of(self.guests, server), self.one_of(self.volumes, volume)
        if not s or not v:
            return
        reply = self.ask("DELETE", f"{COM}/servers/{s}/os-volume_attachments/{v}")
        if reply.status < 300:
            assert v in self.guests[s].volumes, self.story("what was not attached was detached")
            self.guests[s].volumes.discard(v)
            self.world.until(lambda: self._volumes()[v]["status"] == "available", 20)
        self.settle()

    @rule(server=pick, port=pick)
    def plug(self, server: int, port: int) -> None:
        s, p = self.one_of(self.guests, server), self.one_of(self.ports, port)
        if not s or not p:
            return
        reply = self.ask("POST", f"{COM}/servers/{s}/os-interface", {"interfaceAttachment": {"port_id": p}})
        if reply.status < 300:
            assert not self.ports[p], self.story("a port in use was plugged again")
            self.ports[p] = s
            self.guests[s].ports.add(p)
        self.settle()

    @rule(server=pick, port=pick)
    def unplug(self, server: int, port: int) -> None:
        s, p = self.one_of(self.guests, server), self.one_of(self.ports, port)
        if not s or not p:
            return
        reply = self.ask("DELETE", f"{COM}/servers/{s}/os-interface/{p}")
        if reply.status < 300:
            assert self.ports[p] == s, self.story("a port of another server was unplugged")
            self.guests[s].ports.discard(p)
            path = f"{COM}/servers/{s}/os-interface"
            gone = lambda: all(i["port_id"] != p for i in self.get(path)["interfaceAttachments"])  # noqa: E731
            self.world.until(gone, 20)
            self.ports[p] = (
                "" if self.world.call("GET", f"{NET}/ports/{p}", token=self.side.token).status == 200 else "x"
            )
            if self.ports[p] == "x":
                del self.ports[p]
        self.settle()

    @rule(which=pick, what=st.sampled_from(["os-stop", "os-start", "pause", "unpause", "suspend", "resume", "reboot"]))
    def power(self, which: int, what: str) -> None:
        s = self.one_of(self.guests, which)
        if not s:
            return
        guest = self.guests[s]
        moves = {
            "os-stop": ({"ACTIVE", "ERROR"}, "SHUTOFF"), "os-start": ({"SHUTOFF"}, "ACTIVE"),
            "pause": ({"ACTIVE"}, "PAUSED"), "unpause": ({"PAUSED"}, "ACTIVE"),
            "suspend": ({"ACTIVE"}, "SUSPENDED"), "resume": ({"SUSPENDED"}, "ACTIVE"),
            "reboot": ({"ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED", "ERROR"}, "ACTIVE"),
        }  # fmt: skip
        before, after = moves[what]
        accepted = self.act(s, what, {"type": "HARD"} if what == "reboot" else None)
        assert accepted is (guest.status in before), self.story(f"{what} of a server that is {guest.status}")
        if accepted:
            guest.status = after

    @rule(which=pick)
    def resize(self, which: int) -> None:
        s = self.one_of(self.guests, which)
        if not s:
            return
        guest = self.guests[s]
        other = "large" if guest.flavor == "small" else "small"
        if self.act(s, "resize", {"flavorRef": self.flavors[other]}):
            assert guest.status in ("ACTIVE", "SHUTOFF"), self.story(f"resize of a server that is {guest.status}")
            guest.before, guest.flavor, guest.was, guest.status = guest.flavor, other, guest.status, "VERIFY_RESIZE"

    @rule(which=pick, keep=st.booleans())
    def decide(self, which: int, keep: bool) -> None:
        s = self.one_of(self.guests, which)
        if not s:
            return
        guest = self.guests[s]
        accepted = self.act(s, "confirmResize" if keep else "revertResize")
        assert accepted is (guest.status == "VERIFY_RESIZE"), self.story(f"decided on one that is {guest.status}")
        if accepted:
            # nothing but its status tells that it is being decided (as in Nova: there is no task)
            self.world.until(lambda: self.get(f"{COM}/servers/{s}")["server"]["status"] != "VERIFY_RESIZE", 20)
            self.settle()
            guest.flavor = guest.flavor if keep else guest.before
            guest.before, guest.status = "", guest.was

    @rule(which=pick)
    def extend(self, which: int) -> None:
        v = self.one_of(self.volumes, which)
        if v and self.volumes[v] < 5:
            size = self.volumes[v] + 1
            reply = self.ask("POST", f"{VOL}/volumes/{v}/action", {"os-extend": {"new_size": size}})
            if reply.status < 300:
                self.volumes[v] = size
            self.settle()
            self.world.until(lambda: self._volumes()[v]["size"] == self.volumes[v], 20)

    @rule(which=pick)
    def delete_server(self, which: int) -> None:
        s = self.one_of(self.guests, which)
        if not s:
            return
        assert self.ask("DELETE", f"{COM}/servers/{s}").status == 204
        self.world.until(lambda: self.world.call("GET", f"{COM}/servers/{s}", token=self.side.token).status == 404, 20)
        for p in self.guests.pop(s).ports:
            self.ports[p] = ""
        self.settle()

    @rule(which=pick)
    def delete_volume(self, which: int) -> None:
        v = self.one_of(self.volumes, which)
        if not v:
            return
        reply = self.ask("DELETE", f"{VOL}/volumes/{v}")
        assert (reply.status == 202) is (not self.holder(v)), self.story(f"delete: {reply.raw!r}")
        if reply.status == 202:
            self.world.until(lambda: v not in self._volumes(), 20)
            del self.volumes[v]

    @rule(which=pick)
    def delete_port(self, which: int) -> None:
        p = self.one_of(self.ports, which)
        if p and not self.ports[p]:
            assert self.ask("DELETE", f"{NET}/ports/{p}").status == 204
            del self.ports[p]

    # -- what must hold

    @invariant()
    def servers_are_as_asked(self) -> None:
        found = {s["id"]: s for s in self.get(f"{COM}/servers/detail")["servers"]}
        assert {s: g.status for s, g in self.guests.items()} == {i: s["status"] for i, s in found.items()}, self.story(
            ""
        )
        for s, guest in self.guests.items():
            assert found[s]["flavor"]["original_name"].endswith(guest.flavor), self.story("the flavor")

    @invariant()
    def volumes_are_as_asked(self) -> None:
        found = self._volumes()
        assert {v: f["size"] for v, f in found.items()} == self.volumes, self.story("volumes")
        held = {v: [a["server_id"] for a in f["attachments"]] for v, f in found.items()}
        assert held == {v: [self.holder(v)] if self.holder(v) else [] for v in self.volumes}, self.story("attachments")
        for s, guest in self.guests.items():
            seen = self.get(f"{COM}/servers/{s}/os-volume_attachments")["volumeAttachments"]
            assert {a["volumeId"] for a in seen} == guest.volumes, self.story("the server's own list")

    @invariant()
    def ports_and_addresses_agree(self) -> None:
        ports = {p["id"]: p for p in self.get(f"{NET}/ports?network_id={self.network}")["ports"]}
        mine = {i: p for i, p in ports.items() if not p["device_owner"].startswith("network:")}
        assert {i: mine[i]["device_id"] for i in self.ports} == self.ports, self.story("whose port")
        assert len(mine) == len(self.ports) + sum(g.made for g in self.guests.values()), self.story("ports left over")
        addresses = [a["ip_address"] for p in ports.values() for a in p["fixed_ips"]]
        assert len(addresses) == len(set(addresses)), self.story("an address twice")
        for s in self.guests:
            shown = self.get(f"{COM}/servers/{s}")["server"]["addresses"].values()
            ips = {a["addr"] for one in shown for a in one}
            assert ips == {a["ip_address"] for p in mine.values() if p["device_id"] == s for a in p["fixed_ips"]}

    @invariant()
    def quotas_and_allocations_agree(self) -> None:
        used = self.get(f"{COM}/limits")["limits"]["absolute"]
        flavors = [FLAVORS[max(g.flavor, g.before, key=lambda f: FLAVORS.get(f, (0, 0)))] for g in self.guests.values()]
        expected = (len(flavors), sum(c for c, _ in flavors), sum(r for _, r in flavors))
        told = (used["totalInstancesUsed"], used["totalCoresUsed"], used["totalRAMUsed"])
        assert all(t <= e for t, e in zip(told, expected, strict=True)), self.story(f"{told} {expected}")
        if not any(g.before for g in self.guests.values()):
            assert told == expected, self.story(f"quota {told}, model {expected}")
        used = self.get(f"{VOL}/limits")["limits"]["absolute"]
        told2 = (used["totalVolumesUsed"], used["totalGigabytesUsed"])
        assert told2 == (len(self.volumes), sum(self.volumes.values())), self.story(f"volume quota {told2}")
        for s, guest in self.guests.items():
            found = self.get(f"{PLA}/allocations/{s}", self.world.admin)["allocations"].values()
            assert [a["resources"]["VCPU"] for a in found] == [FLAVORS[guest.flavor][0]], self.story(f"{found}")

    def teardown(self) -> None:
        """All of it can be deleted, and then nothing is used."""
        for _ in list(self.guests):
            self.delete_server(0)
        for _ in list(self.volumes):
            self.delete_volume(0)
        for _ in list(self.ports):
            self.delete_port(0)
        left = self.get(f"{COM}/limits")["limits"]["absolute"]
        assert (left["totalInstancesUsed"], left["totalCoresUsed"], left["totalRAMUsed"]) == (0, 0, 0), self.story(
            "left"
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Cloudy]]:
    world = World(Path(tempfile.mkdtemp(dir=tmp_path_factory.mktemp("machine"))))
    try:
        side = Side("own")
        _people(world, side)
        side.ids["image"] = world.done("GET", "/image/v2/images?name=cirros")["images"][0]["id"]
        net = world.done("POST", f"{NET}/networks", {"network": {"name": "n"}}, token=side.token)["network"]["id"]
        given = {"network_id": net, "ip_version": 4, "cidr": "10.7.0.0/24"}
        world.done("POST", f"{NET}/subnets", {"subnet": given}, token=side.token)
        flavors = {}
        for name, (vcpus, ram) in FLAVORS.items():
            flavor = {"name": f"m-{name}", "vcpus": vcpus, "ram": ram, "disk": 1}
            flavors[name] = world.done("POST", f"{COM}/flavors", {"flavor": flavor})["flavor"]["id"]
        Cloudy.world, Cloudy.side, Cloudy.network, Cloudy.flavors = world, side, net, flavors
        yield Cloudy
    finally:
        world.close()


def test_servers_ports_and_volumes_agree_under_random_work(machine: type[Cloudy]) -> None:
    from hypothesis import seed

    how = settings(
        max_examples=EXAMPLES, stateful_step_count=15, deadline=None, database=None, derandomize=SEED == 1,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    if SEED != 1:
        machine = seed(SEED)(machine)  # type: ignore[assignment]
    run_state_machine_as_test(machine, settings=how)
