"""Network after a kill between a driver's effect and its row: the next start ends in the same world.

The cloud is abandoned, not closed: what it had not committed is lost, as with `kill -9`; state and simulated world are
files, and a second cloud is built on them.
"""

from pathlib import Path
from typing import Any

import pytest
from tests.wire.network_rig import Caller, start

from nutshell.network.capability import NetworkDriver


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """A driver whose process is killed right after the nth call took effect."""

    name = "dying"

    def __init__(self, inner: Any, at: int) -> None:
        self._inner, self._left = inner, at

    def __getattr__(self, call: str) -> Any:
        real = getattr(self._inner, call)

        def run(*arguments: Any) -> Any:
            found = real(*arguments)
            self._left -= 1
            if self._left == 0:
                raise Killed
            return found

        return run


def build_up(c: Caller) -> str:
    """A routed network with a bound port and a floating address; the port's id."""
    network, subnet = c.net()
    public = c.x("GET /networks?name=public")["networks"][0]["id"]
    router = c.x("POST /routers", {"router": {"external_gateway_info": {"network_id": public}}})["router"]
    c.x(f"PUT /routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    port = c.port(network["id"])
    admin = "root:adm:admin,member,reader"
    c.x(f"PUT /ports/{port['id']}", {"port": {"binding:host_id": "h"}}, admin)
    c.x("POST /floatingips", {"floatingip": {"floating_network_id": public, "port_id": port["id"]}})
    found: str = port["id"]
    return found


def tear_down(c: Caller, port_id: str) -> None:
    port = c.x(f"GET /ports/{port_id}")["port"]
    leg = c.x(f"GET /ports?network_id={port['network_id']}&device_owner=network:router_interface")["ports"][0]
    c.x(f"DELETE /ports/{port_id}")
    c.x(f"PUT /routers/{leg['device_id']}/remove_router_interface", {"port_id": leg["id"]})
    c.x(f"DELETE /routers/{leg['device_id']}")
    c.x(f"DELETE /networks/{port['network_id']}")


def passes(c: Caller) -> None:
    try:
        for _ in range(4):
            c.running.runner.run_once("network")
    except Killed:
        return


def world(c: Caller) -> tuple[set[str], ...]:
    found = c.cloud.driver(NetworkDriver).existing()
    return set(found.networks), set(found.ports), set(found.routers)


def wanted(c: Caller) -> tuple[set[str], ...]:
    admin = "root:adm:admin,member,reader"
    ports = c.x("GET /ports", token=admin)["ports"]
    return (
        {n["id"] for n in c.x("GET /networks", token=admin)["networks"]},
        {p["id"] for p in ports if p["binding:host_id"]},
        {r["id"] for r in c.x("GET /routers", token=admin)["routers"]},
    )


@pytest.mark.parametrize("at", range(1, 9))
def test_a_kill_while_things_are_made(tmp_path: Path, at: int) -> None:
    first = Caller(start(tmp_path))
    port_id = build_up(first)
    first.cloud.drivers[NetworkDriver] = Dying(first.cloud.driver(NetworkDriver), at)
    passes(first)
    second = Caller(start(tmp_path))
    passes(second)
    assert world(second) == wanted(second)
    assert second.x(f"GET /ports/{port_id}")["port"]["status"] == "ACTIVE"
    assert {f["status"] for f in second.x("GET /floatingips")["floatingips"]} == {"ACTIVE"}
    second.running.close()
    first.running.close()


@pytest.mark.parametrize("at", range(1, 8))
def test_a_kill_while_things_are_removed(tmp_path: Path, at: int) -> None:
    first = Caller(start(tmp_path))
    port_id = build_up(first)
    passes(first)
    tear_down(first, port_id)
    first.cloud.drivers[NetworkDriver] = Dying(first.cloud.driver(NetworkDriver), at)
    passes(first)
    second = Caller(start(tmp_path))
    passes(second)
    assert world(second) == wanted(second)
    assert port_id not in world(second)[1]
    second.running.close()
    first.running.close()


def test_a_world_that_was_taken_down_is_made_again(tmp_path: Path) -> None:
    first = Caller(start(tmp_path))
    port_id = build_up(first)
    passes(first)
    first.running.close()
    second = Caller(start(tmp_path))
    second.cloud.driver(NetworkDriver).remove_everything()  # type: ignore[attr-defined]
    second.running.runner.run_once("network-sweep")
    passes(second)
    assert world(second) == wanted(second)
    assert port_id in world(second)[1]
    second.running.close()
