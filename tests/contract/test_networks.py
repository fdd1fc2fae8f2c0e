"""What every network driver must do (network/capability.py): the order of calls, repeats, and what it then holds."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nutshell.core.drivers import DriverFault
from nutshell.host.rpc import Server, proxy
from nutshell.network.capability import (
    FloatingIp,
    Group,
    Lease,
    Network,
    NetworkDriver,
    Port,
    Router,
    RouterLeg,
    Rule,
    Subnet,
)
from nutshell.network.drivers.memory import MemoryNetwork

NET, EXT = "0a000000-0000-4000-8000-000000000001", "0a000000-0000-4000-8000-000000000002"
PORT, ROUTER = "0b000000-0000-4000-8000-000000000001", "0c000000-0000-4000-8000-000000000001"
GROUP, OTHER = "0d000000-0000-4000-8000-000000000001", "0d000000-0000-4000-8000-000000000002"


def tenant_network(**changes: Any) -> Network:
    lease = Lease(PORT, "fa:16:3e:00:00:05", "10.7.0.5", "vm-one")
    subnet = Subnet("sub-1", "10.7.0.0/24", 4, "10.7.0.1", True, "10.7.0.2", leases=(lease,))
    facts: dict[str, Any] = {
        "network_id": NET, "segment": 41, "mtu": 1450, "external": False, "subnets": (subnet,),
        "dhcp_port_id": "dhcp-1", "dhcp_mac": "fa:16:3e:00:00:02",
    }  # fmt: skip
    return Network(**{**facts, **changes})


def external_network() -> Network:
    subnet = Subnet("sub-2", "198.51.100.0/26", 4, "198.51.100.1", False, None)
    return Network(EXT, 42, 1500, True, (subnet,))


def web_group() -> Group:
    return Group(
        GROUP, (Rule("ingress", 4, "tcp", 80, 80, None, OTHER), Rule("egress", 4, None, None, None, None, None)), ()
    )


def other_group() -> Group:
    return Group(OTHER, (Rule("ingress", 6, None, None, None, "2001:db8::/64", None),), ("10.7.0.5",))


def guest_port(**changes: Any) -> Port:
    facts: dict[str, Any] = {
        "port_id": PORT, "network_id": NET, "mac": "fa:16:3e:00:00:05", "ips": ("10.7.0.5",), "security": True,
        "group_ids": (GROUP,),
    }  # fmt: skip
    return Port(**{**facts, **changes})


def router(**changes: Any) -> Router:
    leg = RouterLeg("leg-1", NET, "fa:16:3e:00:00:01", ("10.7.0.1/24",))
    gateway = RouterLeg("gw-1", EXT, "fa:16:3e:00:01:01", ("198.51.100.10/26",))
    facts: dict[str, Any] = {
        "router_id": ROUTER, "up": True, "legs": (leg,), "gateway": gateway, "next_hop": "198.51.100.1", "snat": True,
        "floating": (FloatingIp("198.51.100.20", "10.7.0.5"),),
    }  # fmt: skip
    return Router(**{**facts, **changes})


def build(driver: NetworkDriver) -> None:
    driver.ensure_network(tenant_network())
    driver.ensure_network(external_network())
    driver.ensure_groups([web_group(), other_group()])
    driver.ensure_ports([guest_port()])
    driver.ensure_router(router())


REAL = pytest.param("linux", marks=pytest.mark.real)


@pytest.fixture(params=["memory", "remote", REAL])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkDriver]:
    if request.param == "linux":
        yield from linux_driver(tmp_path)
        return
    memory = MemoryNetwork(tmp_path)
    if request.param == "memory":
        yield memory
    else:  # the same one over the socket of `nutshell host`
        server = Server(tmp_path / "rpc", {"network": ((NetworkDriver,), memory)})
        yield proxy(tmp_path / "rpc", "network", (NetworkDriver,))
        server.close()


def linux_driver(directory: Path) -> Iterator[NetworkDriver]:
    from nutshell.host.net.doctor import doctor

    unmet = [need for need, met, _ in doctor() if not met]
    if unmet:
        pytest.skip(f"this machine lacks {', '.join(unmet)}")
    from nutshell.host.net.driver import LinuxNetwork

    linux = LinuxNetwork(directory, f"t{os.getpid() % 0xFFFFF:05x}", ("http://127.0.0.1:1/metadata", "secret"))
    try:
        yield linux
    finally:
        linux.remove_everything()
        linux.close()


def test_it_is_a_network_driver(driver: NetworkDriver) -> None:
    assert isinstance(driver, NetworkDriver)


def test_everything_built_is_found_and_a_repeat_changes_nothing(driver: NetworkDriver) -> None:
    for _ in range(2):
        build(driver)
        found = driver.existing()
        assert set(found.networks) == {NET, EXT}
        assert (set(found.groups), found.ports, found.routers) == ({GROUP, OTHER}, (PORT,), (ROUTER,))


def test_everything_removed_is_gone_and_absent_is_success(driver: NetworkDriver) -> None:
    build(driver)
    for _ in range(2):
        driver.remove_router(ROUTER)
        driver.remove_ports([PORT])
        driver.remove_groups([GROUP, OTHER])
        driver.remove_network(NET)
        driver.remove_network(EXT)
    found = driver.existing()
    assert (found.networks, found.ports, found.routers, found.groups) == ((), (), (), ())


def test_a_port_on_an_unknown_network_is_a_fault(driver: NetworkDriver) -> None:
    driver.ensure_groups([web_group(), other_group()])
    with pytest.raises(DriverFault, match=NET):
        driver.ensure_ports([guest_port()])
    assert driver.existing().ports == ()


def test_a_port_of_an_unknown_group_is_a_fault(driver: NetworkDriver) -> None:
    driver.ensure_network(tenant_network())
    with pytest.raises(DriverFault, match=GROUP):
        driver.ensure_ports([guest_port()])
    assert driver.existing().ports == ()


def test_rules_may_name_a_remote_group_that_comes_later(driver: NetworkDriver) -> None:
    driver.ensure_groups([web_group()])
    driver.ensure_groups([other_group()])
    driver.remove_groups([OTHER])
    assert driver.existing().groups == (GROUP,)


def test_a_router_on_an_unknown_network_is_a_fault(driver: NetworkDriver) -> None:
    driver.ensure_network(tenant_network())
    with pytest.raises(DriverFault, match=EXT):
        driver.ensure_router(router())
    assert driver.existing().routers == ()


def test_what_is_in_use_is_not_removed(driver: NetworkDriver) -> None:
    build(driver)
    with pytest.raises(DriverFault, match=PORT):
        driver.remove_network(NET)
    with pytest.raises(DriverFault, match=ROUTER):
        driver.remove_network(EXT)
    with pytest.raises(DriverFault, match=PORT):
        driver.remove_groups([GROUP])
    assert set(driver.existing().networks) == {NET, EXT}
    assert set(driver.existing().groups) == {GROUP, OTHER}


def test_a_router_and_a_port_can_change(driver: NetworkDriver) -> None:
    build(driver)
    driver.ensure_router(router(gateway=None, next_hop=None, floating=()))
    driver.remove_network(EXT)
    driver.ensure_ports([guest_port(security=False, group_ids=())])
    driver.remove_groups([GROUP])
    assert driver.existing().networks == (NET,)
    assert driver.existing().groups == (OTHER,)


def test_two_networks_on_one_segment_are_a_fault(driver: NetworkDriver) -> None:
    driver.ensure_network(tenant_network())
    with pytest.raises(DriverFault, match="segment 41"):
        driver.ensure_network(tenant_network(network_id=EXT))


def test_memory_finds_its_world_after_a_restart(tmp_path: Path) -> None:
    first = MemoryNetwork(tmp_path)
    build(first)
    first.remove_groups([OTHER])
    with (tmp_path / "network.journal").open("ab") as journal:
        journal.write(b'{"put":"port","row":{"port_id"')  # killed while writing
    second = MemoryNetwork(tmp_path)
    assert (second.networks, second.ports, second.routers) == (first.networks, first.ports, first.routers)
    assert second.groups == {GROUP: web_group()}


def test_memory_fails_when_told_and_then_goes_on() -> None:
    driver = MemoryNetwork()
    driver.fail("ensure_network", nth=2, final=True)
    driver.ensure_network(tenant_network())
    with pytest.raises(DriverFault) as caught:
        driver.ensure_network(external_network())
    assert caught.value.final
    assert driver.existing().networks == (NET,)
    driver.ensure_network(external_network())
    assert set(driver.existing().networks) == {NET, EXT}
