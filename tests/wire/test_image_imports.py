"""Imports, stores, locations and the cache, as clients meet them."""

import gzip
import hashlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.toy import toy_who
from tests.wire.test_images import ADMIN, BARE, MEMBER, OTHER, PATCH, call, make, patch, put_data

from nutshell import app
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, load_settings
from nutshell.image import wiring
from nutshell.image.formats import write_qcow2
from nutshell.image.images import Image
from nutshell.image.port import Images
from nutshell.image.remote import RemoteFault, RemoteImages

DATA = b"web" * 100_000


class Web(BaseHTTPRequestHandler):
    """Serves DATA at /image, redirects, and misbehaves on request."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        place = {"/once": "/image", "/inside": "http://169.254.169.254/", "/loop": "/loop"}.get(self.path)
        if place is not None:
            self.send_response(302)
            self.send_header("Location", place if place.startswith("http") else f"http://127.0.0.1:{port}{place}")
            self.end_headers()
        elif self.path.startswith("/image"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA[:1000])
        else:
            self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def begin(state: Path, **settings: Any) -> app.Running:
    def wire(cloud: Cloud) -> None:
        cloud.authenticate = toy_who
        wiring.wire(cloud)

    part = app.Part(wiring.service, wiring.config, wiring.quotas, wire, wiring.loops, wiring.seed)
    usual = {"web_networks": ["127.0.0.0/8"], "web_ports": [], "stores": ["file", f"fast={state}/fast", "web=http"]}
    given: dict[type, dict[str, object]] = {
        CloudConfig: {"state": state, "simulate": True},
        wiring.config: {**usual, **settings},
    }
    return app.build(load_settings([CloudConfig, wiring.config], None, {}, given), of=[part])


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[app.Running]:
    running = begin(tmp_path, show_locations=True)
    yield running
    running.close()


def order(cloud: app.Running, image_id: str, token: str = MEMBER, **body: Any) -> int:
    return call(cloud, "POST", f"/v2/images/{image_id}/import", token, json=body).status_code


def until(happened: Callable[[], bool]) -> None:
    """Loops carry things out on threads of their own."""
    ends = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.01)


def settle(cloud: app.Running, image_id: str) -> dict[str, Any]:
    """The image after the loops ran."""
    cloud.runner.run_once("image-imports")
    until(lambda: not cloud.cloud.read(lambda tx: tx.count(Image, Image.c("due_at").is_not(None))))
    cloud.runner.run_once("image-files")
    return show(cloud, image_id)


def show(cloud: app.Running, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = call(cloud, "GET", f"/v2/images/{image_id}", ADMIN).json()
    return found


def tasks(cloud: app.Running, image_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(cloud, "GET", f"/v2/images/{image_id}/tasks").json()["tasks"]
    return found


@pytest.mark.parametrize("path", ["/image", "/once"])
def test_web_download(cloud: app.Running, web: str, path: str) -> None:
    image_id = make(cloud, **BARE)["id"]
    assert order(cloud, image_id, method={"name": "web-download", "uri": web + path}) == 202
    assert show(cloud, image_id)["status"] == "importing"
    assert order(cloud, image_id, method={"name": "web-download", "uri": web + path}) == 409
    found = settle(cloud, image_id)
    assert (found["status"], found["size"], found["stores"]) == ("active", len(DATA), "file")
    assert found["checksum"] == hashlib.md5(DATA).hexdigest()
    assert (found["os_glance_importing_to_stores"], found["os_glance_failed_import"]) == ("", "")
    assert call(cloud, "GET", f"/v2/images/{image_id}/file").content == DATA
    assert [t["status"] for t in tasks(cloud, image_id)] == ["success"]


@pytest.mark.parametrize("path", ["/inside", "/loop", "/short", "/none"])
def test_web_download_that_fails_leaves_the_image_queued(cloud: app.Running, web: str, path: str) -> None:
    image_id = make(cloud, **BARE)["id"]
    assert order(cloud, image_id, method={"name": "web-download", "uri": web + path}) == 202
    found = settle(cloud, image_id)
    assert (found["status"], found["os_glance_failed_import"]) == ("queued", "file")
    assert tasks(cloud, image_id)[0]["status"] == "failure"
    assert order(cloud, image_id, method={"name": "web-download", "uri": web + "/image"}) == 202
    assert settle(cloud, image_id)["status"] == "active"


def test_web_download_refuses_what_it_must_not_fetch_at_once(cloud: app.Running) -> None:
    image_id = make(cloud, **BARE)["id"]
    for uri in (None, 5, "", "file:///etc/passwd", "http://10.0.0.1/", "http://user@127.0.0.1/", "gopher://127.0.0.1/"):
        assert order(cloud, image_id, method={"name": "web-download", "uri": uri}) == 400
    assert show(cloud, image_id)["status"] == "queued"


def test_an_image_goes_into_all_stores_and_out_of_one(cloud: app.Running, tmp_path: Path) -> None:
    image_id = make(cloud, **BARE)["id"]
    put_data(cloud, image_id, b"staged", where="stage")
    assert order(cloud, image_id, method={"name": "glance-direct"}, stores=["fast"], all_stores=True) == 400
    assert order(cloud, image_id, method={"name": "glance-direct"}, stores=["none"]) == 409
    assert order(cloud, image_id, method={"name": "glance-direct"}, stores=["web"]) == 409
    assert order(cloud, image_id, method={"name": "glance-direct"}, all_stores=True) == 202
    assert settle(cloud, image_id)["stores"] == "file,fast"
    assert (tmp_path / "fast" / image_id).read_bytes() == b"staged"
    assert call(cloud, "DELETE", f"/v2/stores/file/{image_id}").status_code == 403
    assert call(cloud, "DELETE", f"/v2/stores/none/{image_id}", ADMIN).status_code == 409
    assert call(cloud, "DELETE", f"/v2/stores/file/{image_id}", ADMIN).status_code == 204
    assert settle(cloud, image_id)["stores"] == "fast"
    assert not (tmp_path / "images" / image_id).exists()
    assert call(cloud, "GET", f"/v2/images/{image_id}/file").content == b"staged"
    assert cloud.cloud.port(Images).path(image_id) == tmp_path / "fast" / image_id
    assert call(cloud, "DELETE", f"/v2/stores/fast/{image_id}", ADMIN).status_code == 403
    assert call(cloud, "DELETE", f"/v2/images/{image_id}").status_code == 204
    cloud.runner.run_once("image-files")
    assert not (tmp_path / "fast" / image_id).exists()


def test_copy_image(cloud: app.Running, tmp_path: Path) -> None:
    image_id = make(cloud, **BARE)["id"]
    put_data(cloud, image_id, b"data")
    copy = {"method": {"name": "copy-image"}, "stores": ["fast"]}
    assert order(cloud, image_id, **copy) == 403
    assert order(cloud, image_id, ADMIN, method={"name": "copy-image"}, stores=["file"]) == 400
    assert order(cloud, image_id, ADMIN, **copy) == 202
    assert show(cloud, image_id)["status"] == "active"
    assert settle(cloud, image_id)["stores"] == "file,fast"
    assert order(cloud, image_id, ADMIN, method={"name": "copy-image"}, all_stores=True) == 202
    assert [t["status"] for t in tasks(cloud, image_id)] == ["success"]


def test_a_store_that_fails(cloud: app.Running, tmp_path: Path) -> None:
    (tmp_path / "fast").chmod(0o500)
    (tmp_path / "fast").rmdir()
    (tmp_path / "fast").write_text("no directory")
    for must, status, stores in ((False, "active", "file"), (True, "queued", None)):
        image_id = make(cloud, **BARE)["id"]
        put_data(cloud, image_id, b"staged", where="stage")
        body = {"method": {"name": "glance-direct"}, "all_stores": True, "all_stores_must_succeed": must}
        assert order(cloud, image_id, **body) == 202
        found = settle(cloud, image_id)
        assert (found["status"], found.get("stores")) == (status, stores)
        assert found["os_glance_failed_import"] == "fast"


def test_upload_into_a_store(cloud: app.Running, tmp_path: Path) -> None:
    image_id = make(cloud, **BARE)["id"]
    headers = {"Content-Type": "application/octet-stream", "x-image-meta-store": "fast"}
    assert call(cloud, "PUT", f"/v2/images/{image_id}/file", content=b"x", headers=headers).status_code == 204
    assert show(cloud, image_id)["stores"] == "fast"
    assert (tmp_path / "fast" / image_id).read_bytes() == b"x"
    other = make(cloud, **BARE)["id"]
    wrong = headers | {"x-image-meta-store": "none"}
    assert call(cloud, "PUT", f"/v2/images/{other}/file", content=b"x", headers=wrong).status_code == 409


class Region:
    """Another region with one image."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def remember(self, task_id: str, base: str, token: str) -> None:
        self.asked.append((base, token))

    def keep_only(self, task_ids: Collection[str]) -> None: ...

    def show(self, task_id: str, where: Mapping[str, Any]) -> Mapping[str, Any]:
        if where["glance_region"] != "There":
            raise RemoteFault("no such region")
        return {"disk_format": "raw", "container_format": "bare", "hw_cpu_cores": "5", "speed": "88mph"}

    def read(self, task_id: str, where: Mapping[str, Any]) -> Iterator[bytes]:
        yield b"far"


