"""Migrations as they are recorded, moves that are refused, and what a console's token is for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.wire.compute_rig import ADMIN, IMAGE, MEMBER, Rig

MANAGER = "m:p:manager,member,reader"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def migrations(rig: Rig, query: str = "", at: str = "2.80", token: str = ADMIN) -> list[dict[str, Any]]:
    answer = rig.call("GET", f"/os-migrations{query}", token, at)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["migrations"]
    return found


def test_a_resize_is_a_migration_until_it_is_decided(rig: Rig) -> None:
    made = rig.boot()
    assert migrations(rig) == []
    for decide, status in (("revertResize", "reverted"), ("confirmResize", "confirmed")):
        assert rig.act(made, "resize", {"flavorRef": "84"}).status_code == 202
        rig.until(made, "VERIFY_RESIZE")
        assert migrations(rig)[0]["status"] == "finished"
        rig.act(made, decide)
        rig.until(made, "ACTIVE")
        assert migrations(rig)[0]["status"] == status
    newest, oldest = migrations(rig)
    assert (newest["id"], oldest["id"]) == (2, 1)
    assert (newest["instance_uuid"], newest["migration_type"]) == (made, "resize")
    assert (newest["old_instance_type_id"], newest["new_instance_type_id"]) == (42, 84)
    assert (newest["project_id"], newest["user_id"]) == ("p", "u")
    assert [m["id"] for m in migrations(rig, "?limit=1")] == [2]
    assert [m["id"] for m in migrations(rig, f"?marker={newest['uuid']}")] == [1]
    assert [m["id"] for m in migrations(rig, "?status=reverted")] == [1]
    assert "migration_type" not in migrations(rig, at="2.1")[0]
    rig.call("DELETE", f"/servers/{made}")
    rig.gone(made)
    assert len(migrations(rig)) == 2


def test_who_sees_migrations(rig: Rig) -> None:
    made = rig.boot()
    rig.act(made, "resize", {"flavorRef": "84"})
    rig.until(made, "VERIFY_RESIZE")
    assert rig.call("GET", "/os-migrations", MEMBER).status_code == 403
    assert rig.call("GET", "/os-migrations", MANAGER, "2.80").status_code == 403
    mine = migrations(rig, "?project_id=p", token=MANAGER)
    assert mine[0]["source_compute"] is None
    assert migrations(rig)[0]["source_compute"]
    assert rig.call("GET", "/os-migrations?colour=red", ADMIN, "2.59").status_code == 400
    assert rig.call("GET", f"/servers/{made}/migrations", ADMIN, "2.23").json() == {"migrations": []}
    assert rig.call("GET", f"/servers/{made}/migrations/1", ADMIN, "2.23").status_code == 404
    body = {"force_complete": None}
    assert rig.call("POST", f"/servers/{made}/migrations/1/action", ADMIN, "2.22", json=body).status_code == 400


def test_moves_are_refused_and_change_nothing(rig: Rig) -> None:
    made = rig.boot()
    refused = [("migrate", None), ("os-migrateLive", {"host": None, "block_migration": "auto"}), ("evacuate", {})]
    for action, body in refused:
        answer = rig.act(made, action, body, ADMIN, at="2.80")
        assert answer.status_code == 400, (action, answer.text)
        assert rig.act(made, action, body, MEMBER, at="2.80").status_code == 403
    assert rig.act(made, "migrate", {"host": "nobody"}, ADMIN).status_code == 400
    assert rig.act(made, "changePassword", {"adminPass": "x"}).status_code == 409
    assert rig.act("99999999-9999-4999-8999-999999999999", "migrate", None, ADMIN).status_code == 404
    assert rig.show(made)["status"] == "ACTIVE"
    assert migrations(rig) == []
    rig.act(made, "pause")
    rig.until(made, "PAUSED")
    assert rig.act(made, "migrate", None, ADMIN).status_code == 409


def test_a_console_token_is_told_to_administrators(rig: Rig) -> None:
    made = rig.boot()
    body = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    opened = rig.call("POST", f"/servers/{made}/remote-consoles", at="2.6", json=body).json()["remote_console"]
    token = opened["url"].rpartition("token=")[2].rpartition("%3D")[2]
    told = rig.call("GET", f"/os-console-auth-tokens/{token}", ADMIN, "2.31")
    assert told.json()["console"]["instance_uuid"] == made
    assert "tls_port" in rig.call("GET", f"/os-console-auth-tokens/{token}", ADMIN, "2.99").json()["console"]
    assert rig.call("GET", f"/os-console-auth-tokens/{token}x", ADMIN, "2.31").status_code == 404
    assert rig.call("GET", f"/os-console-auth-tokens/{token}", ADMIN, "2.30").status_code == 400
    assert rig.call("GET", f"/os-console-auth-tokens/{token}", MEMBER, "2.31").status_code == 403


def test_what_another_service_would_answer_is_not_found_without_it(rig: Rig) -> None:
    for path in ("/os-networks", "/os-security-groups", "/os-volumes"):
        assert rig.call("GET", path).status_code == 404


def test_the_api_before_microversions_is_served_too(rig: Rig) -> None:
    import asyncio

    import httpx

    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=rig.running.app)
        headers = {"X-Auth-Token": MEMBER, "OpenStack-API-Version": "compute 2.90"}
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            return await client.get("/compute" + path, headers=headers)

    made = rig.boot()
    ids = [v["id"] for v in asyncio.run(get("/")).json()["versions"]]
    assert ids == ["v2.0", "v2.1"]
    assert asyncio.run(get("/v2/")).json()["version"]["version"] == ""
    old = asyncio.run(get(f"/v2/p/servers/{made}")).json()["server"]
    assert "description" not in old
    assert asyncio.run(get("/v2.1/")).status_code == 200
    assert asyncio.run(get("/v2.1/servers/")).status_code == 404


def test_a_rescue_image_may_leave_the_disks_where_they_are(rig: Rig) -> None:
    stable = "55555555-5555-4555-8555-555555555555"
    plain = rig.images.known[IMAGE]
    rig.images.known[stable] = replace(plain, image_id=stable, properties={"hw_rescue_device": "disk"})
    own = rig.boot()
    drive = {"boot_index": 0, "source_type": "image", "destination_type": "volume", "volume_size": 1, "uuid": IMAGE}
    held = rig.boot(imageRef="", block_device_mapping_v2=[drive])
    for made in (own, held):
        answer = rig.act(made, "rescue", {"rescue_image_ref": stable}, at="2.87")
        assert answer.status_code == 200, answer.text
        rig.until(made, "RESCUE")
        disks = {d.disk_id: (d.device, d.boot_index) for d in rig.world._find(made).guest.disks}
        assert disks["rescue"] == ("vdb", 0)
        assert [v for k, v in disks.items() if k != "rescue"] == [("vda", None)]
        rig.act(made, "unrescue")
        rig.until(made, "ACTIVE")
        assert [(d.device, d.boot_index) for d in rig.world._find(made).guest.disks] == [("vda", 0)]
    assert rig.act(held, "rescue", {"rescue_image_ref": stable}, at="2.86").status_code == 400
    assert rig.act(held, "rescue", {"rescue_image_ref": IMAGE}, at="2.87").status_code == 400
