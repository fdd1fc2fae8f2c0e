"""Trunks as their clients meet them: made, filled, emptied; what of their ports is refused meanwhile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.network_rig import ADMIN, MEMBER, OTHER, READER, Caller, start

from nutshell.network.capability import NetworkDriver
from nutshell.network.networking import Networks
from nutshell.network.port import Networking


@pytest.fixture(params=["sqlite", "postgresql"])
def c(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Caller]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    running = start(tmp_path, database=url)
    yield Caller(running)
    running.close()


def sub(port: Any, vlan: Any = 2) -> dict[str, Any]:
    return {"port_id": port["id"], "segmentation_type": "vlan", "segmentation_id": vlan}


def trunk(c: Caller, port: Any, *subports: Any, token: str = MEMBER, **more: Any) -> Any:
    given = {"port_id": port["id"], "sub_ports": list(subports), **more}
    return c.x("POST /trunks", {"trunk": given}, token)["trunk"]


@pytest.fixture
def ports(c: Caller) -> list[Any]:
    """The parent's on one network, two more on another."""
    first, second = c.net()[0], c.net(cidr="10.2.0.0/24")[0]
    return [c.port(first["id"]), c.port(second["id"]), c.port(second["id"])]


def test_a_trunk_is_made_filled_emptied_and_deleted(c: Caller, ports: list[Any]) -> None:
    parent, one, two = ports
    made = trunk(c, parent, sub(one), name="t", description="d")
    assert (made["status"], made["admin_state_up"], made["project_id"], made["tags"]) == ("DOWN", True, "p", [])
    assert made["sub_ports"] == [sub(one)]
    here = f"/trunks/{made['id']}"
    assert c.x(f"GET {here}")["trunk"] == made
    added = c.x(f"PUT {here}/add_subports", {"sub_ports": [sub(two, 3)]})
    assert added["sub_ports"] == [sub(one), sub(two, 3)]
    assert added["revision_number"] > made["revision_number"]
    assert c.x(f"GET {here}/get_subports") == {"sub_ports": [sub(one), sub(two, 3)]}
    details = c.x(f"GET /ports/{parent['id']}")["port"]["trunk_details"]
    shown = [sub(one) | {"mac_address": one["mac_address"]}, sub(two, 3) | {"mac_address": two["mac_address"]}]
    assert details == {"trunk_id": made["id"], "sub_ports": shown}
    listed = {p["id"]: p for p in c.x("GET /ports")["ports"]}
    assert listed[parent["id"]]["trunk_details"] == details
    assert "trunk_details" not in listed[one["id"]]
    assert (listed[one["id"]]["device_owner"], listed[one["id"]]["device_id"]) == ("trunk:subport", made["id"])
    left = c.x(f"PUT {here}/remove_subports", {"sub_ports": [{"port_id": one["id"]}]})
    assert left["sub_ports"] == [sub(two, 3)]
    assert c.x(f"GET /ports/{one['id']}")["port"]["device_owner"] == ""
    assert c.x(f"PUT {here}", {"trunk": {"name": "other"}})["trunk"]["name"] == "other"
    assert [t["id"] for t in c.x(f"GET /trunks?port_id={parent['id']}")["trunks"]] == [made["id"]]
    c.x(f"DELETE {here}")
    for port in ports:
        assert "trunk_details" not in c.x(f"GET /ports/{port['id']}")["port"]
        c.x(f"DELETE /ports/{port['id']}")