def test_glance_download(cloud: app.Running) -> None:
    region: RemoteImages = Region()
    cloud.cloud.ports[RemoteImages] = region
    image_id = make(cloud, disk_format="iso", container_format="ovf", hw_cpu_cores="1")["id"]
    remote = {"name": "glance-download", "glance_image_id": image_id, "glance_region": "Nowhere"}
    assert order(cloud, image_id, method={**remote, "glance_image_id": "foo"}) == 400
    assert order(cloud, image_id, method=remote) == 202
    assert settle(cloud, image_id)["status"] == "queued"
    assert order(cloud, image_id, method={**remote, "glance_region": "There"}) == 202
    found = settle(cloud, image_id)
    assert (found["status"], found["disk_format"], found["hw_cpu_cores"]) == ("active", "raw", "5")
    assert "speed" not in found
    assert MEMBER not in str(tasks(cloud, image_id))


def test_task_import(cloud: app.Running, web: str) -> None:
    body = {
        "type": "import",
        "input": {"import_from": f"{web}/image", "import_from_format": "raw", "image_properties": {"name": "t"}},
    }
    assert call(cloud, "POST", "/v2/tasks", json=body).status_code == 403
    made = call(cloud, "POST", "/v2/tasks", ADMIN, json=body)
    assert (made.status_code, made.json()["status"], made.json()["type"]) == (201, "pending", "import")
    settle(cloud, made.json()["image_id"])
    done = call(cloud, "GET", f"/v2/tasks/{made.json()['id']}", ADMIN).json()
    assert done["status"] == "success"
    assert show(cloud, done["result"]["image_id"])["status"] == "active"
    for wrong in ({}, {"type": "fly", "input": body["input"]}, {"type": "import", "input": {}}):
        assert call(cloud, "POST", "/v2/tasks", ADMIN, json=wrong).status_code == 400


