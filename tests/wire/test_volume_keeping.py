"""Transfers, messages, services, backups and QoS specs as their clients meet them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.volumes_world import ADMIN, MEMBER, OTHER, act, call, gone, make, start, wait

from nutshell import app
from nutshell.compute.port import Servers
from nutshell.core.store import Tx
from nutshell.volume.capability import VolumeDriver


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[app.Running]:
    running = start(tmp_path)
    running.runner.start()
    yield running
    running.close()


def test_a_transfer_moves_a_volume_and_its_quota(cloud: app.Running) -> None:
    made = make(cloud)
    offer = call(cloud, "POST", "/volume-transfers", json={"transfer": {"volume_id": made["id"]}}).json()["transfer"]
    wait(cloud, made["id"], "awaiting-transfer")
    path = f"/volume-transfers/{offer['id']}"
    assert call(cloud, "GET", path, OTHER).status_code == 404
    assert "auth_key" not in call(cloud, "GET", path).json()["transfer"]
    assert call(cloud, "POST", f"{path}/accept", OTHER, json={"accept": {"auth_key": "no"}}).status_code == 400
    taken = call(cloud, "POST", f"{path}/accept", OTHER, json={"accept": {"auth_key": offer["auth_key"]}})
    assert taken.status_code == 202
    assert call(cloud, "GET", f"/volumes/{made['id']}").status_code == 404
    assert call(cloud, "GET", f"/volumes/{made['id']}", OTHER).json()["volume"]["status"] == "available"
    used = [call(cloud, "GET", "/limits", t).json()["limits"]["absolute"]["totalVolumesUsed"] for t in (MEMBER, OTHER)]
    assert used == [0, 1]
    assert call(cloud, "GET", path).status_code == 404


def test_a_type_no_pool_suits_ends_in_an_error_that_says_why(cloud: app.Running) -> None:
    kind = {"volume_type": {"name": "odd", "extra_specs": {"storage_protocol": "carrier pigeon"}}}
    assert call(cloud, "POST", "/types", ADMIN, json=kind).status_code == 200
    volume = call(cloud, "POST", "/volumes", json={"volume": {"size": 1, "volume_type": "odd"}}).json()["volume"]
    wait(cloud, volume["id"], "error")
    message = call(cloud, "GET", "/messages").json()["messages"][0]
    assert message["resource_uuid"] == volume["id"]
    assert call(cloud, "DELETE", f"/messages/{message['id']}").status_code == 204
    assert call(cloud, "GET", "/messages").json()["messages"] == []


def test_a_disabled_service_gets_no_new_volumes(cloud: app.Running) -> None:
    host = call(cloud, "GET", "/os-services?binary=cinder-volume", ADMIN).json()["services"][0]["host"]
    body = {"host": host, "binary": "cinder-volume"}
    assert call(cloud, "PUT", "/os-services/disable", MEMBER, json=body).status_code == 403
    assert call(cloud, "PUT", "/os-services/disable", ADMIN, json={**body, "host": "no"}).status_code == 404
    assert call(cloud, "PUT", "/os-services/disable-log-reason", ADMIN, json=body).status_code == 400
    told = call(cloud, "PUT", "/os-services/disable", ADMIN, json=body).json()
    assert told["status"] == "disabled"
    volume = call(cloud, "POST", "/volumes", json={"volume": {"size": 1}}).json()["volume"]
    wait(cloud, volume["id"], "error")
    assert call(cloud, "PUT", "/os-services/enable", ADMIN, json=body).status_code == 200
    make(cloud)
    shown = call(cloud, "GET", f"/os-hosts/{host}", ADMIN).json()["host"]
    assert shown[0]["resource"]["volume_count"] == "1"


def test_a_backup_outlives_its_volume(cloud: app.Running) -> None:
    made = make(cloud, name="original", metadata={"k": "v"})
    cloud.cloud.driver(VolumeDriver).write(made["id"], b"precious")  # type: ignore[attr-defined]
    order = {"backup": {"volume_id": made["id"], "name": "b"}}
    backup = call(cloud, "POST", "/backups", json=order).json()["backup"]
    shown = wait(cloud, backup["id"], kind="backup")
    assert (shown["size"], shown["is_incremental"], shown["volume_id"]) == (1, False, made["id"])
    wait(cloud, made["id"])
    assert set(call(cloud, "GET", "/backups").json()["backups"][0]) == {"id", "name", "links"}
    order["backup"] |= {"incremental": True}
    second = call(cloud, "POST", "/backups", json=order).json()["backup"]
    assert wait(cloud, second["id"], kind="backup")["is_incremental"] is True
    assert call(cloud, "DELETE", f"/backups/{backup['id']}").status_code == 400
    wait(cloud, made["id"])
    assert call(cloud, "DELETE", f"/volumes/{made['id']}").status_code == 202
    gone(cloud, f"/volumes/{made['id']}")
    told = call(cloud, "POST", f"/backups/{backup['id']}/restore", json={"restore": {}}).json()["restore"]
    restored = wait(cloud, told["volume_id"])
    assert restored["metadata"] == {"k": "v"}
    driver: Any = cloud.cloud.driver(VolumeDriver)
    driver.write(told["volume_id"], b"spoilt..")
    again = {"restore": {"volume_id": told["volume_id"]}}
    wait(cloud, backup["id"], kind="backup")
    assert call(cloud, "POST", f"/backups/{backup['id']}/restore", json=again).status_code == 202
    wait(cloud, told["volume_id"])
    snapshot = "0f000000-0000-4000-8000-000000000009"
    driver.snapshot(told["volume_id"], snapshot)
    assert driver._need("snapshot", snapshot).content.startswith(b"precious")
    for one in (second, backup):
        assert call(cloud, "DELETE", f"/backups/{one['id']}").status_code == 202
        gone(cloud, f"/backups/{one['id']}")
    assert call(cloud, "GET", "/limits").json()["limits"]["absolute"]["totalBackupsUsed"] == 0


def test_a_backup_of_a_snapshot_and_its_record(cloud: app.Running) -> None:
    made = make(cloud)
    order = {"snapshot": {"volume_id": made["id"]}}
    snapshot = call(cloud, "POST", "/snapshots", json=order).json()["snapshot"]
    wait(cloud, snapshot["id"], kind="snapshot")
    body = {"backup": {"volume_id": made["id"], "snapshot_id": snapshot["id"]}}
    backup = call(cloud, "POST", "/backups", json=body).json()["backup"]
    assert wait(cloud, backup["id"], kind="backup")["snapshot_id"] == snapshot["id"]
    assert list(cloud.cloud.driver(VolumeDriver).existing(None)) == [made["id"]]
    assert call(cloud, "GET", f"/backups/{backup['id']}/export_record").status_code == 403
    record = call(cloud, "GET", f"/backups/{backup['id']}/export_record", ADMIN).json()
    assert call(cloud, "POST", "/backups/import_record", ADMIN, json=record).status_code == 400
    assert call(cloud, "DELETE", f"/backups/{backup['id']}").status_code == 202
    gone(cloud, f"/backups/{backup['id']}")
    bad = {"backup-record": {"backup_service": "x", "backup_url": "???"}}
    assert call(cloud, "POST", "/backups/import_record", ADMIN, json=bad).status_code == 400


def test_qos_specs(cloud: app.Running) -> None:
    order = {"qos_specs": {"name": "fast", "consumer": "front-end", "total_iops_sec": "500"}}
    assert call(cloud, "POST", "/qos-specs", MEMBER, json=order).status_code == 403
    made = call(cloud, "POST", "/qos-specs", ADMIN, json=order).json()["qos_specs"]
    assert (made["consumer"], made["specs"]) == ("front-end", {"total_iops_sec": "500"})
    assert call(cloud, "POST", "/qos-specs", ADMIN, json=order).status_code == 409
    path = f"/qos-specs/{made['id']}"
    assert call(cloud, "PUT", path, ADMIN, json={"qos_specs": {"consumer": "moon"}}).status_code == 400
    assert call(cloud, "PUT", path, ADMIN, json={"qos_specs": {"x": "1"}}).status_code == 200
    assert call(cloud, "PUT", f"{path}/delete_keys", ADMIN, json={"keys": ["none"]}).status_code == 404
    assert call(cloud, "PUT", f"{path}/delete_keys", ADMIN, json={"keys": ["x"]}).status_code == 202
    assert call(cloud, "GET", path, ADMIN).json()["qos_specs"]["specs"] == {"total_iops_sec": "500"}
    kind = call(cloud, "GET", "/types", ADMIN).json()["volume_types"][0]["id"]
    assert call(cloud, "GET", f"{path}/associate?vol_type_id={kind}", ADMIN).status_code == 202
    tied = call(cloud, "GET", f"{path}/associations", ADMIN).json()["qos_associations"]
    assert [t["id"] for t in tied] == [kind]
    assert call(cloud, "GET", f"/types/{kind}", ADMIN).json()["volume_type"]["qos_specs_id"] == made["id"]
    assert call(cloud, "DELETE", path, ADMIN).status_code == 400
    assert call(cloud, "GET", f"{path}/disassociate_all", ADMIN).status_code == 202
    assert call(cloud, "DELETE", path, ADMIN).status_code == 202
    assert call(cloud, "GET", path, ADMIN).status_code == 404


def test_compute_is_told_when_a_volume_has_grown(cloud: app.Running) -> None:
    told: list[str] = []

    class Listener:
        def volume_extended(self, tx: Tx, volume_id: str) -> None:
            told.append(volume_id)

    cloud.cloud.ports[Servers] = Listener()
    made = make(cloud)
    assert act(cloud, made["id"], "os-extend", {"new_size": 2}).status_code == 202
    wait(cloud, made["id"])
    for _ in range(200):
        if told:
            break
        time.sleep(0.01)
    assert told == [made["id"]]


def test_an_incremental_backup_grows_from_one_of_its_own_project(cloud: app.Running) -> None:
    made = make(cloud)

    def back_up(token: str, **more: Any) -> str:
        order = {"backup": {"volume_id": made["id"], **more}}
        backup = call(cloud, "POST", "/backups", token, json=order).json()["backup"]
        wait(cloud, backup["id"], kind="backup")
        wait(cloud, made["id"])
        return str(backup["id"])

    def depended_on(backup_id: str, token: str) -> bool:
        return bool(call(cloud, "GET", f"/backups/{backup_id}", token).json()["backup"]["has_dependent_backups"])

    elsewhere = "root:elsewhere:admin,member,reader"
    theirs, mine = back_up(elsewhere), back_up(MEMBER)
    back_up(elsewhere, incremental=True)
    assert (depended_on(theirs, elsewhere), depended_on(mine, MEMBER)) == (True, False)