def test_ports_of_a_trunk_are_kept(c: Caller, ports: list[Any]) -> None:
    parent, one, two = ports
    made = trunk(c, parent, sub(one))
    assert c.refused(f"DELETE /ports/{parent['id']}") == (409, "PortInUseAsTrunkParent")
    assert c.refused(f"DELETE /ports/{one['id']}") == (409, "PortInUseAsSubPort")
    for change in ({"device_id": "d"}, {"device_owner": ""}):
        assert c.refused(f"PUT /ports/{one['id']}", {"port": change}) == (409, "PortInUseAsSubPort")
    c.x(f"PUT /ports/{one['id']}", {"port": {"name": "still mine"}})
    assert c.refused("POST /trunks", {"trunk": {"port_id": parent["id"]}}) == (409, "ParentPortInUse")
    assert c.refused("POST /trunks", {"trunk": {"port_id": one["id"]}}) == (409, "TrunkPortInUse")
    other = trunk(c, two)
    here = f"PUT /trunks/{other['id']}/add_subports"
    assert c.refused(here, {"sub_ports": [sub(one)]}) == (409, "TrunkPortInUse")
    assert c.refused(here, {"sub_ports": [sub(parent)]}) == (409, "ParentPortInUse")
    assert c.refused(here, {"sub_ports": [sub(two)]}) == (409, "ParentPortInUse")
    c.x(f"PUT /trunks/{made['id']}", {"trunk": {"admin_state_up": False}})
    assert c.refused(f"DELETE /trunks/{made['id']}") == (409, "TrunkDisabled")
    assert c.refused(f"PUT /trunks/{made['id']}/add_subports", {"sub_ports": []}) == (409, "TrunkDisabled")


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ([{"port_id": "PORT"}], 400),
        ([{"port_id": "PORT", "segmentation_type": "vlan"}], 400),
        ([{"port_id": "PORT", "segmentation_id": 2}], 400),
        ([{"segmentation_type": "vlan", "segmentation_id": 2}], 400),
        ([{"port_id": "PORT", "segmentation_type": "vlan", "segmentation_id": 4095}], 400),
        ([{"port_id": "PORT", "segmentation_type": "vlan", "segmentation_id": 0}], 400),
        ([{"port_id": "PORT", "segmentation_type": "vlan", "segmentation_id": [2]}], 400),
        ([{"port_id": "PORT", "segmentation_type": "vlan", "segmentation_id": "²"}], 400),
        ([{"port_id": "PORT", "segmentation_type": ["vlan"], "segmentation_id": 2}], 400),
        ([{"port_id": "PORT", "segmentation_type": "gre", "segmentation_id": 2}], 400),
        ([{"port_id": "PORT", "segmentation_type": "inherit"}], 400),
        ([{"port_id": "PORT", "segmentation_type": "vlan", "segmentation_id": 2}] * 2, 400),
        ({"port_id": "PORT", "segmentation_type": "vlan", "segmentation_id": 2}, 400),
        ([{"port_id": "0" * 32, "segmentation_type": "vlan", "segmentation_id": 2}], 404),
        ([7], 400),
        ("x", 400),
    ],
)
def test_bodies_that_are_refused_change_nothing(c: Caller, ports: list[Any], said: Any, refusal: int) -> None:
    parent, one, _ = ports
    for each in said if isinstance(said, list) else [said]:
        if isinstance(each, dict) and each.get("port_id") == "PORT":
            each["port_id"] = one["id"]
    assert c.refused("POST /trunks", {"trunk": {"port_id": parent["id"], "sub_ports": said}})[0] == refusal
    assert c.x("GET /trunks")["trunks"] == []
    made = trunk(c, parent)
    assert c.refused(f"PUT /trunks/{made['id']}/add_subports", {"sub_ports": said})[0] == refusal
    assert c.x(f"GET /trunks/{made['id']}")["trunk"] == made
    assert c.x(f"GET /ports/{one['id']}")["port"]["device_owner"] == ""


def test_a_vlan_is_used_once_and_an_mtu_must_fit(c: Caller, ports: list[Any]) -> None:
    parent, one, two = ports
    made = trunk(c, parent, sub(one))
    here = f"PUT /trunks/{made['id']}"
    assert c.refused(f"{here}/add_subports", {"sub_ports": [sub(two)]}) == (409, "DuplicateSubPort")
    assert c.refused(f"{here}/remove_subports", {"sub_ports": [sub(two)]}) == (404, "SubPortNotFound")
    assert c.refused(f"{here}/add_subports", {}) == (400, "HTTPBadRequest")
    small = c.net(cidr="10.3.0.0/24", mtu=1300)[0]
    narrow = trunk(c, c.port(small["id"]))
    wide = {"sub_ports": [sub(two)]}
    assert c.refused(f"PUT /trunks/{narrow['id']}/add_subports", wide) == (409, "SubPortMtuGreaterThanTrunkPortMtu")