def test_locations_by_patch(cloud: app.Running, web: str) -> None:
    image_id = make(cloud, **BARE)["id"]
    assert show(cloud, image_id)["locations"] == []
    add = {"op": "add", "path": "/locations/-", "value": {"url": f"{web}/image", "metadata": {"a": "b"}}}
    assert patch(cloud, image_id, {**add, "value": {"url": "gopher://x", "metadata": {}}}).status_code == 400
    assert patch(cloud, image_id, {**add, "value": {"url": f"{web}/none", "metadata": {}}}).status_code == 400
    found = patch(cloud, image_id, add).json()
    assert (found["status"], found["size"], found["stores"]) == ("active", len(DATA), "web")
    assert found["locations"] == [{"url": f"{web}/image", "metadata": {"a": "b", "store": "web"}}]
    assert found["direct_url"] == f"{web}/image"
    second = {**add, "value": {"url": f"{web}/image#2", "metadata": {}}}
    assert len(patch(cloud, image_id, second).json()["locations"]) == 2
    remove = {"op": "remove", "path": "/locations/0"}
    assert patch(cloud, image_id, remove).status_code == 403
    assert len(patch(cloud, image_id, remove, token=ADMIN).json()["locations"]) == 1
    assert patch(cloud, image_id, remove, token=ADMIN).status_code == 403
    replace = {"op": "replace", "path": "/locations"}
    assert patch(cloud, image_id, {**replace, "value": []}).status_code == 400
    other = [{"url": f"{web}/image#2", "metadata": {"date": "now"}}]
    assert patch(cloud, image_id, {**replace, "value": other}).json()["locations"][0]["metadata"]["date"] == "now"
    assert patch(cloud, image_id, {**replace, "value": [{**other[0], "url": web}]}).status_code == 400
    assert call(cloud, "GET", f"/v2/images/{image_id}/file").content == DATA
    part = call(cloud, "GET", f"/v2/images/{image_id}/file", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, DATA[10:20])


