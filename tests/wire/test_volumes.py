"""The volume service as its clients meet it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.toy import toy_who
from tests.volumes_world import ADMIN, MEMBER, OTHER, READER, SERVER, act, call, gone, make, start, wait

from nutshell import app
from nutshell.volume.capability import VolumeDriver
from nutshell.volume.port import Volumes
from nutshell.volume.tables import Volume


@pytest.fixture(params=["sqlite", "postgresql"])
def any_cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[app.Running]:
    running = start(tmp_path, "" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    running.runner.start()
    yield running
    running.close()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[app.Running]:
    running = start(tmp_path)
    running.runner.start()
    yield running
    running.close()


def test_versions(cloud: app.Running) -> None:
    assert call(cloud, "GET", "/", token="").status_code == 300
    found = call(cloud, "GET", "/v3/", token="").json()["versions"][0]
    assert (found["id"], found["version"], found["min_version"]) == ("v3.0", "3.71", "3.0")


def test_a_volume_lives(any_cloud: app.Running) -> None:
    cloud = any_cloud
    made = make(cloud, name=" disk ", metadata={"a": "b"})
    assert (made["name"], made["size"], made["bootable"], made["volume_type"]) == ("disk", 1, "false", "__DEFAULT__")
    assert made["metadata"] == {"a": "b"}
    assert "backup_id" not in made
    changed = call(cloud, "PUT", f"/volumes/{made['id']}", json={"volume": {"name": "new", "description": "d"}})
    assert changed.json()["volume"]["name"] == "new"
    assert call(cloud, "DELETE", f"/volumes/{made['id']}").status_code == 202
    gone(cloud, f"/volumes/{made['id']}")
    assert made["id"] not in cloud.cloud.driver(VolumeDriver).existing(None)
    used = call(cloud, "GET", "/limits").json()["limits"]["absolute"]
    assert (used["totalVolumesUsed"], used["totalGigabytesUsed"]) == (0, 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"size": 0}, 400),
        ({"size": -1}, 400),
        ({"size": "x"}, 400),
        ({"size": None}, 400),
        ({"size": 1, "volume_type": "none"}, 404),
        ({"size": 1, "snapshot_id": "0e000000-0000-4000-8000-000000000001"}, 404),
        ({"size": 1, "source_volid": "0e000000-0000-4000-8000-000000000001"}, 404),
        ({"size": 1, "imageRef": "0e000000-0000-4000-8000-000000000001"}, 400),
        ({"size": 1, "availability_zone": "moon"}, 400),
        ({"size": 1, "multiattach": True}, 400),
        ({"size": 1, "metadata": {"k": 1}}, 400),
        ({"size": 1, "name": "x" * 256}, 400),
        ({"size": 1001}, 413),
    ],
)
def test_bad_volumes_are_refused_and_use_no_quota(cloud: app.Running, body: Any, status: int) -> None:
    answer = call(cloud, "POST", "/volumes", json={"volume": body})
    assert answer.status_code == status, answer.text
    assert call(cloud, "GET", "/limits").json()["limits"]["absolute"]["totalVolumesUsed"] == 0


def test_a_reader_may_look_only_and_others_see_nothing(cloud: app.Running) -> None:
    made = make(cloud)
    path = f"/volumes/{made['id']}"
    assert call(cloud, "GET", path, READER).status_code == 200
    assert call(cloud, "DELETE", path, READER).status_code == 403
    assert call(cloud, "GET", path, OTHER).status_code == 404
    assert call(cloud, "GET", "/volumes", OTHER).json() == {"volumes": []}
    answer = call(cloud, "GET", path, OTHER).json()
    assert answer["itemNotFound"]["code"] == 404
    foreign = httpx.URL("/volume/v3/someone/volumes")

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=cloud.app), base_url="http://cloud") as client:
            return await client.get(foreign, headers={"X-Auth-Token": MEMBER})

    assert asyncio.run(go()).status_code == 400


def test_listing(any_cloud: app.Running) -> None:
    cloud = any_cloud
    for name, size in (("a", 1), ("b", 2), ("c", 3)):
        make(cloud, name=name, size=size, metadata={"n": name})

    def names(query: str) -> list[str]:
        answer = call(cloud, "GET", f"/volumes/detail?{query}")
        assert answer.status_code == 200, answer.text
        return [v["name"] for v in answer.json()["volumes"]]

    assert names("sort=size:asc") == ["a", "b", "c"]
    assert names("sort_key=name&sort_dir=desc") == ["c", "b", "a"]
    assert names("name=b") == ["b"]
    assert names("status=available&sort=name:asc") == ["a", "b", "c"]
    assert names("metadata={'n': 'c'}") == ["c"]
    assert names("bootable=true") == []
    first = call(cloud, "GET", "/volumes/detail?limit=2&sort=name:asc&with_count=True").json()
    assert [v["name"] for v in first["volumes"]] == ["a", "b"]
    assert first["count"] == 3
    path = first["volumes_links"][0]["href"].removeprefix("http://cloud/volume/v3/p")
    assert [v["name"] for v in call(cloud, "GET", path).json()["volumes"]] == ["c"]
    brief = call(cloud, "GET", "/volumes").json()["volumes"][0]
    assert set(brief) == {"id", "name", "links"}
    shown = call(cloud, "GET", "/volumes/summary").json()["volume-summary"]
    assert (shown["total_count"], shown["total_size"]) == (3, 6)
    for bad in ("limit=x", "sort=nope:asc", "bootable=maybe"):
        assert call(cloud, "GET", f"/volumes?{bad}").status_code == 400, bad
    assert call(cloud, "GET", "/volumes?marker=none").status_code == 404


def test_an_image_of_a_server_on_a_volume_stands_for_its_snapshot(cloud: app.Running) -> None:
    from nutshell.image.port import Images

    port = cloud.cloud.port(Images)
    disk = make(cloud, size=2)["id"]
    body = {"snapshot": {"volume_id": disk, "name": "s"}}
    snapshot = call(cloud, "POST", "/snapshots", json=body).json()["snapshot"]["id"]
    wait(cloud, snapshot, kind="snapshot")

    def image(mapping: str) -> str:
        inside = {"block_device_mapping": mapping, "bdm_v2": "True"}
        made: str = cloud.cloud.write(
            lambda tx: port.create(tx, toy_who(MEMBER), name="i", disk_format="raw", properties=inside)
        )
        port.staging_path(made).write_bytes(b"")
        port.complete(made)
        return made

    part = {"source_type": "snapshot", "boot_index": 0}
    ours, strange = (image(json.dumps([{**part, "snapshot_id": i}])) for i in (snapshot, "nobody"))
    volume = make(cloud, size=2, imageRef=ours)
    assert volume["snapshot_id"] == snapshot
    asked = {"volume": {"size": 2, "imageRef": strange}}
    assert call(cloud, "POST", "/volumes", json=asked).status_code == 404
    asked["volume"]["imageRef"] = image("{not json")
    assert call(cloud, "POST", "/volumes", json=asked).status_code == 400


def test_of_a_type_users_see_what_is_for_them(cloud: app.Running) -> None:
    specs = {"multiattach": "<is> False", "volume_backend_name": "secret"}
    body = {"volume_type": {"name": "t", "extra_specs": specs}}
    kind = call(cloud, "POST", "/types", ADMIN, json=body).json()["volume_type"]["id"]
    for token, seen in (
        (ADMIN, specs),
        (MEMBER, {"multiattach": "<is> False"}),
        (READER, {"multiattach": "<is> False"}),
    ):
        assert call(cloud, "GET", f"/types/{kind}", token).json()["volume_type"]["extra_specs"] == seen
        listed = call(cloud, "GET", "/types", token).json()["volume_types"]
        assert [t["extra_specs"] for t in listed if t["id"] == kind] == [seen]
        assert call(cloud, "GET", f"/types/{kind}/extra_specs", token).json()["extra_specs"] == seen
        for key in specs:
            status = call(cloud, "GET", f"/types/{kind}/extra_specs/{key}", token).status_code
            assert status == (200 if key in seen else 404)


def test_a_volume_from_an_image_is_bootable_and_knows_it(cloud: app.Running) -> None:
    from nutshell.image.port import Images

    port = cloud.cloud.port(Images)
    image_id = cloud.cloud.write(
        lambda tx: port.create(tx, toy_who(MEMBER), name="i", disk_format="raw", properties={"hw_x": "y"})
    )
    early = call(cloud, "POST", "/volumes", json={"volume": {"size": 1, "imageRef": image_id}})
    assert early.status_code == 400
    port.staging_path(image_id).write_bytes(b"boot")
    port.complete(image_id)
    made = make(cloud, imageRef=image_id)
    assert made["bootable"] == "true"
    assert made["volume_image_metadata"]["image_name"] == "i"
    assert made["volume_image_metadata"]["hw_x"] == "y"
    act(cloud, made["id"], "os-set_image_metadata", {"metadata": {"k": "v"}})
    assert call(cloud, "GET", f"/volumes/{made['id']}").json()["volume"]["volume_image_metadata"]["k"] == "v"
    uploaded = act(cloud, made["id"], "os-volume_upload_image", {"image_name": "up", "disk_format": "qcow2"})
    assert uploaded.status_code == 202, uploaded.text
    wait(cloud, made["id"])
    new = uploaded.json()["os-volume_upload_image"]["image_id"]
    facts = cloud.cloud.read(lambda tx: port.facts(tx, new))
    assert facts is not None
    assert facts.status == "active"
    assert port.path(new).read_bytes()[:4] == b"QFI\xfb"


def test_snapshots_and_what_is_made_of_them(cloud: app.Running) -> None:
    made = make(cloud, size=2)
    answer = call(cloud, "POST", "/snapshots", json={"snapshot": {"volume_id": made["id"], "name": "s"}})
    assert answer.status_code == 202, answer.text
    snapshot = wait(cloud, answer.json()["snapshot"]["id"], kind="snapshot")
    assert (snapshot["size"], snapshot["os-extended-snapshot-attributes:progress"]) == (2, "100%")
    assert call(cloud, "DELETE", f"/volumes/{made['id']}").status_code == 400
    small = call(cloud, "POST", "/volumes", json={"volume": {"size": 1, "snapshot_id": snapshot["id"]}})
    assert small.status_code == 400
    copied = call(cloud, "POST", "/volumes", json={"volume": {"snapshot_id": snapshot["id"]}}).json()["volume"]
    assert wait(cloud, copied["id"])["size"] == 2
    cloned = call(cloud, "POST", "/volumes", json={"volume": {"source_volid": made["id"], "size": 3}}).json()["volume"]
    assert wait(cloud, cloned["id"])["size"] == 3
    assert act(cloud, made["id"], "revert", {"snapshot_id": snapshot["id"]}).status_code == 202
    wait(cloud, made["id"])
    assert call(cloud, "DELETE", f"/volumes/{made['id']}?cascade=true").status_code == 202
    gone(cloud, f"/volumes/{made['id']}")
    gone(cloud, f"/snapshots/{snapshot['id']}")
    quota = call(cloud, "GET", "/os-quota-sets/p?usage=True").json()["quota_set"]
    assert (quota["snapshots"]["in_use"], quota["gigabytes"]["in_use"]) == (0, 5)


def test_extending(cloud: app.Running) -> None:
    made = make(cloud)
    assert act(cloud, made["id"], "os-extend", {"new_size": 1}).status_code == 400
    assert act(cloud, made["id"], "os-extend", {"new_size": 5000}).status_code == 413
    assert act(cloud, made["id"], "os-extend", {"new_size": 4}).status_code == 202
    for _ in range(200):
        if wait(cloud, made["id"])["size"] == 4:
            break
    assert call(cloud, "GET", "/limits").json()["limits"]["absolute"]["totalGigabytesUsed"] == 4
    call(cloud, "POST", "/attachments", json={"attachment": {"volume_uuid": made["id"], "instance_uuid": SERVER,
                                                             "connector": {"host": "h"}}})  # fmt: skip
    attachment = call(cloud, "GET", "/attachments").json()["attachments"][0]
    assert call(cloud, "POST", f"/attachments/{attachment['id']}/action", json={"os-complete": None}).status_code == 204
    assert act(cloud, made["id"], "os-extend", {"new_size": 5}, at="3.41").status_code == 400
    assert act(cloud, made["id"], "os-extend", {"new_size": 5}, at="3.42").status_code == 202
    wait(cloud, made["id"], "in-use")


def test_attachments(cloud: app.Running) -> None:
    made = make(cloud)
    body = {"attachment": {"volume_uuid": made["id"], "instance_uuid": SERVER}}
    found = call(cloud, "POST", "/attachments", json=body).json()["attachment"]
    assert (found["status"], found["connection_info"]) == ("reserved", {})
    assert wait(cloud, made["id"], "reserved")["attachments"] == []
    assert call(cloud, "POST", "/attachments", json=body).status_code == 400
    path = f"/attachments/{found['id']}"
    change = {"attachment": {"connector": {"host": "h", "mountpoint": "/dev/vdb"}}}
    told = call(cloud, "PUT", path, json=change).json()["attachment"]
    assert told["connection_info"]["driver_volume_type"] == "local"
    wait(cloud, made["id"], "attaching")
    assert call(cloud, "POST", f"{path}/action", json={"os-complete": None}).status_code == 204
    shown = wait(cloud, made["id"], "in-use")["attachments"][0]
    assert (shown["server_id"], shown["device"], shown["attachment_id"]) == (SERVER, "/dev/vdb", found["id"])
    assert call(cloud, "DELETE", f"/volumes/{made['id']}").status_code == 400
    assert call(cloud, "GET", path, OTHER).status_code == 404
    assert call(cloud, "DELETE", path).json() == {"attachments": []}
    wait(cloud, made["id"])
    assert call(cloud, "GET", "/attachments", at="3.26").status_code == 404


def test_multiattach_comes_from_the_type(cloud: app.Running) -> None:
    kind = {"volume_type": {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}}
    assert call(cloud, "POST", "/types", MEMBER, json=kind).status_code == 403
    assert call(cloud, "POST", "/types", ADMIN, json=kind).status_code == 200
    made = make(cloud, volume_type="shared")
    assert made["multiattach"] is True
    for server in ("1", "2"):
        body = {"attachment": {"volume_uuid": made["id"], "instance_uuid": SERVER[:-1] + server}}
        assert call(cloud, "POST", "/attachments", json=body).status_code == 200


def test_the_old_way_to_attach(cloud: app.Running) -> None:
    made = make(cloud)
    assert act(cloud, made["id"], "os-reserve").status_code == 202
    wait(cloud, made["id"], "attaching")
    assert act(cloud, made["id"], "os-reserve").status_code == 400
    assert act(cloud, made["id"], "os-unreserve").status_code == 202
    wait(cloud, made["id"])
    assert act(cloud, made["id"], "os-attach", {"instance_uuid": SERVER, "mountpoint": "/dev/vdc"}).status_code == 202
    wait(cloud, made["id"], "in-use")
    assert act(cloud, made["id"], "os-begin_detaching").status_code == 202
    wait(cloud, made["id"], "detaching")
    assert act(cloud, made["id"], "os-roll_detaching").status_code == 202
    wait(cloud, made["id"], "in-use")
    assert act(cloud, made["id"], "os-detach", {}).status_code == 202
    wait(cloud, made["id"])
    told = act(cloud, made["id"], "os-initialize_connection", {"connector": {"host": "h"}})
    assert told.json()["connection_info"]["driver_volume_type"] == "local"


def test_reset_status(cloud: app.Running) -> None:
    made = make(cloud)
    assert act(cloud, made["id"], "os-reset_status", {"status": "error"}).status_code == 403
    assert act(cloud, made["id"], "os-reset_status", {"status": "error"}, ADMIN).status_code == 202
    wait(cloud, made["id"], "error")
    assert act(cloud, made["id"], "os-reset_status", {"status": "nonsense"}, ADMIN).status_code == 400
    assert act(cloud, made["id"], "os-reset_status", {"status": "available"}, ADMIN).status_code == 202
    wait(cloud, made["id"])
    assert act(cloud, made["id"], "os-force_delete", None, ADMIN).status_code == 202
    gone(cloud, f"/volumes/{made['id']}")


def test_a_driver_that_fails_for_good_leaves_an_error_that_can_be_deleted(cloud: app.Running) -> None:
    cloud.cloud.driver(VolumeDriver).fail("create", 1, final=True)  # type: ignore[attr-defined]
    answer = call(cloud, "POST", "/volumes", json={"volume": {"size": 1}}).json()["volume"]
    wait(cloud, answer["id"], "error")
    row = cloud.cloud.read(lambda tx: tx.need(Volume, answer["id"]))
    assert "told to fail" in row.fault
    assert call(cloud, "DELETE", f"/volumes/{answer['id']}").status_code == 202
    gone(cloud, f"/volumes/{answer['id']}")


def test_a_volume_that_no_pool_took_is_gone_at_once_and_its_type_free(cloud: app.Running) -> None:
    wanted = {"volume_type": {"name": "elsewhere", "extra_specs": {"volume_backend_name": "nowhere"}}}
    kind = call(cloud, "POST", "/types", ADMIN, json=wanted).json()["volume_type"]["id"]
    made = call(cloud, "POST", "/volumes", json={"volume": {"size": 1, "volume_type": kind}}).json()["volume"]["id"]
    wait(cloud, made, "error")
    assert call(cloud, "DELETE", f"/volumes/{made}").status_code == 202
    assert call(cloud, "GET", f"/volumes/{made}").status_code == 404
    assert call(cloud, "DELETE", f"/types/{kind}", ADMIN).status_code == 202
    used = call(cloud, "GET", "/limits").json()["limits"]["absolute"]
    assert (used["totalVolumesUsed"], used["totalGigabytesUsed"]) == (0, 0)


def test_a_driver_that_fails_once_is_asked_again(cloud: app.Running) -> None:
    cloud.cloud.driver(VolumeDriver).fail("create")  # type: ignore[attr-defined]
    make(cloud)


def test_metadata(cloud: app.Running) -> None:
    path = f"/volumes/{make(cloud, metadata={'a': '1'})['id']}/metadata"
    assert call(cloud, "POST", path, json={"metadata": {"b": "2"}}).json() == {"metadata": {"a": "1", "b": "2"}}
    assert call(cloud, "PUT", f"{path}/a", json={"meta": {"a": "3"}}).json() == {"meta": {"a": "3"}}
    assert call(cloud, "PUT", f"{path}/a", json={"meta": {"z": "3"}}).status_code == 400
    assert call(cloud, "GET", f"{path}/z").status_code == 404
    assert call(cloud, "PUT", path, json={"metadata": {"c": "4"}}).json() == {"metadata": {"c": "4"}}
    assert call(cloud, "DELETE", f"{path}/c").status_code == 200
    assert call(cloud, "GET", path).json() == {"metadata": {}}
    assert call(cloud, "PUT", path, json={"metadata": {"c": None}}).status_code == 400


def test_private_types_are_seen_by_those_who_may_use_them(cloud: app.Running) -> None:
    body = {"volume_type": {"name": "private", "os-volume-type-access:is_public": False}}
    kind = call(cloud, "POST", "/types", ADMIN, json=body).json()["volume_type"]
    assert call(cloud, "GET", f"/types/{kind['id']}").status_code == 404
    assert [t["name"] for t in call(cloud, "GET", "/types").json()["volume_types"]] == ["__DEFAULT__"]
    path = f"/types/{kind['id']}/action"
    assert call(cloud, "POST", path, ADMIN, json={"addProjectAccess": {"project": "p"}}).status_code == 202
    assert call(cloud, "POST", path, ADMIN, json={"addProjectAccess": {"project": "p"}}).status_code == 409
    assert make(cloud, volume_type="private")["volume_type"] == "private"
    assert call(cloud, "DELETE", f"/types/{kind['id']}", ADMIN).status_code == 400
    assert call(cloud, "POST", path, ADMIN, json={"removeProjectAccess": {"project": "p"}}).status_code == 202
    assert call(cloud, "POST", "/volumes", json={"volume": {"size": 1, "volume_type": "private"}}).status_code == 404


def test_quotas(cloud: app.Running) -> None:
    path = "/os-quota-sets/p"
    assert call(cloud, "GET", path).json()["quota_set"]["volumes"] == 10
    assert call(cloud, "PUT", path, MEMBER, json={"quota_set": {"volumes": 1}}).status_code == 403
    assert call(cloud, "PUT", path, ADMIN, json={"quota_set": {"volumes": 1}}).json()["quota_set"]["volumes"] == 1
    assert call(cloud, "PUT", path, ADMIN, json={"quota_set": {"cheese": 1}}).status_code == 400
    make(cloud)
    over = call(cloud, "POST", "/volumes", json={"volume": {"size": 1}})
    assert over.status_code == 413
    assert over.json()["overLimit"]["code"] == 413
    assert call(cloud, "DELETE", path, ADMIN).status_code == 200
    assert call(cloud, "GET", path).json()["quota_set"]["volumes"] == 10
    assert call(cloud, "GET", "/os-quota-sets/q", MEMBER).status_code == 403


def test_what_the_service_says_of_itself(cloud: app.Running) -> None:
    assert call(cloud, "GET", "/os-availability-zone").json()["availabilityZoneInfo"][0]["zoneName"] == "nova"
    assert call(cloud, "GET", "/scheduler-stats/get_pools?detail=True").status_code == 403
    pool = call(cloud, "GET", "/scheduler-stats/get_pools?detail=True", ADMIN).json()["pools"][0]
    assert pool["capabilities"]["free_capacity_gb"] > 0
    binaries = {s["binary"] for s in call(cloud, "GET", "/os-services", ADMIN).json()["services"]}
    assert binaries == {"cinder-scheduler", "cinder-volume"}
    assert call(cloud, "GET", "/extensions").json()["extensions"]


def test_what_compute_does_with_volumes(cloud: app.Running) -> None:
    port, who = cloud.cloud.port(Volumes), toy_who(MEMBER)
    facts = cloud.cloud.write(lambda tx: port.create(tx, who, size_gib=1, name="root"))
    wait(cloud, facts.volume_id)
    attachment = cloud.cloud.write(lambda tx: port.reserve(tx, facts.volume_id, SERVER))
    for _ in range(2):
        cloud.cloud.write(lambda tx: port.attached(tx, attachment.attachment_id, "/dev/vda", "h"))
    wait(cloud, facts.volume_id, "in-use")
    found = cloud.cloud.read(lambda tx: port.attachments_of(tx, [SERVER]))
    assert [a.attached for a in found[SERVER]] == [True]
    assert port.connect(cloud.cloud, facts.volume_id).format == "raw"
    cloud.cloud.write(lambda tx: port.detaching(tx, attachment.attachment_id))
    wait(cloud, facts.volume_id, "detaching")
    for _ in range(2):
        cloud.cloud.write(lambda tx: port.detached(tx, attachment.attachment_id))
    wait(cloud, facts.volume_id)
    cloud.cloud.write(lambda tx: port.delete(tx, facts.volume_id))
    gone(cloud, f"/volumes/{facts.volume_id}")


def test_a_kill_while_a_volume_is_made_is_mended_at_the_next_start(tmp_path: Path) -> None:
    running = start(tmp_path)  # its loops never run: as killed before the effect
    answer = call(running, "POST", "/volumes", json={"volume": {"size": 1}}).json()["volume"]
    done = call(running, "POST", "/volumes", json={"volume": {"size": 1}}).json()["volume"]
    running.cloud.driver(VolumeDriver).create(done["id"], 2**30)  # killed after the effect, before its row
    running.close()
    running = start(tmp_path)
    running.runner.start()
    try:
        wait(running, answer["id"])
        wait(running, done["id"])
    finally:
        running.close()


def test_what_compute_attached_only_compute_detaches(cloud: app.Running) -> None:
    port = cloud.cloud.port(Volumes)
    row, other = make(cloud), make(cloud)
    mine = cloud.cloud.write(lambda tx: port.reserve(tx, row["id"], SERVER)).attachment_id
    cloud.cloud.write(lambda tx: port.attached(tx, mine, "/dev/vdb", "h"))
    detach: dict[str, Any] = {"os-detach": {}}
    for body, token in (
        (detach, MEMBER),
        ({"os-detach": {"attachment_id": mine}}, MEMBER),
        ({"os-terminate_connection": {"connector": {}}}, MEMBER),
        ({"os-force_detach": {"attachment_id": mine}}, ADMIN),
    ):
        answer = call(cloud, "POST", f"/volumes/{row['id']}/action", token=token, json=body)
        assert (answer.status_code, "Compute API" in answer.text) == (409, True), body
    answer = call(cloud, "DELETE", f"/attachments/{mine}")
    assert answer.status_code == 409
    mismatched = {"os-detach": {"attachment_id": mine}}
    assert call(cloud, "POST", f"/volumes/{other['id']}/action", json=mismatched).status_code == 400
    assert call(cloud, "GET", f"/volumes/{row['id']}").json()["volume"]["status"] == "in-use"
    cloud.cloud.write(lambda tx: port.detached(tx, mine))
    assert call(cloud, "GET", f"/volumes/{row['id']}").json()["volume"]["status"] == "available"
