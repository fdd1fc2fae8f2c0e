"""The `linux` network driver killed, tampered with, beside another cloud, and removed: guests must not notice."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.linux_world import PING_IN, FakeApi, World, any_egress, tcp_in
from tests.contract.standins import connects

from nutshell.core.drivers import DriverFault
from nutshell.host.net.doctor import doctor
from nutshell.host.net.namespaces import Namespace, names

_UNMET = [need for need, met, _ in doctor() if not met]
pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(_UNMET), reason=f"this machine lacks {', '.join(_UNMET)}")]


@pytest.fixture(scope="module")
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def shared(api: FakeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"), 3, api)
    try:
        world.build()
        yield world
    finally:
        world.close()


@pytest.fixture
def world(shared: World) -> World:
    """The shared cloud as it was built."""
    shared.set_group("web", any_egress(), tcp_in(80), PING_IN, members=("10.9.0.11",))
    shared.set_group("plain", any_egress(), members=("10.9.0.12", "10.9.0.13"))
    return shared


@pytest.fixture
def own_world(api: FakeApi, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, 4, api)
    try:
        yield world
    finally:
        world.close()


def test_killed_at_any_moment_the_next_start_ends_in_the_same_world(own_world: World) -> None:
    world = own_world
    world.driver.close()
    command = [
        sys.executable,
        "-m",
        "tests.contract.dying_driver",
        str(world.directory),
        "4",
        world.api.base,
        world.cloud,
    ]
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "src"), os.environ.get("PYTHONPATH", "")])
    died = 0
    for delay_ms in (1, 4, 8, 14, 20, 28, 40, 60, 80):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": path}
        )
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay_ms / 1000)
            process.kill()
            died += "built" not in process.stdout.read()
    assert died >= 3
    world.start()
    world.build()
    found = world.driver.existing()
    assert (set(found.networks), found.routers) == ({"net-1", world.external.network_id}, ("r1",))
    assert set(found.ports) == {"p1", "p2", "p3"}
    with world.guest(1).serve_tcp(80):
        assert world.guest(2).calls("10.9.0.11", 80)
        assert connects(f"{world.outside}.101", 80)


def test_a_guest_never_notices_that_the_driver_was_killed_and_rules_are_repaired(own_world: World) -> None:
    world = own_world
    world.build()
    one, two = world.guest(1), world.guest(2)
    fabric = Namespace(f"nut-{world.cloud}-fab")
    with one.serve_tcp(80) as server:
        caller = two.space.run(lambda: socket.create_connection(("10.9.0.11", 80), 1))
        with caller, server.accept()[0] as called:
            world.driver.close()
            assert two.dhcp()["ip"] == "10.9.0.12"
            before = {link.name: link.index for link in fabric.links().all()}
            fabric.nft().run("delete table inet nut; flush chain bridge nut prerouting")  # somebody's helping hand
            world.start()
            world.build()
            assert {link.name: link.index for link in fabric.links().all()} == before
            caller.sendall(b"still here")
            assert called.recv(10) == b"still here"
    assert one.fails_to_ping("10.9.0.12")
    assert two.calls("169.254.169.254", 80)
    with pytest.raises(DriverFault, match="tap of port p1"):
        world.driver.open_tap("p1")
    fabric.close()


def test_a_lost_dnsmasq_and_lost_links_come_back(own_world: World) -> None:
    world = own_world
    world.build()
    os.kill(world.driver._networks._server("net-1").process(), signal.SIGKILL)
    time.sleep(0.05)
    world.driver._fabric.space.links().delete_all([world.driver._names.dhcp_end("net-1")])
    world.driver._fabric.space.links().delete(world.driver._names.leg_end("gw-1"))
    world.driver._fabric.space.nft().run("flush chain inet nut sent")
    world.driver.existing()  # what the service asks now and then
    with world.guest(1).serve_tcp(80):
        assert connects(f"{world.outside}.101", 80)


def test_a_lost_bridge_comes_back_with_its_taps(own_world: World) -> None:
    world = own_world
    world.build()
    one, two = world.guest(1), world.guest(2)
    assert two.pings("10.9.0.11")
    world.driver._fabric.space.links().delete(world.driver._names.bridge("net-1"))
    assert two.fails_to_ping("10.9.0.11")
    world.driver.existing()
    assert two.pings("10.9.0.11")
    assert one.fails_to_ping("10.9.0.12")


def test_a_next_hop_outside_of_the_subnet_is_reached_all_the_same(own_world: World) -> None:
    world = own_world
    world.router = replace(world.router, next_hop="192.0.2.1", routes=(("10.50.0.0/16", "10.9.0.9"),))
    world.build()
    links = Namespace(f"nut-{world.cloud}-r-r1").links()
    assert links.routes() == {("0.0.0.0/0", "192.0.2.1"), ("10.50.0.0/16", "10.9.0.9")}
    world.driver.ensure_router(replace(world.router, routes=(("10.60.0.0/16", "10.88.0.1"),)))  # no such neighbour
    assert links.routes() == {("0.0.0.0/0", "192.0.2.1")}


def test_two_clouds_side_by_side_and_nothing_left_of_the_one_removed(shared: World, own_world: World) -> None:
    own_world.build()
    with own_world.guest(1).serve_tcp(80), shared.guest(1).serve_tcp(80):
        assert own_world.guest(2).calls("10.9.0.11", 80)
        assert connects(f"{own_world.outside}.101", 80)
        own_world.driver.remove_everything()
        assert connects(f"{shared.outside}.101", 80)
    assert names(f"nut-{own_world.cloud}") == []
    assert names(f"nut-{shared.cloud}") != []
    here = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert own_world.cloud not in here
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert own_world.cloud not in tables
    assert not Path("/run/nutshell", own_world.cloud).exists()
    assert not (own_world.directory / "net").exists()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with open(entry, "rb") as file:
            assert f"/run/nutshell/{own_world.cloud}/".encode() not in file.read()
    found = own_world.driver.existing()
    assert (found.networks, found.ports, found.routers, found.groups) == ((), (), (), ())


def test_a_tap_opens_again_after_its_holder_died(world: World) -> None:
    if 3 in world.guests:
        world.guests.pop(3).close()
    for _ in range(2):
        held = world.driver.open_tap("p3")
        with pytest.raises(DriverFault, match="busy"):
            world.driver.open_tap("p3")
        os.close(held)
