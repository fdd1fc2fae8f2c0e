"""A real cloud saved with its disks and put back: the same guests, addresses, volumes, and what was on them."""

import os
from pathlib import Path

import pytest
from tests.crash.real_cloud import PATIENCE_S, SERVERS, RealCloud

from nutshell.cli.places import read_json

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="real networks need root"),
]


def files(state: Path) -> set[str]:
    return {str(p.relative_to(state)) for p in (state / "host").rglob("*") if p.suffix in (".qcow2", ".raw")}


@pytest.mark.usefixtures("witness_restarts")
def test_saved_and_restored_guests_are_what_they_were(cloud: RealCloud, witness: str) -> None:
    address = cloud.address_of(witness)
    guest = cloud.guest(address)
    volume = cloud.make_volume()
    attachments = f"{SERVERS}/{witness}/os-volume_attachments"
    cloud.post(attachments, {"volumeAttachment": {"volumeId": volume}}, 200)
    cloud.await_volume(volume, "in-use")
    guest.run("echo on-the-volume | sudo dd of=/dev/vdb && echo on-the-root > kept && sync")
    before, disks = cloud.server(witness), files(cloud.state)

    command = cloud.cloud.command
    with pytest.raises(AssertionError, match=r"saved with its guests stopped.*nutshell down"):
        command("save", "one")
    command("down")
    assert "real cloud" in command("save", "one")
    with pytest.raises(AssertionError, match="only simulated clouds are forked"):
        command("fork", "one")

    cloud.up()
    cloud.await_server(witness, "ACTIVE")
    guest.wait(PATIENCE_S)
    guest.run("echo changed > kept && echo changed-there | sudo dd of=/dev/vdb && sync")
    later = cloud.make_server(name="later")
    with pytest.raises(AssertionError, match="runs; first: nutshell down"):
        command("restore", "one", "--yes")
    command("down")
    command("restore", "one", "--yes")
    assert files(cloud.state) == disks
    cloud.up()
    cloud.await_server(witness, "ACTIVE")
    guest.wait(PATIENCE_S)
    after = cloud.server(witness)
    for same in ("id", "name", "addresses", "created", "OS-EXT-SRV-ATTR:instance_name"):
        assert after.get(same) == before.get(same)
    assert guest.run("cat kept").strip() == "on-the-root"
    assert guest.run("sudo head -c 13 /dev/vdb").strip() == "on-the-volume"
    assert cloud.client.call("GET", f"{SERVERS}/{later}")[0] == 404
    cloud.settles()
    command("saves", "delete", "one")
    assert read_json(cloud.state / "cloud.json") is not None
    cloud.client.call("DELETE", f"{attachments}/{volume}")
    cloud.await_volume(volume, "available")
    cloud.delete(f"/volume/v3/volumes/{volume}")
    cloud.settles()
