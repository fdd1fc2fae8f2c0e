"""Explanations: why a server, port or volume is in its state, why a request was refused, and who is told what."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.compute_rig import until
from tests.wire.operator_rig import Whole

from nutshell.cli.trees import explanation_tree, request_tree

ROOT = Path(__file__).parents[2]
HOSTS = 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    settings = {"compute": {"watch_s": 0.05, "hosts": HOSTS, "host_vcpus": 2}, "faults": {"enabled": True}}
    made = Whole(tmp_path_factory.mktemp("explain"), settings)
    until(lambda: len(hosts(made)) == HOSTS)
    yield made
    made.close()


def hosts(whole: Whole) -> list[str]:
    found = whole.cloud.read(lambda tx: tx.sql("SELECT name FROM compute_nodes ORDER BY name").fetchall())
    return [name for (name,) in found]


def explain(whole: Whole, kind: str, key: str, as_: str = "admin") -> dict[str, Any]:
    answer = whole.call("GET", f"/nutshell/v1/explain/{kind}/{key}", as_)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["explanation"]
    return found


def flavor(whole: Whole, vcpus: int) -> str:
    body = {"flavor": {"name": f"v{vcpus}", "id": f"v{vcpus}", "vcpus": vcpus, "ram": 64, "disk": 1}}
    assert whole.call("POST", "/compute/v2.1/flavors", "admin", json=body).status_code in (200, 409)
    return f"v{vcpus}"


@pytest.fixture(scope="module")
def hopeless(whole: Whole) -> str:
    """A server no host takes: two are too small for it, one is disabled."""
    version = {"OpenStack-API-Version": "compute 2.96"}
    body = {"status": "disabled", "disabled_reason": "new fans"}
    answer = whole.call("GET", "/compute/v2.1/os-services", "admin", headers=version).json()["services"]
    off = next(s for s in answer if s["host"] == hosts(whole)[0])
    done = whole.call("PUT", f"/compute/v2.1/os-services/{off['id']}", "admin", json=body, headers=version)
    assert done.status_code == 200, done.text
    server = whole.boot("big", flavorRef=flavor(whole, 9))
    whole.until(server, "ERROR")
    return server


def test_why_no_host_was_chosen(whole: Whole, hopeless: str) -> None:
    found = explain(whole, "server", hopeless)
    assert (found["status"], found["want"], found["seen"], found["failed"]) == ("ERROR", "running", None, True)
    assert found["operations"][0]["kind"] == "create"
    lacking = {one["host"]: one["lacked"] for one in found["scheduling"]["lacking"]}
    assert set(lacking) == set(hosts(whole))
    assert lacking[hosts(whole)[0]] == "is disabled"
    assert lacking[hosts(whole)[1]].startswith("VCPU: 9 wanted")
    assert found["scheduling"]["wanted"]["VCPU"] == 9
    assert found["requests"][-1]["path"] == "/compute/v2.1/servers"
    assert any("creation" in line and "failed" in line for line in found["because"])


def test_its_owner_is_told_the_same_without_names(whole: Whole, hopeless: str) -> None:
    found = explain(whole, "server", hopeless, "demo")
    text = str(found)
    assert not any(name in text for name in hosts(whole))
    assert found["scheduling"]["hosts"] == HOSTS
    assert {one["lacked"].split(":")[0]: one["hosts"] for one in found["scheduling"]["lacking"]} == {
        "is disabled": 1,
        "VCPU": 2,
    }
    assert "host" not in found
    assert not any(name in str(whole.server(hopeless)["fault"]) for name in hosts(whole))


def test_the_documents_example_is_what_is_printed(whole: Whole, hopeless: str) -> None:
    printed = "\n".join(explanation_tree(explain(whole, "server", hopeless)))
    for n, name in enumerate(hosts(whole), 1):
        printed = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", f"host-{n}", printed)
    printed = printed.replace(hopeless, "<server>")
    printed = re.sub(r"req-[0-9a-f-]{36}", "<request>", printed)
    printed = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", printed)
    printed = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "<time>", printed)
    page = (ROOT / "docs" / "EXPLAIN.md").read_text()
    example = page.split("```\n")[3]
    assert printed + "\n" == example


def test_why_one_host_was_chosen(whole: Whole, hopeless: str) -> None:
    server = whole.boot("fits", flavorRef=flavor(whole, 2))
    whole.until(server, "ACTIVE")
    found = explain(whole, "server", server)
    assert found["scheduling"]["chosen"] == found["host"]
    assert {one["host"] for one in found["scheduling"]["fit"]} == set(hosts(whole)[1:])
    assert [one["host"] for one in found["scheduling"]["lacking"]] == hosts(whole)[:1]
    assert found["seen"] == "running"


def test_a_lost_host_is_passed_by_and_its_servers_stay(whole: Whole, hopeless: str) -> None:
    server = whole.boot("stays", flavorRef=flavor(whole, 1))
    whole.until(server, "ACTIVE")
    lost = explain(whole, "server", server)["host"]
    rule = whole.fault(at="host", host=lost, effect="lost")

    def state() -> str:
        found = whole.call("GET", "/compute/v2.1/os-services?binary=nova-compute", "admin").json()["services"]
        return str(next(s["state"] for s in found if s["host"] == lost))

    whole.cloud.clock.step(30.0)  # nothing was heard of it meanwhile
    until(lambda: state() == "down")
    other = whole.boot("elsewhere", flavorRef=flavor(whole, 1))
    whole.until(other, "ACTIVE")
    found = explain(whole, "server", other)
    assert found["host"] != lost
    assert {"host": lost, "lacked": "is down"} in found["scheduling"]["lacking"]
    assert whole.server(server)["status"] == "ACTIVE"
    assert any("does not answer" in line for line in explain(whole, "server", server, "demo")["because"])
    assert whole.call("DELETE", f"/nutshell/v1/faults/{rule['id']}", "admin").status_code == 204
    whole.cloud.clock.step(30.0)
    until(lambda: state() == "up")
    until(lambda: whole.server(server)["OS-EXT-STS:power_state"] == 1)


def test_an_operation_that_is_tried_again_says_why(whole: Whole) -> None:
    whole.fault(at="driver", service="compute", operation="start", effect="fail", message="the belt slipped", count=8)
    server = whole.boot("slow")
    until(lambda: "the belt slipped" in str(explain(whole, "server", server)["because"]))
    found = explain(whole, "server", server)
    assert found["task"] == "create"
    assert any("it fails in" in line for line in found["because"])
    whole.clear()
    whole.until(server, "ACTIVE")


def test_a_volume_and_a_port(whole: Whole) -> None:
    whole.fault(at="operation", service="volume", operation="create", effect="error", message="no spindles", count=1)
    made = whole.call("POST", "/volume/v3/volumes", json={"volume": {"size": 1}}).json()["volume"]["id"]
    until(lambda: explain(whole, "volume", made)["status"] == "error")
    assert any("no spindles" in line for line in explain(whole, "volume", made, "demo")["because"])
    whole.clear()
    net = whole.call("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json()["network"]["id"]
    port = whole.call("POST", "/network/v2.0/ports", json={"port": {"network_id": net}}).json()["port"]["id"]
    found = explain(whole, "port", port, "demo")
    assert found["status"] == "DOWN"
    assert any("bound to no host" in line for line in found["because"])
    assert found["requests"][0]["method"] == "POST"


def test_which_rule_refused(whole: Whole) -> None:
    answer = whole.call(
        "POST", "/compute/v2.1/flavors", json={"flavor": {"name": "f", "vcpus": 1, "ram": 1, "disk": 1}}
    )
    assert answer.status_code == 403
    found = explain(whole, "request", answer.headers["x-openstack-request-id"], "demo")
    why = found["refused"]
    assert (why["rule"], why["check"], why["means"]) == (
        "os_compute_api:os-flavor-manage:create",
        "rule:admin_api",
        "role:admin",
    )
    assert "member" in why["roles"]
    assert "admin" not in why["roles"]
    assert any("asks for role:admin" in line for line in found["because"])
    assert "role:admin" in "\n".join(explanation_tree(found))
    assert "refused" in "\n".join(request_tree(found))


@pytest.mark.parametrize(
    ("path", "body", "quota"),
    [
        ("/volume/v3/volumes", {"volume": {"size": 5000}}, "volume.gigabytes"),
        ("/network/v2.0/networks", {"network": {"name": "too many"}}, "network.network"),
    ],
)
def test_which_quota_refused(whole: Whole, path: str, body: Any, quota: str) -> None:
    project = whole.call("GET", "/network/v2.0/networks?name=private").json()["networks"][0]["project_id"]
    whole.cloud.write(lambda tx: whole.cloud.quotas.set_limits(tx, project, {"network.network": 1}))
    answer = whole.call("POST", path, json=body)
    assert answer.status_code in (409, 413), answer.text
    found = explain(whole, "request", answer.headers["x-openstack-request-id"], "demo")["refused"]["quota"]
    assert found["name"] == quota
    assert found["used"] + found["requested"] > found["limit"]


def test_others_things_answer_as_what_does_not_exist(whole: Whole) -> None:
    mine = whole.boot("admins", as_="admin")
    unknown = "11111111-1111-4111-8111-111111111111"
    hidden = whole.call("GET", f"/nutshell/v1/explain/server/{mine}")
    nothing = whole.call("GET", f"/nutshell/v1/explain/server/{unknown}")
    assert hidden.status_code == nothing.status_code == 404
    message = hidden.json()["error"]["message"]
    assert message.replace(mine, unknown) == nothing.json()["error"]["message"]
    assert whole.call("GET", f"/nutshell/v1/explain/moon/{unknown}").status_code == 404
    assert whole.call("GET", f"/nutshell/v1/explain/server/{mine}", "").status_code == 401