def test_locations_are_closed_where_the_operator_does_not_show_them(tmp_path: Path, web: str) -> None:
    running = begin(tmp_path)
    try:
        made = make(running, **BARE)
        assert "locations" not in made
        add = {"op": "add", "path": "/locations/-", "value": {"url": f"{web}/image", "metadata": {}}}
        assert patch(running, made["id"], add, kind=PATCH).status_code == 403
    finally:
        running.close()


def test_add_location(cloud: app.Running, web: str) -> None:
    image_id = make(cloud, **BARE)["id"]
    path, url = f"/v2/images/{image_id}/locations", f"{web}/image"
    good = {"os_hash_algo": "sha256", "os_hash_value": hashlib.sha256(DATA).hexdigest()}
    for wrong in ({}, {"url": "http://10.0.0.1/"}, {"url": url, "validation_data": {"os_hash_value": "00"}},
                  {"url": url, "validation_data": {**good, "os_hash_algo": "sha512"}}):  # fmt: skip
        assert call(cloud, "POST", path, json=wrong).status_code == 400
    assert call(cloud, "POST", path, OTHER, json={"url": url}).status_code == 404
    assert call(cloud, "POST", path, json={"url": url, "validation_data": good}).status_code == 202
    assert call(cloud, "POST", path, json={"url": url}).status_code == 409
    found = settle(cloud, image_id)
    assert (found["status"], found["os_hash_algo"], found["stores"]) == ("active", "sha256", "web")
    assert found["checksum"] == hashlib.md5(DATA).hexdigest()
    assert call(cloud, "GET", path).status_code == 403
    assert call(cloud, "GET", path, ADMIN).json() == [{"url": url, "metadata": {"store": "web"}}]
    other = make(cloud, **BARE)["id"]
    bad = {"os_hash_algo": "sha512", "os_hash_value": "beefdead" * 16}
    call(cloud, "POST", f"/v2/images/{other}/locations", json={"url": url, "validation_data": bad})
    failed = settle(cloud, other)
    assert (failed["status"], failed["os_hash_value"], failed["stores"]) == ("queued", None, "web")
    assert tasks(cloud, other)[0]["status"] == "failure"


def test_the_cache(cloud: app.Running, web: str) -> None:
    image_id = make(cloud, **BARE)["id"]
    assert call(cloud, "GET", "/v2/cache").status_code == 403
    assert call(cloud, "PUT", "/v2/cache/none", ADMIN).status_code == 404
    assert call(cloud, "PUT", f"/v2/cache/{image_id}", ADMIN).status_code == 400
    call(cloud, "POST", f"/v2/images/{image_id}/locations", json={"url": f"{web}/image"})
    settle(cloud, image_id)
    assert call(cloud, "PUT", f"/v2/cache/{image_id}", ADMIN).status_code == 202
    assert call(cloud, "GET", "/v2/cache", ADMIN).json() == {"cached_images": [], "queued_images": [image_id]}
    cloud.runner.run_once("image-cache")
    until(lambda: call(cloud, "GET", "/v2/cache", ADMIN).json()["queued_images"] == [])
    cached = call(cloud, "GET", "/v2/cache", ADMIN).json()["cached_images"]
    assert [(c["image_id"], c["size"], c["hits"]) for c in cached] == [(image_id, len(DATA), 0)]
    assert call(cloud, "GET", f"/v2/images/{image_id}/file").content == DATA
    until(lambda: call(cloud, "GET", "/v2/cache", ADMIN).json()["cached_images"][0]["hits"] == 1)
    assert cloud.cloud.port(Images).path(image_id).read_bytes() == DATA
    assert call(cloud, "POST", "/v2/cache/prune", ADMIN).json() == {"total_files_pruned": 0, "total_bytes_pruned": 0}
    assert call(cloud, "POST", "/v2/cache/clean", ADMIN).status_code == 200
    clear = {"x-image-cache-clear-target": "everything"}
    assert call(cloud, "DELETE", "/v2/cache", ADMIN, headers=clear).status_code == 400
    assert call(cloud, "DELETE", "/v2/cache", ADMIN).status_code == 204
    assert call(cloud, "GET", "/v2/cache", ADMIN).json() == {"cached_images": [], "queued_images": []}


