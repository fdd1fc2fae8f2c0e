"""kill -9 of a simulated cloud at chosen moments: nothing acknowledged is missing, nothing is stuck or left over."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.crash.killed import KilledCloud, kill_after, until

from nutshell.testing.client import Client

MOMENTS_MS = [0, 3, 8, 15, 30, 60]
VERSION = {"OpenStack-API-Version": "compute 2.90"}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[KilledCloud]:
    made = KilledCloud(tmp_path / "state", "--simulate")
    made.up()
    made.remember_pids()
    yield made
    made.down()


def server_body(client: Client, **more: Any) -> dict[str, Any]:
    image = client.get("/image/v2/images")["images"][0]["id"]
    flavor = next(f for f in client.get("/compute/v2.1/flavors/detail")["flavors"] if f["ram"] == 128)["id"]
    network = client.get("/network/v2.0/networks?name=private")["networks"][0]["id"]
    nets = [{"uuid": network}]
    return {"server": {"name": "s", "imageRef": image, "flavorRef": flavor, "networks": nets, **more}}


def make_server(client: Client) -> str:
    status, _, made = client.call("POST", "/compute/v2.1/servers", server_body(client), VERSION)
    assert status == 202, made
    server_id = str(made["server"]["id"])
    await_server(client, server_id, "ACTIVE")
    return server_id


def await_server(client: Client, server_id: str, wanted: str) -> None:
    def settled() -> bool:
        found = client.get(f"/compute/v2.1/servers/{server_id}")["server"]
        assert found["status"] != "ERROR", found
        return bool(found["status"] == wanted and found["OS-EXT-STS:task_state"] is None)

    until(settled, f"server {server_id} {wanted}")


def again(cloud: KilledCloud) -> Client:
    cloud.up()
    return cloud.client()


def nothing_left_over(client: Client, servers: int) -> None:
    """Ports, quota and allocations agree with the servers there are."""

    def agrees() -> bool:
        listed = client.get("/compute/v2.1/servers")["servers"]
        ports = client.get("/network/v2.0/ports")["ports"]
        mine = [p for p in ports if p["device_owner"].startswith("compute:")]
        used = client.get("/compute/v2.1/limits")["limits"]["absolute"]["totalInstancesUsed"]
        return len(listed) == len(mine) == used == servers and {p["device_id"] for p in mine} == {
            s["id"] for s in listed
        }

    until(agrees, f"{servers} servers, their ports and their quota agree")


@pytest.mark.parametrize("moment_ms", MOMENTS_MS)
def test_killed_while_a_server_is_made(cloud: KilledCloud, moment_ms: int) -> None:
    client = cloud.client()
    body = server_body(client)
    answer = kill_after(cloud, moment_ms / 1000, lambda: client.call("POST", "/compute/v2.1/servers", body, VERSION))
    client = again(cloud)
    there = client.get("/compute/v2.1/servers")["servers"]
    if answer is not None:
        assert [s["id"] for s in there] == [answer[1]["server"]["id"]]
    for s in there:
        await_server(client, s["id"], "ACTIVE")
    nothing_left_over(client, len(there))
    for s in there:
        client.call("DELETE", f"/compute/v2.1/servers/{s['id']}")
    nothing_left_over(client, 0)


@pytest.mark.parametrize("moment_ms", MOMENTS_MS)
def test_killed_while_a_server_is_deleted(cloud: KilledCloud, moment_ms: int) -> None:
    client = cloud.client()
    server_id = make_server(client)
    answer = kill_after(cloud, moment_ms / 1000, lambda: client.call("DELETE", f"/compute/v2.1/servers/{server_id}"))
    client = again(cloud)
    if answer is not None:
        assert answer[0] == 204
        nothing_left_over(client, 0)
    else:  # either way is right, as long as it is whole
        time.sleep(0.5)
        nothing_left_over(client, len(client.get("/compute/v2.1/servers")["servers"]))


@pytest.mark.parametrize("moment_ms", MOMENTS_MS)
def test_killed_while_a_volume_is_attached(cloud: KilledCloud, moment_ms: int) -> None:
    client = cloud.client()
    server_id = make_server(client)
    _, _, made = client.call("POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": "v"}})
    volume_path = f"/volume/v3/volumes/{made['volume']['id']}"
    until(lambda: client.get(volume_path)["volume"]["status"] == "available", "volume available")
    attach_path = f"/compute/v2.1/servers/{server_id}/os-volume_attachments"
    body = {"volumeAttachment": {"volumeId": made["volume"]["id"]}}
    answer = kill_after(cloud, moment_ms / 1000, lambda: client.call("POST", attach_path, body))
    client = again(cloud)
    attached = client.get(attach_path)["volumeAttachments"]
    if answer is not None:
        assert answer[0] == 200
        assert [a["volumeId"] for a in attached] == [made["volume"]["id"]]
    wanted = "in-use" if attached else "available"
    until(lambda: client.get(volume_path)["volume"]["status"] == wanted, f"volume {wanted}")
    if attached:
        status, _, _ = client.call("DELETE", f"{attach_path}/{made['volume']['id']}")
        assert status == 202
        until(lambda: client.get(volume_path)["volume"]["status"] == "available", "volume free again")
    await_server(client, server_id, "ACTIVE")


@pytest.mark.parametrize("moment_ms", MOMENTS_MS)
def test_killed_while_a_floating_ip_is_associated(cloud: KilledCloud, moment_ms: int) -> None:
    client = cloud.client()
    server_id = make_server(client)
    port = client.get(f"/network/v2.0/ports?device_id={server_id}")["ports"][0]["id"]
    public = client.get("/network/v2.0/networks?name=public")["networks"][0]["id"]
    body = {"floatingip": {"floating_network_id": public}}
    _, _, made = client.call("POST", "/network/v2.0/floatingips", body)
    path = f"/network/v2.0/floatingips/{made['floatingip']['id']}"
    answer = kill_after(cloud, moment_ms / 1000, lambda: client.call("PUT", path, {"floatingip": {"port_id": port}}))
    client = again(cloud)
    found = client.get(path)["floatingip"]["port_id"]
    assert found == port if answer is not None else found in (port, None)
    wanted = "ACTIVE" if found else "DOWN"
    until(lambda: client.get(path)["floatingip"]["status"] == wanted, f"floating IP {wanted}")
    addresses = [
        a["addr"] for n in client.get(f"/compute/v2.1/servers/{server_id}")["server"]["addresses"].values() for a in n
    ]
    assert (made["floatingip"]["floating_ip_address"] in addresses) == bool(found)
