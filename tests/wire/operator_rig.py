"""A whole simulated cloud in a process, its loops running, as its operator and a project's member meet it."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from tests.database import database_for
from tests.wire.compute_rig import until

from nutshell import app
from nutshell.core.config import CloudConfig, load_settings

PASSWORD = "correct horse battery staple"


class Whole:
    """`call(method, path, as_="demo")`; tokens of "admin" and "demo" are fetched once."""

    def __init__(self, state: Path, settings: Mapping[str, Mapping[str, object]] | None = None) -> None:
        tables = app.tables(app.parts())
        named = {t.table: t for t in tables}  # type: ignore[attr-defined]
        given: dict[type, dict[str, object]] = {
            CloudConfig: {
                "state": state,
                "simulate": True,
                "admin_password": PASSWORD,
                "database": database_for(state),
            }
        }
        self.state = state
        for name, values in (settings or {}).items():
            given.setdefault(named[name], {}).update(values)
        self.running = app.build(load_settings(tables, None, {}, given))
        self.cloud = self.running.cloud
        self.running.runner.start()
        self.tokens: dict[str, str] = {}
        until(lambda: self.cloud.read(lambda tx: tx.sql("SELECT count(*) FROM compute_nodes").fetchone()[0]) > 0)

    def close(self) -> None:
        self.running.close()

    def call(self, method: str, path: str, as_: str = "demo", **rest: Any) -> httpx.Response:
        headers = {**rest.pop("headers", {}), **({"X-Auth-Token": self.token(as_)} if as_ else {})}

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
                return await client.request(method, path, headers=headers, **rest)

        return asyncio.run(go())

    def token(self, name: str) -> str:
        if name not in self.tokens:
            password = self._password(name)
            user = {"name": name, "password": password, "domain": {"id": "default"}}
            project = {"name": name, "domain": {"id": "default"}}
            auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}
            answer = self.call("POST", "/identity/v3/auth/tokens", "", json={"auth": auth})
            assert answer.status_code == 201, answer.text
            self.tokens[name] = answer.headers["x-subject-token"]
        return self.tokens[name]

    def _password(self, name: str) -> str:
        found: str = json.loads((self.state / "credentials.json").read_text())[name]["password"]
        return found

    def fault(self, **rule: Any) -> dict[str, Any]:
        answer = self.call("POST", "/nutshell/v1/faults", "admin", json={"fault": rule})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["fault"]
        return found

    def hits(self, fault: Mapping[str, Any]) -> int:
        answer = self.call("GET", f"/nutshell/v1/faults/{fault['id']}", "admin")
        found: int = answer.json()["fault"]["hits"]
        return found

    def clear(self) -> None:
        assert self.call("DELETE", "/nutshell/v1/faults", "admin").status_code == 204

    def boot(self, name: str = "one", as_: str = "demo", **more: Any) -> str:
        """A server of the smallest flavor on no network, from a volume-less image-less start: needs an image."""
        image = self.image()
        body = {"name": name, "flavorRef": "42", "imageRef": image, "networks": "none", **more}
        version = {"OpenStack-API-Version": "compute 2.96"}
        answer = self.call("POST", "/compute/v2.1/servers", as_, json={"server": body}, headers=version)
        assert answer.status_code == 202, answer.text
        made: str = answer.json()["server"]["id"]
        return made

    def image(self) -> str:
        """A public image with a few bytes in it."""
        found = self.call("GET", "/image/v2/images").json()["images"]
        if found:
            first: str = found[0]["id"]
            return first
        body = {"name": "tiny", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
        made: str = self.call("POST", "/image/v2/images", "admin", json=body).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        answer = self.call("PUT", f"/image/v2/images/{made}/file", "admin", content=b"\0" * 1024, headers=octets)
        assert answer.status_code == 204, answer.text
        return made

    def server(self, server_id: str, as_: str = "demo") -> dict[str, Any]:
        answer = self.call("GET", f"/compute/v2.1/servers/{server_id}", as_)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["server"]
        return found

    def until(self, server_id: str, status: str) -> dict[str, Any]:
        until(lambda: self.server(server_id)["status"] == status, lambda: str(self.server(server_id)))
        return self.server(server_id)