def test_nothing_unsafe_leaves_the_cache(cloud: app.Running, web: str, tmp_path: Path) -> None:
    """A location may hold anything; other services get it only after it was inspected."""
    image_id = make(cloud, disk_format="qcow2", container_format="bare")["id"]
    call(cloud, "POST", f"/v2/images/{image_id}/locations", json={"url": f"{web}/image"})
    assert settle(cloud, image_id)["status"] == "active"
    with pytest.raises(Exception, match="cannot be used"):
        cloud.cloud.port(Images).path(image_id)


def test_limits(cloud: app.Running) -> None:
    quotas = cloud.cloud.quotas
    mib = b"x" * 2**20
    cloud.cloud.write(
        lambda tx: quotas.set_limits(tx, "p", {"image.image_size_total": 2, "image.image_stage_total": 1})
    )
    first, second, third = (make(cloud, **BARE)["id"] for _ in range(3))
    assert put_data(cloud, first, mib).status_code == 204
    assert put_data(cloud, second, mib + b"x").status_code == 413
    assert show(cloud, second)["status"] == "queued"
    assert put_data(cloud, second, mib).status_code == 204
    assert put_data(cloud, third, b"x").status_code == 413
    assert put_data(cloud, third, mib + b"x", where="stage").status_code == 413
    assert put_data(cloud, third, mib, where="stage").status_code == 204
    usage = call(cloud, "GET", "/v2/info/usage").json()["usage"]
    assert {k: (v["usage"], v["limit"]) for k, v in usage.items()} == {
        "image_size_total": (2, 2),
        "image_stage_total": (1, 1),
        "image_count_total": (3, -1),
        "image_count_uploading": (1, -1),
    }
    assert order(cloud, third, method={"name": "glance-direct"}) == 413
    cloud.cloud.write(lambda tx: quotas.set_limits(tx, "p", {"image.image_count_uploading": 1}))
    fourth = make(cloud, **BARE)["id"]
    assert put_data(cloud, fourth, b"x", where="stage").status_code == 413


def test_conversion_and_injection(tmp_path: Path) -> None:
    running = begin(tmp_path, convert_to="raw", inject=["colour=blue"])
    try:
        write_qcow2(tmp_path / "q", [b"boot"], 2**20)
        image_id = make(running, disk_format="qcow2", container_format="bare")["id"]
        put_data(running, image_id, (tmp_path / "q").read_bytes(), where="stage")
        assert order(running, image_id, method={"name": "glance-direct"}) == 202
        found = settle(running, image_id)
        assert (found["status"], found["disk_format"], found["size"]) == ("active", "raw", 2**20)
        assert found["colour"] == "blue"
        assert call(running, "GET", f"/v2/images/{image_id}/file").content[:4] == b"boot"
    finally:
        running.close()


def test_packed_images_are_unpacked_before_they_are_judged_and_converted(tmp_path: Path) -> None:
    running = begin(tmp_path, convert_to="raw", decompress=True, decompress_max_mib=2)
    try:
        write_qcow2(tmp_path / "q", [b"boot"], 2**20)
        packed, bomb = gzip.compress((tmp_path / "q").read_bytes()), gzip.compress(bytes(3 << 20))
        for container, data, status, form in (
            ("bare", packed, "active", "raw"),
            ("compressed", packed, "active", "qcow2"),  # left as it is
            ("bare", bomb, "queued", "qcow2"),
            ("bare", packed[:-9], "queued", "qcow2"),
        ):
            image_id = make(running, disk_format="qcow2", container_format=container)["id"]
            put_data(running, image_id, data, where="stage")
            assert order(running, image_id, method={"name": "glance-direct"}) == 202
            found = settle(running, image_id)
            assert (found["status"], found["disk_format"]) == (status, form), tasks(running, image_id)
            if container == "compressed":
                assert found["size"] == len(packed)
                with pytest.raises(OSError, match="container format compressed"):
                    running.cloud.port(Images).path(image_id)
            elif status == "active":
                assert found["size"] == 2**20
                assert call(running, "GET", f"/v2/images/{image_id}/file").content[:4] == b"boot"
        until(lambda: not [p.name for p in (tmp_path / "images").iterdir() if "." in p.name])
    finally:
        running.close()


