"""What guests of a real cloud live through: a cloud without processes, their own death, a power cut, `down`, and
another cloud on the same machine."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.crash.conftest import BOOT_ID
from tests.crash.killed import until
from tests.crash.real_cloud import BOTH, PATIENCE_S, SERVERS, RealCloud

from nutshell.cli.demo.guests import USER, Guest, ping
from nutshell.cli.places import Places

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="real networks need root"),
    pytest.mark.usefixtures("unnoticed"),
]


@contextmanager
def echo(guest: Guest) -> Iterator[subprocess.Popen[str]]:
    """A login that stays open and gives back what it is told."""
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command = ["ssh", "-F", "none", "-i", str(guest.key), *options, f"{USER}@{guest.address}", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        yield session
        session.kill()


def say(session: subprocess.Popen[str], word: str) -> str:
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(word + "\n")
    session.stdin.flush()
    return session.stdout.readline().strip()


def test_guests_live_while_no_process_of_ours_does(cloud: RealCloud, witness: str) -> None:
    guest = cloud.guest(cloud.address_of(witness))
    with echo(guest) as session:
        assert say(session, "before") == "before"
        cloud.kill(*BOTH)
        until(lambda: not cloud.alive(), "both processes are gone")
        assert say(session, "without them") == "without them"
        assert "time=" in ping(guest.address, PATIENCE_S)
        link = guest.run("ip -4 route show default").split(" dev ")[1].split()[0]
        guest.run(f"sudo udhcpc -i {link} -n -q -f -s /bin/true")  # fails without a lease
        cloud.up()
        assert say(session, "after") == "after"
    cloud.settles()


def test_a_guest_whose_process_dies_is_off_at_once(cloud: RealCloud) -> None:
    server_id = cloud.make_server()
    os.kill(cloud.machine.guests()[server_id], signal.SIGKILL)
    cloud.await_server(server_id, "SHUTOFF", 5.0)
    assert cloud.server(server_id)["OS-EXT-STS:power_state"] == 4
    actions = cloud.client.get(f"{SERVERS}/{server_id}/os-instance-actions")["instanceActions"]
    assert actions[0]["action"] == "stop"
    assert "signal 9" in str(cloud.admin.get(f"{SERVERS}/{server_id}/os-instance-actions/{actions[0]['request_id']}"))
    cloud.settles()
    status, _, _ = cloud.client.call("POST", f"{SERVERS}/{server_id}/action", {"os-start": None})
    assert status == 202
    cloud.await_server(server_id, "ACTIVE")
    cloud.settles()
    cloud.delete(f"{SERVERS}/{server_id}")
    cloud.gone(f"{SERVERS}/{server_id}")


@pytest.mark.usefixtures("witness_restarts")
def test_a_guest_that_powers_itself_off_is_off(cloud: RealCloud, witness: str) -> None:
    guest = cloud.guest(cloud.address_of(witness))
    guest.run("(sleep 1; sudo poweroff) >/dev/null 2>&1 &")
    cloud.await_server(witness, "SHUTOFF")
    cloud.settles()
    cloud.client.call("POST", f"{SERVERS}/{witness}/action", {"os-start": None})
    cloud.await_server(witness, "ACTIVE")
    guest.wait(PATIENCE_S)


@pytest.mark.usefixtures("witness_restarts")
def test_after_a_power_cut_the_servers_that_ran_run_again(cloud: RealCloud, witness: str) -> None:
    guest = cloud.guest(cloud.address_of(witness))
    volume_id = cloud.make_volume()
    attached = {"volumeAttachment": {"volumeId": volume_id}}
    cloud.post(f"{SERVERS}/{witness}/os-volume_attachments", attached, 200)
    cloud.await_volume(volume_id, "in-use")
    guest.run("echo kept | sudo dd of=/dev/vdb && sync")
    stopped = cloud.make_server()
    cloud.client.call("POST", f"{SERVERS}/{stopped}/action", {"os-stop": None})
    boot = guest.run(BOOT_ID)
    cut_power(cloud)
    cloud.up()
    cloud.await_server(witness, "ACTIVE")
    cloud.await_server(stopped, "SHUTOFF")
    cloud.settles()
    guest.wait(PATIENCE_S)
    assert guest.run(BOOT_ID) != boot
    assert guest.run("sudo head -c 4 /dev/vdb") == "kept"
    cloud.delete(f"{SERVERS}/{witness}/os-volume_attachments/{volume_id}")
    cloud.delete(f"{SERVERS}/{stopped}")
    cloud.await_volume(volume_id, "available")
    cloud.delete(f"/volume/v3/volumes/{volume_id}")
    cloud.settles()


def cut_power(cloud: RealCloud) -> None:
    """Nothing is left but the files on the disk."""
    here = cloud.machine
    cloud.kill(*BOTH)
    for pid in (*here.guests().values(), *here.servers_of_names()):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not here.guests() and not here.servers_of_names(), "every guest is gone")
    for space in here.namespaces():
        subprocess.run(["ip", "netns", "delete", f"nut-{here.cloud}-{space}"], check=True)
    subprocess.run(["nft", "delete", "table", "ip", f"nut_{here.cloud}"], check=True)
    shutil.rmtree(Path("/run/nutshell", here.cloud))
    until(lambda: here.traces() == {}, "nothing runs any more")


@pytest.mark.usefixtures("witness_restarts")
def test_down_leaves_nothing_and_up_brings_everything_back(cloud: RealCloud, witness: str) -> None:
    guest = cloud.guest(cloud.address_of(witness))
    cloud.cloud.down()
    assert cloud.machine.traces() == {}
    cloud.up()
    cloud.await_server(witness, "ACTIVE")
    cloud.settles()
    guest.wait(PATIENCE_S)


def test_two_clouds_do_not_touch_each_other(cloud: RealCloud, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = RealCloud(tmp_path_factory.mktemp("b") / "state")  # a short path, for sockets
    image = Places(other.state).tiny_image
    image.parent.mkdir(parents=True)
    shutil.copyfile(Places(cloud.state).tiny_image, image)
    try:
        other.up()
        other.settles()
        before = fingerprint(other)
        cloud.kill(*BOTH)
        time.sleep(1)
        assert other.client.get(SERVERS)["servers"] == []
        cloud.up()
        cloud.settles()
        assert fingerprint(other) == before
        before = fingerprint(cloud)
        other.kill("host")
    finally:
        other.cloud.command("reset", "--yes")
    assert other.machine.traces() == {}
    assert not other.state.exists()
    assert fingerprint(cloud) == before
    cloud.settles()


def fingerprint(cloud: RealCloud) -> object:
    here = cloud.machine
    pids = [cloud.pid(one) for one in BOTH]
    return pids, here.guests(), here.servers_of_names(), here.namespaces(), here.outside_links(), here.tables()
