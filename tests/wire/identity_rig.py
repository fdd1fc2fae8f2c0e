"""A cloud of Identity alone, in process, and a client that speaks HTTP to it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
from tests.database import database_for

from nutshell import app
from nutshell.core.config import CloudConfig, load_settings
from nutshell.identity import wiring

ADMIN_PASSWORD = "an admin's password"


class Rig:
    """`rig.post("/users", {...}, token=t)` and so on; a refused request is an answer like any other."""

    def __init__(self, state: Path, identity: dict[str, Any] | None = None, **cloud_settings: Any) -> None:
        part = app.Part(wiring.service, wiring.config, wiring.quotas, wiring.wire, wiring.loops, wiring.seed)
        self.state = state
        values = {
            "state": state,
            "simulate": True,
            "database": database_for(state),
            "admin_password": ADMIN_PASSWORD,
        } | cloud_settings
        settings = load_settings(app.tables([part]), None, {}, {CloudConfig: values, wiring.config: identity or {}})
        self.running = app.build(settings, of=[part])
        self.cloud = self.running.cloud
        self._loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(app=self.running.app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://cloud.example:5000")
        self.admin = self.login("admin", ADMIN_PASSWORD, project="admin")

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> httpx.Response:
        """`token`: None for the administrator's, "" for none."""
        token = self.admin if token is None else token
        given = {k.replace("_", "-"): v for k, v in headers.items()} | ({"X-Auth-Token": token} if token else {})
        content = None if body is None else json.dumps(body)
        if path.startswith("/") and not path.startswith("/identity"):
            path = "/identity/v3" + path
        return self._loop.run_until_complete(self._client.request(method, path, content=content, headers=given))

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.call("POST", path, body, **more)

    def patch(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.call("PATCH", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.call("PUT", path, body, **more)

    def delete(self, path: str, **more: Any) -> httpx.Response:
        return self.call("DELETE", path, **more)

    def make(self, one: str, path: str, **values: Any) -> Any:
        """Create something as the administrator."""
        answer = self.post(path, {one: values})
        assert answer.status_code == 201, answer.text
        return answer.json()[one]

    def auth(self, identity: dict[str, Any], scope: Any = None) -> httpx.Response:
        body: dict[str, Any] = {"auth": {"identity": identity}}
        if scope is not None:
            body["auth"]["scope"] = scope
        return self.post("/auth/tokens", body, token="")

    def password(self, name: str, password: str, scope: Any = None, domain: str = "default") -> httpx.Response:
        user = {"name": name, "domain": {"id": domain}, "password": password}
        return self.auth({"methods": ["password"], "password": {"user": user}}, scope)

    def login(self, name: str, password: str, project: str = "", scope: Any = None) -> str:
        if project:
            scope = {"project": {"name": project, "domain": {"id": "default"}}}
        answer = self.password(name, password, scope)
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def check(self, token: str) -> int:
        """What validating the token answers."""
        return self.get("/auth/tokens", X_Subject_Token=token).status_code

    def role(self, name: str) -> str:
        return str(self.get(f"/roles?name={name}").json()["roles"][0]["id"])

    def member(self, name: str, project: str = "demo", role: str = "member") -> tuple[str, str]:
        """A new user with a role on a project: (user id, project id). The password is the name."""
        user = self.make("user", "/users", name=name, password=name)
        project_id = self.get(f"/projects?name={project}").json()["projects"][0]["id"]
        assert self.put(f"/projects/{project_id}/users/{user['id']}/roles/{self.role(role)}").status_code == 204
        return user["id"], project_id

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()
        self.running.close()
