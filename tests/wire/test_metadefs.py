"""Metadata definitions as their clients meet them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.wire.test_images import ADMIN, MEMBER, OTHER, call, start

from nutshell import app

ROOT = "/v2/metadefs/namespaces"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[app.Running]:
    running = start(tmp_path_factory.mktemp("metadefs"))
    yield running
    running.close()


def post(cloud: app.Running, path: str, body: Any = None, token: str = ADMIN, **rest: Any) -> httpx.Response:
    return call(cloud, "POST", path, token, json=body, **rest)


def get(cloud: app.Running, path: str, token: str = MEMBER) -> Any:
    answer = call(cloud, "GET", path, token)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def space(cloud: app.Running) -> Iterator[str]:
    body = {
        "namespace": "Test::Space",
        "visibility": "public",
        "properties": {"cores": {"title": "Cores", "type": "integer", "minimum": 1, "default": 2}},
        "objects": [{"name": "box", "properties": {"w": {"title": "W", "type": "integer"}}, "required": ["w"]}],
        "tags": [{"name": "one"}, {"name": "two"}],
        "resource_type_associations": [{"name": "OS::Test::Thing", "prefix": "hw:"}],
    }
    answer = post(cloud, ROOT, body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/v2/metadefs/namespaces/Test::Space"
    yield "Test::Space"
    assert call(cloud, "DELETE", f"{ROOT}/Test::Space", ADMIN).status_code == 204


def test_the_standard_definitions_are_there(cloud: app.Running) -> None:
    found = get(cloud, ROOT + "?limit=100")["namespaces"]
    assert len(found) == 32
    assert {"OS::Compute::CPUPinning", "OS::Software::DBMS", "OS::Glance::CommonImageProperties"} <= {
        n["namespace"] for n in found
    }
    one = get(cloud, f"{ROOT}/OS::Compute::CPUPinning?resource_type=OS::Nova::Flavor")
    assert "hw:cpu_policy" in one["properties"]
    assert one["protected"] is True
    assert call(cloud, "DELETE", f"{ROOT}/OS::Compute::CPUPinning", ADMIN).status_code == 403
    kinds = [t["name"] for t in get(cloud, "/v2/metadefs/resource_types")["resource_types"]]
    assert "OS::Nova::Server" in kinds
    assert len(kinds) == len(set(kinds))


def test_pages_of_namespaces(cloud: app.Running) -> None:
    seen, path = [], ROOT + "?limit=10&sort_key=namespace&sort_dir=asc"
    while path:
        page = get(cloud, path)
        seen += [n["namespace"] for n in page["namespaces"]]
        path = page.get("next", "")
    assert seen == sorted(seen)
    assert len(seen) == 32
    only = get(cloud, ROOT + "?resource_types=OS::Cinder::Volume,OS::Nova::Aggregate&limit=100")["namespaces"]
    assert 0 < len(only) < 32
    for wrong in ("sort_dir=up", "sort_key=colour", "limit=x", "limit=-1", "visibility=secret"):
        assert call(cloud, "GET", f"{ROOT}?{wrong}").status_code == 400
    assert call(cloud, "GET", f"{ROOT}?marker=none").status_code == 404


def test_a_namespace_shows_all_that_is_in_it(cloud: app.Running, space: str) -> None:
    found = get(cloud, f"{ROOT}/{space}")
    assert found["properties"] == {"cores": {"title": "Cores", "type": "integer", "minimum": 1, "default": "2"}}
    assert found["objects"][0]["self"] == f"/v2/metadefs/namespaces/{space}/objects/box"
    assert [t["name"] for t in found["tags"]] == ["two", "one"]
    with_prefix = get(cloud, f"{ROOT}/{space}?resource_type=OS::Test::Thing")
    assert list(with_prefix["properties"]) == ["hw:cores"]
    assert with_prefix["objects"][0]["required"] == ["hw:w"]
    assert get(cloud, f"{ROOT}/{space}/properties/hw:cores?resource_type=OS::Test::Thing")["name"] == "cores"


def test_objects_properties_tags_and_types_change(cloud: app.Running, space: str) -> None:
    base = f"{ROOT}/{space}"
    for kind, body, key in (
        ("objects", {"name": "new", "description": "d"}, "new"),
        ("properties", {"name": "new", "title": "New", "type": "string"}, "new"),
    ):
        assert post(cloud, f"{base}/{kind}", body).status_code == 201
        assert post(cloud, f"{base}/{kind}", body).status_code == 409
        renamed = call(cloud, "PUT", f"{base}/{kind}/{key}", ADMIN, json={**body, "name": "newer"})
        assert renamed.status_code == 200
        assert renamed.json()["name"] == "newer"
        assert get(cloud, f"{base}/{kind}/newer")["name"] == "newer"
        assert call(cloud, "GET", f"{base}/{kind}/new").status_code == 404
        assert call(cloud, "DELETE", f"{base}/{kind}/newer", ADMIN).status_code == 204
    assert post(cloud, f"{base}/tags/ONE").status_code == 409
    assert post(cloud, f"{base}/tags/three").json()["name"] == "three"
    more = post(cloud, f"{base}/tags", {"tags": [{"name": "four"}]}, headers={"X-Openstack-Append": "true"})
    assert more.status_code == 201
    assert len(get(cloud, f"{base}/tags")["tags"]) == 4
    assert post(cloud, f"{base}/tags", {"tags": [{"name": "a"}, {"name": "b"}]}).status_code == 201
    assert [t["name"] for t in get(cloud, f"{base}/tags")["tags"]] == ["b", "a"]
    assert post(cloud, f"{base}/resource_types", {"name": "OS::Test::Other"}).status_code == 201
    assert call(cloud, "DELETE", f"{base}/resource_types/OS::Test::Other", ADMIN).status_code == 204
    assert call(cloud, "DELETE", f"{base}/resource_types/OS::Test::Other", ADMIN).status_code == 404
    for kind in ("tags", "objects", "properties"):
        assert call(cloud, "DELETE", f"{base}/{kind}", ADMIN).status_code == 204
        assert not get(cloud, f"{base}/{kind}")[kind]


def test_private_namespaces_are_their_projects(cloud: app.Running) -> None:
    made = post(cloud, ROOT, {"namespace": "Private::One", "owner": "p"})
    assert made.status_code == 201
    assert made.json()["visibility"] == "private"
    assert get(cloud, f"{ROOT}/Private::One")["owner"] == "p"
    assert call(cloud, "GET", f"{ROOT}/Private::One", OTHER).status_code == 404
    assert call(cloud, "POST", f"{ROOT}/Private::One/objects", OTHER, json={"name": "o"}).status_code == 404
    assert call(cloud, "POST", f"{ROOT}/Private::One/objects", MEMBER, json={"name": "o"}).status_code == 403
    assert "Private::One" not in {n["namespace"] for n in get(cloud, ROOT + "?limit=100", OTHER)["namespaces"]}
    kept = call(cloud, "PUT", f"{ROOT}/Private::One", ADMIN, json={"namespace": "Private::One", "protected": True})
    assert kept.status_code == 200
    assert call(cloud, "DELETE", f"{ROOT}/Private::One", ADMIN).status_code == 403
    call(cloud, "PUT", f"{ROOT}/Private::One", ADMIN, json={"namespace": "Private::One"})
    assert call(cloud, "DELETE", f"{ROOT}/Private::One", ADMIN).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"namespace": 1},
        {"namespace": "n" * 81},
        {"namespace": "n", "visibility": "shared"},
        {"namespace": "n", "colour": "red"},
        {"namespace": "n", "properties": {"p": {"title": "P"}}},
        {"namespace": "n", "properties": {"p": {"title": "P", "type": "word"}}},
        {"namespace": "n", "objects": [{"description": "no name"}]},
    ],
)
def test_what_is_no_namespace(cloud: app.Running, body: Any) -> None:
    assert post(cloud, ROOT, body).status_code == 400
    assert call(cloud, "GET", f"{ROOT}/n").status_code == 404


def test_schemas(cloud: app.Running) -> None:
    for kind in ("namespace", "object", "property", "resource_type", "tag"):
        many = {"property": "properties"}.get(kind, kind + "s")
        one = get(cloud, f"/v2/schemas/metadefs/{kind}")
        listing = get(cloud, f"/v2/schemas/metadefs/{many}")
        assert one["additionalProperties"] is False
        assert set(listing["properties"]) == {listing["name"], "first", "next", "schema"}


def test_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    running = start(tmp_path, postgres_url)
    try:
        assert post(running, ROOT, {"namespace": "N", "tags": [{"name": "t"}]}).status_code == 201
        assert get(running, f"{ROOT}/N", ADMIN)["tags"] == [{"name": "t"}]
        page = get(running, ROOT + "?limit=5&sort_key=namespace&sort_dir=asc", ADMIN)
        assert next(n["namespace"] for n in page["namespaces"]).startswith("CIM::")
    finally:
        running.close()
