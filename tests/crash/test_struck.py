"""kill -9 at an exact place: a fault rule holds a driver's call still, the process dies there, and the next goes on.

The same cloud, reached through its socket by command, for what an answer in process cannot show.
"""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.killed import KilledCloud, until
from tests.crash.test_simulated import (
    VERSION,
    again,
    await_server,
    make_server,
    nothing_left_over,
    server_body,
)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KilledCloud]:
    monkeypatch.setenv("NUTSHELL_FAULTS_ENABLED", "1")
    made = KilledCloud(tmp_path / "state", "--simulate")
    made.up()
    made.remember_pids()
    yield made
    made.down()


def hits(cloud: KilledCloud) -> int:
    found: int = json.loads(cloud.command("fault", "list", "--json"))[0]["hits"]
    return found


@pytest.mark.parametrize("call", ["network.ensure_ports", "compute.start"])
def test_killed_inside_a_driver_call_of_a_creation(cloud: KilledCloud, call: str) -> None:
    service, _, method = call.partition(".")
    client = cloud.client()
    body = server_body(client)
    cloud.command("fault", "add", "--at", "driver", "--service", service, "--operation", method, "--effect", "hang")
    status, _, made = client.call("POST", "/compute/v2.1/servers", body, VERSION)
    assert status == 202
    until(lambda: hits(cloud) > 0, "the call is held")
    cloud.kill()
    client = again(cloud)
    until(lambda: hits(cloud) > 0, "the rule is there again, and holds the call that is repeated")
    cloud.command("fault", "clear")
    await_server(client, made["server"]["id"], "ACTIVE")
    nothing_left_over(client, 1)


def test_killed_inside_the_driver_calls_of_a_deletion(cloud: KilledCloud) -> None:
    client = cloud.client()
    server = make_server(client)
    rule = ("--at", "driver", "--service", "compute", "--operation", "destroy", "--effect", "hang")
    cloud.command("fault", "add", *rule)
    assert client.call("DELETE", f"/compute/v2.1/servers/{server}")[0] == 204
    until(lambda: hits(cloud) > 0, "the call is held")
    cloud.kill()
    client = again(cloud)
    cloud.command("fault", "clear")
    until(lambda: client.call("GET", f"/compute/v2.1/servers/{server}")[0] == 404, "it is gone")
    nothing_left_over(client, 0)


def test_connections_are_cut_at_the_socket_and_requests_can_be_traced(cloud: KilledCloud) -> None:
    client = cloud.client()
    path = "/network/v2.0/networks"
    cloud.command(
        "fault", "add", "--service", "network", "--operation", f"GET {path[13:]}", "--effect", "cut", "--nth", "1"
    )
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        client.get(path)
    client.connection.close()
    assert client.get(path)["networks"]
    cloud.command("fault", "clear")
    cloud.command("fault", "add", "--service", "network", "--effect", "cut-body", "--count", "1")
    with pytest.raises(http.client.IncompleteRead):
        client.get(path)
    client.connection.close()
    status, headers, _ = client.call("GET", path)
    assert status == 200
    shown = cloud.command("trace-request", headers["x-openstack-request-id"])
    assert "authenticated" in shown
    assert f"GET {path}" in shown
    assert "was answered 200" in cloud.command("explain", "request", headers["x-openstack-request-id"])
