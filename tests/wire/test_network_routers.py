"""Routers and floating IPs as their clients meet them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.network_rig import ADMIN, OTHER, Caller, start

from nutshell.network.capability import NetworkDriver


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Caller]:
    running = start(tmp_path)
    yield Caller(running)
    running.close()


def public(c: Caller) -> str:
    found: str = c.x("GET /networks?name=public")["networks"][0]["id"]
    return found


def settle(c: Caller) -> Any:
    for _ in range(3):
        c.running.runner.run_once("network")
    return c.cloud.driver(NetworkDriver)


def routed(c: Caller) -> tuple[Any, Any, Any, Any]:
    """(router with gateway, network, subnet, port)."""
    network, subnet = c.net()
    router = c.x("POST /routers", {"router": {"external_gateway_info": {"network_id": public(c)}}})["router"]
    c.x(f"PUT /routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return router, network, subnet, c.port(network["id"])


def test_a_router_joins_subnets(c: Caller) -> None:
    network, subnet = c.net()
    router = c.x("POST /routers", {"router": {"name": "r"}})["router"]
    at = f"/routers/{router['id']}"
    added = c.x(f"PUT {at}/add_router_interface", {"subnet_id": subnet["id"]})
    assert added["subnet_ids"] == [subnet["id"]]
    leg = c.x(f"GET /ports/{added['port_id']}")["port"]
    assert (leg["device_owner"], leg["fixed_ips"][0]["ip_address"]) == ("network:router_interface", "10.1.0.1")
    refusals = [
        (f"PUT {at}/add_router_interface", {"subnet_id": subnet["id"]}, (400, "BadRequest")),
        (f"PUT {at}/add_router_interface", {}, (400, "BadRequest")),
        (f"DELETE {at}", None, (409, "RouterInUse")),
        (f"DELETE /subnets/{subnet['id']}", None, (409, "SubnetInUse")),
        (f"DELETE /ports/{leg['id']}", None, (409, "ServicePortInUse")),
        (f"PUT /subnets/{subnet['id']}", {"subnet": {"gateway_ip": "10.1.0.9"}}, (409, "GatewayIpInUse")),
    ]
    for line, body, expected in refusals:
        assert c.refused(line, body) == expected, line
    second = c.port(network["id"])
    c.x(f"PUT {at}/remove_router_interface", {"port_id": leg["id"]})
    again = c.x(f"PUT {at}/add_router_interface", {"port_id": second["id"]})
    assert again["port_id"] == second["id"]
    driver = settle(c)
    assert driver.routers[router["id"]].legs[0].addresses == (second["fixed_ips"][0]["ip_address"] + "/24",)
    c.x(f"PUT {at}/remove_router_interface", {"subnet_id": subnet["id"]})
    c.x(f"DELETE {at}")
    assert router["id"] not in settle(c).routers


def test_overlapping_subnets_cannot_meet(c: Caller) -> None:
    _, one = c.net(cidr="10.1.0.0/16")
    _, two = c.net(cidr="10.1.5.0/24")
    router = c.x("POST /routers", {"router": {}})["router"]
    c.x(f"PUT /routers/{router['id']}/add_router_interface", {"subnet_id": one["id"]})
    line = f"PUT /routers/{router['id']}/add_router_interface"
    assert c.refused(line, {"subnet_id": two["id"]}) == (400, "BadRequest")


def test_a_gateway_can_be_set_and_cleared(c: Caller) -> None:
    router, network, *_ = routed(c)
    at = f"/routers/{router['id']}"
    assert router["external_gateway_info"]["enable_snat"] is True
    assert c.refused(f"PUT {at}", {"router": {"external_gateway_info": {"network_id": network["id"]}}})[0] == 400
    info = {"network_id": public(c), "enable_snat": False}
    assert c.refused(f"PUT {at}", {"router": {"external_gateway_info": info}}) == (403, "PolicyNotAuthorized")
    shown = c.x(f"PUT {at}", {"router": {"external_gateway_info": info}}, ADMIN)["router"]
    assert shown["external_gateway_info"]["enable_snat"] is False
    made = settle(c).routers[router["id"]]
    assert made.next_hop == "172.24.4.1"
    assert not made.snat
    assert c.x(f"PUT {at}", {"router": {"external_gateway_info": {}}})["router"]["external_gateway_info"] is None
    assert settle(c).routers[router["id"]].gateway is None


def test_extra_routes_go_to_neighbours_only(c: Caller) -> None:
    router, _, subnet, _ = routed(c)
    at = f"/routers/{router['id']}"
    far = {"destination": "10.50.0.0/16", "nexthop": "10.77.0.1"}
    assert c.refused(f"PUT {at}", {"router": {"routes": [far]}}) == (400, "InvalidRoutes")
    near = {"destination": "10.50.0.0/16", "nexthop": "10.1.0.9"}
    assert c.x(f"PUT {at}", {"router": {"routes": [near]}})["router"]["routes"] == [near]
    line = f"PUT {at}/remove_router_interface"
    assert c.refused(line, {"subnet_id": subnet["id"]}) == (409, "RouterInterfaceInUseByRoute")
    other = {"destination": "10.60.0.0/16", "nexthop": "10.1.0.9"}
    assert len(c.x(f"PUT {at}/add_extraroutes", {"router": {"routes": [other]}})["router"]["routes"]) == 2
    assert c.x(f"PUT {at}/remove_extraroutes", {"router": {"routes": [near]}})["router"]["routes"] == [other]
    for odd in ("x", {"routes": "x"}, {"routes": 5}):
        assert c.refused(f"PUT {at}/remove_extraroutes", {"router": odd})[0] == 400


def test_a_floating_address_leads_to_its_port(c: Caller) -> None:
    router, network, subnet, port = routed(c)
    given = {"floatingip": {"floating_network_id": public(c), "port_id": port["id"]}}
    floating = c.x("POST /floatingips", given)["floatingip"]
    assert floating["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"]
    assert floating["router_id"] == router["id"]
    made = settle(c).routers[router["id"]].floating
    assert [(f.floating_ip, f.fixed_ip) for f in made] == [
        (floating["floating_ip_address"], floating["fixed_ip_address"])
    ]
    at = f"/floatingips/{floating['id']}"
    assert c.x(f"GET {at}")["floatingip"]["status"] == "ACTIVE"
    assert c.refused("POST /floatingips", given) == (409, "FloatingIPPortAlreadyAssociated")
    line = f"PUT /routers/{router['id']}/remove_router_interface"
    assert c.refused(line, {"subnet_id": subnet["id"]}) == (409, "RouterInterfaceInUseByFloatingIP")
    clear = {"router": {"external_gateway_info": None}}
    assert c.refused(f"PUT /routers/{router['id']}", clear) == (409, "RouterExternalGatewayInUseByFloatingIp")
    second = c.port(network["id"])
    moved = c.x(f"PUT {at}", {"floatingip": {"port_id": second["id"]}})["floatingip"]
    assert moved["fixed_ip_address"] == second["fixed_ips"][0]["ip_address"]
    c.x(f"DELETE /ports/{second['id']}")
    left = c.x(f"GET {at}")["floatingip"]
    assert (left["port_id"], left["status"]) == (None, "DOWN")
    assert settle(c).routers[router["id"]].floating == ()
    c.x(f"DELETE {at}")


def test_floating_addresses_are_refused_with_reason(c: Caller) -> None:
    network, _ = c.net()
    port = c.port(network["id"])

    def refused(token: str = "u:p:member,reader", **given: Any) -> tuple[int, str]:
        return c.refused("POST /floatingips", {"floatingip": {"floating_network_id": public(c), **given}}, token)

    assert refused(port_id=port["id"]) == (404, "ExternalGatewayForFloatingIPNotFound")
    assert refused(floating_network_id=network["id"]) == (400, "BadRequest")
    assert refused(port_id=port["id"], token=OTHER) == (404, "PortNotFound")
    assert refused(fixed_ip_address="10.1.0.5") == (400, "BadRequest")
    assert refused(floating_ip_address="172.24.4.99") == (403, "PolicyNotAuthorized")
    before = len(c.x("GET /ports?device_owner=network:floatingip", token=ADMIN)["ports"])
    assert before == 0, "a refused floating address leaves no port"
    chosen = {"floatingip": {"floating_network_id": public(c), "floating_ip_address": "172.24.4.99"}}
    assert c.x("POST /floatingips", chosen, ADMIN)["floatingip"]["floating_ip_address"] == "172.24.4.99"
    assert c.refused("POST /floatingips", chosen, ADMIN) == (409, "IpAddressAlreadyAllocated")


def test_an_external_network_goes_with_its_unused_floating_addresses(c: Caller) -> None:
    network, _ = c.net(ADMIN, "192.0.2.0/24", **{"router:external": True})
    c.x("POST /floatingips", {"floatingip": {"floating_network_id": network["id"]}})
    c.x(f"DELETE /networks/{network['id']}", token=ADMIN)
    assert c.x("GET /floatingips")["floatingips"] == []


def test_a_port_cannot_pose_as_a_leg_of_anothers_router(c: Caller) -> None:
    router = c.x("POST /routers", {"router": {}})["router"]
    network, _ = c.net(OTHER)
    posing = {"device_owner": "network:router_interface", "device_id": router["id"]}
    made = {"port": {"network_id": network["id"], **posing}}
    assert c.refused("POST /ports", made, OTHER) == (409, "DeviceIDNotOwnedByProject")
    port = c.port(network["id"], OTHER)
    assert c.refused(f"PUT /ports/{port['id']}", {"port": posing}, OTHER) == (409, "DeviceIDNotOwnedByProject")
    assert settle(c).routers[router["id"]].legs == ()


def test_nothing_is_made_in_anothers_name(c: Caller) -> None:
    network, _ = c.net(OTHER)
    mine = {"network_id": network["id"], "project_id": "p"}
    assert c.refused("POST /ports", {"port": mine}, OTHER) == (400, "HTTPBadRequest")
    assert c.refused("POST /networks", {"network": {"tenant_id": "p"}}, OTHER) == (400, "HTTPBadRequest")
    assert c.x("POST /networks", {"network": {"tenant_id": "p"}}, ADMIN)["network"]["project_id"] == "p"
