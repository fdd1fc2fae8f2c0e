"""Server groups and host aggregates: where servers may go, and what hosts have in common."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.compute_rig import ADMIN, MEMBER, OTHER, READER, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, settings={"hosts": 2})
    yield made
    made.close()


def group(rig: Rig, policy: str, rules: dict[str, int] | None = None, token: str = MEMBER) -> dict[str, Any]:
    body = {"name": "g", "policy": policy} | ({"rules": rules} if rules is not None else {})
    answer = rig.call("POST", "/os-server-groups", token, "2.64", json={"server_group": body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["server_group"]
    return found


def boot(rig: Rig, group_id: str, wait: str = "ACTIVE", **body: Any) -> str:
    """A member's host."""
    server = {"name": "one", "flavorRef": "42", "imageRef": "11111111-1111-4111-8111-111111111111", "networks": "auto"}
    whole = {"server": server | body, "os:scheduler_hints": {"group": group_id}}
    answer = rig.call("POST", "/servers", MEMBER, "2.90", json=whole)
    assert answer.status_code == 202, answer.text
    made = answer.json()["server"]["id"]
    rig.until(made, wait)
    host: str = rig.show(made, ADMIN)["OS-EXT-SRV-ATTR:host"] or ""
    return host


def test_members_stay_together_or_apart(rig: Rig) -> None:
    together = group(rig, "affinity")["id"]
    assert len({boot(rig, together) for _ in range(3)}) == 1
    apart = group(rig, "anti-affinity")["id"]
    assert len({boot(rig, apart) for _ in range(2)}) == 2
    boot(rig, apart, wait="ERROR")
    shown = rig.call("GET", f"/os-server-groups/{apart}", at="2.64").json()["server_group"]
    assert len(shown["members"]) == 3
    assert shown["policy"] == "anti-affinity"


def test_soft_policies_are_wishes(rig: Rig) -> None:
    near = group(rig, "soft-affinity")["id"]
    assert len({boot(rig, near) for _ in range(3)}) == 1
    far = group(rig, "soft-anti-affinity")["id"]
    hosts = [boot(rig, far) for _ in range(4)]
    assert [hosts.count(h) for h in set(hosts)] == [2, 2]


def test_so_many_members_on_one_host(rig: Rig) -> None:
    pairs = group(rig, "anti-affinity", {"max_server_per_host": 2})["id"]
    hosts = [boot(rig, pairs) for _ in range(4)]
    assert [hosts.count(h) for h in set(hosts)] == [2, 2]
    boot(rig, pairs, wait="ERROR")


def test_a_group_in_old_and_new_words(rig: Rig) -> None:
    old = {"server_group": {"name": "g", "policies": ["affinity"]}}
    made = rig.call("POST", "/os-server-groups", json=old).json()["server_group"]
    assert made == {"id": made["id"], "name": "g", "policies": ["affinity"], "metadata": {}, "members": []}
    new = rig.call("GET", f"/os-server-groups/{made['id']}", at="2.64").json()["server_group"]
    assert (new["policy"], new["rules"], new["project_id"], new["user_id"]) == ("affinity", {}, "p", "u")
    bad: list[tuple[str, dict[str, Any]]] = [
        ("2.1", {"name": "g", "policies": ["soft-affinity"]}),
        ("2.1", {"name": "g", "policies": ["affinity", "anti-affinity"]}),
        ("2.15", {"name": "", "policies": ["affinity"]}),
        ("2.64", {"name": "g", "policies": ["affinity"]}),
        ("2.64", {"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 2}}),
        ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}),
    ]
    for at, body in bad:
        assert rig.call("POST", "/os-server-groups", at=at, json={"server_group": body}).status_code == 400, body


def test_groups_are_the_projects_own(rig: Rig) -> None:
    mine, theirs = group(rig, "affinity"), group(rig, "affinity", token=OTHER)
    assert [g["id"] for g in rig.call("GET", "/os-server-groups").json()["server_groups"]] == [mine["id"]]
    everybody = rig.call("GET", "/os-server-groups?all_projects=1", ADMIN).json()["server_groups"]
    assert {g["id"] for g in everybody} == {mine["id"], theirs["id"]}
    assert rig.call("GET", f"/os-server-groups/{theirs['id']}").status_code == 404
    assert rig.call("DELETE", f"/os-server-groups/{theirs['id']}").status_code == 404
    assert rig.call("DELETE", f"/os-server-groups/{mine['id']}", READER).status_code == 403
    body = {"server": {"name": "x", "flavorRef": "42", "imageRef": "11111111-1111-4111-8111-111111111111",
                       "networks": "auto"}, "os:scheduler_hints": {"group": theirs["id"]}}  # fmt: skip
    assert rig.call("POST", "/servers", at="2.90", json=body).status_code == 400
    assert rig.call("DELETE", f"/os-server-groups/{mine['id']}").status_code == 204
    assert rig.call("GET", "/os-server-groups").json()["server_groups"] == []


