"""What compute once did itself and asks other services for now: networks, security groups, addresses, volumes."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.database import database_for
from tests.toy import toy_who
from tests.wire.compute_rig import ADMIN, MEMBER, OTHER, StandInIdentity, until

from nutshell import app
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, load_settings
from nutshell.identity.port import Identity

NOBODY = "99999999-9999-4999-8999-999999999999"


class Whole:
    """Every service but identity, in one process."""

    def __init__(self, state: Path) -> None:
        parts = [p for p in app.parts() if p.service.name != "identity"]

        def wire(cloud: Cloud) -> None:
            cloud.authenticate = toy_who
            cloud.ports[Identity] = StandInIdentity()
            first.wire(cloud)

        first = parts[0]
        parts[0] = replace(first, wire=wire)
        settings = load_settings(
            app.tables(parts),
            None,
            {},
            {CloudConfig: {"state": state, "simulate": True, "database": database_for(state)}},
        )
        self.running = app.build(settings, of=parts)
        self.running.runner.start()

    def ask(self, method: str, path: str, body: Any = None, token: str = MEMBER) -> httpx.Response:
        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
                return await client.request(method, path, headers={"X-Auth-Token": token}, json=body)

        return asyncio.run(go())

    def old(self, method: str, path: str, body: Any = None, token: str = MEMBER, http: int = 200) -> Any:
        answer = self.ask(method, "/compute/v2.1" + path, body, token)
        assert answer.status_code == http, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    made = Whole(tmp_path_factory.mktemp("whole"))
    yield made
    made.running.close()


def test_a_security_group_in_old_words_is_the_networks(cloud: Whole) -> None:
    assert "default" in [g["name"] for g in cloud.old("GET", "/os-security-groups")["security_groups"]]
    body = {"security_group": {"name": "web", "description": "the web"}}
    made = cloud.old("POST", "/os-security-groups", body)["security_group"]
    assert (made["name"], made["tenant_id"], made["rules"]) == ("web", "p", [])
    assert cloud.ask("GET", f"/network/v2.0/security-groups/{made['id']}").status_code == 200
    rule = {"parent_group_id": made["id"], "ip_protocol": "tcp", "from_port": 80, "to_port": 90, "cidr": "10.2.3.4/24"}
    one = cloud.old("POST", "/os-security-group-rules", {"security_group_rule": rule})["security_group_rule"]
    assert (one["from_port"], one["to_port"], one["ip_range"]["cidr"]) == (80, 90, "10.2.3.4/24")
    grouped = {"parent_group_id": made["id"], "ip_protocol": "tcp", "group_id": made["id"]}
    two = cloud.old("POST", "/os-security-group-rules", {"security_group_rule": grouped})["security_group_rule"]
    assert (two["from_port"], two["to_port"], two["group"]) == (1, 65535, {"name": "web", "tenant_id": "p"})
    bad: list[dict[str, Any]] = [rule, rule | {"ip_protocol": "x"}, rule | {"from_port": 91}, rule | {"to_port": 70000},
                                 rule | {"cidr": "nowhere"}, {"parent_group_id": made["id"]}]  # fmt: skip
    for b in bad:
        cloud.old("POST", "/os-security-group-rules", {"security_group_rule": b}, http=400)
    shown = cloud.old("GET", f"/os-security-groups/{made['id']}")["security_group"]
    assert {r["id"] for r in shown["rules"]} == {one["id"], two["id"]}
    cloud.old("GET", f"/os-security-groups/{made['id']}", token=OTHER, http=404)
    named = {"security_group": {"name": "w", "description": ""}}
    changed = cloud.old("PUT", f"/os-security-groups/{made['id']}", named)
    assert changed["security_group"]["name"] == "w"
    cloud.old("DELETE", f"/os-security-group-rules/{one['id']}", http=202)
    cloud.old("DELETE", f"/os-security-groups/{made['id']}", http=202)
    cloud.old("DELETE", f"/os-security-groups/{made['id']}", http=404)
    cloud.old("GET", "/os-security-groups/", http=404)


def test_the_default_group_stays(cloud: Whole) -> None:
    groups = cloud.old("GET", "/os-security-groups")["security_groups"]
    default = next(g["id"] for g in groups if g["name"] == "default")
    cloud.old("DELETE", f"/os-security-groups/{default}", http=400)


def test_networks_and_pools_are_shown(cloud: Whole) -> None:
    for path in ("/os-networks", "/os-tenant-networks"):
        found = cloud.old("GET", path, token=ADMIN)["networks"]
        labels = {n["label"]: n["id"] for n in found}
        assert "public" in labels
        assert cloud.old("GET", f"{path}/{labels['public']}", token=ADMIN)["network"]["label"] == "public"
        cloud.old("GET", f"{path}/{NOBODY}", http=404)
    assert cloud.old("GET", "/os-floating-ip-pools") == {"floating_ip_pools": [{"name": "public"}]}


def addresses(cloud: Whole, server_id: str, owner: str) -> set[str]:
    found = cloud.old("GET", f"/servers/{server_id}/ips", token=owner)["addresses"]
    return {a["addr"] for mine in found.values() for a in mine}


def test_a_floating_address_leads_to_a_server(cloud: Whole) -> None:
    images = cloud.ask("GET", "/image/v2/images").json()["images"]
    nets = cloud.ask("GET", "/network/v2.0/networks?name=private", token=ADMIN).json()["networks"]
    owner = f"u:{nets[0]['project_id']}:member,reader"
    networks = [{"uuid": nets[0]["id"]}]
    body = {"server": {"name": "s", "flavorRef": "42", "imageRef": images[0]["id"], "networks": networks}}
    made = cloud.old("POST", "/servers", body, owner, http=202)["server"]["id"]
    until(lambda: cloud.old("GET", f"/servers/{made}", token=owner)["server"]["status"] == "ACTIVE")
    cloud.old("POST", "/os-floating-ips", {"pool": "nowhere"}, owner, http=404)
    ip = cloud.old("POST", "/os-floating-ips", {"pool": "public"}, owner)["floating_ip"]
    assert (ip["pool"], ip["instance_id"]) == ("public", None)
    act = f"/servers/{made}/action"
    cloud.old("POST", act, {"addFloatingIp": {"address": "203.0.113.9"}}, owner, http=404)
    cloud.old("POST", act, {"addFloatingIp": {"address": ip["ip"], "fixed_address": "1.2.3.4"}}, owner, http=400)
    cloud.old("POST", act, {"removeFloatingIp": {"address": ip["ip"]}}, owner, http=409)
    cloud.old("POST", act, {"addFloatingIp": {"address": ip["ip"]}}, owner, http=202)
    assert cloud.old("GET", f"/os-floating-ips/{ip['id']}", token=owner)["floating_ip"]["instance_id"] == made
    cloud.old("POST", act, {"removeFloatingIp": {"address": ip["ip"]}}, owner, http=202)
    assert [f["instance_id"] for f in cloud.old("GET", "/os-floating-ips", token=owner)["floating_ips"]] == [None]
    before = addresses(cloud, made, owner)
    cloud.old("POST", act, {"addFixedIp": {"networkId": NOBODY}}, owner, http=400)
    cloud.old("POST", act, {"addFixedIp": {"networkId": nets[0]["id"]}}, owner, http=202)
    more = addresses(cloud, made, owner)
    assert len(more) == len(before) + 1
    (new,) = more - before
    cloud.old("POST", act, {"removeFixedIp": {"address": new}}, owner, http=202)
    assert addresses(cloud, made, owner) == before
    cloud.old("POST", act, {"removeFixedIp": {"address": new}}, owner, http=400)
    cloud.old("DELETE", f"/os-floating-ips/{ip['id']}", token=owner, http=202)
    cloud.old("GET", f"/os-floating-ips/{ip['id']}", token=owner, http=404)


def test_volumes_and_snapshots_in_old_words(cloud: Whole) -> None:
    body = {"volume": {"size": 1, "display_name": "data", "metadata": {"a": "b"}}}
    made = cloud.old("POST", "/os-volumes", body)["volume"]
    assert (made["displayName"], made["size"], made["metadata"], made["attachments"]) == ("data", 1, {"a": "b"}, [{}])
    until(lambda: cloud.old("GET", f"/os-volumes/{made['id']}")["volume"]["status"] == "available")
    wanted = {"snapshot": {"volume_id": made["id"], "display_name": "then"}}
    snap = cloud.old("POST", "/os-snapshots", wanted)["snapshot"]
    assert (snap["volumeId"], snap["displayName"]) == (made["id"], "then")
    until(lambda: cloud.old("GET", f"/os-snapshots/{snap['id']}")["snapshot"]["status"] == "available")
    assert [v["id"] for v in cloud.old("GET", "/os-volumes/detail")["volumes"]] == [made["id"]]
    assert cloud.old("GET", "/os-volumes", token=OTHER)["volumes"] == []
    cloud.old("POST", "/os-volumes", {"volume": {"size": 0}}, http=400)
    cloud.old("GET", f"/os-volumes/{NOBODY}", http=404)
    cloud.old("DELETE", f"/os-snapshots/{snap['id']}", http=202)
    until(lambda: cloud.old("GET", "/os-snapshots")["snapshots"] == [])
    cloud.old("DELETE", f"/os-volumes/{made['id']}", http=202)
    until(lambda: cloud.old("GET", "/os-volumes")["volumes"] == [])


def test_what_is_removed_says_so(cloud: Whole) -> None:
    for method, path in (("GET", "/os-cells"), ("POST", "/os-networks"), ("GET", "/os-fping"), ("GET", "/os-agents")):
        cloud.old(method, path, http=410)
    assert cloud.ask("GET", "/compute/v2.1/os-cells", token="").status_code == 401


def test_the_proxies_end_with_their_versions(cloud: Whole) -> None:
    async def at(path: str) -> int:
        transport = httpx.ASGITransport(app=cloud.running.app)
        headers = {"X-Auth-Token": MEMBER, "OpenStack-API-Version": "compute 2.36"}
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            return (await client.get("/compute/v2.1" + path, headers=headers)).status_code

    for path in ("/os-security-groups", "/os-networks", "/os-floating-ips", "/os-volumes", "/os-snapshots"):
        assert asyncio.run(at(path)) == 404
