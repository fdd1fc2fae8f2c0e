"""The image service as its clients meet it."""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.database import database_for
from tests.toy import toy_who

from nutshell import app
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, load_settings
from nutshell.image import wiring
from nutshell.image.files import ImageFiles
from nutshell.image.formats import write_qcow2
from nutshell.image.images import Image, Status
from nutshell.image.port import Images
from nutshell.server.files import OFFERED

MEMBER, OTHER, ADMIN = "u:p:member,reader", "v:q:member,reader", "root:adm:admin,member,reader"
PATCH = "application/openstack-images-v2.1-json-patch"
OLD_PATCH = "application/openstack-images-v2.0-json-patch"
BARE = {"disk_format": "raw", "container_format": "bare"}


def start(state: Path, database: str = "", strict: bool = True) -> app.Running:
    def wire(cloud: Cloud) -> None:
        cloud.authenticate = toy_who
        wiring.wire(cloud)

    part = app.Part(wiring.service, wiring.config, wiring.quotas, wire, wiring.loops, wiring.seed)
    given: dict[type, dict[str, object]] = {
        CloudConfig: {"state": state, "simulate": True, "database": database or database_for(state)},
        wiring.config: {"require_format_match": strict},
    }
    settings = load_settings([CloudConfig, wiring.config], None, {}, given)
    return app.build(settings, of=[part])


@pytest.fixture(params=["sqlite", "postgresql"])
def any_cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[app.Running]:
    running = start(tmp_path, "" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield running
    running.close()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[app.Running]:
    running = start(tmp_path)
    yield running
    running.close()


def call(cloud: app.Running, method: str, path: str, token: str = MEMBER, **rest: Any) -> httpx.Response:
    headers = ({"X-Auth-Token": token} if token else {}) | rest.pop("headers", {})

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=cloud.app), base_url="http://cloud") as client:
            return await client.request(method, "/image" + path, headers=headers, **rest)

    return asyncio.run(go())


