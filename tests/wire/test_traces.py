"""Traces: what a request passed and what followed from it, asked for, and sent to a collector."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.compute_rig import until
from tests.wire.operator_rig import Whole

from nutshell.operator.otlp import Exporter
from nutshell.operator.recorder import NOTES, Ring

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes what OTLP/HTTP sends; answers with the statuses it is told to, then 200."""

    def __init__(self, *statuses: int) -> None:
        outer, left = self, list(statuses)
        self.spans: list[dict[str, Any]] = []
        self.resources: list[Any] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = left.pop(0) if left else 200
                if status == 200:
                    assert self.path == "/v1/traces"
                    assert self.headers["Content-Type"] == "application/json"
                    for one in body["resourceSpans"]:
                        outer.resources.append(one["resource"])
                        outer.spans += [s for scope in one["scopeSpans"] for s in scope["spans"]]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *said: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector(503)
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Whole]:
    settings = {"traces": {"otlp_endpoint": collector.url}, "compute": {"watch_s": 0.05}, "faults": {"enabled": True}}
    made = Whole(tmp_path_factory.mktemp("traces"), settings)
    yield made
    made.close()


def trace(whole: Whole, request_id: str, as_: str = "admin") -> dict[str, Any]:
    answer = whole.call("GET", f"/nutshell/v1/requests/{request_id}", as_)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["request"]
    return found


