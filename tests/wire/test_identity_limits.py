"""Unified limits: both models, and services whose quotas they are."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.wire.identity_rig import ADMIN_PASSWORD, Rig

from nutshell import app
from nutshell.core.config import CloudConfig, ConfigError, load_settings
from nutshell.core.errors import QuotaExceeded
from nutshell.identity import wiring


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    settings = {"limit_model": "strict_two_level", "unified_limits": ("image",)}
    made = Rig(tmp_path_factory.mktemp("identity"), settings)
    yield made
    made.close()


def register(rig: Rig, name: str, amount: int, kind: str = "image") -> str:
    found = rig.get(f"/services?type={kind}").json()["services"]
    service_id = found[0]["id"] if found else rig.make("service", "/services", type=kind, name=kind)["id"]
    body = {"registered_limits": [{"service_id": service_id, "resource_name": name, "default_limit": amount}]}
    assert rig.post("/registered_limits", body).status_code == 201
    return str(service_id)


def limit(rig: Rig, *rows: dict[str, Any]) -> Any:
    return rig.post("/limits", {"limits": list(rows)})


def test_a_projects_limit_is_no_higher_than_its_domains(rig: Rig) -> None:
    assert rig.get("/limits/model").json()["model"]["name"] == "strict_two_level"
    service_id = register(rig, "strict-thing", 10)
    domain = rig.make("domain", "/domains", name="strict")
    project = rig.make("project", "/projects", name="child", domain_id=domain["id"])
    deeper = {"project": {"name": "deeper", "domain_id": domain["id"], "parent_id": project["id"]}}
    assert rig.post("/projects", deeper).status_code == 403
    one = {"service_id": service_id, "resource_name": "strict-thing"}
    of_child, of_domain = {**one, "project_id": project["id"]}, {**one, "domain_id": domain["id"]}
    assert limit(rig, {**of_child, "resource_limit": 11}).status_code == 403  # the default is 10
    both = limit(rig, {**of_child, "resource_limit": 15}, {**of_domain, "resource_limit": 20})
    assert both.status_code == 201, both.text
    child_id, domain_limit_id = (r["id"] for r in both.json()["limits"])
    assert rig.patch(f"/limits/{child_id}", {"limit": {"resource_limit": 21}}).status_code == 403
    assert rig.patch(f"/limits/{domain_limit_id}", {"limit": {"resource_limit": 14}}).status_code == 403
    assert rig.patch(f"/limits/{child_id}", {"limit": {"resource_limit": -1}}).status_code == 403
    assert rig.get(f"/limits/{child_id}").json()["limit"]["resource_limit"] == 15
    assert rig.patch(f"/limits/{child_id}", {"limit": {"resource_limit": 20}}).status_code == 200


def test_services_take_what_the_limits_give(rig: Rig) -> None:
    domain = rig.make("domain", "/domains", name="owner")
    ids = [rig.make("project", "/projects", name=f"p{n}", domain_id=domain["id"])["id"] for n in (1, 2)]
    quotas = rig.cloud.quotas
    name = "image.image_count_total"
    quotas = type(quotas)({name: -1, "network.port": 5}, quotas.outer)

    def take(project_id: str, amount: int, what: str = name) -> None:
        rig.cloud.write(lambda tx: quotas.take(tx, project_id, {what: amount}))

    take(ids[0], 50)  # nothing registered: the service's own
    rig.cloud.write(lambda tx: quotas.give_back(tx, ids[0], {name: 50}))
    service_id = register(rig, "image_count_total", 6)
    with pytest.raises(QuotaExceeded):
        take(ids[0], 7)
    one = {"service_id": service_id, "resource_name": "image_count_total"}
    assert limit(rig, {**one, "project_id": ids[0], "resource_limit": 4}).status_code == 201
    with pytest.raises(QuotaExceeded):
        take(ids[0], 5)
    take(ids[0], 4)
    take(ids[1], 2)
    with pytest.raises(QuotaExceeded):  # the domain has 6 in all
        take(ids[1], 1)
    assert rig.cloud.read(lambda tx: quotas.limit(tx, ids[1], name)) == 6
    with pytest.raises(QuotaExceeded):  # a service that keeps its own
        take(ids[0], 6, "network.port")


def test_only_known_services_and_models_may_be_set(tmp_path: Path) -> None:
    for wrong in ({"unified_limits": ("volume",)}, {"limit_model": "round"}, {"password_regex": "("}):
        with pytest.raises(ConfigError):
            Rig(tmp_path, wrong)


def test_images_and_servers_are_limited(tmp_path: Path) -> None:
    """The whole cloud: what identity says holds in image and compute."""
    parts = app.parts()
    values = {"state": tmp_path, "simulate": True, "admin_password": ADMIN_PASSWORD}
    given = {CloudConfig: values, wiring.config: {"unified_limits": ("image", "compute")}}
    running = app.build(load_settings(app.tables(parts), None, {}, given), of=parts)

    async def speak() -> None:
        wire = httpx.AsyncClient(transport=httpx.ASGITransport(app=running.app), base_url="http://cloud")
        user = {"name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}
        scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
        admin = {**scope, "project": {"name": "admin", "domain": {"id": "default"}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        answer = await wire.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity, "scope": admin}})
        head = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
        services = (await wire.get("/identity/v3/services", headers=head)).json()["services"]
        ids = {s["type"]: s["id"] for s in services}
        limits = [
            {"service_id": ids["image"], "resource_name": "image_count_total", "default_limit": 1},
            {"service_id": ids["compute"], "resource_name": "servers", "default_limit": 3},
        ]
        answer = await wire.post("/identity/v3/registered_limits", json={"registered_limits": limits}, headers=head)
        assert answer.status_code == 201, answer.text
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        made = [(await wire.post("/image/v2/images", json=body, headers=head)).status_code for _ in range(2)]
        assert made == [201, 413]
        shown = await wire.get("/compute/v2.1/limits", headers=head)
        assert shown.json()["limits"]["absolute"]["maxTotalInstances"] == 3
        await wire.aclose()

    try:
        asyncio.run(speak())
    finally:
        running.close()