@pytest.mark.parametrize(("age_s", "expected"), [(0, b"copy"), (60, b"boot")])
def test_a_conversion_is_not_made_twice(tmp_path: Path, age_s: int, expected: bytes) -> None:
    """Killed after it, before the row says so: the copy is used, unless it is of what was staged before."""
    first = begin(tmp_path, convert_to="raw")
    write_qcow2(tmp_path / "q", [b"boot"], 2**20)
    image_id = make(first, disk_format="qcow2", container_format="bare")["id"]
    put_data(first, image_id, (tmp_path / "q").read_bytes(), where="stage")
    assert order(first, image_id, method={"name": "glance-direct"}) == 202
    first.close()
    copy = tmp_path / "images" / f"{image_id}.converted.staged"
    copy.write_bytes(b"copy".ljust(2**20, b"\0"))
    os.utime(copy, (time.time() - age_s, time.time() - age_s))
    second = begin(tmp_path, convert_to="raw")
    try:
        second.runner.run_once("image-files")
        found = settle(second, image_id)
        assert (found["status"], found["disk_format"], found["size"]) == ("active", "raw", 2**20)
        assert call(second, "GET", f"/v2/images/{image_id}/file").content[:4] == expected
        until(lambda: not [p.name for p in (tmp_path / "images").iterdir() if "." in p.name])
    finally:
        second.close()


def test_an_import_goes_on_where_the_process_ended(tmp_path: Path, web: str) -> None:
    """What is staged stays until the last row is written; what was half fetched is fetched again."""
    first = begin(tmp_path)
    staged, fetched = (make(first, **BARE)["id"] for _ in range(2))
    put_data(first, staged, b"staged", where="stage")
    assert order(first, staged, method={"name": "glance-direct"}, all_stores=True) == 202
    assert order(first, fetched, method={"name": "web-download", "uri": f"{web}/image"}) == 202
    first.close()
    (tmp_path / "images" / f"{fetched}.staged.part").write_bytes(DATA[:100])
    (tmp_path / "fast" / f"{staged}.copy.part").write_bytes(b"sta")
    second = begin(tmp_path)
    try:
        second.runner.run_once("image-files")
        assert settle(second, staged)["stores"] == "file,fast"
        assert call(second, "GET", f"/v2/images/{fetched}/file").content == DATA
        assert {t["status"] for i in (staged, fetched) for t in tasks(second, i)} == {"success"}
        assert (tmp_path / "fast" / staged).read_bytes() == b"staged"
        until(lambda: not [p.name for p in (tmp_path / "images").iterdir() if "." in p.name])
    finally:
        second.close()


def test_another_hash(tmp_path: Path, web: str) -> None:
    """Uploads, imports and added locations use the operator's; older images keep theirs."""
    running = begin(tmp_path, hashing_algorithm="sha256")
    try:
        image_id, imported, pointed = (make(running, **BARE)["id"] for _ in range(3))
        put_data(running, image_id, DATA)
        assert order(running, imported, method={"name": "web-download", "uri": f"{web}/image"}) == 202
        assert call(running, "POST", f"/v2/images/{pointed}/locations", json={"url": f"{web}/image"}).status_code == 202
        for one in (image_id, imported, pointed):
            found = settle(running, one)
            assert (found["os_hash_algo"], found["os_hash_value"]) == ("sha256", hashlib.sha256(DATA).hexdigest())
            assert running.cloud.port(Images).path(one).read_bytes() == DATA
    finally:
        running.close()
