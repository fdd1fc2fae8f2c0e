"""kill -9 of a cloud of real servers: nothing acknowledged is missing, nothing is stuck or left over on the machine,
and guests that run never notice."""

import os

import pytest
from tests.crash.real_cloud import (
    BOTH,
    FLOATING,
    NETWORKS,
    PATIENCE_S,
    PORTS,
    ROUTERS,
    SERVERS,
    VERSION,
    VOLUMES,
    RealCloud,
)

from nutshell.cli.demo.session import DemoFailed

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="real networks need root"),
    pytest.mark.usefixtures("unnoticed"),
]
process = pytest.mark.parametrize("which", [("api",), ("host",), BOTH], ids="+".join)


@pytest.mark.parametrize("moment_s", [0.02, 0.6])
@process
def test_killed_while_a_server_is_made(cloud: RealCloud, which: tuple[str, ...], moment_s: float) -> None:
    before = {s["id"] for s in cloud.client.get(SERVERS)["servers"]}
    work = cloud.server_body(config_drive=True)
    answer = cloud.strike(which, moment_s, lambda: cloud.client.call("POST", SERVERS, work, VERSION))
    made = {s["id"] for s in cloud.client.get(SERVERS)["servers"]} - before
    if answer is not None:
        assert made == {answer[1]["server"]["id"]}
    for server_id in made:
        cloud.await_server(server_id, "ACTIVE")
    cloud.settles()
    # and it is deleted at another moment
    paths = [f"{SERVERS}/{server_id}" for server_id in made] or [f"{SERVERS}/{cloud.make_server()}"]
    answer = cloud.strike(which, moment_s / 4, lambda: cloud.client.call("DELETE", paths[0]))
    if answer is not None:
        assert answer[0] == 204
        cloud.gone(paths[0])
    cloud.settles()
    cloud.delete(paths[0])
    cloud.gone(paths[0])
    cloud.settles()


@process
def test_killed_while_a_volume_comes_and_goes(cloud: RealCloud, which: tuple[str, ...], witness: str) -> None:
    guest = cloud.guest(cloud.address_of(witness))
    volume_id = cloud.make_volume()
    path = f"{SERVERS}/{witness}/os-volume_attachments"
    body = {"volumeAttachment": {"volumeId": volume_id}}
    answer = cloud.strike(which, 0.06, lambda: cloud.client.call("POST", path, body))
    attached = [a["volumeId"] for a in cloud.client.get(path)["volumeAttachments"]]
    if answer is not None:
        assert answer[0] == 200
        assert attached == [volume_id]
    cloud.settles()
    if not attached:
        cloud.post(path, body, 200)
    cloud.await_volume(volume_id, "in-use")
    guest.run("echo kept | sudo dd of=/dev/vdb && sync")
    answer = cloud.strike(which, 0.1, lambda: cloud.client.call("DELETE", f"{path}/{volume_id}"))
    if answer is not None:
        assert answer[0] == 202
        cloud.await_volume(volume_id, "available")
        assert "vdb" not in guest.run("cat /proc/partitions")
    cloud.settles()
    cloud.delete(f"{path}/{volume_id}")
    cloud.await_volume(volume_id, "available")
    cloud.strike(which, 0.02, lambda: cloud.client.call("DELETE", f"{VOLUMES}/{volume_id}"))
    cloud.settles()
    cloud.delete(f"{VOLUMES}/{volume_id}")
    cloud.gone(f"{VOLUMES}/{volume_id}")
    cloud.settles()


@process
def test_killed_while_a_floating_ip_moves(cloud: RealCloud, which: tuple[str, ...], witness: str) -> None:
    port_id = cloud.client.get(f"{PORTS}?device_id={witness}")["ports"][0]["id"]
    old = cloud.client.get(f"{FLOATING}?port_id={port_id}")["floatingips"][0]
    new_id, new = cloud.make_floating()
    cloud.post_floating(old["id"], None)
    path = f"{FLOATING}/{new_id}"
    body = {"floatingip": {"port_id": port_id}}
    answer = cloud.strike(which, 0.03, lambda: cloud.client.call("PUT", path, body))
    there = cloud.client.get(path)["floatingip"]["port_id"]
    assert there == port_id if answer is not None else there in (port_id, None)
    if there is None:
        cloud.post_floating(new_id, port_id)
    cloud.settles()
    cloud.guest(new).wait(PATIENCE_S)
    answer = cloud.strike(which, 0.03, lambda: cloud.client.call("DELETE", path))
    if answer is not None:
        cloud.gone(path)
    cloud.delete(path)
    cloud.settles()
    cloud.post_floating(old["id"], port_id)
    cloud.guest(old["floating_ip_address"]).wait(PATIENCE_S)
    with pytest.raises(DemoFailed):
        cloud.guest(new).wait(0)


@process
def test_killed_while_a_router_and_its_network_are_deleted(cloud: RealCloud, which: tuple[str, ...]) -> None:
    network = cloud.post(NETWORKS, {"network": {"name": "n"}}, 201)["network"]["id"]
    wanted = {"network_id": network, "ip_version": 4, "cidr": "10.77.0.0/24"}
    subnet = cloud.post("/network/v2.0/subnets", {"subnet": wanted}, 201)["subnet"]["id"]
    gateway = {"network_id": cloud.public}
    router = cloud.post(ROUTERS, {"router": {"name": "r", "external_gateway_info": gateway}}, 201)["router"]["id"]
    leg = {"subnet_id": subnet}
    status, _, _ = cloud.client.call("PUT", f"{ROUTERS}/{router}/add_router_interface", leg)
    assert status == 200
    cloud.settles()
    cloud.strike(which, 0.03, lambda: cloud.client.call("PUT", f"{ROUTERS}/{router}/remove_router_interface", leg))
    cloud.settles()
    status, _, body = cloud.client.call("PUT", f"{ROUTERS}/{router}/remove_router_interface", leg)
    assert status in (200, 404, 409), body
    for path in (f"{ROUTERS}/{router}", f"{NETWORKS}/{network}"):
        answer = cloud.strike(which, 0.015, lambda path=path: cloud.client.call("DELETE", path))  # type: ignore[misc]
        if answer is not None:
            assert answer[0] == 204, answer
            assert cloud.client.call("GET", path)[0] == 404
        cloud.delete(path)
    cloud.settles()
