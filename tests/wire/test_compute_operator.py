"""What operators and other services ask of compute: usage, hosts, extensions, external events."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.wire.compute_rig import ADMIN, MEMBER, OTHER, VOLUME, Rig, until

from nutshell.compute.devices import Device, Phase
from nutshell.compute.usage_audits import last_month


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def span(hours: float = 1.0) -> str:
    now = datetime.now(UTC).replace(tzinfo=None)
    begin, end = now - timedelta(hours=hours), now + timedelta(hours=hours)
    return f"start={begin.isoformat(timespec='seconds')}&end={end.isoformat(timespec='seconds')}"


def test_usage_counts_servers_that_live_and_that_died(rig: Rig) -> None:
    alive, dead = rig.boot(name="alive"), rig.boot(name="dead")
    rig.boot(OTHER, name="theirs")
    rig.call("DELETE", f"/servers/{dead}")
    rig.gone(dead)
    mine = rig.call("GET", f"/os-simple-tenant-usage/p?{span()}").json()["tenant_usage"]
    states = {u["name"]: u["state"] for u in mine["server_usages"]}
    assert states == {"alive": "active", "dead": "terminated"}
    ended = {u["name"]: u["ended_at"] for u in mine["server_usages"]}
    assert ended["alive"] is None
    assert ended["dead"]
    hours = sum(u["hours"] for u in mine["server_usages"])
    assert mine["total_hours"] == pytest.approx(hours)
    assert mine["total_memory_mb_usage"] == pytest.approx(128 * hours)
    assert 0 < mine["total_hours"] < 0.1
    every = rig.call("GET", f"/os-simple-tenant-usage?detailed=1&{span()}", ADMIN).json()["tenant_usages"]
    assert {u["tenant_id"]: len(u["server_usages"]) for u in every} == {"p": 2, "q": 1}
    brief = rig.call("GET", f"/os-simple-tenant-usage?{span()}", ADMIN).json()["tenant_usages"]
    assert "server_usages" not in brief[0]
    assert alive in {u["instance_id"] for u in mine["server_usages"]}


def test_usage_is_paged_and_guarded(rig: Rig) -> None:
    made = sorted(rig.boot() for _ in range(2))
    first = rig.call("GET", f"/os-simple-tenant-usage/p?limit=1&{span()}", at="2.40").json()
    assert [u["instance_id"] for u in first["tenant_usage"]["server_usages"]] == made[:1]
    assert f"marker={made[0]}" in first["tenant_usage_links"][0]["href"]
    rest = rig.call("GET", f"/os-simple-tenant-usage/p?marker={made[0]}&{span()}", at="2.40").json()
    assert [u["instance_id"] for u in rest["tenant_usage"]["server_usages"]] == made[1:]
    assert rig.call("GET", f"/os-simple-tenant-usage/q?{span()}").status_code == 403
    assert rig.call("GET", f"/os-simple-tenant-usage?{span()}").status_code == 403
    assert rig.call("GET", "/os-simple-tenant-usage/p?start=yesterday").status_code == 400
    assert (
        rig.call("GET", "/os-simple-tenant-usage/p?end=2020-01-01T00:00:00&start=2021-01-01T00:00:00").status_code
        == 400
    )
    assert rig.call("GET", "/os-simple-tenant-usage/nobody", ADMIN).json() == {"tenant_usage": {}}


def test_no_host_has_run_a_usage_audit(rig: Rig) -> None:
    found = rig.call("GET", "/os-instance_usage_audit_log", ADMIN).json()["instance_usage_audit_logs"]
    assert (found["num_hosts"], found["num_hosts_not_run"], found["log"]) == (1, 1, {})
    shown = rig.call("GET", "/os-instance_usage_audit_log/2026-01-15 00:00:00", ADMIN).json()
    period = shown["instance_usage_audit_log"]
    assert (period["period_beginning"], period["period_ending"]) == ("2025-12-01 00:00:00", "2026-01-01 00:00:00")
    assert rig.call("GET", "/os-instance_usage_audit_log/soon", ADMIN).status_code == 400
    assert rig.call("GET", "/os-instance_usage_audit_log").status_code == 403
    assert last_month(datetime(2026, 12, 31)) == (datetime(2026, 11, 1), datetime(2026, 12, 1))


def test_hosts_show_what_is_used_until_they_ended(rig: Rig) -> None:
    rig.boot()
    hosts = rig.call("GET", "/os-hosts", ADMIN).json()["hosts"]
    name = next(h["host_name"] for h in hosts if h["service"] == "compute")
    lines = [r["resource"] for r in rig.call("GET", f"/os-hosts/{name}", ADMIN).json()["host"]]
    assert [r["project"] for r in lines] == ["(total)", "(used_now)", "(used_max)", "p"]
    assert [r["memory_mb"] for r in lines[1:]] == [128, 128, 128]
    assert rig.call("GET", "/os-hosts/nobody", ADMIN).status_code == 404
    assert rig.call("GET", f"/os-hosts/{name}/reboot", ADMIN).status_code == 501
    assert rig.call("GET", "/os-hosts", MEMBER).status_code == 403
    assert rig.call("GET", "/os-hosts", ADMIN, "2.43").status_code == 404


def test_extensions_are_listed(rig: Rig) -> None:
    found = rig.call("GET", "/extensions").json()["extensions"]
    assert len(found) == 99
    assert rig.call("GET", "/extensions/os-keypairs").json()["extension"]["name"] == "Keypairs"
    assert rig.call("GET", "/extensions/os-nothing").status_code == 404


def test_external_events_answer_for_each_server(rig: Rig) -> None:
    made, nobody = rig.boot(), "99999999-9999-4999-8999-999999999999"

    def tell(at: str, *events: dict[str, Any]) -> tuple[int, list[int]]:
        answer = rig.call("POST", "/os-server-external-events", ADMIN, at, json={"events": list(events)})
        return answer.status_code, [e["code"] for e in answer.json().get("events", [])]

    changed = {"name": "network-changed", "server_uuid": made}
    assert tell("2.1", changed) == (200, [200])
    assert tell("2.1", changed, {"name": "network-changed", "server_uuid": nobody}) == (207, [200, 404])
    extended = {"name": "volume-extended", "server_uuid": made}
    assert tell("2.51", extended) == (207, [400])
    assert tell("2.50", extended | {"tag": VOLUME})[0] == 400
    assert tell("2.1", {"name": "something", "server_uuid": made})[0] == 400
    assert tell("2.1")[0] == 400
    body = {"events": [changed]}
    assert rig.call("POST", "/os-server-external-events", MEMBER, json=body).status_code == 403


def test_a_guest_learns_that_its_volume_grew(rig: Rig) -> None:
    made = rig.boot()
    attach = {"volumeAttachment": {"volumeId": VOLUME}}
    assert rig.call("POST", f"/servers/{made}/os-volume_attachments", json=attach).status_code == 200
    until(lambda: rig.cloud.read(lambda tx: tx.count(Device, server_id=made, target_id=VOLUME, phase=Phase.ATTACHED)))
    told: list[int] = []
    resize = rig.world.resize_disk
    rig.world.resize_disk = lambda s, d, size: (told.append(size), resize(s, d, size))[1]  # type: ignore[method-assign]
    body = {"events": [{"name": "volume-extended", "server_uuid": made, "tag": VOLUME}]}
    assert rig.call("POST", "/os-server-external-events", ADMIN, "2.51", json=body).status_code == 200
    until(lambda: told == [2**30])
    assert (
        rig.call("GET", f"/servers/{made}/os-volume_attachments").json()["volumeAttachments"][0]["volumeId"] == VOLUME
    )
