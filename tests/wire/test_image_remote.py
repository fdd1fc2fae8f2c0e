"""Imports from another region, whatever becomes of the process and the token that ordered them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.wire.test_image_imports import begin, order, settle, tasks
from tests.wire.test_images import BARE, MEMBER, call, make

from nutshell import app
from nutshell.image import sweeping
from nutshell.image.remote import CatalogImages, RemoteFault

FAR = "c0ffee00-0000-4000-8000-000000000000"
DATA = b"far" * 100_000


class Far(BaseHTTPRequestHandler):
    """This cloud's catalog and the other region in one; it takes one token, and cuts off when told so."""

    def do_GET(self) -> None:
        world: Any = self.server
        if self.headers["X-Auth-Token"] != world.token:
            self.send_error(401)
            return
        here = f"http://127.0.0.1:{world.server_address[1]}"
        if self.path.endswith("/file"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA[: world.sends])
            return
        endpoint = {"interface": "public", "region_id": "There", "url": f"{here}/image/v2"}
        body: Any = {"catalog": [{"type": "image", "endpoints": [endpoint]}]}
        if "/images/" in self.path:
            body = {"disk_format": "raw", "container_format": "bare", "hw_disk_bus": "scsi"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def far() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Far)
    server.token, server.sends = MEMBER, len(DATA)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ordered(cloud: app.Running, far: Any) -> str:
    """An image whose import was asked for, of a cloud that answers where the other region's server is."""
    image_id: str = make(cloud, **BARE)["id"]
    method = {"name": "glance-download", "glance_image_id": FAR, "glance_region": "There"}
    headers = {"X-Forwarded-Host": f"127.0.0.1:{far.server_address[1]}"}
    answer = call(cloud, "POST", f"/v2/images/{image_id}/import", json={"method": method}, headers=headers)
    assert answer.status_code == 202, answer.text
    return image_id


def test_it_goes_on_after_a_restart(tmp_path: Path, far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = begin(tmp_path)
    image_id = ordered(first, far)
    kept = list((tmp_path / "image-callers").iterdir())
    assert [(p.stat().st_mode & 0o777, p.parent.stat().st_mode & 0o777) for p in kept] == [(0o600, 0o700)]
    assert MEMBER not in str(tasks(first, image_id))
    first.close()
    second = begin(tmp_path)
    try:
        found = settle(second, image_id)
        assert (found["status"], found["size"], found["hw_disk_bus"]) == ("active", len(DATA), "scsi")
        monkeypatch.setattr("nutshell.image.remote.GRACE_S", -1.0)
        sweeping.sweep(second.cloud)
        assert not list((tmp_path / "image-callers").iterdir())
    finally:
        second.close()


@pytest.mark.parametrize(
    ("token", "sends", "why"),
    [("another", 0, "answers 401 Unauthorized; the token"), (MEMBER, 1000, f"broke off after 1000 of {len(DATA)}")],
)
def test_it_ends_in_failure(tmp_path: Path, far: Any, token: str, sends: int, why: str) -> None:
    cloud = begin(tmp_path)
    try:
        image_id = ordered(cloud, far)
        far.token, far.sends = token, sends
        found = settle(cloud, image_id)
        assert (found["status"], found["os_glance_failed_import"]) == ("queued", "file")
        (task,) = tasks(cloud, image_id)
        assert task["status"] == "failure"
        assert why in task["message"]
        far.token, far.sends = MEMBER, len(DATA)
        ordered_again = order(cloud, image_id, method={"name": "web-download", "uri": "http://127.0.0.1:1/"})
        assert ordered_again == 202
    finally:
        cloud.close()


def test_whose_caller_is_forgotten(tmp_path: Path) -> None:
    images = CatalogImages(tmp_path)
    with pytest.raises(RemoteFault, match="order it again"):
        images.show("task", {"glance_region": "There", "glance_image_id": FAR})
