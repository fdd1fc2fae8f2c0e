"""The `linux` network driver with a trunk: a guest speaks with a second network by a VLAN on its one card."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.linux_world import FakeApi, World, mac
from tests.contract.standins import StandIn

from nutshell.host.net.doctor import doctor
from nutshell.host.net.namespaces import Namespace
from nutshell.network.capability import Network, Port, Subnet

_UNMET = [need for need, met, _ in doctor() if not met]
pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(_UNMET), reason=f"this machine lacks {', '.join(_UNMET)}")]


def _has_vlans() -> bool:
    """Whether the kernel does: it may be built without (802.1Q)."""
    space = Namespace(f"vlans{os.getpid()}")
    space.ensure({})
    try:
        links = space.links()
        links.add_bridge("b")
        links.add_vlan("v", links.need("b"), 5)
        return True
    except OSError:
        return False
    finally:
        space.delete()


if not _UNMET:
    pytestmark.append(pytest.mark.skipif(not _has_vlans(), reason="this kernel has no VLANs (CONFIG_VLAN_8021Q)"))
SUBPORT = Port("p9", "net-2", mac(9), ("10.8.0.19",), True, ("plain",), carrier=("p1", 100))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeApi() as api:
        made = World(tmp_path, 3, api)
        try:
            made.build()
            made.driver.ensure_network(
                Network("net-2", 8, 1442, False, (Subnet("s2", "10.8.0.0/24", 4, None, False, None),))
            )
            made.driver.ensure_ports([Port("p8", "net-2", mac(8), ("10.8.0.18",), False), SUBPORT])
            yield made
        finally:
            made.close()
            api.shutdown()


def other(world: World) -> StandIn:
    """A guest on the second network alone."""
    tap = world.driver.open_tap("p8")
    world.guests[8] = made = StandIn(world.directory, f"{world.cloud}-guest8", mac(8), tap)
    made.address("10.8.0.18/24")
    return made


def speak(guest: StandIn, vlan: int, address: str) -> None:
    """The guest's own side of a VLAN."""
    guest.run("ip", "link", "add", "link", "eth0", "name", f"v{vlan}", "type", "vlan", "id", str(vlan))
    guest.run("ip", "link", "set", f"v{vlan}", "address", mac(9), "up")
    guest.run("ip", "addr", "add", address, "dev", f"v{vlan}")


def test_a_guest_is_on_both_networks_and_each_ports_rules_hold(world: World) -> None:
    one, eight = world.guest(1), other(world)
    speak(one, 100, "10.8.0.19/24")
    assert one.pings("10.8.0.18")
    assert one.pings("10.9.0.1"), "its own network is as before"
    assert eight.fails_to_ping("10.8.0.19"), "no rule of the subport's lets it in"
    one.run("ip", "addr", "flush", "dev", "v100")
    one.run("ip", "addr", "add", "10.8.0.66/24", "dev", "v100")
    assert one.fails_to_ping("10.8.0.18"), "not its address"


def test_a_vlan_that_is_nobodys_leads_nowhere(world: World) -> None:
    one, eight = world.guest(1), other(world)
    speak(one, 101, "10.8.0.19/24")
    assert one.fails_to_ping("10.8.0.18")
    one.run("ip", "link", "del", "v101")
    speak(one, 100, "10.8.0.19/24")
    assert one.pings("10.8.0.18")
    world.driver.ensure_ports([replace(SUBPORT, carrier=("p1", 102))])
    assert one.fails_to_ping("10.8.0.18")
    one.run("ip", "link", "del", "v100")
    speak(one, 102, "10.8.0.19/24")
    assert one.pings("10.8.0.18")
    world.driver.remove_ports(["p9"])
    assert one.fails_to_ping("10.8.0.18")
    assert one.pings("10.9.0.1")
    assert "p9" not in world.driver.existing().ports
    assert eight.fails_to_ping("10.8.0.19")
