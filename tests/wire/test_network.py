"""Networks, subnets, ports and security groups as their clients meet them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.wire.network_rig import ADMIN, OTHER, READER, Caller, start

from nutshell.core.drivers import DriverFault
from nutshell.core.policy import Who
from nutshell.network.capability import NetworkDriver
from nutshell.network.port import Networking


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Caller]:
    running = start(tmp_path)
    yield Caller(running)
    running.close()


def settle(c: Caller) -> None:
    for _ in range(3):
        c.running.runner.run_once("network")


def test_a_new_cloud_has_its_first_networks(c: Caller) -> None:
    names = {n["name"]: n for n in c.x("GET /networks")["networks"]}
    assert set(names) == {"public", "private"}
    assert names["public"]["router:external"]
    assert not names["public"]["shared"]
    assert (names["public"]["mtu"], names["private"]["mtu"]) == (1500, 1450)
    router = c.x("GET /routers")["routers"][0]
    assert router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == "172.24.4.10"
    assert {n["name"] for n in c.x("GET /networks", token=OTHER)["networks"]} == {"public"}


def test_what_an_administrator_deletes_is_not_seeded_again(tmp_path: Path) -> None:
    running = start(tmp_path)
    c = Caller(running)
    leg = c.x("GET /ports?device_owner=network:router_interface")["ports"][0]
    c.x(f"PUT /routers/{leg['device_id']}/remove_router_interface", {"port_id": leg["id"]})
    c.x(f"DELETE /networks/{leg['network_id']}")
    running.close()
    running = start(tmp_path)
    assert [n["name"] for n in Caller(running).x("GET /networks")["networks"]] == ["public"]
    running.close()


def test_provider_attributes_are_for_administrators(c: Caller) -> None:
    network, _ = c.net()
    assert "provider:segmentation_id" not in network
    seen = c.x(f"GET /networks/{network['id']}", token=ADMIN)["network"]
    assert seen["provider:network_type"] == "vxlan"
    assert seen["provider:segmentation_id"] > 0
    assert c.refused("POST /networks", {"network": {"provider:segmentation_id": 77}}) == (403, "PolicyNotAuthorized")
    made = c.x("POST /networks", {"network": {"provider:segmentation_id": 77}}, ADMIN)["network"]
    assert made["provider:segmentation_id"] == 77
    again = {"network": {"provider:segmentation_id": 77}}
    assert c.refused("POST /networks", again, ADMIN) == (409, "TunnelIdInUse")


def test_another_projects_network_does_not_exist(c: Caller) -> None:
    network, subnet = c.net()
    assert c.refused(f"GET /networks/{network['id']}", token=OTHER) == (404, "NetworkNotFound")
    assert c.refused(f"DELETE /subnets/{subnet['id']}", token=OTHER) == (404, "SubnetNotFound")
    taken = {"port": {"network_id": network["id"]}}
    assert c.refused("POST /ports", taken, OTHER) == (404, "NetworkNotFound")
    assert c.refused("POST /networks", {"network": {}}, READER) == (403, "PolicyNotAuthorized")


def test_shared_networks_are_seen_and_used_by_all(c: Caller) -> None:
    network, _ = c.net(ADMIN, shared=True)
    assert c.x(f"GET /networks/{network['id']}", token=OTHER)["network"]["shared"] is True
    assert c.port(network["id"], OTHER)["fixed_ips"]
    assert c.refused(f"PUT /networks/{network['id']}", {"network": {"name": "x"}}, OTHER)[0] == 403
    off = {"network": {"shared": False}}
    assert c.refused(f"PUT /networks/{network['id']}", off, ADMIN) == (409, "InvalidSharedSetting")
    assert [n["id"] for n in c.x("GET /networks?shared=true", token=OTHER)["networks"]] == [network["id"]]


def test_an_rbac_policy_shares_with_one_project(c: Caller) -> None:
    network, _ = c.net()
    grant = {
        "object_type": "network",
        "object_id": network["id"],
        "action": "access_as_shared",
        "target_tenant": "q",
    }
    policy = c.x("POST /rbac-policies", {"rbac_policy": grant})["rbac_policy"]
    assert c.x(f"GET /networks/{network['id']}", token=OTHER)["network"]["shared"] is True
    assert c.x(f"GET /networks/{network['id']}")["network"]["shared"] is False
    assert c.refused("GET /networks/" + network["id"], token="z:third:member,reader")[0] == 404
    port = c.port(network["id"], OTHER)
    assert c.refused(f"DELETE /rbac-policies/{policy['id']}") == (409, "RbacPolicyInUse")
    c.x(f"DELETE /ports/{port['id']}", token=OTHER)
    c.x(f"DELETE /rbac-policies/{policy['id']}")
    assert c.refused(f"GET /networks/{network['id']}", token=OTHER)[0] == 404
    everybody = {"rbac_policy": grant | {"target_tenant": "*"}}
    assert c.refused("POST /rbac-policies", everybody) == (403, "PolicyNotAuthorized")


def test_an_operators_rule_opens_listings_too(tmp_path: Path) -> None:
    rule = "get_network: 'role:admin or project_id:%(project_id)s or role:auditor'\n"
    running = start(tmp_path, rule)
    c = Caller(running)
    network, _ = c.net()
    auditor = "a:elsewhere:auditor"
    assert network["id"] in {n["id"] for n in c.x("GET /networks", token=auditor)["networks"]}
    assert c.x(f"GET /networks/{network['id']}", token=auditor)["network"]["name"] == "n"
    running.close()


def test_subnets_are_planned_and_checked(c: Caller) -> None:
    network, subnet = c.net(cidr="10.9.0.0/24")
    assert subnet["gateway_ip"] == "10.9.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.9.0.2", "end": "10.9.0.254"}]
    dhcp = c.x(f"GET /ports?network_id={network['id']}")["ports"]
    assert [(p["device_owner"], p["fixed_ips"][0]["ip_address"]) for p in dhcp] == [("network:dhcp", "10.9.0.2")]

    def refused(**extra: object) -> tuple[int, str]:
        given = {"network_id": network["id"], "ip_version": 4, "cidr": "10.8.0.0/24", **extra}
        return c.refused("POST /subnets", {"subnet": given})

    assert refused(cidr="10.9.0.128/25") == (400, "InvalidInput")
    assert refused(ip_version=6) == (400, "InvalidInput")
    assert refused(cidr="nonsense") == (400, "HTTPBadRequest")
    pool = {"start": "10.8.0.1", "end": "10.8.0.9"}
    assert refused(allocation_pools=[pool]) == (409, "GatewayConflictWithAllocationPools")
    assert refused(allocation_pools=[{"start": "10.7.0.2", "end": "10.7.0.9"}]) == (400, "OutOfBoundsAllocationPool")
    assert refused(gateway_ip="10.8.0.255") == (400, "InvalidInput")
    assert refused(ipv6_ra_mode="slaac") == (400, "InvalidInput")
    assert refused(dns_nameservers=["1.1.1.1"] * 2)[0] == 400
    assert refused(bogus=1) == (400, "HTTPBadRequest")


def test_autoconfigured_addresses_follow_the_mac(c: Caller) -> None:
    network, _ = c.net(cidr="10.9.0.0/24")
    early = c.port(network["id"], mac_address="fa:16:3e:00:00:07")
    given = {
        "network_id": network["id"],
        "ip_version": 6,
        "cidr": "2001:db8::/64",
        "ipv6_ra_mode": "slaac",
        "ipv6_address_mode": "slaac",
    }
    subnet = c.x("POST /subnets", {"subnet": given})["subnet"]
    port = c.port(network["id"], mac_address="fa:16:3e:00:00:01")
    assert port["fixed_ips"][1]["ip_address"] == "2001:db8::f816:3eff:fe00:1"
    early = c.x(f"GET /ports/{early['id']}")["port"]
    assert early["fixed_ips"][1]["ip_address"] == "2001:db8::f816:3eff:fe00:7"
    own = [{"subnet_id": subnet["id"], "ip_address": "2001:db8::5"}]
    refused = c.refused("POST /ports", {"port": {"network_id": network["id"], "fixed_ips": own}})
    assert refused == (400, "AllocationOnAutoAddressSubnet")
    c.x(f"DELETE /subnets/{subnet['id']}")
    assert len(c.x(f"GET /ports/{early['id']}")["port"]["fixed_ips"]) == 1


def test_an_address_belongs_to_one_port(c: Caller) -> None:
    network, subnet = c.net(cidr="10.9.0.0/29")  # .1 gateway, .2 DHCP, .3 to .6 free
    ips = [c.port(network["id"])["fixed_ips"][0]["ip_address"] for _ in range(3)]
    assert ips == ["10.9.0.3", "10.9.0.4", "10.9.0.5"]
    taken = {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.9.0.4"}]}}
    assert c.refused("POST /ports", taken) == (409, "IpAddressAlreadyAllocated")
    last = c.port(network["id"])
    full = {"port": {"network_id": network["id"]}}
    assert c.refused("POST /ports", full) == (409, "IpAddressGenerationFailure")
    c.x(f"DELETE /ports/{last['id']}")
    assert c.port(network["id"])["fixed_ips"][0]["ip_address"] == "10.9.0.6"
    mac = {"port": {"network_id": network["id"], "mac_address": last["mac_address"], "fixed_ips": []}}
    c.x("POST /ports", mac)
    assert c.refused("POST /ports", mac) == (409, "MacAddressInUse")
    outside = {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.7.0.9"}]}}
    assert c.refused("POST /ports", outside) == (400, "InvalidIpForNetwork")
    other = {"port": {"network_id": network["id"], "fixed_ips": [{"subnet_id": subnet["id"], "ip_address": "1.2.3.4"}]}}
    assert c.refused("POST /ports", other) == (400, "InvalidIpForSubnet")


def test_many_at_once_get_different_addresses(c: Caller) -> None:
    network, _ = c.net(cidr="10.9.0.0/24")
    with ThreadPoolExecutor(8) as pool:
        ports = list(pool.map(lambda _: c.port(network["id"]), range(60)))
    assert len({p["fixed_ips"][0]["ip_address"] for p in ports}) == 60
    assert len({p["mac_address"] for p in ports}) == 60


def test_bulk_creation_is_all_or_nothing(c: Caller) -> None:
    made = c.x("POST /networks", {"networks": [{"name": "a"}, {"name": "b"}]})["networks"]
    assert [n["name"] for n in made] == ["a", "b"]
    before = len(c.x("GET /networks")["networks"])
    assert c.refused("POST /networks", {"networks": [{"name": "c"}, {"mtu": 9000}]}) == (400, "InvalidInput")
    assert len(c.x("GET /networks")["networks"]) == before


def test_listings_are_filtered_sorted_and_paged(c: Caller) -> None:
    network, _ = c.net()
    for i in range(5):
        c.port(network["id"], name=f"p{i}")
    mine = f"network_id={network['id']}&device_owner="
    page = c.x(f"GET /ports?{mine}&limit=2&sort_key=name&sort_dir=desc")
    assert [p["name"] for p in page["ports"]] == ["p4", "p3"]
    following = next(x["href"] for x in page["ports_links"] if x["rel"] == "next")
    page = c.x("GET " + following.split("/v2.0")[1])
    assert [p["name"] for p in page["ports"]] == ["p2", "p1"]
    assert {x["rel"] for x in page["ports_links"]} == {"next", "previous"}
    two = c.x("GET /ports?name=p1&name=p2&fields=name")["ports"]
    assert sorted(two, key=str) == [{"name": "p1"}, {"name": "p2"}]
    ip = c.x("GET /ports?name=p1")["ports"][0]["fixed_ips"][0]["ip_address"]
    assert [p["name"] for p in c.x(f"GET /ports?fixed_ips=ip_address={ip}&network_id={network['id']}")["ports"]] == [
        "p1"
    ]


def test_ports_change_their_addresses_and_groups(c: Caller) -> None:
    network, subnet = c.net()
    port = c.port(network["id"])
    wish = [{"subnet_id": subnet["id"], "ip_address": "10.1.0.77"}]
    changed = c.x(f"PUT /ports/{port['id']}", {"port": {"fixed_ips": wish}})["port"]
    assert changed["fixed_ips"] == wish
    assert changed["revision_number"] > port["revision_number"]
    both = [*wish, {"subnet_id": subnet["id"]}]
    assert len(c.x(f"PUT /ports/{port['id']}", {"port": {"fixed_ips": both}})["port"]["fixed_ips"]) == 2
    group = c.x("POST /security-groups", {"security_group": {"name": "g"}})["security_group"]
    c.x(f"PUT /ports/{port['id']}", {"port": {"security_groups": [group["id"]]}})
    assert c.refused(f"DELETE /security-groups/{group['id']}") == (409, "SecurityGroupInUse")
    off = {"port": {"port_security_enabled": False}}
    assert c.refused(f"PUT /ports/{port['id']}", off) == (409, "PortSecurityPortHasSecurityGroup")
    c.x(f"PUT /ports/{port['id']}", {"port": {"port_security_enabled": False, "security_groups": []}})
    c.x(f"DELETE /security-groups/{group['id']}")
    assert c.refused(f"PUT /ports/{port['id']}", {"port": {"binding:host_id": "h"}})[0] == 403
    bound = c.x(f"PUT /ports/{port['id']}", {"port": {"binding:host_id": "h"}}, ADMIN)["port"]
    assert bound["binding:vif_type"] == "bridge"


def test_security_group_rules_are_checked(c: Caller) -> None:
    group = c.x("POST /security-groups", {"security_group": {"name": "g"}})["security_group"]
    assert len(group["security_group_rules"]) == 2

    def rule(**extra: object) -> dict[str, object]:
        return {"security_group_rule": {"security_group_id": group["id"], "direction": "ingress", **extra}}

    ssh = {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
    c.x("POST /security-group-rules", rule(**ssh))
    assert c.refused("POST /security-group-rules", rule(**ssh, remote_ip_prefix="0.0.0.0/0")) == (
        409,
        "SecurityGroupRuleExists",
    )
    cases: list[tuple[dict[str, object], str]] = [
        ({"protocol": "nonsense"}, "SecurityGroupRuleInvalidProtocol"),
        ({"port_range_min": 1, "port_range_max": 2}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "udp", "port_range_min": 9, "port_range_max": 2}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "icmp", "port_range_min": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_max": 1}, "SecurityGroupMissingIcmpType"),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"remote_ip_prefix": "2001:db8::/32"}, "SecurityGroupRuleParameterConflict"),
        ({"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": group["id"]}, "SecurityGroupMultipleRemoteEntites"),
        ({"protocol": "gre", "port_range_min": 1}, "SecurityGroupInvalidProtocolForPort"),
    ]
    for extra, name in cases:
        assert c.refused("POST /security-group-rules", rule(**extra)) == (400, name)
    assert c.refused("POST /security-group-rules", rule(), OTHER) == (404, "SecurityGroupNotFound")
    made = c.x("POST /security-group-rules", rule(protocol="icmp", ethertype="IPv6"))["security_group_rule"]
    assert made["protocol"] == "ipv6-icmp"
    default = c.x("GET /security-groups?name=default")["security_groups"]
    assert len(default) == 1
    assert len(default[0]["security_group_rules"]) == 4
    assert c.refused(f"DELETE /security-groups/{default[0]['id']}") == (409, "SecurityGroupCannotRemoveDefault")
    assert c.refused("POST /security-groups", {"security_group": {"name": "default"}})[0] == 409


def test_quotas_are_kept(c: Caller) -> None:
    c.cloud.write(lambda tx: c.cloud.quotas.set_limits(tx, "p", {"network.network": 2}))
    network, _ = c.net()
    assert c.refused("POST /networks", {"network": {}}) == (409, "OverQuota")
    c.x(f"DELETE /networks/{network['id']}")
    c.x("POST /networks", {"network": {}})


def test_a_servers_port_is_made_real_and_taken_back(c: Caller) -> None:
    network, _ = c.net()
    networking = c.cloud.port(Networking)
    driver = c.cloud.driver(NetworkDriver)
    who = Who(user_id="u", project_id="p", roles=frozenset({"member", "reader"}))
    port = c.cloud.write(
        lambda tx: networking.create_port(tx, who, network_id=network["id"], device_id="s1", host="h", hostname="web")
    )
    assert port.security_group_names == ("default",)
    assert port.mtu == 1450
    networking.realise(c.cloud, [port.port_id])
    assert port.port_id in driver.existing().ports
    assert c.x(f"GET /ports/{port.port_id}")["port"]["status"] == "ACTIVE"
    lease = driver.networks[network["id"]].subnets[0].leases[0]  # type: ignore[attr-defined]
    assert (lease.hostname, lease.ip) == ("web", port.addresses[0].ip)
    found = c.cloud.read(lambda tx: networking.port_at(tx, network["id"], port.addresses[0].ip))
    assert found is not None
    assert found.device_id == "s1"
    c.cloud.write(lambda tx: networking.delete_port(tx, port.port_id))
    settle(c)
    assert port.port_id not in driver.existing().ports


def test_the_sweep_mends_the_world(c: Caller) -> None:
    network, _ = c.net()
    settle(c)
    driver = c.cloud.driver(NetworkDriver)
    driver.remove_network(network["id"])
    driver.ensure_groups([])
    driver.ensure_router(type(next(iter(driver.routers.values())))("stray", True, (), None, None, False))  # type: ignore[attr-defined]
    c.running.runner.run_once("network-sweep")
    settle(c)
    assert network["id"] in driver.existing().networks
    assert "stray" not in driver.existing().routers


def test_what_fails_is_tried_again_and_holds_nobody_up(c: Caller) -> None:
    settle(c)
    driver = c.cloud.driver(NetworkDriver)
    driver.fail("ensure_network")  # type: ignore[attr-defined]
    one, _ = c.net()
    two, _ = c.net(cidr="10.2.0.0/24")
    c.running.runner.run_once("network")
    assert len({one["id"], two["id"]} & set(driver.existing().networks)) == 1
    c.cloud.clock.step(60)
    settle(c)
    assert {one["id"], two["id"]} <= set(driver.existing().networks)


def test_tags_are_put_read_and_filtered_by(c: Caller) -> None:
    network, _ = c.net()
    at = f"/networks/{network['id']}/tags"
    assert c.x(f"PUT {at}", {"tags": ["red", "blue"]})["tags"] == ["red", "blue"]
    c.x(f"PUT {at}/green", http=201)
    c.x(f"GET {at}/green", http=204)
    assert c.refused(f"GET {at}/gre") == (404, "TagNotFound")
    assert len(c.x("GET /networks?tags=red,green")["networks"]) == 1
    assert len(c.x("GET /networks?tags=red,gre")["networks"]) == 0
    assert network["id"] not in {n["id"] for n in c.x("GET /networks?not-tags-any=red")["networks"]}
    c.x(f"DELETE {at}/green")
    assert c.x(f"GET {at}")["tags"] == ["red", "blue"]
    c.x(f"DELETE {at}")
    assert c.refused(f"PUT {at}/x", token=OTHER) == (404, "NetworkNotFound")


def test_quotas_are_shown_set_and_reset(c: Caller) -> None:
    assert c.x("GET /quotas/p", token=ADMIN)["quota"]["port"] == 500
    assert c.refused("GET /quotas/q", token="m:p:manager,member,reader")[0] == 403
    assert c.x("PUT /quotas/p", {"quota": {"port": 3}}, ADMIN)["quota"]["port"] == 3
    assert c.x("GET /quotas/p/details", token=ADMIN)["quota"]["network"] == {"limit": 100, "used": 1, "reserved": 0}
    assert c.refused("PUT /quotas/p", {"quota": {"port": -2}}, ADMIN)[0] == 400
    assert [q["project_id"] for q in c.x("GET /quotas", token=ADMIN)["quotas"]] == ["p"]
    c.x("DELETE /quotas/p", token=ADMIN)
    assert c.refused("DELETE /quotas/p", token=ADMIN) == (404, "ProjectQuotaNotFound")


def test_agents_are_alive_while_the_host_answers(c: Caller) -> None:
    assert c.x("GET /agents", token=ADMIN)["agents"] == []
    c.running.runner.run_once("network-sweep")
    agents = c.x("GET /agents", token=ADMIN)["agents"]
    assert len(agents) == 4
    assert all(a["alive"] for a in agents)
    c.cloud.clock.step(100)
    assert not any(a["alive"] for a in c.x("GET /agents", token=ADMIN)["agents"])
    assert c.x("GET /agents")["agents"] == []


def test_addresses_left_are_counted(c: Caller) -> None:
    network, _ = c.net(cidr="10.9.0.0/29")
    c.port(network["id"])
    found = c.x(f"GET /network-ip-availabilities/{network['id']}", token=ADMIN)["network_ip_availability"]
    assert (found["used_ips"], found["total_ips"]) == (2, 5)


def test_a_change_can_name_the_revision_it_means(c: Caller) -> None:
    network, _ = c.net()
    network = c.x(f"GET /networks/{network['id']}")["network"]  # the subnet counted too
    headers = {"If-Match": "revision_number=999"}
    answer = c.ask("PUT", f"/v2.0/networks/{network['id']}", {"network": {"name": "x"}}, headers=headers)
    assert answer.status_code == 412
    headers = {"If-Match": f"revision_number={network['revision_number']}"}
    answer = c.ask("PUT", f"/v2.0/networks/{network['id']}", {"network": {"name": "x"}}, headers=headers)
    assert answer.status_code == 200


def test_a_port_bound_again_while_it_is_removed_is_made_again(c: Caller) -> None:
    """The loop had read the removal before the binding withdrew it."""
    from nutshell.network.settle import _removed

    network, _ = c.net()
    port = c.port(network["id"])
    c.x(f"PUT /ports/{port['id']}", {"port": {"binding:host_id": "h"}}, ADMIN)
    settle(c)
    driver = c.cloud.driver(NetworkDriver)
    assert port["id"] in driver.existing().ports
    driver.remove_ports([port["id"]])
    c.cloud.write(lambda tx: _removed(tx, "port", [port["id"]]))
    settle(c)
    assert port["id"] in driver.existing().ports


def test_subnets_are_cut_from_pools(c: Caller) -> None:
    given = {"name": "pool", "prefixes": ["10.20.0.0/25", "10.20.0.128/25"], "default_prefixlen": 26}
    pool = c.x("POST /subnetpools", {"subnetpool": given})["subnetpool"]
    assert (pool["prefixes"], pool["min_prefixlen"], pool["max_prefixlen"]) == (["10.20.0.0/24"], "8", "32")
    network = c.x("POST /networks", {"network": {}})["network"]
    one = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool["id"]}
    cidrs = [c.x("POST /subnets", {"subnet": one | extra})["subnet"]["cidr"] for extra in ({}, {"prefixlen": 25})]
    assert cidrs == ["10.20.0.0/26", "10.20.0.128/25"]
    chosen = c.x("POST /subnets", {"subnet": one | {"cidr": "10.20.0.64/27"}})["subnet"]
    assert chosen["subnetpool_id"] == pool["id"]
    assert c.refused("POST /subnets", {"subnet": one}) == (409, "SubnetAllocationError")
    assert c.refused("POST /subnets", {"subnet": one | {"prefixlen": 4}}) == (400, "MinPrefixSubnetAllocationError")
    plain = {"subnet": {"network_id": network["id"], "ip_version": 4}}
    assert c.refused("POST /subnets", plain) == (400, "BadRequest")
    assert c.refused(f"DELETE /subnetpools/{pool['id']}") == (400, "SubnetPoolDeleteError")
    less = {"subnetpool": {"prefixes": ["10.20.0.0/25"]}}
    assert c.refused(f"PUT /subnetpools/{pool['id']}", less) == (400, "IllegalSubnetPoolPrefixUpdate")
    c.x(f"DELETE /networks/{network['id']}")
    c.x(f"DELETE /subnetpools/{pool['id']}")
    assert c.refused("POST /subnetpools", {"subnetpool": given | {"is_default": True}})[0] == 403


@pytest.mark.parametrize(
    "line",
    [
        "GET /networks?limit=99999999999999999999",
        "GET /networks?mtu=99999999999999999999",
        "GET /networks?revision_number=99999999999999999999",
        "PUT /networks/{network}",
        "POST /networks",
        "POST /ports",
    ],
)
@pytest.mark.parametrize("body", [None, 5, "x", [], {"network": 5}, {"ports": [5]}, {"port": {"network_id": "\x00"}}])
def test_nonsense_is_refused_or_ignored_never_a_server_error(c: Caller, line: str, body: object) -> None:
    method, _, path = line.partition(" ")
    network = c.x("GET /networks")["networks"][0]["id"]
    answer = c.ask(method, "/v2.0" + path.format(network=network), None if method == "GET" else body)
    assert answer.status_code < 500


def test_a_segment_is_not_given_out_while_its_network_is_being_removed(c: Caller) -> None:
    network, _ = c.net()
    old = c.x(f"GET /networks/{network['id']}", token=ADMIN)["network"]["provider:segmentation_id"]
    c.x(f"DELETE /networks/{network['id']}")
    new = c.x("POST /networks", {"network": {}}, ADMIN)["network"]["provider:segmentation_id"]
    assert new != old
    settle(c)


def test_what_was_pushed_already_is_not_pushed_again(c: Caller) -> None:
    network, _ = c.net()
    networking, driver = c.cloud.port(Networking), c.cloud.driver(NetworkDriver)
    settle(c)
    who = Who(user_id="u", project_id="p", roles=frozenset({"member", "reader"}))

    def plug(device_id: str) -> str:
        port = c.cloud.write(
            lambda tx: networking.create_port(tx, who, network_id=network["id"], device_id=device_id, host="h")
        )
        return port.port_id

    ports = [plug(f"s{i}") for i in range(3)]
    before = dict(driver.calls)  # type: ignore[attr-defined]
    for port_id in ports:
        networking.realise(c.cloud, [port_id])
    after = driver.calls  # type: ignore[attr-defined]
    assert after["ensure_network"] - before["ensure_network"] == 1, "the first push held all three leases"
    assert after["ensure_ports"] - before.get("ensure_ports", 0) == 3
    assert len(driver.networks[network["id"]].subnets[0].leases) == 3  # type: ignore[attr-defined]
    settle(c)
    assert driver.calls["ensure_network"] == after["ensure_network"], "nothing was left to the loop"  # type: ignore[attr-defined]
    driver.remove_everything()  # type: ignore[attr-defined]
    with pytest.raises(DriverFault):
        networking.realise(c.cloud, ports)
    networking.realise(c.cloud, ports)
    assert set(ports) <= set(driver.existing().ports)
