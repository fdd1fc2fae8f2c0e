"""The pipeline: what a client of a declared noun meets."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import toy

from nutshell.app import Running

MEMBER, READER, OTHER, ADMIN = "u:p:member,reader", "r:p:reader", "v:q:member,reader", "root:adm:admin,member,reader"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Running]:
    running = toy.start(tmp_path)
    yield running
    running.close()


def call(cloud: Running, method: str, path: str, token: str = MEMBER, **rest: Any) -> httpx.Response:
    headers = {"X-Auth-Token": token} if token else {}
    headers |= rest.pop("headers", {})

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=cloud.app), base_url="http://cloud") as client:
            return await client.request(method, "/toy/v1" + path, headers=headers, **rest)

    return asyncio.run(go())


def make(cloud: Running, name: str, token: str = MEMBER, **more: Any) -> dict[str, Any]:
    answer = call(cloud, "POST", "/boats", token, json={"boat": {"name": name, **more}})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()["boat"]
    return found


def test_a_request_without_a_token_is_refused(cloud: Running) -> None:
    assert call(cloud, "GET", "/boats", "").status_code == 401


def test_create_show_update_delete(cloud: Running) -> None:
    boat = make(cloud, "Argo", length=30)
    assert boat["length"] == 30
    assert "secret_port" not in boat
    changed = call(cloud, "PUT", f"/boats/{boat['id']}", json={"boat": {"name": "Argo II"}})
    assert changed.json()["boat"]["name"] == "Argo II"
    assert call(cloud, "DELETE", f"/boats/{boat['id']}").status_code == 204
    assert call(cloud, "GET", f"/boats/{boat['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "JSON"),
        (b'{"ship": {}}', "boat"),
        (b'{"boat": []}', "object"),
        (b'{"boat": {}}', "name"),
        (b'{"boat": {"name": 5}}', "name"),
        (b'{"boat": {"name": "x", "length": 0}}', "length"),
        (b'{"boat": {"name": "x", "wings": 2}}', "wings"),
        (b'{"boat": {"name": "x", "captain": "Jason"}}', "captain"),  # only from 1.2 on
    ],
)
def test_a_bad_body_is_refused_by_name_and_changes_nothing(cloud: Running, body: bytes, word: str) -> None:
    answer = call(cloud, "POST", "/boats", content=body)
    assert answer.status_code == 400
    assert word in answer.text
    assert call(cloud, "GET", "/boats").json()["boats"] == []


def test_fields_follow_the_version(cloud: Running) -> None:
    new = {"OpenStack-API-Version": "toy 1.2"}
    answer = call(cloud, "POST", "/boats", json={"boat": {"name": "x", "captain": "Jason"}}, headers=new)
    assert answer.headers["OpenStack-API-Version"] == "toy 1.2"
    path = f"/boats/{answer.json()['boat']['id']}"
    assert call(cloud, "GET", path, headers=new).json()["boat"]["captain"] == "Jason"
    assert "captain" not in call(cloud, "GET", path).json()["boat"]
    assert call(cloud, "GET", path, headers={"OpenStack-API-Version": "toy 1.6"}).status_code == 406
    assert call(cloud, "GET", path, headers={"OpenStack-API-Version": "toy x"}).status_code == 400
    latest = call(cloud, "GET", path, headers={"OpenStack-API-Version": "toy latest"})
    assert latest.headers["OpenStack-API-Version"] == "toy 1.5"


def test_anothers_row_answers_as_one_that_does_not_exist(cloud: Running) -> None:
    boat = make(cloud, "Argo")
    for method in ("GET", "PUT", "DELETE"):
        body = {"json": {"boat": {"name": "mine"}}} if method == "PUT" else {}
        theirs = call(cloud, method, f"/boats/{boat['id']}", OTHER, **body)
        missing = call(cloud, method, "/boats/none", OTHER, **body)
        assert theirs.status_code == missing.status_code == 404
        assert theirs.text.replace(boat["id"], "none") == missing.text
    assert call(cloud, "GET", "/boats/detail", OTHER).json()["boats"] == []
    assert len(call(cloud, "GET", "/boats/detail", ADMIN).json()["boats"]) == 1


def test_a_guarded_member_is_shown_to_some_roles_only(cloud: Running) -> None:
    boat = make(cloud, "Argo")
    assert "secret_port" not in call(cloud, "GET", f"/boats/{boat['id']}").json()["boat"]
    assert call(cloud, "GET", f"/boats/{boat['id']}", ADMIN).json()["boat"]["secret_port"] == "Tortuga"


def test_a_role_that_may_not_gets_403_and_the_rule(cloud: Running) -> None:
    boat = make(cloud, "Argo")
    answer = call(cloud, "DELETE", f"/boats/{boat['id']}", READER)
    assert answer.status_code == 403
    assert "toy:change" in answer.text


def test_an_operators_policy_changes_listings_too(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text('"toy:get": "role:auditor or rule:project_reader"\n')
    cloud = toy.start(tmp_path)
    try:
        boat = make(cloud, "Argo")
        auditor = "a:elsewhere:auditor,member"
        assert [b["id"] for b in call(cloud, "GET", "/boats", auditor).json()["boats"]] == [boat["id"]]
        assert call(cloud, "GET", f"/boats/{boat['id']}", auditor).status_code == 200
        assert call(cloud, "GET", "/boats", ADMIN).json()["boats"] == []
    finally:
        cloud.close()


def test_a_shared_row_is_seen_by_everybody(cloud: Running) -> None:
    make(cloud, "Argo", shared=True)
    make(cloud, "Mine")
    assert [b["name"] for b in call(cloud, "GET", "/boats", OTHER).json()["boats"]] == ["Argo"]


def test_actions_are_chosen_by_the_body(cloud: Running) -> None:
    boat = make(cloud, "Argo")
    path = f"/boats/{boat['id']}/action"
    assert call(cloud, "POST", path, json={"load": {"tons": 12}}).status_code == 400
    assert call(cloud, "POST", path, json={"fly": None}).status_code == 400
    assert call(cloud, "POST", path, json={"load": {"tons": 2}, "fly": None}).status_code == 400
    assert call(cloud, "POST", path, json={"load": {"tons": 2}}, token=OTHER).status_code == 404
    assert call(cloud, "POST", path, json={"load": {"tons": 2}}).status_code == 202
    assert call(cloud, "POST", path, json={"load": {"tons": 2}}).status_code == 409, "one operation at a time"


def test_a_streaming_route_sends_as_it_receives(cloud: Running) -> None:
    answer = call(cloud, "POST", "/echo", content=b"ahoy " * 1000)
    assert answer.content == b"AHOY " * 1000
    assert call(cloud, "POST", "/echo", READER, content=b"x").status_code == 403


def test_pages_follow_the_marker_in_the_asked_order(cloud: Running) -> None:
    for i, captain in enumerate(["b", None, "a", None, "c"]):
        body = {"boat": {"name": f"n{i}", "length": 1 + i % 2} | ({"captain": captain} if captain else {})}
        call(cloud, "POST", "/boats", json=body, headers={"OpenStack-API-Version": "toy 1.2"})
    for sort in ("length:asc,name:desc", "captain:asc", "captain:desc", "name:asc"):
        whole = [b["id"] for b in call(cloud, "GET", f"/boats?sort={sort}").json()["boats"]]
        assert len(whole) == 5
        paged: list[str] = []
        while len(paged) < 10:
            marker = f"&marker={paged[-1]}" if paged else ""
            page = call(cloud, "GET", f"/boats?limit=2&sort={sort}{marker}").json()["boats"]
            if not page:
                break
            paged += [b["id"] for b in page]
        assert paged == whole, sort
    assert call(cloud, "GET", "/boats?marker=none").status_code == 400
    assert call(cloud, "GET", "/boats?limit=x").status_code == 400
    assert call(cloud, "GET", "/boats?limit=-1").status_code == 400
    assert call(cloud, "GET", "/boats?sort=wings").status_code == 400


def test_filters(cloud: Running) -> None:
    for name in ("a", "b", "c"):
        make(cloud, name, length=3 if name == "c" else 1)
    assert [b["name"] for b in call(cloud, "GET", "/boats?name=b").json()["boats"]] == ["b"]
    assert len(call(cloud, "GET", "/boats?name=a&name=b").json()["boats"]) == 2
    assert len(call(cloud, "GET", "/boats?length=3").json()["boats"]) == 1
    assert call(cloud, "GET", "/boats?length=x").status_code == 400


def test_unknown_paths_and_methods(cloud: Running) -> None:
    assert call(cloud, "GET", "/ships").status_code == 404
    answer = call(cloud, "PATCH", "/boats")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


def test_a_body_over_the_limit_is_refused(cloud: Running) -> None:
    assert call(cloud, "POST", "/boats", content=b" " * (11 * 2**20)).status_code == 413