def make(cloud: app.Running, token: str = MEMBER, **body: Any) -> dict[str, Any]:
    answer = call(cloud, "POST", "/v2/images", token, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def put_data(
    cloud: app.Running, image_id: str, data: bytes, token: str = MEMBER, where: str = "file"
) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"}
    return call(cloud, "PUT", f"/v2/images/{image_id}/{where}", token, content=data, headers=headers)


def patch(cloud: app.Running, image_id: str, *changes: Any, token: str = MEMBER, kind: str = PATCH) -> httpx.Response:
    return call(cloud, "PATCH", f"/v2/images/{image_id}", token, json=list(changes), headers={"Content-Type": kind})


def names(cloud: app.Running, query: str = "", token: str = MEMBER) -> list[str]:
    answer = call(cloud, "GET", "/v2/images" + query, token)
    assert answer.status_code == 200, answer.text
    return [i["name"] for i in answer.json()["images"]]


def test_versions_are_found_at_the_root_without_a_token(cloud: app.Running) -> None:
    found = call(cloud, "GET", "/", token="")
    assert found.status_code == 300
    current = [v for v in found.json()["versions"] if v["status"] == "CURRENT"]
    assert current[0]["links"][0]["href"] == "http://cloud/image/v2/"
    assert call(cloud, "GET", "/versions", token="").status_code == 200


def test_an_image_is_made_filled_read_and_deleted(any_cloud: app.Running, tmp_path: Path) -> None:
    cloud = any_cloud
    made = make(cloud, name="disk", tags=["b", "a", "b"], hw_rng_model="virtio", min_disk=1, **BARE)
    assert (made["status"], made["visibility"], made["owner"], made["tags"]) == ("queued", "shared", "p", ["a", "b"])
    assert made["hw_rng_model"] == "virtio"
    data = bytes(range(256)) * 9000
    assert put_data(cloud, made["id"], data).status_code == 204
    shown = call(cloud, "GET", f"/v2/images/{made['id']}").json()
    assert (shown["status"], shown["size"], shown["virtual_size"]) == ("active", len(data), len(data))
    assert shown["checksum"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
    got = call(cloud, "GET", f"/v2/images/{made['id']}/file")
    assert got.content == data
    assert got.headers["content-md5"] == shown["checksum"]
    assert call(cloud, "DELETE", f"/v2/images/{made['id']}").status_code == 204
    assert call(cloud, "GET", f"/v2/images/{made['id']}").status_code == 404
    cloud.runner.run_once("image-files")
    assert not (tmp_path / "images" / made["id"]).exists()
    again = call(cloud, "POST", "/v2/images", json={"id": made["id"]})
    assert again.status_code == 409


@pytest.mark.parametrize(
    ("header", "status", "first", "length"),
    [
        ("bytes=0-4", 206, 0, 5),
        ("bytes=5-", 206, 5, 995),
        ("bytes=-3", 206, 997, 3),
        ("bytes=990-2000", 206, 990, 10),
        ("bytes=1000-", 416, 0, 0),
        ("bytes=4-2", 416, 0, 0),
        ("lines=1-2", 416, 0, 0),
    ],
)
def test_ranges(cloud: app.Running, header: str, status: int, first: int, length: int) -> None:
    data = bytes(i % 251 for i in range(1000))
    made = make(cloud, **BARE)
    put_data(cloud, made["id"], data)
    got = call(cloud, "GET", f"/v2/images/{made['id']}/file", headers={"Range": header})
    assert got.status_code == status
    if status == 206:
        assert got.content == data[first : first + length]
        assert got.headers["content-range"] == f"bytes {first}-{first + length - 1}/1000"


@pytest.mark.parametrize(("header", "start", "end"), [("", 0, 9000), ("bytes=0-99", 0, 100), ("bytes=200-", 200, 9000)])
def test_a_server_that_can_is_given_the_file(cloud: app.Running, header: str, start: int, end: int) -> None:
    data = bytes(i % 251 for i in range(9000))
    made = make(cloud, **BARE)
    put_data(cloud, made["id"], data)
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.pathsend":
            size = int(dict(told[0]["headers"])[b"content-length"])
            message = {"data": os.read(message["path"][0], size)}
        told.append(message)

    path = f"/image/v2/images/{made['id']}/file"
    headers = [(b"x-auth-token", MEMBER.encode())] + ([(b"range", header.encode())] if header else [])
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": headers, "extensions": {OFFERED: {}}}  # fmt: skip
    asyncio.run(cloud.app(scope, receive, send))
    assert (told[0]["status"], told[1:]) == (206 if header else 200, [{"data": data[start:end]}])


def test_data_that_is_not_the_declared_format_is_refused_and_may_be_sent_again(
    cloud: app.Running, tmp_path: Path
) -> None:
    made = make(cloud, disk_format="qcow2", container_format="bare")
    assert put_data(cloud, made["id"], b"x" * 100_000).status_code == 415
    assert call(cloud, "GET", f"/v2/images/{made['id']}").json()["status"] == "queued"
    assert not [p for p in (tmp_path / "images").iterdir() if p.name.startswith(made["id"])]
    write_qcow2(tmp_path / "good", [b"boot"], 2**20)
    assert put_data(cloud, made["id"], (tmp_path / "good").read_bytes()).status_code == 204
    assert call(cloud, "GET", f"/v2/images/{made['id']}").json()["virtual_size"] == 2**20
    assert put_data(cloud, made["id"], b"again").status_code == 409


def test_upload_needs_the_formats_and_the_media_type(cloud: app.Running) -> None:
    made = make(cloud)
    assert put_data(cloud, made["id"], b"x").status_code == 400
    wrong = call(cloud, "PUT", f"/v2/images/{made['id']}/file", content=b"x", headers={"Content-Type": "text/plain"})
    assert wrong.status_code == 415
    assert call(cloud, "GET", f"/v2/images/{made['id']}/file").status_code == 204


def test_an_upload_cut_off_leaves_no_half_image(cloud: app.Running, tmp_path: Path) -> None:
    made = make(cloud, **BARE)
    sent: list[Any] = []
    parts = [
        {"type": "http.request", "body": b"x" * 3_000_000, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/image/v2/images/{made['id']}/file"
    headers = [(b"x-auth-token", MEMBER.encode()), (b"content-type", b"application/octet-stream")]
    scope = {"type": "http", "method": "PUT", "path": path, "query_string": b"", "headers": headers}
    asyncio.run(cloud.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert call(cloud, "GET", f"/v2/images/{made['id']}").json()["status"] == "queued"
    assert not [p for p in (tmp_path / "images").iterdir() if p.name.startswith(made["id"])]


def test_a_kill_during_an_upload_is_mended_at_the_next_start(tmp_path: Path) -> None:
    running = start(tmp_path)
    made = make(running, **BARE)
    whole = make(running, **BARE)
    running.cloud.write(lambda tx: tx.put(tx.need(Image, made["id"]), status=Status.SAVING))
    running.cloud.write(lambda tx: tx.put(tx.need(Image, whole["id"]), status=Status.SAVING))
    (tmp_path / "images" / f"{made['id']}.part").write_bytes(b"half")
    (tmp_path / "images" / whole["id"]).write_bytes(b"renamed, but its row was not written")
    (tmp_path / "images" / "nobody's.part").write_bytes(b"x")
    running.close()
    running = start(tmp_path)
    try:
        running.runner.run_once("image-files")
        assert call(running, "GET", f"/v2/images/{made['id']}").json()["status"] == "queued"
        assert not (tmp_path / "images" / f"{made['id']}.part").exists()
        assert not (tmp_path / "images" / "nobody's.part").exists()
        assert put_data(running, whole["id"], b"new").status_code == 204
        assert call(running, "GET", f"/v2/images/{whole['id']}/file").content == b"new"
    finally:
        running.close()


def test_who_sees_what(cloud: app.Running) -> None:
    make(cloud, name="mine")
    make(cloud, name="private", visibility="private")
    make(cloud, name="common", visibility="community")
    assert call(cloud, "POST", "/v2/images", json={"name": "x", "visibility": "public"}).status_code == 403
    make(cloud, ADMIN, name="all", visibility="public")
    assert set(names(cloud)) >= {"mine", "private", "common", "all"}
    assert {"mine", "private", "common"}.isdisjoint(names(cloud, token=OTHER))
    assert "all" in names(cloud, token=OTHER)
    assert names(cloud, "?visibility=community", OTHER) == ["common"]
    assert "common" in names(cloud, "?visibility=all", OTHER)
    assert set(names(cloud, token=ADMIN)) >= {"mine", "private", "all"}


def test_sharing(cloud: app.Running) -> None:
    made = make(cloud, name="shared")
    path = f"/v2/images/{made['id']}/members"
    assert call(cloud, "GET", f"/v2/images/{made['id']}", OTHER).status_code == 404
    assert call(cloud, "POST", path, json={"member": "q"}).json()["status"] == "pending"
    assert call(cloud, "POST", path, json={"member": "q"}).status_code == 409
    assert call(cloud, "GET", f"/v2/images/{made['id']}", OTHER).status_code == 200
    assert "shared" not in names(cloud, token=OTHER)
    assert names(cloud, "?member_status=pending&visibility=shared", OTHER) == ["shared"]
    assert call(cloud, "PUT", f"{path}/q", json={"status": "accepted"}).status_code == 403
    assert call(cloud, "PUT", f"{path}/q", OTHER, json={"status": "maybe"}).status_code == 400
    assert call(cloud, "PUT", f"{path}/q", OTHER, json={"status": "accepted"}).json()["status"] == "accepted"
    assert "shared" in names(cloud, token=OTHER)
    assert call(cloud, "DELETE", f"/v2/images/{made['id']}", OTHER).status_code == 403
    assert call(cloud, "DELETE", f"{path}/q", OTHER).status_code == 403
    assert call(cloud, "DELETE", f"{path}/q").status_code == 204
    assert call(cloud, "GET", f"/v2/images/{made['id']}", OTHER).status_code == 404


def test_json_patch(cloud: app.Running) -> None:
    image_id = make(cloud, name="a", tags=["t"], colour="red")["id"]

    def change(op: str, path: str, value: Any = None, **rest: Any) -> httpx.Response:
        return patch(cloud, image_id, {"op": op, "path": path, "value": value}, **rest)

    assert change("replace", "/name", "b").json()["name"] == "b"
    assert change("add", "/size~1of~0it", "big").json()["size/of~it"] == "big"
    assert change("replace", "/tags", ["x", "y"]).json()["tags"] == ["x", "y"]
    assert "colour" not in patch(cloud, image_id, {"op": "remove", "path": "/colour"}).json()
    assert change("replace", "/colour", "red").status_code == 409
    assert change("remove", "/name").status_code == 403
    assert change("replace", "/status", "active").status_code == 403
    assert change("replace", "/owner", "q").status_code == 403
    assert change("add", "/os_glance_x", "y").status_code == 403
    assert change("replace", "/min_disk", -1).status_code == 400
    assert change("replace", "/min_disk", "1").status_code == 400
    assert change("replace", "name", "x").status_code == 400
    assert change("move", "/name", "x").status_code == 400
    assert change("replace", "/name", "x", kind="application/json").status_code == 415
    assert patch(cloud, image_id, {"replace": "/name", "value": "c"}, kind=OLD_PATCH).json()["name"] == "c"
    assert patch(cloud, image_id, {"add": "/name", "value": "d"}, kind=OLD_PATCH).status_code == 409


def test_listing_filters(any_cloud: app.Running) -> None:
    cloud = any_cloud
    for name, size in (("one", 10), ("two", 20), ("a, b", 30)):
        image_id = make(cloud, name=name, tags=[name[:1], "all"], shape=name, **BARE)["id"]
        put_data(cloud, image_id, b"x" * size)
    mine = "owner=p&sort=size:asc"
    assert names(cloud, f"?{mine}") == ["one", "two", "a, b"]
    assert names(cloud, f"?{mine}&size_min=15&size_max=25") == ["two"]
    assert names(cloud, f'?{mine}&name=in:one,"a, b"') == ["one", "a, b"]
    ids = {i["name"]: i["id"] for i in call(cloud, "GET", f"/v2/images?{mine}").json()["images"]}
    assert names(cloud, f"?{mine}&id=in:{ids['one']},{ids['two']}") == ["one", "two"], "as `openstack server list` asks"
    assert names(cloud, f"?{mine}&id={ids['two']}") == ["two"]
    assert names(cloud, f"?{mine}&tag=all&tag=o") == ["one"]
    assert names(cloud, f"?{mine}&shape=two") == ["two"]
    assert names(cloud, f"?{mine}&status=queued") == []
    assert names(cloud, f"?{mine}&created_at=lt:2020-01-01T00:00:00Z") == []
    assert len(names(cloud, f"?{mine}&created_at=gte:2020-01-01T00:00:00Z")) == 3
    first = call(cloud, "GET", f"/v2/images?{mine}&limit=2").json()
    assert [i["name"] for i in first["images"]] == ["one", "two"]
    assert names(cloud, first["next"].removeprefix("/v2/images")) == ["a, b"]
    for bad in ("limit=x", "sort_key=nope", "size_min=x", "visibility=x", "name=lt:a", "marker=x", "os_hidden=maybe"):
        assert call(cloud, "GET", f"/v2/images?{bad}").status_code == 400, bad


def test_protected_hidden_deactivated(cloud: app.Running) -> None:
    image_id = make(cloud, name="kept", protected=True, os_hidden=True, **BARE)["id"]
    assert call(cloud, "DELETE", f"/v2/images/{image_id}").status_code == 403
    assert "kept" not in names(cloud)
    assert names(cloud, "?os_hidden=true") == ["kept"]
    assert call(cloud, "POST", f"/v2/images/{image_id}/actions/deactivate").status_code == 403
    put_data(cloud, image_id, b"data")
    assert call(cloud, "POST", f"/v2/images/{image_id}/actions/deactivate").status_code == 204
    assert call(cloud, "GET", f"/v2/images/{image_id}/file").status_code == 403
    assert call(cloud, "GET", f"/v2/images/{image_id}/file", ADMIN).content == b"data"
    assert call(cloud, "POST", f"/v2/images/{image_id}/actions/reactivate").status_code == 204
    assert call(cloud, "GET", f"/v2/images/{image_id}/file").content == b"data"
    patch(cloud, image_id, {"op": "replace", "path": "/protected", "value": False})
    assert call(cloud, "DELETE", f"/v2/images/{image_id}").status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": 5}, 400),
        ({"disk_format": "floppy"}, 400),
        ({"visibility": "secret"}, 400),
        ({"id": "not-a-uuid"}, 400),
        ({"colour": 7}, 400),
        ({"min_ram": True}, 400),
        ({"tags": "x"}, 400),
        ({"status": "active"}, 403),
        ({"self": "x"}, 403),
        ({"deleted": "true"}, 403),
        ({"owner": "q"}, 403),
        ([], 400),
    ],
)
def test_bad_images_are_refused(cloud: app.Running, body: Any, status: int) -> None:
    assert call(cloud, "POST", "/v2/images", json=body).status_code == status


def test_tags(cloud: app.Running) -> None:
    path = f"/v2/images/{make(cloud)['id']}"
    assert call(cloud, "PUT", f"{path}/tags/red%2Fgreen").status_code == 204
    assert call(cloud, "GET", path).json()["tags"] == ["red/green"]
    assert call(cloud, "DELETE", f"{path}/tags/blue").status_code == 404
    assert call(cloud, "DELETE", f"{path}/tags/red%2Fgreen").status_code == 204
    assert call(cloud, "PUT", f"{path}/tags/{'x' * 256}").status_code == 400


def test_import_of_staged_data(cloud: app.Running) -> None:
    made = make(cloud, **BARE)
    path = f"/v2/images/{made['id']}"
    order = {"method": {"name": "glance-direct"}}
    assert call(cloud, "POST", f"{path}/import", json=order).status_code == 409
    assert put_data(cloud, made["id"], b"staged", where="stage").status_code == 204
    assert call(cloud, "GET", path).json()["status"] == "uploading"
    assert call(cloud, "POST", f"{path}/import", json={"method": {"name": "magic"}}).status_code == 400
    assert call(cloud, "POST", f"{path}/import", json=order).status_code == 202
    row = cloud.cloud.read(lambda tx: tx.need(Image, made["id"]))
    from nutshell.image.importing import settle

    settle(cloud.cloud, row)
    assert call(cloud, "GET", path).json()["status"] == "active"
    assert call(cloud, "GET", f"{path}/file").content == b"staged"
    assert [t["status"] for t in call(cloud, "GET", f"{path}/tasks").json()["tasks"]] == ["success"]
    assert call(cloud, "GET", "/v2/tasks").status_code == 403
    assert len(call(cloud, "GET", "/v2/tasks", ADMIN).json()["tasks"]) == 1


def test_refusals_take_the_form_the_client_accepts(cloud: app.Running) -> None:
    page = call(cloud, "GET", "/v2/images/none")
    assert page.headers["content-type"] == "text/html; charset=UTF-8"
    assert "<h1>404 Not Found</h1>" in page.text
    data = call(cloud, "GET", "/v2/images/none", headers={"Accept": "application/json"}).json()
    assert (data["code"], data["title"]) == ("404 Not Found", "Not Found")


def test_seeded_images_are_real_and_do_not_come_back(cloud: app.Running, tmp_path: Path) -> None:
    found = {i["name"]: i for i in call(cloud, "GET", "/v2/images").json()["images"]}
    assert set(found) == {"cirros", "cirros-alt"}
    assert found["cirros"]["virtual_size"] == 64 * 2**20
    assert call(cloud, "DELETE", f"/v2/images/{found['cirros']['id']}", ADMIN).status_code == 204
    cloud.close()
    again = start(tmp_path, cloud.cloud.settings[CloudConfig].database)
    try:
        assert names(again) == ["cirros-alt"]
    finally:
        again.close()


def test_what_other_services_do_with_images(cloud: app.Running) -> None:
    port = cloud.cloud.port(Images)
    who = toy_who(MEMBER)
    image_id = cloud.cloud.write(
        lambda tx: port.create(tx, who, name="snap", disk_format="raw", properties={"base": "x", "size": 3})
    )
    port.staging_path(image_id).write_bytes(b"content")
    port.complete(image_id)
    port.complete(image_id)
    facts = cloud.cloud.read(lambda tx: port.find(tx, who, image_id))
    assert facts is not None
    assert (facts.status, facts.size, facts.properties) == ("active", 7, {"base": "x"})
    assert port.path(image_id).read_bytes() == b"content"
    assert cloud.cloud.read(lambda tx: port.find(tx, toy_who(OTHER), image_id)) is None
    assert cloud.cloud.port(ImageFiles).claims.mine == set()


def test_an_operator_may_let_formatless_data_be_declared_as_anything_but_nothing_unsafe(tmp_path: Path) -> None:
    running = start(tmp_path, strict=False)
    try:
        plain = make(running, disk_format="vhd", container_format="bare")
        assert put_data(running, plain["id"], b"x" * 100).status_code == 204
        other = make(running, disk_format="vhd", container_format="bare")
        write_qcow2(tmp_path / "real", [b"boot"], 2**20)
        assert put_data(running, other["id"], (tmp_path / "real").read_bytes()).status_code == 415
        cut = make(running, disk_format="qcow2", container_format="bare")
        assert put_data(running, cut["id"], (tmp_path / "real").read_bytes()[:50]).status_code == 415
    finally:
        running.close()


def test_the_sdk_may_forget_stores_but_not_set_them(cloud: app.Running) -> None:
    image_id = make(cloud, **BARE)["id"]
    assert put_data(cloud, image_id, b"x").status_code == 204
    rename = {"op": "replace", "path": "/name", "value": "new"}
    found = patch(cloud, image_id, rename, {"op": "remove", "path": "/stores"}).json()
    assert (found["name"], found["stores"]) == ("new", "file")
    assert patch(cloud, image_id, {"op": "replace", "path": "/stores", "value": "x"}).status_code == 403