def test_whose_trunk_it_is(c: Caller, ports: list[Any]) -> None:
    parent, one, two = ports
    made = trunk(c, parent, sub(one))
    assert c.x(f"GET /trunks/{made['id']}", token=READER)["trunk"] == made
    assert c.refused(f"PUT /trunks/{made['id']}", {"trunk": {"name": "x"}}, READER)[0] == 403
    for line, body in (("GET", None), ("DELETE", None), ("PUT", {"trunk": {"name": "x"}})):
        assert c.refused(f"{line} /trunks/{made['id']}", body, OTHER) == (404, "TrunkNotFound")
    for verb in ("add_subports", "remove_subports"):
        refused = c.refused(f"PUT /trunks/{made['id']}/{verb}", {"sub_ports": [sub(two)]}, OTHER)
        assert refused == (404, "TrunkNotFound")
    assert c.refused("POST /trunks", {"trunk": {"port_id": two["id"]}}, OTHER) == (404, "PortNotFound")
    theirs = c.port(c.net(OTHER, "10.4.0.0/24")[0]["id"], OTHER)
    wanted = {"sub_ports": [sub(theirs, 9)]}
    assert c.refused(f"PUT /trunks/{made['id']}/add_subports", wanted) == (404, "PortNotFound")
    c.x("PUT /quotas/p", {"quota": {"trunk": 1}}, ADMIN)
    assert c.refused("POST /trunks", {"trunk": {"port_id": two["id"]}}) == (409, "OverQuota")
    c.x(f"DELETE /trunks/{made['id']}")
    trunk(c, two)


def test_a_trunk_works_where_its_parent_is_plugged_in(c: Caller, ports: list[Any]) -> None:
    parent, one, two = ports
    made = trunk(c, parent, sub(one))
    networking: Networks = c.cloud.port(Networking)
    driver: Any = c.cloud.driver(NetworkDriver)

    def settled() -> str:
        c.running.runner.run_once("network")
        found: str = c.x(f"GET /trunks/{made['id']}")["trunk"]["status"]
        return found

    plugged = {"port": {"binding:host_id": "h", "device_id": "server"}}
    c.x(f"PUT /ports/{parent['id']}", plugged, ADMIN)
    assert c.x(f"GET /trunks/{made['id']}")["trunk"]["status"] == "BUILD"
    assert settled() == "ACTIVE"
    assert driver.ports[one["id"]].carrier == (parent["id"], 2)
    assert driver.ports[parent["id"]].carrier is None
    c.x(f"PUT /trunks/{made['id']}/add_subports", {"sub_ports": [sub(two, 3)]})
    assert settled() == "ACTIVE"
    assert driver.ports[two["id"]].carrier == (parent["id"], 3)
    assert c.refused(f"PUT /ports/{two['id']}", {"port": {"binding:host_id": "g"}}, ADMIN)[0] == 409
    c.x(f"PUT /trunks/{made['id']}/remove_subports", {"sub_ports": [sub(one)]})
    settled()
    assert set(driver.ports) >= {parent["id"], two["id"]}
    assert one["id"] not in driver.ports
    with pytest.raises(Exception, match="already has an attached device"):
        c.cloud.write(lambda tx: networking.bind_port(tx, two["id"], device_id="other", host="h"))
    c.cloud.write(lambda tx: networking.unbind_port(tx, parent["id"]))
    assert settled() == "DOWN"
    assert two["id"] not in driver.ports
    c.cloud.write(lambda tx: networking.bind_port(tx, parent["id"], device_id="server", host="h"))
    assert c.x(f"GET /ports/{two['id']}", token=ADMIN)["port"]["binding:host_id"] == "h"
    c.cloud.write(lambda tx: networking.delete_port(tx, parent["id"]))
    assert c.refused(f"GET /trunks/{made['id']}") == (404, "TrunkNotFound")
    c.x(f"DELETE /ports/{two['id']}")
    assert c.x("GET /quotas/p/details.json")["quota"]["trunk"]["used"] == 0