def test_groups_and_members_have_a_quota(rig: Rig) -> None:
    limits = {"quota_set": {"server_groups": 1, "server_group_members": 1}}
    assert rig.call("PUT", "/os-quota-sets/p", ADMIN, json=limits).status_code == 200
    made = group(rig, "affinity")
    body = {"server_group": {"name": "g", "policies": ["affinity"]}}
    assert rig.call("POST", "/os-server-groups", json=body).status_code == 403
    boot(rig, made["id"])
    server = {"name": "x", "flavorRef": "42", "imageRef": "11111111-1111-4111-8111-111111111111", "networks": "auto"}
    whole = {"server": server, "os:scheduler_hints": {"group": made["id"]}}
    assert rig.call("POST", "/servers", at="2.90", json=whole).status_code == 403
    used = rig.cloud.read(lambda tx: rig.cloud.quotas.used(tx, "p", ["compute.instances"]))
    assert used == {"compute.instances": 1}
    rig.call("DELETE", f"/os-server-groups/{made['id']}")
    group(rig, "affinity")


def test_an_aggregate_puts_its_hosts_into_a_zone(rig: Rig) -> None:
    first, second = [h["hypervisor_hostname"] for h in rig.call("GET", "/os-hypervisors", ADMIN).json()["hypervisors"]]
    made = rig.call("POST", "/os-aggregates", ADMIN, json={"aggregate": {"name": "a", "availability_zone": "east"}})
    assert made.status_code == 200, made.text
    assert made.json()["aggregate"]["availability_zone"] == "east"
    assert "hosts" not in made.json()["aggregate"]
    path = f"/os-aggregates/{made.json()['aggregate']['id']}"

    def act(name: str, **body: Any) -> int:
        return rig.call("POST", path + "/action", ADMIN, json={name: body}).status_code

    assert act("add_host", host="nobody") == 404
    assert act("add_host", host=second) == 200
    assert act("add_host", host=second) == 409
    zones = {z["zoneName"] for z in rig.call("GET", "/os-availability-zone").json()["availabilityZoneInfo"]}
    assert zones == {"nova", "east"}
    server = rig.boot(availability_zone="east")
    assert rig.show(server, ADMIN)["OS-EXT-SRV-ATTR:host"] == second
    assert rig.show(server)["OS-EXT-AZ:availability_zone"] == "east"
    assert act("remove_host", host=second) == 409
    assert act("set_metadata", metadata={"availability_zone": "west"}) == 400
    assert rig.call("PUT", path, ADMIN, json={"aggregate": {"availability_zone": "west"}}).status_code == 400
    assert act("set_metadata", metadata={"ssd": "true"}) == 200
    shown = rig.call("GET", path, ADMIN, "2.41").json()["aggregate"]
    assert shown["metadata"] == {"availability_zone": "east", "ssd": "true"}
    assert shown["hosts"] == [second]
    assert len(shown["uuid"]) == 36
    rig.call("DELETE", f"/servers/{server}")
    rig.gone(server)
    assert rig.call("DELETE", path, ADMIN).status_code == 400
    assert act("remove_host", host=first) == 404
    assert act("remove_host", host=second) == 200
    assert rig.call("DELETE", path, ADMIN).status_code == 200
    assert rig.call("GET", path, ADMIN).status_code == 404


def test_a_host_is_in_one_zone_and_names_are_unique(rig: Rig) -> None:
    host = rig.call("GET", "/os-hypervisors", ADMIN).json()["hypervisors"][0]["hypervisor_hostname"]
    paths = []
    for name in ("a", "b"):
        body = {"aggregate": {"name": name, "availability_zone": name}}
        paths.append(f"/os-aggregates/{rig.call('POST', '/os-aggregates', ADMIN, json=body).json()['aggregate']['id']}")
    assert rig.call("POST", paths[0] + "/action", ADMIN, json={"add_host": {"host": host}}).status_code == 200
    assert rig.call("POST", paths[1] + "/action", ADMIN, json={"add_host": {"host": host}}).status_code == 409
    assert rig.call("PUT", paths[1], ADMIN, json={"aggregate": {"name": "a"}}).status_code == 409
    assert rig.call("POST", "/os-aggregates", ADMIN, json={"aggregate": {"name": "a"}}).status_code == 409
    assert rig.call("GET", "/os-aggregates/x", ADMIN).status_code == 400
    assert rig.call("GET", "/os-aggregates", MEMBER).status_code == 403
    body = {"cache": [{"id": "11111111-1111-4111-8111-111111111111"}]}
    assert rig.call("POST", paths[0] + "/images", ADMIN, "2.81", json=body).status_code == 400
    assert rig.call("POST", paths[0] + "/images", ADMIN, "2.80", json=body).status_code == 404


def test_hints_are_shown_as_lists(rig: Rig) -> None:
    made = group(rig, "affinity")["id"]
    boot(rig, made)
    member = rig.call("GET", f"/os-server-groups/{made}").json()["server_group"]["members"][0]
    assert rig.show(member, at="2.100")["scheduler_hints"] == {"group": [made]}
    assert "scheduler_hints" not in rig.show(member, at="2.99")
