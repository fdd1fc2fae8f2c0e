"""Address scopes and subnet pools: plans without overlaps, shared with single projects, prefixes moved in and out."""

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


def scope(c: Caller, token: str = MEMBER, **more: Any) -> Any:
    given = {"name": "plan", "ip_version": 4, **more}
    return c.x("POST /address-scopes", {"address_scope": given}, token)["address_scope"]


def pool(c: Caller, prefixes: list[str], token: str = MEMBER, **more: Any) -> Any:
    given = {"name": "pool", "prefixes": prefixes, "default_prefixlen": 26, **more}
    return c.x("POST /subnetpools", {"subnetpool": given}, token)["subnetpool"]


def share(c: Caller, kind: str, object_id: str, target: str, token: str = ADMIN) -> dict[str, Any]:
    return {
        "rbac_policy": {
            "object_type": kind,
            "object_id": object_id,
            "action": "access_as_shared",
            "target_tenant": target,
        }
    }


def test_pools_of_a_scope_do_not_overlap(c: Caller) -> None:
    plan = scope(c)
    mine = pool(c, ["10.30.0.0/24"], address_scope_id=plan["id"])
    again = {"subnetpool": {"name": "b", "prefixes": ["10.30.0.0/16"], "address_scope_id": plan["id"]}}
    assert c.refused("POST /subnetpools", again) == (409, "AddressScopePrefixConflict")
    other = pool(c, ["10.31.0.0/24"], address_scope_id=plan["id"])
    wider = {"subnetpool": {"prefixes": ["10.30.0.0/15"]}}
    assert c.refused(f"PUT /subnetpools/{other['id']}", wider) == (409, "AddressScopePrefixConflict")
    assert c.refused(f"DELETE /address-scopes/{plan['id']}") == (409, "AddressScopeInUse")
    network = c.x("POST /networks", {"network": {}})["network"]
    given = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": mine["id"]}
    subnet = c.x("POST /subnets", {"subnet": given})["subnet"]
    assert c.x(f"GET /networks/{network['id']}")["network"]["ipv4_address_scope"] == plan["id"]
    c.x(f"DELETE /subnets/{subnet['id']}")
    for one in (mine, other):
        c.x(f"PUT /subnetpools/{one['id']}", {"subnetpool": {"address_scope_id": None}})
    c.x(f"DELETE /address-scopes/{plan['id']}")


def test_a_scope_fits_its_pools_and_is_somebodys(c: Caller) -> None:
    six = scope(c, ip_version=6)
    given = {"subnetpool": {"name": "b", "prefixes": ["10.32.0.0/24"], "address_scope_id": six["id"]}}
    assert c.refused("POST /subnetpools", given)[0] == 400
    theirs = scope(c, ADMIN)
    given["subnetpool"]["address_scope_id"] = theirs["id"]
    assert c.refused("POST /subnetpools", given) == (404, "AddressScopeNotFound")
    assert c.refused(f"GET /address-scopes/{theirs['id']}") == (404, "AddressScopeNotFound")
    assert c.refused("POST /address-scopes", {"address_scope": {"name": "x", "ip_version": 5}})[0] == 400


def test_sharing_a_scope_is_the_administrators_and_lasts(c: Caller) -> None:
    open_to_all = {"address_scope": {"shared": True}}
    mine = scope(c)
    assert c.refused(f"PUT /address-scopes/{mine['id']}", open_to_all) == (403, "PolicyNotAuthorized")
    assert c.x(f"PUT /address-scopes/{mine['id']}", open_to_all, ADMIN)["address_scope"]["shared"]
    assert c.x(f"GET /address-scopes/{mine['id']}", token=OTHER)["address_scope"]["shared"]
    shut = {"address_scope": {"shared": False}}
    assert c.refused(f"PUT /address-scopes/{mine['id']}", shut, ADMIN) == (400, "AddressScopeUpdateError")


def test_grants_of_scopes_and_pools_stay_while_they_are_used(c: Caller) -> None:
    plan = scope(c, ADMIN)
    granted = c.x("POST /rbac-policies", share(c, "address_scope", plan["id"], "q"), ADMIN)["rbac_policy"]
    theirs = pool(c, ["10.33.0.0/24"], OTHER, address_scope_id=plan["id"])
    assert c.refused(f"DELETE /rbac-policies/{granted['id']}", token=ADMIN) == (409, "RbacPolicyInUse")
    onward = share(c, "subnetpool", theirs["id"], "p")
    assert c.refused("POST /rbac-policies", onward, OTHER) == (400, "InvalidInput")  # p does not see the scope
    wider = {"subnetpool": {"prefixes": ["10.33.0.0/16"]}}
    assert c.refused(f"PUT /subnetpools/{theirs['id']}", wider, OTHER) == (400, "IllegalSubnetPoolUpdate")
    lent = pool(c, ["10.34.0.0/24"], ADMIN)
    policy = c.x("POST /rbac-policies", share(c, "subnetpool", lent["id"], "q"), ADMIN)["rbac_policy"]
    network = c.x("POST /networks", {"network": {}}, OTHER)["network"]
    given = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": lent["id"]}
    c.x("POST /subnets", {"subnet": given}, OTHER)
    assert c.refused(f"DELETE /rbac-policies/{policy['id']}", token=ADMIN) == (409, "RbacPolicyInUse")


def test_prefixes_are_added_and_taken_out(c: Caller) -> None:
    mine = pool(c, ["10.40.0.0/24"])
    path = f"/subnetpools/{mine['id']}"
    more = c.x(f"PUT {path}/add_prefixes", {"prefixes": ["10.40.1.0/24", "10.50.0.0/24"]})
    assert more == {"prefixes": ["10.40.0.0/23", "10.50.0.0/24"]}
    network = c.x("POST /networks", {"network": {}})["network"]
    given = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": mine["id"]}
    assert c.x("POST /subnets", {"subnet": given})["subnet"]["cidr"] == "10.40.0.0/26"
    used = {"prefixes": ["10.40.0.0/24"]}
    assert c.refused(f"PUT {path}/remove_prefixes", used) == (409, "SubnetPoolPrefixesInUse")
    left = c.x(f"PUT {path}/remove_prefixes", {"prefixes": ["10.40.1.0/24"]})
    assert left == {"prefixes": ["10.40.0.0/24", "10.50.0.0/24"]}
    assert c.x(f"GET {path}")["subnetpool"]["prefixes"] == left["prefixes"]
    assert c.refused(f"PUT {path}/add_prefixes", used, OTHER)[0] == 404
    assert c.refused(f"PUT {path}/add_prefixes", {"prefixes": ["2001:db8::/32"]}) == (400, "PrefixVersionMismatch")
