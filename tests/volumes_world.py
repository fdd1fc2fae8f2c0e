"""A cloud of the volume and image services, and how tests talk to it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx

from nutshell import app
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, load_settings
from nutshell.image import wiring as image_wiring
from nutshell.volume import wiring
from tests.database import database_for
from tests.toy import toy_who

MEMBER, READER, OTHER = "u:p:member,reader", "r:p:reader", "v:q:member,reader"
ADMIN = "root:p:admin,member,reader"
SERVER = "0a0a0a0a-0000-4000-8000-000000000001"


def start(state: Path, database: str = "") -> app.Running:
    def wire(cloud: Cloud) -> None:
        cloud.authenticate = toy_who
        wiring.wire(cloud)

    parts = [
        app.Part(w.service, w.config, w.quotas, how, w.loops, w.seed)
        for w, how in ((image_wiring, image_wiring.wire), (wiring, wire))
    ]
    tables = [CloudConfig, image_wiring.config, wiring.config]
    settings = load_settings(
        tables, None, {}, {CloudConfig: {"state": state, "simulate": True, "database": database or database_for(state)}}
    )
    return app.build(settings, of=parts)


def call(cloud: app.Running, method: str, path: str, token: str = MEMBER, at: str = "3.71", **rest: Any) -> Any:
    headers = {"OpenStack-API-Version": f"volume {at}"} | ({"X-Auth-Token": token} if token else {})
    prefix = f"/volume/v3/{token.split(':')[1]}" if token else "/volume"

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=cloud.app), base_url="http://cloud") as client:
            return await client.request(method, prefix + path, headers=headers, **rest)

    return asyncio.run(go())


def make(cloud: app.Running, token: str = MEMBER, **body: Any) -> dict[str, Any]:
    answer = call(cloud, "POST", "/volumes", token, json={"volume": {"size": 1, **body}})
    assert answer.status_code == 202, answer.text
    return wait(cloud, answer.json()["volume"]["id"])


def wait(cloud: app.Running, volume_id: str, status: str = "available", kind: str = "volume") -> dict[str, Any]:
    """The volume (or snapshot) once it has a status."""
    for _ in range(400):
        shown = call(cloud, "GET", f"/{kind}s/{volume_id}", ADMIN).json()[kind]
        if shown["status"] == status:
            found: dict[str, Any] = shown
            return found
        time.sleep(0.01)
    raise AssertionError(f"{kind} is {shown['status']}, not {status}")


def gone(cloud: app.Running, path: str) -> None:
    for _ in range(400):
        if call(cloud, "GET", path, ADMIN).status_code == 404:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} is still there")


def act(cloud: app.Running, volume_id: str, name: str, body: Any = None, token: str = MEMBER, at: str = "3.71") -> Any:
    return call(cloud, "POST", f"/volumes/{volume_id}/action", token, at, json={name: body})