def test_a_server_is_followed_from_the_request_to_its_guest(whole: Whole) -> None:
    image = whole.image()
    net = whole.call("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json()["network"]["id"]
    subnet = {"network_id": net, "cidr": "10.9.0.0/24", "ip_version": 4}
    assert whole.call("POST", "/network/v2.0/subnets", json={"subnet": subnet}).status_code == 201
    body = {"name": "one", "flavorRef": "42", "imageRef": image, "networks": [{"uuid": net}]}
    answer = whole.call("POST", "/compute/v2.1/servers", json={"server": body})
    server = answer.json()["server"]["id"]
    whole.until(server, "ACTIVE")
    found = trace(whole, answer.headers["x-openstack-request-id"])
    assert (found["status"], found["method"], found["rule"]) == (202, "POST", "os_compute_api:servers:create")
    assert found["sql"] > 5
    assert 0 < found["sql_ms"] < found["ms"]
    names = [p["name"] for p in found["parts"]]
    assert (names[:4], names[-1]) == (["authenticated", "read", "waited", "carried out"], "answered")
    assert abs(sum(p["ms"] for p in found["parts"]) - found["ms"]) < found["ms"] / 2 + 1
    assert any(e["name"] == "compute.server create" and e["resource_id"] == server for e in found["events"])
    assert any(e["name"] == "compute.server update" and e["state"].startswith("ACTIVE") for e in found["events"])
    assert any(e["name"].startswith("network.port") for e in found["events"])
    calls = [n["name"] for n in found["followed"] if n["what"] == "driver"]
    assert "compute.start" in calls
    assert "network.ensure_ports" in calls
    assert any(n["what"] == "loop" and n["name"] == "servers" and n["ms"] > 0 for n in found["followed"])
    assert [(op["kind"], op["done"]) for op in found["operations"]] == [("create", True)]


def test_a_failing_driver_call_says_why(whole: Whole) -> None:
    whole.fault(at="driver", service="volume", operation="create", nth=1, effect="fail", message="out of spindles")
    answer = whole.call("POST", "/volume/v3/volumes", json={"volume": {"size": 1}})
    volume = answer.json()["volume"]["id"]
    until(lambda: whole.call("GET", f"/volume/v3/volumes/{volume}").json()["volume"]["status"] == "available")
    whole.clear()
    calls = [n for n in trace(whole, answer.headers["x-openstack-request-id"])["followed"] if n["what"] == "driver"]
    assert [n.get("why", "") for n in calls if n["name"] == "volume.create"] == ["out of spindles", ""]


def test_a_project_sees_its_own_and_no_host(whole: Whole) -> None:
    mine = whole.call("GET", "/network/v2.0/networks").headers["x-openstack-request-id"]
    others = whole.call("GET", "/network/v2.0/networks", "admin").headers["x-openstack-request-id"]
    assert trace(whole, mine, "demo")["path"] == "/network/v2.0/networks"
    unknown = "req-11111111-1111-4111-8111-111111111111"
    hidden = whole.call("GET", f"/nutshell/v1/requests/{others}")
    nothing = whole.call("GET", f"/nutshell/v1/requests/{unknown}")
    assert hidden.status_code == nothing.status_code == 404
    assert hidden.json()["error"]["message"].replace(others, unknown) == nothing.json()["error"]["message"]
    listed = whole.call("GET", "/nutshell/v1/requests?limit=1000").json()["requests"]
    project = {r["project_id"] for r in listed}
    assert len(project) == 1
    assert others not in {r["id"] for r in listed}
    assert others in {r["id"] for r in whole.call("GET", "/nutshell/v1/requests", "admin").json()["requests"]}
    host = whole.cloud.read(lambda tx: tx.sql("SELECT name FROM compute_nodes").fetchone()[0])
    answer = whole.call("GET", f"/compute/v2.1/servers/{host}")
    body = whole.call("GET", f"/nutshell/v1/requests/{answer.headers['x-openstack-request-id']}").text
    assert host not in body
    assert "(a host)" in body


def test_listing_filters(whole: Whole) -> None:
    whole.call("DELETE", "/network/v2.0/networks/none")
    found = whole.call("GET", "/nutshell/v1/requests?method=DELETE&status=404&service=network").json()["requests"]
    assert found
    assert {(r["method"], r["status"], r["service"]) for r in found} == {("DELETE", 404, "network")}
    assert whole.call("GET", "/nutshell/v1/requests?limit=x").status_code == 400


def test_spans_reach_the_collector(whole: Whole, collector: Collector) -> None:
    answer = whole.call("GET", "/network/v2.0/networks", headers={"traceparent": CALLER})
    request_id = answer.headers["x-openstack-request-id"]

    def mine() -> list[dict[str, Any]]:
        return [s for s in collector.spans if s["traceId"] == CALLER.split("-")[1]]

    until(lambda: len(mine()) >= 4)
    root = next(s for s in mine() if s["kind"] == 2)
    assert root["parentSpanId"] == "b7ad6b7169203331"
    facts = {a["key"]: next(iter(a["value"].values())) for a in root["attributes"]}
    assert facts["openstack.request_id"] == request_id
    assert facts["http.response.status_code"] == "200"
    assert int(root["endTimeUnixNano"]) > int(root["startTimeUnixNano"]) > 10**18
    children = [s for s in mine() if s is not root]
    assert {s["parentSpanId"] for s in children} == {root["spanId"]}
    assert len({s["spanId"] for s in mine()}) == len(mine())
    assert all(len(s["spanId"]) == 16 and len(s["traceId"]) == 32 for s in collector.spans)
    server = {"name": "two", "flavorRef": "42", "imageRef": whole.image(), "networks": "none"}
    newer = {"OpenStack-API-Version": "compute 2.37"}
    assert whole.call("POST", "/compute/v2.1/servers", json={"server": server}, headers=newer).status_code == 202
    until(lambda: any(s["name"] == "driver compute.start" for s in collector.spans))
    assert {"key": "service.name", "value": {"stringValue": "nutshell"}} in collector.resources[0]["attributes"]
    assert whole.cloud.port(Exporter).dropped == 0


def test_a_collector_that_is_away_holds_up_nothing(tmp_path: Path) -> None:
    exporter = Exporter("http://127.0.0.1:9", 3, "r")
    ring = Ring(10, 10**6)
    ring.finished, ring.noted = exporter.finished, exporter.noted
    for n in range(50):
        entry = {"at": 1.0, "ms": 1.0, "method": "GET", "path": "/", "status": 200, "service": "", "verb": "",
                 "user_id": "", "project_id": "", "sql": 0, "sql_ms": 0, "request_id": f"req-{n}"}  # fmt: skip
        ring.request(f"req-{n}", json.dumps(entry).encode(), None, None)
    exporter.close()
    assert exporter.sent == 0
    assert exporter.dropped >= 50


def test_what_waits_is_sent_at_the_end(tmp_path: Path) -> None:
    collector = Collector()
    cloud = Whole(tmp_path, {"traces": {"otlp_endpoint": collector.url}})
    cloud.cloud.port(Exporter)._pause_s = 60.0
    cloud.call("GET", "/network/v2.0/networks", headers={"traceparent": CALLER})
    cloud.close()
    assert any(s["traceId"] == CALLER.split("-")[1] for s in collector.spans)
    collector.close()


def test_the_ring_is_bounded() -> None:
    from nutshell.core.events import Event

    ring = Ring(100, 60_000)
    for n in range(1000):
        ring.committed([Event(0.0, "k", "v", f"r{n}", request_id=f"req-{n % 300}")] * 3)
    assert len(ring._traces) <= 100
    assert 0 < ring._bytes <= 60_000
    ring.committed([Event(0.0, "k", "v", "r", request_id="req-many")] * (NOTES + 50))
    many = ring.trace("req-many")
    assert many is not None
    assert (len(many.notes), many.dropped) == (NOTES, 50)
