"""Servers as their clients meet them, on the simulated hypervisor."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.wire.compute_rig import ADMIN, IMAGE, NET, OTHER, READER, VOLUME, Rig, until

from nutshell.compute.capability import Power


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_server_becomes_active_and_goes(rig: Rig) -> None:
    made = rig.boot()
    shown = rig.show(made)
    assert shown["OS-EXT-STS:vm_state"] == "active"
    assert shown["OS-EXT-STS:power_state"] == 1
    assert list(shown["addresses"]) == ["private"]
    assert shown["flavor"]["ram"] == 128
    assert [g["name"] for g in shown["security_groups"]] == ["default"]
    assert len(rig.networks.realised) == 1
    assert rig.call("DELETE", f"/servers/{made}").status_code == 204
    rig.gone(made)
    assert rig.networks.ports == {}
    assert rig.world.observe(None) == []
    used = rig.cloud.read(lambda tx: rig.cloud.quotas.used(tx, "p", ["compute.instances", "compute.ram"]))
    assert set(used.values()) == {0}


def test_power_actions_lead_where_they_say(rig: Rig) -> None:
    made = rig.boot()
    for action, status, power in (
        ("os-stop", "SHUTOFF", 4),
        ("os-start", "ACTIVE", 1),
        ("pause", "PAUSED", 3),
        ("unpause", "ACTIVE", 1),
        ("suspend", "SUSPENDED", 4),
        ("resume", "ACTIVE", 1),
    ):
        assert rig.act(made, action).status_code == 202
        assert rig.until(made, status)["OS-EXT-STS:power_state"] == power
    for kind in ("SOFT", "HARD"):
        assert rig.act(made, "reboot", {"type": kind}).status_code == 202
        rig.until(made, "ACTIVE")
    answer = rig.act(made, "os-start")
    assert answer.status_code == 409
    assert "vm_state active" in answer.json()["conflictingRequest"]["message"]
    names = [a["action"] for a in rig.call("GET", f"/servers/{made}/os-instance-actions").json()["instanceActions"]]
    assert names == ["reboot", "reboot", "resume", "suspend", "unpause", "pause", "start", "stop", "create"]


def test_resize_is_confirmed_or_reverted(rig: Rig) -> None:
    made = rig.boot()
    assert rig.act(made, "resize", {"flavorRef": "42"}).status_code == 400
    assert rig.act(made, "resize", {"flavorRef": "84"}).status_code == 202
    assert rig.until(made, "VERIFY_RESIZE")["flavor"]["ram"] == 192
    assert rig.act(made, "revertResize").status_code == 202
    assert rig.until(made, "ACTIVE")["flavor"]["ram"] == 128
    rig.act(made, "resize", {"flavorRef": "84"})
    rig.until(made, "VERIFY_RESIZE")
    assert rig.act(made, "confirmResize").status_code == 204
    assert rig.until(made, "ACTIVE")["flavor"]["ram"] == 192
    used = rig.cloud.read(lambda tx: rig.cloud.quotas.used(tx, "p", ["compute.ram"]))
    assert used == {"compute.ram": 192}
    placed = rig.cloud.read(lambda tx: tx.sql("SELECT DISTINCT consumer_id FROM placement_allocation").fetchall())
    assert len(placed) == 1


def test_rebuild_keeps_the_server_and_changes_its_name(rig: Rig) -> None:
    made = rig.boot()
    answer = rig.act(made, "rebuild", {"imageRef": IMAGE, "name": "two", "metadata": {"a": "b"}})
    assert answer.status_code == 202
    assert answer.json()["server"]["adminPass"]
    shown = rig.until(made, "ACTIVE")
    assert (shown["name"], shown["metadata"]) == ("two", {"a": "b"})


def test_rescue_and_shelve(rig: Rig) -> None:
    made = rig.boot()
    assert rig.act(made, "rescue", {}).json()["adminPass"]
    rig.until(made, "RESCUE")
    assert rig.act(made, "unrescue").status_code == 202
    rig.until(made, "ACTIVE")
    assert rig.act(made, "shelve").status_code == 202
    assert rig.until(made, "SHELVED_OFFLOADED")["hostId"] == ""
    assert rig.world.observe(None) == []
    assert rig.act(made, "unshelve").status_code == 202
    rig.until(made, "ACTIVE")


def test_a_server_waits_for_the_first_host_of_a_cloud_that_just_started(tmp_path: Path) -> None:
    rig = Rig(tmp_path, loops=False)
    made = rig.boot(wait="")
    runner = rig.running.runner
    try:
        runner.run_once("servers")
        put_off = "SELECT count(*) FROM compute_servers WHERE due_at > created_at"
        until(lambda: rig.cloud.read(lambda tx: tx.sql(put_off).fetchone()[0]) == 1)
        assert rig.show(made)["status"] == "BUILD"
        runner.run_once("nodes")

        def active() -> bool:
            runner.run_once("servers")
            return bool(rig.show(made)["status"] == "ACTIVE")

        until(active)
    finally:
        rig.close()


def test_backups_rotate(rig: Rig) -> None:
    made = rig.boot()
    for n in range(3):
        body = {"name": f"b{n}", "backup_type": "daily", "rotation": 2}
        assert rig.act(made, "createBackup", body).status_code == 202
        rig.until(made, "ACTIVE")
    assert [i.name for i in rig.images.known.values() if i.name.startswith("b")] == ["b1", "b2"]


def test_old_versions_show_images(rig: Rig) -> None:
    shown = rig.call("GET", f"/images/{IMAGE}", at="2.35").json()["image"]
    assert (shown["status"], shown["progress"]) == ("ACTIVE", 100)
    assert rig.call("GET", f"/images/{IMAGE}", at="2.36").status_code == 404
    assert rig.call("PUT", f"/images/{IMAGE}/metadata/a", at="2.1", json={"meta": {"a": "b"}}).status_code == 200
    assert rig.call("GET", f"/images/{IMAGE}/metadata").json() == {"metadata": {"a": "b"}}


def test_an_image_is_made_of_a_server(rig: Rig) -> None:
    made = rig.boot()
    answer = rig.act(made, "createImage", {"name": "snap", "metadata": {"k": "v"}})
    assert answer.status_code == 202
    image = answer.json()["image_id"]
    rig.until(made, "ACTIVE")
    until(lambda: rig.images.known[image].status == "active")
    assert rig.images.known[image].properties["k"] == "v"


def test_the_image_of_a_server_that_is_deleted_meanwhile_goes_too(rig: Rig) -> None:
    """It waited for its data for ever."""
    made = rig.boot()
    rig.world.faults.delay("snapshot_root", 0.3)
    image = rig.act(made, "createImage", {"name": "snap"}).json()["image_id"]
    assert rig.call("DELETE", f"/servers/{made}").status_code == 204
    rig.gone(made)
    assert image not in rig.images.known


def test_a_volume_is_attached_and_detached_live(rig: Rig) -> None:
    made = rig.boot()
    path = f"/servers/{made}/os-volume_attachments"
    answer = rig.call("POST", path, at="2.79", json={"volumeAttachment": {"volumeId": VOLUME}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["volumeAttachment"]["device"] == "/dev/vdb"
    until(lambda: rig.volumes.known[VOLUME].status == "in-use")
    assert VOLUME in rig.world.observe([made])[0].disk_ids
    shown = rig.show(made)["os-extended-volumes:volumes_attached"]
    assert shown == [{"id": VOLUME, "delete_on_termination": False}]
    assert rig.call("POST", path, json={"volumeAttachment": {"volumeId": VOLUME}}).status_code == 400
    assert rig.call("DELETE", f"{path}/{VOLUME}").status_code == 202
    until(lambda: rig.call("GET", f"{path}/{VOLUME}").status_code == 404)
    assert rig.volumes.known[VOLUME].status == "available"
    assert VOLUME not in rig.world.observe([made])[0].disk_ids


def test_an_interface_is_attached_and_detached_live(rig: Rig) -> None:
    made = rig.boot()
    path = f"/servers/{made}/os-interface"
    answer = rig.call("POST", path, json={"interfaceAttachment": {"net_id": NET}})
    assert answer.status_code == 200, answer.text
    port = answer.json()["interfaceAttachment"]["port_id"]
    until(lambda: port in rig.world.observe([made])[0].port_ids)
    assert len(rig.call("GET", path).json()["interfaceAttachments"]) == 2
    assert rig.call("DELETE", f"{path}/{port}").status_code == 202
    until(lambda: rig.call("GET", f"{path}/{port}").status_code == 404)
    assert port not in rig.networks.ports


def test_a_users_own_port_survives_its_server(rig: Rig) -> None:
    port = rig.networks.add_port()
    made = rig.boot(networks=[{"port": port}])
    rig.call("DELETE", f"/servers/{made}")
    rig.gone(made)
    assert rig.networks.ports[port].device_id == ""


def test_a_server_boots_from_a_new_volume(rig: Rig) -> None:
    drive = {"source_type": "image", "uuid": IMAGE, "destination_type": "volume", "volume_size": 1, "boot_index": 0}
    made = rig.boot(imageRef="", block_device_mapping_v2=[drive | {"delete_on_termination": True}])
    shown = rig.show(made)
    assert shown["image"] == ""
    volume = shown["os-extended-volumes:volumes_attached"][0]["id"]
    assert rig.volumes.known[volume].status == "in-use"
    rig.call("DELETE", f"/servers/{made}")
    rig.gone(made)
    assert volume not in rig.volumes.known


def test_when_no_host_fits_the_fault_says_what_each_lacked(rig: Rig) -> None:
    big = {"name": "big", "ram": 600_000, "vcpus": 1, "disk": 1, "id": "big"}
    assert rig.call("POST", "/flavors", ADMIN, json={"flavor": big}).status_code == 200
    rig.cloud.write(lambda tx: rig.cloud.quotas.set_limits(tx, "p", {"compute.ram": -1}))
    made = rig.boot(flavorRef="big", wait="ERROR")
    fault = rig.show(made)["fault"]
    assert fault["code"] == 500
    assert "No valid host was found" in fault["message"]
    assert "1 host: MEMORY_MB: 600000 wanted" in fault["message"]
    assert "-sim" not in fault["message"]  # its owner is not told the hosts' names
    assert "-sim: MEMORY_MB" in rig.show(made, ADMIN)["fault"]["details"]
    assert rig.call("DELETE", f"/servers/{made}").status_code == 204
    rig.gone(made)


def test_others_see_nothing(rig: Rig) -> None:
    made = rig.boot()
    assert rig.call("GET", f"/servers/{made}", OTHER).status_code == 404
    assert rig.call("DELETE", f"/servers/{made}", OTHER).status_code == 404
    assert rig.call("GET", "/servers/detail", OTHER).json()["servers"] == []
    assert rig.call("GET", "/servers?all_tenants=1", OTHER).status_code == 403
    assert len(rig.call("GET", "/servers?all_tenants=1", ADMIN).json()["servers"]) == 1
    assert rig.call("GET", "/servers", ADMIN).json()["servers"] == []
    assert rig.call("POST", "/servers", READER, json={"server": {}}).status_code in (400, 403)
    assert rig.call("GET", f"/servers/{made}", "").status_code == 401


def test_a_failing_start_is_tried_again_and_a_final_one_is_an_error(rig: Rig) -> None:
    rig.world.faults.fail("start", times=2)
    rig.boot()
    rig.world.faults.fail("start", why="the image is broken", final=True)
    made = rig.boot(name="bad", wait="ERROR")
    assert "the image is broken" in rig.show(made)["fault"]["message"]


def test_listing_filters_sorts_and_pages(rig: Rig) -> None:
    for name in ("alpha", "beta", "gamma"):
        rig.boot(name=name, tags=[name[0], "all"], metadata={"m": name})
    names = lambda query: [s["name"] for s in rig.call("GET", f"/servers/detail?{query}", at="2.90").json()["servers"]]  # noqa: E731
    assert names("sort_key=display_name&sort_dir=asc") == ["alpha", "beta", "gamma"]
    assert names("name=^b.*a$") == ["beta"]
    assert names("tags=all,g") == ["gamma"]
    assert names("not-tags=a&sort_key=display_name&sort_dir=asc") == ["beta", "gamma"]
    assert names("status=ACTIVE&limit=1&sort_key=display_name&sort_dir=asc") == ["alpha"]
    assert names("status=SHUTOFF") == []
    assert len(names("ip=10.0.0")) == 3
    assert rig.call("GET", "/servers?status=NONSENSE", at="2.90").status_code == 400
    page = rig.call("GET", "/servers?limit=2&sort_key=display_name&sort_dir=asc").json()
    link = page["servers_links"][0]["href"]
    rest = rig.call("GET", link.split("/v2.1")[1]).json()
    assert [s["name"] for s in rest["servers"]] == ["gamma"]
    assert "servers_links" not in rest


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"flavorRef": "nope"}, 400),
        ({"imageRef": "nope"}, 400),
        ({"imageRef": "99999999-1111-4111-8111-111111111111"}, 400),
        ({"name": ""}, 400),
        ({"name": " x"}, 400),
        ({"key_name": "nope"}, 400),
        ({"networks": [{"uuid": "99999999-1111-4111-8111-111111111111"}]}, 400),
        ({"networks": "some"}, 400),
        ({"security_groups": [{"name": "nope"}]}, 400),
        ({"min_count": 2, "max_count": 1}, 400),
        ({"min_count": "x"}, 400),
        ({"min_count": 11}, 403),
        ({"metadata": {"a": 1}}, 400),
        ({"metadata": {"k" * 256: "v"}}, 400),
        ({"metadata": {str(i): "v" for i in range(129)}}, 403),
        ({"user_data": "§"}, 400),
        ({"availability_zone": "nope"}, 400),
        ({"availability_zone": "nova:host"}, 403),
        ({"personality": []}, 400),
        ({"wings": 2}, 400),
        ({"block_device_mapping_v2": [{"source_type": "volume", "uuid": VOLUME, "boot_index": 1}] * 2}, 400),
        ({"imageRef": ""}, 400),
        ({"tags": ["a,b"]}, 400),
    ],
)
def test_a_bad_request_is_refused_and_changes_nothing(rig: Rig, change: dict[str, object], status: int) -> None:
    server = {"name": "one", "flavorRef": "42", "imageRef": IMAGE, "networks": "auto", **change}
    answer = rig.call("POST", "/servers", at="2.90", json={"server": server})
    assert answer.status_code == status, answer.text
    assert rig.call("GET", "/servers").json()["servers"] == []
    assert rig.networks.ports == {}
    used = rig.cloud.read(lambda tx: rig.cloud.quotas.used(tx, "p", ["compute.instances"]))
    assert used == {"compute.instances": 0}


def test_a_locked_server_refuses_its_members(rig: Rig) -> None:
    made = rig.boot()
    assert rig.act(made, "lock", {"locked_reason": "care"}).status_code == 202
    assert rig.show(made)["locked_reason"] == "care"
    assert rig.act(made, "os-stop").status_code == 409
    assert rig.call("DELETE", f"/servers/{made}").status_code == 409
    assert rig.act(made, "os-stop", token=ADMIN).status_code == 202
    rig.until(made, "SHUTOFF")
    assert rig.act(made, "unlock").status_code == 202
    assert rig.call("DELETE", f"/servers/{made}").status_code == 204


def test_console_log_and_old_versions_of_the_answer(rig: Rig) -> None:
    made = rig.boot()
    answer = rig.act(made, "os-getConsoleOutput", {"length": 5})
    assert answer.status_code == 200
    assert "login:" in answer.json()["output"]
    old = rig.show(made, at="2.1")
    assert old["flavor"]["id"] == "42"
    assert "description" not in old
    assert "locked" not in old
    assert rig.call("GET", f"/servers/{made}", at="2.200").status_code == 406
    wanted = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    console = rig.call("POST", f"/servers/{made}/remote-consoles", at="2.8", json=wanted)
    assert console.status_code == 200, console.text
    assert "/compute/consoles/vnc?token=" in console.json()["remote_console"]["url"]


def test_metadata_and_tags(rig: Rig) -> None:
    made = rig.boot()
    path = f"/servers/{made}/metadata"
    assert rig.call("POST", path, json={"metadata": {"a": "1"}}).json() == {"metadata": {"a": "1"}}
    assert rig.call("PUT", f"{path}/b", json={"meta": {"b": "2"}}).json() == {"meta": {"b": "2"}}
    assert rig.call("PUT", f"{path}/b", json={"meta": {"c": "2"}}).status_code == 400
    assert rig.call("GET", path).json() == {"metadata": {"a": "1", "b": "2"}}
    assert rig.call("DELETE", f"{path}/a").status_code == 204
    assert rig.call("GET", f"{path}/a").status_code == 404
    assert rig.call("PUT", path, json={"metadata": {}}).json() == {"metadata": {}}
    assert rig.call("PUT", f"/servers/{made}/tags/x", at="2.26").status_code == 201
    assert rig.call("PUT", f"/servers/{made}/tags/x", at="2.26").status_code == 204
    assert rig.call("GET", f"/servers/{made}/tags", at="2.26").json() == {"tags": ["x"]}
    assert rig.call("GET", f"/servers/{made}/tags", at="2.25").status_code == 404


def test_deleting_while_it_is_being_built(rig: Rig) -> None:
    rig.world.faults.delay("start", 0.2)
    made = rig.boot(wait="")
    assert rig.call("DELETE", f"/servers/{made}").status_code == 204
    rig.gone(made)
    assert rig.world.observe(None) == []


def test_a_guest_that_powers_itself_off_is_a_stopped_server(rig: Rig) -> None:
    made = rig.boot()
    rig.world.power_off_from_inside(made)
    rig.until(made, "SHUTOFF")
    first = rig.call("GET", f"/servers/{made}/os-instance-actions").json()["instanceActions"][0]
    assert first["action"] == "stop"
    rig.act(made, "os-start")
    rig.until(made, "ACTIVE")
    rig.world.crash(made)
    rig.until(made, "SHUTOFF")
    first = rig.call("GET", f"/servers/{made}/os-instance-actions").json()["instanceActions"][0]
    assert first["message"] == "Error"


def test_a_guest_that_vanished_is_started_again(rig: Rig) -> None:
    made = rig.boot()
    rig.world.destroy(made)
    until(lambda: rig.world.observe([made]) != [])
    rig.until(made, "ACTIVE")


def test_guests_that_went_down_with_their_host_are_started_again(rig: Rig) -> None:
    runs, stopped, paused = rig.boot(), rig.boot(), rig.boot()
    rig.act(stopped, "os-stop")
    rig.until(stopped, "SHUTOFF")
    rig.act(paused, "pause")
    rig.until(paused, "PAUSED")
    rig.world.restart_host(rig.world.hosts()[0].name)
    until(lambda: rig.world.observe([runs])[0].power is Power.RUNNING)
    rig.until(runs, "ACTIVE")
    rig.until(paused, "SHUTOFF")
    rig.until(stopped, "SHUTOFF")
    first = rig.call("GET", f"/servers/{runs}/os-instance-actions").json()["instanceActions"][0]
    assert first["action"] == "start"
    shown = rig.call("GET", f"/servers/{runs}/os-instance-actions/{first['request_id']}").json()["instanceAction"]
    assert shown["action"] == "start"


def test_the_metadata_service_answers_the_proxy_only(rig: Rig) -> None:
    rig.call("POST", "/os-keypairs", json={"keypair": {"name": "k"}})
    made = rig.boot(key_name="k", metadata={"role": "web"}, user_data="IyEvYmluL3NoCg==")
    ip = rig.show(made)["addresses"]["private"][0]["addr"]
    from nutshell.compute.metadata import MetadataSecret

    secret = rig.cloud.port(MetadataSecret).value
    headers = {"X-Forwarded-For": ip, "X-Neutron-Network-ID": NET, "X-Nutshell-Metadata-Secret": secret}

    def ask(path: str, **change: str) -> httpx.Response:
        return rig.call("GET", "/../../metadata" + path, "", headers=headers | change)

    found = ask("/openstack/latest/meta_data.json").json()
    assert (found["uuid"], found["meta"], list(found["public_keys"])) == (made, {"role": "web"}, ["k"])
    assert ask("/openstack/latest/user_data").content == b"#!/bin/sh\n"
    assert ask("/latest/user-data").content == b"#!/bin/sh\n"
    assert ask("/openstack/latest/network_data.json").json()["networks"][0]["type"] == "ipv4_dhcp"
    assert "instance-id" in ask("/latest/meta-data/").text.split()
    assert ask("/2009-04-04/meta-data/local-ipv4").text == ip
    assert ask("/latest/meta-data/public-keys/").text == "0=k"
    assert ask("/latest/meta-data/public-keys/0/openssh-key").text.startswith("ssh-")
    assert ask("/latest/meta-data/nonsense").status_code == 404
    assert ask("/openstack/latest/meta_data.json", **{"X-Nutshell-Metadata-Secret": "x"}).status_code == 403
    assert ask("/openstack/latest/meta_data.json", **{"X-Forwarded-For": "10.9.9.9"}).status_code == 404


def test_a_config_drive_tells_the_same(rig: Rig) -> None:
    made = rig.boot(config_drive=True)
    files = rig.world.config_drive(made)
    assert files is not None
    assert made.encode() in files["openstack/latest/meta_data.json"]
    assert rig.show(made)["config_drive"] == "True"
