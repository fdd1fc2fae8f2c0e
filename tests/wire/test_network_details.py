"""What clients of network rely on beyond the plain verbs: sharing and its end, pages, lengths, quotas, MTU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.network_rig import ADMIN, MEMBER, OTHER, Caller, start


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Caller]:
    running = start(tmp_path)
    yield Caller(running)
    running.close()


def grant(c: Caller, kind: str, object_id: str, action: str, target: str = "*", token: str = ADMIN) -> Any:
    given = {"object_type": kind, "object_id": object_id, "action": action, "target_tenant": target}
    return c.x("POST /rbac-policies", {"rbac_policy": given}, token)["rbac_policy"]


def test_a_network_leads_out_as_long_as_somebody_may_use_it(c: Caller) -> None:
    network = c.x("POST /networks", {"network": {}}, ADMIN)["network"]
    first, second = (grant(c, "network", network["id"], "access_as_external", to) for to in ("p", "q"))
    c.x(f"DELETE /rbac-policies/{first['id']}", token=ADMIN)
    now = c.x(f"GET /networks/{network['id']}", token=ADMIN)["network"]
    assert now["router:external"]
    assert now["revision_number"] > network["revision_number"]
    c.x(f"DELETE /rbac-policies/{second['id']}", token=ADMIN)
    assert not c.x(f"GET /networks/{network['id']}", token=ADMIN)["network"]["router:external"]


def test_an_external_network_that_is_used_stays_granted(c: Caller) -> None:
    network = c.x("POST /networks", {"network": {}}, ADMIN)["network"]
    everybody = grant(c, "network", network["id"], "access_as_external")
    gateway = {"router": {"external_gateway_info": {"network_id": network["id"]}}}
    router = c.x("POST /routers", gateway, OTHER)["router"]  # no subnet there, so no address
    assert router["external_gateway_info"]["external_fixed_ips"] == []
    assert c.refused(f"DELETE /rbac-policies/{everybody['id']}", token=ADMIN) == (409, "RbacPolicyInUse")
    narrower = {"rbac_policy": {"target_tenant": "q"}}
    changed = c.x(f"PUT /rbac-policies/{everybody['id']}", narrower, ADMIN)["rbac_policy"]
    assert changed == everybody | {"target_tenant": "q"}
    c.x(f"DELETE /routers/{router['id']}", token=OTHER)
    c.x(f"DELETE /rbac-policies/{everybody['id']}", token=ADMIN)


def test_policies_give_their_quota_back_with_what_they_granted(c: Caller) -> None:
    used = "GET /quotas/adm/details.json"
    before = c.x(used, token=ADMIN)["quota"]["rbac_policy"]["used"]
    network = c.x("POST /networks", {"network": {"router:external": True}}, ADMIN)["network"]["id"]
    group = c.x("POST /security-groups", {"security_group": {}}, ADMIN)["security_group"]["id"]
    grant(c, "network", network, "access_as_shared", "p")
    grant(c, "security_group", group, "access_as_shared", "p")
    assert c.x(used, token=ADMIN)["quota"]["rbac_policy"]["used"] == before + 2
    c.x(f"DELETE /networks/{network}", token=ADMIN)
    c.x(f"DELETE /security-groups/{group}", token=ADMIN)
    assert c.x(used, token=ADMIN)["quota"]["rbac_policy"]["used"] == before


def test_the_default_external_network_is_everybodys(c: Caller) -> None:
    public = c.x("GET /networks?name=public")["networks"][0]
    c.x(f"DELETE /routers/{c.x('POST /routers', {'router': {}})['router']['id']}")
    policy = c.x(f"GET /rbac-policies?object_id={public['id']}", token=ADMIN)["rbac_policies"][0]
    assert c.refused(f"DELETE /rbac-policies/{policy['id']}", token=ADMIN) == (409, "RbacPolicyInUse")


def test_who_is_shared_with_may_not_share_on(c: Caller) -> None:
    group = c.x("POST /security-groups", {"security_group": {"name": "g"}}, ADMIN)["security_group"]
    further = {
        "object_type": "security_group",
        "object_id": group["id"],
        "action": "access_as_shared",
        "target_tenant": "q",
    }
    assert c.refused("POST /rbac-policies", {"rbac_policy": further}) == (404, "SecurityGroupNotFound")
    policy = grant(c, "security_group", group["id"], "access_as_shared", "p")
    assert c.refused("POST /rbac-policies", {"rbac_policy": further}) == (400, "InvalidInput")
    network, _ = c.net()
    port = c.port(network["id"], security_groups=[group["id"]])
    assert c.refused(f"DELETE /rbac-policies/{policy['id']}", token=ADMIN) == (409, "RbacPolicyInUse")
    c.x(f"DELETE /ports/{port['id']}")
    c.x(f"DELETE /rbac-policies/{policy['id']}", token=ADMIN)


def test_pages_lead_to_their_end_and_back(c: Caller) -> None:
    for name in "abc":
        c.x("POST /networks", {"network": {"name": f"page-{name}"}}, OTHER)

    def walk(path: str, rel: str) -> list[str]:
        seen: list[str] = []
        while path:
            page = c.x("GET " + path, token=OTHER)
            seen += [n["name"] for n in (page["networks"] if rel == "next" else page["networks"][::-1])]
            links = [x["href"] for x in page["networks_links"] if x["rel"] == rel]
            path = links[0].split("/v2.0")[1] if links else ""
        return seen

    mine = "/networks?project_id=q&sort_key=name&limit=2"
    assert walk(mine, "next") == ["page-a", "page-b", "page-c"]
    assert walk(mine + "&page_reverse=True", "previous") == ["page-c", "page-b", "page-a"]
    beyond = c.x(f"GET {mine}&marker={c.x('GET /networks?name=page-c', token=OTHER)['networks'][0]['id']}", token=OTHER)
    assert beyond["networks"] == []
    assert [x["rel"] for x in beyond["networks_links"]] == ["previous"]
    assert "networks_links" not in c.x("GET /networks?limit=1&limit=")  # the last one counts, and is none


def test_items_of_a_bulk_may_be_wrapped_like_single_ones(c: Caller) -> None:
    wrapped = {"security_groups": [{"security_group": {"name": n}} for n in "ab"]}
    assert [g["name"] for g in c.x("POST /security-groups", wrapped)["security_groups"]] == ["a", "b"]


def test_an_mtu_must_carry_the_subnets(c: Caller) -> None:
    small = c.x("POST /networks", {"network": {"mtu": 1279}})["network"]["id"]
    given = {"network_id": small, "ip_version": 6, "cidr": "2001:db8::/64"}
    assert c.refused("POST /subnets", {"subnet": given}) == (409, "NetworkMTUSubnetConflict")
    network, _ = c.net()
    change = {"network": {"mtu": 67}}
    assert c.refused(f"PUT /networks/{network['id']}", change) == (409, "NetworkMTUSubnetConflict")
    assert c.x(f"GET /networks/{network['id']}")["network"]["mtu"] == network["mtu"]


def test_the_size_of_an_ipv6_subnet_is_exact(c: Caller) -> None:
    network, _ = c.net(cidr="2001:db8::/64")
    found = c.x(f"GET /network-ip-availabilities/{network['id']}", token=ADMIN)["network_ip_availability"]
    assert found["total_ips"] == 2**64 - 2


def test_a_ports_groups_are_of_one_kind_and_named_once(c: Caller) -> None:
    network, _ = c.net()
    made = [c.x("POST /security-groups", {"security_group": {"stateful": s}})["security_group"]["id"] for s in (1, 0)]
    both = {"port": {"network_id": network["id"], "security_groups": made}}
    assert c.refused("POST /ports", both) == (409, "SecurityGroupsOfBothKinds")
    port = c.port(network["id"], security_groups=made[:1])
    twice = {"port": {"security_groups": made[:1] * 2}}
    assert c.refused(f"PUT /ports/{port['id']}", twice) == (400, "HTTPBadRequest")


def test_shared_subnets_are_those_of_shared_networks(c: Caller) -> None:
    _, mine = c.net()
    _, theirs = c.net(ADMIN, "10.9.0.0/24", shared=True)
    for wanted, found in ((theirs["id"], "true"), (mine["id"], "false")):
        ids = {s["id"] for s in c.x(f"GET /subnets?shared={found}", token=MEMBER)["subnets"]}
        assert wanted in ids
        assert not ({mine["id"], theirs["id"]} - {wanted}) & ids


def test_a_limit_below_what_is_used_is_refused_when_asked(c: Caller) -> None:
    c.net()
    low = {"quota": {"network": 1, "check_limit": True}}
    assert c.refused("PUT /quotas/p", low, ADMIN) == (400, "BadRequest")
    assert c.x("PUT /quotas/p", {"quota": {"network": 1}}, ADMIN)["quota"]["network"] == 1


def test_everybody_reads_the_limits_of_his_own_project(c: Caller) -> None:
    for path in ("", "/default", "/details.json"):
        assert c.x(f"GET /quotas/p{path}")["quota"]["rbac_policy"]
        assert c.refused(f"GET /quotas/q{path}") == (403, "PolicyNotAuthorized")


def test_a_floating_address_changed_to_nothing_leads_nowhere(c: Caller) -> None:
    router = c.x("GET /routers")["routers"][0]
    leg = c.x(f"GET /ports?device_id={router['id']}&device_owner=network:router_interface")["ports"][0]
    port = c.port(leg["network_id"])
    given = {"floating_network_id": router["external_gateway_info"]["network_id"], "port_id": port["id"]}
    floating = c.x("POST /floatingips", {"floatingip": given})["floatingip"]
    named = {"floatingip": {"description": "kept"}}
    assert c.x(f"PUT /floatingips/{floating['id']}", named)["floatingip"]["port_id"] == port["id"]
    assert c.x(f"PUT /floatingips/{floating['id']}", {"floatingip": {}})["floatingip"]["port_id"] is None


def test_a_port_switched_off_is_down(c: Caller) -> None:
    network, _ = c.net()
    c.running.runner.run_once("network")
    port = c.x(f"GET /ports?network_id={network['id']}&device_owner=network:dhcp")["ports"][0]
    assert port["status"] == "ACTIVE"
    for up, status in ((False, "DOWN"), (True, "ACTIVE")):
        c.x(f"PUT /ports/{port['id']}", {"port": {"admin_state_up": up}})
        c.running.runner.run_once("network")
        assert c.x(f"GET /ports/{port['id']}")["port"]["status"] == status


def test_a_router_is_taken_from_its_agent_and_given_back(c: Caller) -> None:
    c.running.runner.run_once("network-sweep")
    agent = c.x("GET /agents?agent_type=L3 agent", token=ADMIN)["agents"][0]["id"]
    router = c.x("GET /routers")["routers"][0]["id"]
    for line in (f"DELETE /agents/{agent}/l3-routers/{router}", f"GET /agents/{agent}"):
        assert c.refused(line)[0] in (403, 404)
    c.x(f"DELETE /agents/{agent}/l3-routers/{router}", token=ADMIN)
    again = f"DELETE /agents/{agent}/l3-routers/{router}"
    assert c.refused(again, token=ADMIN) == (409, "RouterNotHostedByL3Agent")
    assert c.x(f"GET /routers/{router}/l3-agents", token=ADMIN)["agents"] == []
    c.x(f"POST /agents/{agent}/l3-routers", {"router_id": router}, ADMIN)
    assert [r["id"] for r in c.x(f"GET /agents/{agent}/l3-routers", token=ADMIN)["routers"]] == [router]
    other = {"router_id": router}
    assert c.refused(f"POST /agents/{agent}/l3-routers", other, ADMIN) == (409, "RouterHostedByL3Agent")


def test_the_floating_addresses_of_a_router_that_is_not_served_are_down(c: Caller) -> None:
    c.running.runner.run_once("network-sweep")
    agent = c.x("GET /agents?agent_type=L3 agent", token=ADMIN)["agents"][0]["id"]
    router = c.x("GET /routers")["routers"][0]
    at = f"/routers/{router['id']}"
    leg = c.x(f"GET /ports?device_id={router['id']}&device_owner=network:router_interface")["ports"][0]
    outer = router["external_gateway_info"]["network_id"]
    given = {"floating_network_id": outer, "port_id": c.port(leg["network_id"])["id"]}
    floating = c.x("POST /floatingips", {"floatingip": given})["floatingip"]["id"]

    def status() -> str:
        c.running.runner.run_once("network")
        word: str = c.x(f"GET /floatingips/{floating}")["floatingip"]["status"]
        return word

    assert status() == "ACTIVE"
    c.x(f"DELETE /agents/{agent}/l3-routers/{router['id']}", token=ADMIN)
    assert status() == "DOWN"
    c.x(f"POST /agents/{agent}/l3-routers", {"router_id": router["id"]}, ADMIN)
    assert status() == "ACTIVE"
    c.x(f"PUT {at}", {"router": {"admin_state_up": False}})
    assert status() == "DOWN"


def test_a_networks_revision_counts_its_subnets(c: Caller) -> None:
    network, subnet = c.net()
    seen = [network["revision_number"]]
    for line, body in (
        ("", None),
        (f"PUT /subnets/{subnet['id']}", {"subnet": {"name": "renamed"}}),
        (f"DELETE /subnets/{subnet['id']}", None),
    ):
        if line:
            c.x(line, body)
        seen.append(c.x(f"GET /networks/{network['id']}")["network"]["revision_number"])
    assert seen == sorted(set(seen))
