"""Encryption of volume types: kept and shown to administrators, and never promised to a volume."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.volumes_world import ADMIN, call, make, start

from nutshell import app

ASKED = {"encryption": {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64"}}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[app.Running]:
    running = start(tmp_path)
    running.runner.start()
    yield running
    running.close()


def test_a_types_encryption_lives(cloud: app.Running) -> None:
    kind = call(cloud, "POST", "/types", token=ADMIN, json={"volume_type": {"name": "secret"}}).json()["volume_type"]
    path = f"/types/{kind['id']}/encryption"
    assert call(cloud, "GET", path, token=ADMIN).json() == {}
    made = call(cloud, "POST", path, token=ADMIN, json=ASKED).json()["encryption"]
    assert made["volume_type_id"] == kind["id"]
    assert call(cloud, "POST", path, token=ADMIN, json=ASKED).status_code == 400
    assert call(cloud, "GET", f"{path}/cipher", token=ADMIN).json() == {"cipher": "aes-xts-plain64"}
    bigger = {"encryption": {"key_size": 256}}
    assert call(cloud, "PUT", f"{path}/{made['encryption_id']}", token=ADMIN, json=bigger).json() == bigger
    shown = call(cloud, "GET", path, token=ADMIN).json()
    assert (shown["key_size"], shown["provider"]) == (256, "luks")
    for body in (
        {"encryption": {"provider": "luks"}},
        {"encryption": {**ASKED["encryption"], "control_location": "x"}},
    ):
        assert call(cloud, "POST", path, token=ADMIN, json=body).status_code == 400
    assert call(cloud, "POST", path, json=ASKED).status_code == 403
    assert call(cloud, "GET", path).status_code == 403
    assert call(cloud, "DELETE", f"{path}/{made['encryption_id']}", token=ADMIN).status_code == 202
    assert call(cloud, "GET", f"{path}/cipher", token=ADMIN).status_code == 404


def test_no_volume_is_made_of_a_type_that_asks_for_encryption(cloud: app.Running) -> None:
    kind = call(cloud, "POST", "/types", token=ADMIN, json={"volume_type": {"name": "secret"}}).json()["volume_type"]
    call(cloud, "POST", f"/types/{kind['id']}/encryption", token=ADMIN, json=ASKED)
    refused = call(cloud, "POST", "/volumes", json={"volume": {"size": 1, "volume_type": "secret"}})
    assert refused.status_code == 400
    assert "encrypted" in refused.text
    plain = make(cloud)
    assert call(cloud, "GET", f"/volumes/{plain['id']}/encryption").json() == {"encryption_key_id": None}
    assert call(cloud, "DELETE", f"/types/{kind['id']}", token=ADMIN).status_code == 202
