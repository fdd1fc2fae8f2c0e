"""Fault rules: what clients of every service meet when a failure is brought about on purpose."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.compute_rig import until
from tests.wire.operator_rig import Whole

from nutshell.core.drivers import DriverFault
from nutshell.operator.rulebook import Rulebook


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    made = Whole(tmp_path_factory.mktemp("faults"), {"faults": {"enabled": True}, "compute": {"watch_s": 0.05}})
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _none_left(whole: Whole) -> Iterator[None]:
    yield
    whole.clear()


@pytest.mark.parametrize(
    ("service", "path", "says"),
    [
        ("compute", "/compute/v2.1/servers", lambda b: b["serviceUnavailable"]["message"]),
        ("network", "/network/v2.0/networks", lambda b: b["NeutronError"]["message"]),
        ("volume", "/volume/v3/volumes", lambda b: b["serviceUnavailable"]["message"]),
        ("placement", "/placement/resource_providers", lambda b: b["errors"][0]["detail"]),
        ("identity", "/identity/v3/projects", lambda b: b["error"]["message"]),
    ],
)
def test_a_status_is_answered_in_the_services_own_format(whole: Whole, service: str, path: str, says: Any) -> None:
    rule = whole.fault(service=service, effect="status", status=503, retry_after=7, message="down for tea", count=1)
    answer = whole.call("GET", path, "admin")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    assert says(answer.json()) == "down for tea"
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert whole.call("GET", path, "admin").status_code == 200  # count=1: once
    assert whole.hits(rule) == 1


def test_the_nth_call_and_nothing_is_done(whole: Whole) -> None:
    whole.fault(service="network", operation="POST /networks", nth=2, effect="status", status=500)
    made = [whole.call("POST", "/network/v2.0/networks", json={"network": {"name": f"n{i}"}}) for i in range(3)]
    assert [a.status_code for a in made] == [201, 500, 201]
    names = {n["name"] for n in whole.call("GET", "/network/v2.0/networks").json()["networks"]}
    assert {"n0", "n2"} <= names
    assert "n1" not in names


def test_every_third_and_by_seed(whole: Whole) -> None:
    whole.fault(service="network", operation="GET /networks", every=3, effect="status", status=429)
    path = "/network/v2.0/networks"
    assert [whole.call("GET", path).status_code for _ in range(6)] == [200, 200, 429, 200, 200, 429]
    whole.clear()
    drawn = []
    for _ in range(2):
        whole.fault(service="network", probability=0.5, seed=7, effect="status", status=500)
        drawn.append([whole.call("GET", path).status_code for _ in range(12)])
        whole.clear()
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {200, 500}


def test_the_answer_is_lost_but_the_work_is_done(whole: Whole) -> None:
    whole.fault(service="network", operation="create_network", effect="cut", after=True, count=1)
    with pytest.raises(ConnectionResetError):
        whole.call("POST", "/network/v2.0/networks", json={"network": {"name": "unheard"}})
    found = whole.call("GET", "/network/v2.0/networks?name=unheard").json()["networks"]
    assert len(found) == 1


def test_only_the_named_resource_of_the_project(whole: Whole) -> None:
    mine = whole.call("POST", "/network/v2.0/networks", json={"network": {"name": "mine"}}).json()["network"]
    path = f"/network/v2.0/networks/{mine['id']}"
    whole.fault(service="network", resource_name="mine", project_id=mine["project_id"], effect="status", status=500)
    assert whole.call("GET", path).status_code == 500
    assert whole.call("GET", path, "admin").status_code == 200  # another project's caller
    whole.clear()
    whole.fault(service="network", resource_id=mine["id"], effect="status", status=500)
    assert whole.call("GET", path, "admin").status_code == 500
    assert whole.call("GET", "/network/v2.0/networks").status_code == 200


def test_an_action_by_its_name(whole: Whole) -> None:
    server = whole.boot("acted")
    whole.until(server, "ACTIVE")
    whole.fault(service="compute", operation="os-stop", effect="status", status=409)
    act = f"/compute/v2.1/servers/{server}/action"
    assert whole.call("POST", act, json={"os-stop": None}).status_code == 409
    assert whole.call("POST", act, json={"reboot": {"type": "HARD"}}).status_code == 202
    whole.until(server, "ACTIVE")


def test_a_server_goes_to_error_with_the_text(whole: Whole) -> None:
    whole.fault(
        at="operation",
        service="compute",
        operation="create",
        resource_name="doomed",
        effect="error",
        message="The moon was in the wrong house.",
    )
    good, bad = whole.boot("good"), whole.boot("doomed")
    shown = whole.until(bad, "ERROR")
    assert shown["fault"]["message"] == "The moon was in the wrong house."
    whole.until(good, "ACTIVE")


def test_a_volume_goes_to_error(whole: Whole) -> None:
    whole.fault(at="operation", service="volume", operation="create", effect="error", message="no spindles")
    made = whole.call("POST", "/volume/v3/volumes", json={"volume": {"size": 1, "name": "v"}}).json()["volume"]
    until(lambda: whole.call("GET", f"/volume/v3/volumes/{made['id']}").json()["volume"]["status"] == "error")


def test_a_driver_call_that_fails_once_is_tried_again(whole: Whole) -> None:
    rule = whole.fault(at="driver", service="compute", operation="start", nth=1, effect="fail", message="qemu sneezed")
    whole.until(whole.boot("persistent"), "ACTIVE")
    assert whole.hits(rule) == 1
    assert whole.call("GET", f"/nutshell/v1/faults/{rule['id']}", "admin").json()["fault"]["calls"] == 2


def test_a_driver_call_that_fails_for_good(whole: Whole) -> None:
    whole.fault(at="driver", service="compute", operation="start", effect="fail", final=True, message="no such machine")
    assert whole.until(whole.boot("hopeless"), "ERROR")["fault"]["message"] == "no such machine"


def test_a_driver_call_hangs_until_the_rule_is_cleared(whole: Whole) -> None:
    rule = whole.fault(at="driver", service="compute", operation="start", nth=1, effect="hang")
    server = whole.boot("patient")
    until(lambda: whole.hits(rule) == 1)
    assert whole.server(server)["status"] == "BUILD"
    whole.clear()
    whole.until(server, "ACTIVE")


def test_a_host_dies_and_comes_back(whole: Whole) -> None:
    server = whole.boot("hosted")
    whole.until(server, "ACTIVE")
    host = whole.server(server, "admin")["OS-EXT-SRV-ATTR:host"]
    rule = whole.fault(at="host", host=host, effect="lost")
    power = "OS-EXT-STS:power_state"
    until(lambda: whole.server(server)[power] == 0)  # nothing is known of it; it stays ACTIVE, as nova has it
    assert whole.server(server)["status"] == "ACTIVE"
    act = f"/compute/v2.1/servers/{server}/action"
    assert whole.call("POST", act, json={"reboot": {"type": "HARD"}}).status_code == 202
    assert whole.call("DELETE", f"/nutshell/v1/faults/{rule['id']}", "admin").status_code == 204
    whole.until(server, "ACTIVE")
    until(lambda: whole.server(server)[power] == 1)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"effect": "explode"}, "effect"),
        ({}, "effect"),
        ({"effect": "fail"}, "cannot be brought about at request"),
        ({"effect": "status", "service": "nova"}, "there is no service 'nova'"),
        ({"effect": "status", "operation": "post"}, "no request is called 'post'"),
        ({"effect": "status", "nth": 1, "every": 2}, "only one"),
        ({"effect": "status", "status": 200}, "status"),
        ({"effect": "delay"}, "delay_s"),
        ({"at": "host", "effect": "lost", "host": "nowhere"}, "there is no host 'nowhere'"),
        ({"at": "driver", "effect": "fail", "project_id": "p"}, "ids only"),
    ],
)
def test_a_bad_rule_is_refused(whole: Whole, rule: dict[str, Any], says: str) -> None:
    answer = whole.call("POST", "/nutshell/v1/faults", "admin", json={"fault": rule})
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert whole.call("GET", "/nutshell/v1/faults", "admin").json()["faults"] == []


def test_rules_are_the_administrators(whole: Whole) -> None:
    rule = whole.fault(service="volume", effect="status")
    body = {"fault": {"effect": "status"}}
    assert whole.call("POST", "/nutshell/v1/faults", json=body).status_code == 403
    assert whole.call("GET", "/nutshell/v1/faults").status_code == 403
    assert whole.call("GET", f"/nutshell/v1/faults/{rule['id']}").status_code == 404
    assert whole.call("DELETE", "/nutshell/v1/faults").status_code == 403
    assert whole.call("GET", "/nutshell/v1/faults", "").status_code == 401
    assert whole.hits(rule) == 0


def test_rules_are_there_after_a_restart_and_in_process(whole: Whole) -> None:
    book = whole.cloud.port(Rulebook)
    rule = book.add(service="volume", operation="GET /volumes", effect="status", status=507)
    again = Rulebook(whole.cloud, True)
    again.load()
    assert [r.id for r in again.rules] == [rule.id]
    assert whole.call("GET", "/volume/v3/volumes").status_code == 507
    book.clear()
    assert not book.on
    with pytest.raises(ValueError, match="cannot be brought about"):
        book.add(effect="fail")


def test_the_nth_call_is_one_for_all_processes(tmp_path: Path, postgres_url: str) -> None:
    settings = {"faults": {"enabled": True}, "cloud": {"database": postgres_url}}
    one, other = Whole(tmp_path, settings), Whole(tmp_path, settings)
    try:
        rule = one.fault(service="network", operation="GET /networks", nth=2, effect="status", status=503)
        until(lambda: other.cloud.port(Rulebook).on)
        statuses = [w.call("GET", "/network/v2.0/networks").status_code for w in (one, other, one, other)]
        assert statuses == [200, 503, 200, 200]
        assert other.hits(rule) == one.hits(rule) == 1
        other.clear()
        until(lambda: not one.cloud.port(Rulebook).on)
    finally:
        other.close()
        one.close()


def test_calls_at_once_are_each_counted(whole: Whole) -> None:
    book = whole.cloud.port(Rulebook)
    rule = book.add(at="driver", service="compute", operation="pause", effect="fail", every=10)
    failed: list[int] = []

    def call() -> None:
        for _ in range(100):
            try:
                book.driver("compute", "pause", [])
            except DriverFault:
                failed.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(failed) == 40
    shown = f"/nutshell/v1/faults/{rule.id}"
    until(lambda: whole.call("GET", shown, "admin").json()["fault"]["calls"] == 400)
    kept = "SELECT calls, hits FROM nutshell_faults WHERE id = ?"
    until(lambda: tuple(whole.cloud.read(lambda tx: tx.sql(kept, rule.id).fetchone())) == (400, 40))


def test_off_unless_switched_on(tmp_path: Any) -> None:
    cloud = Whole(tmp_path)
    answer = cloud.call("POST", "/nutshell/v1/faults", "admin", json={"fault": {"effect": "status"}})
    assert answer.status_code == 403
    assert "[faults]" in answer.json()["error"]["message"]
    assert cloud.cloud.faults is None
    cloud.close()


def test_discovery(whole: Whole) -> None:
    found = whole.call("GET", "/nutshell", "").json()
    links = {link["rel"]: link["href"] for link in found["versions"][0]["links"]}
    assert links["faults"] == "http://cloud/nutshell/v1/faults"
    assert whole.call("GET", "/nutshell/v1/", "").json()["version"] == found["versions"][0]
    assert whole.call("GET", "/nutshell/v1/nowhere", "").json()["error"]["code"] == 404
