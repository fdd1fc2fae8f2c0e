"""Placement's API, driven as a client does: a provider's life, allocations that cannot overcommit, candidates."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.database import database_for

from nutshell import app
from nutshell.core.config import CloudConfig, load_settings
from nutshell.core.policy import Who
from nutshell.placement import wiring

Call = Callable[..., httpx.Response]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    part = app.Part(wiring.service, wiring.config, wiring.quotas, wiring.wire, wiring.loops, wiring.seed)
    settings = load_settings(
        [CloudConfig, wiring.config],
        None,
        {},
        {CloudConfig: {"state": tmp_path, "simulate": True, "database": database_for(tmp_path)}},
    )
    running = app.build(settings, of=[part])
    running.cloud.authenticate = lambda token: Who(user_id="u", project_id="p", roles=frozenset(token.split(",")))

    def send(method: str, path: str, body: Any = None, at: str = "1.39", roles: str = "admin") -> httpx.Response:
        headers = {"X-Auth-Token": roles, "OpenStack-API-Version": f"placement {at}"}

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://c/placement") as client:
                return await client.request(method, path, json=body, headers=headers)

        return asyncio.run(go())

    yield send
    running.close()


def provider(call: Call, name: str, vcpus: int, **more: Any) -> str:
    made = call("POST", "/resource_providers", {"name": name, **more}).json()
    inventories = {"inventories": {"VCPU": {"total": vcpus}}, "resource_provider_generation": made["generation"]}
    assert call("PUT", f"/resource_providers/{made['uuid']}/inventories", inventories).status_code == 200
    return str(made["uuid"])


def claim(call: Call, consumer: str, resources: dict[str, dict[str, int]], known: int | None = None) -> httpx.Response:
    allocations = {p: {"resources": r} for p, r in resources.items()}
    body = {"allocations": allocations, "project_id": "p", "user_id": "u", "consumer_generation": known}
    return call("PUT", f"/allocations/{consumer}", {**body, "consumer_type": "INSTANCE"})


def test_a_providers_life(call: Call) -> None:
    one = provider(call, "one", 8)
    assert call("POST", "/resource_providers", {"name": "one"}).status_code == 409
    assert (
        call("POST", "/resource_providers", {"name": "x", "parent_provider_uuid": str(uuid.uuid4())}).status_code == 400
    )
    child = provider(call, "child", 1, parent_provider_uuid=one)
    assert call("GET", f"/resource_providers/{child}").json()["root_provider_uuid"] == one
    assert call("DELETE", f"/resource_providers/{one}").status_code == 409
    old = call("GET", f"/resource_providers/{one}", at="1.0").json()
    assert "parent_provider_uuid" not in old
    assert [link["rel"] for link in old["links"]] == ["self", "inventories", "usages"]
    assert call("GET", "/resource_providers", roles="member").status_code == 403
    assert call("DELETE", f"/resource_providers/{child}").status_code == 204
    assert call("DELETE", f"/resource_providers/{one}").status_code == 204
    assert call("GET", f"/resource_providers/{one}").status_code == 404


def test_an_old_generation_is_refused(call: Call) -> None:
    one = provider(call, "one", 8)
    body = {"inventories": {"VCPU": {"total": 2}}, "resource_provider_generation": 0}
    answer = call("PUT", f"/resource_providers/{one}/inventories", body)
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["code"] == "placement.concurrent_update"
    assert call("GET", f"/resource_providers/{one}/inventories/VCPU").json()["total"] == 8


@pytest.mark.parametrize(
    "amounts", [{"total": 0}, {"total": 2, "reserved": 3}, {"total": "x"}, {"total": 1, "wings": 2}]
)
def test_a_bad_inventory_changes_nothing(call: Call, amounts: dict[str, Any]) -> None:
    one = provider(call, "one", 8)
    known = call("GET", f"/resource_providers/{one}").json()["generation"]
    body = {"inventories": {"VCPU": amounts}, "resource_provider_generation": known}
    assert call("PUT", f"/resource_providers/{one}/inventories", body).status_code == 400
    assert call("GET", f"/resource_providers/{one}").json()["generation"] == known


def test_allocations_respect_capacity_and_the_consumers_generation(call: Call) -> None:
    one, consumer = provider(call, "one", 8), str(uuid.uuid4())
    assert claim(call, consumer, {one: {"VCPU": 9}}).status_code == 409
    assert claim(call, consumer, {one: {"VCPU": 6}}).status_code == 204
    assert claim(call, consumer, {one: {"VCPU": 8}}).status_code == 409, "the generation is not null any more"
    assert claim(call, consumer, {one: {"VCPU": 8}}, known=1).status_code == 204
    held = call("GET", f"/allocations/{consumer}").json()
    assert held["allocations"][one]["resources"] == {"VCPU": 8}
    assert (held["project_id"], held["consumer_generation"]) == ("p", 2)
    assert call("GET", f"/resource_providers/{one}/usages").json()["usages"] == {"VCPU": 8}
    assert call("GET", "/usages?project_id=p").json()["usages"]["INSTANCE"]["VCPU"] == 8
    assert call("DELETE", f"/resource_providers/{one}").status_code == 409
    assert call("DELETE", f"/allocations/{consumer}").status_code == 204
    assert call("DELETE", f"/allocations/{consumer}").status_code == 404
    assert call("GET", f"/resource_providers/{one}/usages").json()["usages"] == {"VCPU": 0}


def test_a_move_in_one_request_needs_no_room_for_both(call: Call) -> None:
    one, old, new = provider(call, "one", 8), str(uuid.uuid4()), str(uuid.uuid4())
    assert claim(call, old, {one: {"VCPU": 8}}).status_code == 204
    entry = {"project_id": "p", "user_id": "u", "consumer_type": "MIGRATION"}
    body = {
        new: {**entry, "allocations": {one: {"resources": {"VCPU": 8}}}, "consumer_generation": None},
        old: {**entry, "allocations": {}, "consumer_generation": 1},
    }
    assert call("POST", "/allocations", body).status_code == 204
    assert set(call("GET", f"/resource_providers/{one}/allocations").json()["allocations"]) == {new}


def test_candidates_by_room_traits_aggregates_and_groups(call: Call) -> None:
    one, two = provider(call, "one", 8), provider(call, "two", 2)
    assert call("PUT", "/traits/CUSTOM_FAST").status_code == 201
    assert call("PUT", "/traits/FAST").status_code == 400
    known = call("GET", f"/resource_providers/{two}").json()["generation"]
    body = {"traits": ["CUSTOM_FAST"], "resource_provider_generation": known}
    assert call("PUT", f"/resource_providers/{two}/traits", body).status_code == 200

    def found(query: str) -> set[str]:
        answer = call("GET", f"/allocation_candidates?{query}")
        assert answer.status_code == 200, answer.text
        return {p for r in answer.json()["allocation_requests"] for p in r["allocations"]}

    assert found("resources=VCPU:1") == {one, two}
    assert found("resources=VCPU:4") == {one}
    assert found("resources=VCPU:1&required=CUSTOM_FAST") == {two}
    assert found("resources=VCPU:1&required=!CUSTOM_FAST") == {one}
    assert found(f"resources=VCPU:1&in_tree={two}") == {two}
    assert found("resources1=VCPU:5&resources2=VCPU:5&group_policy=none") == set(), "together they do not fit"
    assert found("resources1=VCPU:1&resources2=VCPU:1&group_policy=none") == {one, two}
    assert call("GET", "/allocation_candidates?resources=NOPE:1").status_code == 400
    assert call("GET", "/allocation_candidates?resources=VCPU").status_code == 400
    assert call("GET", "/allocation_candidates?resources=VCPU:1&required=CUSTOM_NO").status_code == 400
    assert call("GET", "/allocation_candidates?resources=VCPU:1", at="1.9").status_code == 404


def test_custom_classes(call: Call) -> None:
    assert call("POST", "/resource_classes", {"name": "CUSTOM_X"}).status_code == 201
    assert call("POST", "/resource_classes", {"name": "CUSTOM_X"}).status_code == 409
    assert call("PUT", "/resource_classes/CUSTOM_X").status_code == 204
    assert call("PUT", "/resource_classes/OTHER").status_code == 400
    assert call("DELETE", "/resource_classes/VCPU").status_code == 400
    assert call("DELETE", "/resource_classes/CUSTOM_X").status_code == 204
    assert call("GET", "/resource_classes/CUSTOM_X").status_code == 404
