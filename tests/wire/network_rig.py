"""A simulated cloud with network only, for its tests: who calls is said in the token ("user:project:roles")."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from tests.database import database_for
from tests.toy import toy_who

from nutshell import app
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, load_settings
from nutshell.core.store import Tx
from nutshell.identity.port import Identity
from nutshell.network import wiring

MEMBER, OTHER, ADMIN = "u:p:member,reader", "v:q:member,reader", "root:adm:admin,member,reader"
READER = "w:p:reader"


class Projects:
    """As much of `Identity` as the first networks need."""

    def find_project(self, tx: Tx, name: str) -> str | None:
        return {"admin": "adm", "demo": "p"}.get(name)


def start(state: Path | None, rules: str = "", database: str = "") -> app.Running:
    if rules and state is not None:
        (state / "policy.yaml").write_text(rules)

    def wire(cloud: Cloud) -> None:
        cloud.authenticate = toy_who
        cloud.ports[Identity] = Projects()
        wiring.wire(cloud)

    part = app.Part(wiring.service, wiring.config, wiring.quotas, wire, wiring.loops, wiring.seed)
    said = {"state": state, "simulate": True, "database": database or database_for(state)}
    settings = load_settings([CloudConfig, wiring.config], None, {}, {CloudConfig: said})
    return app.build(settings, of=[part])


class Caller:
    """Requests to one cloud; `x("POST /networks", {...})` returns the decoded answer and checks its status."""

    def __init__(self, running: app.Running) -> None:
        self.running, self.cloud = running, running.cloud

    def ask(self, method: str, path: str, body: Any = None, token: str = MEMBER, **rest: Any) -> httpx.Response:
        headers = ({"X-Auth-Token": token} if token else {}) | rest.pop("headers", {})

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
                return await client.request(method, "/network" + path, headers=headers, json=body, **rest)

        return asyncio.run(go())

    def x(self, line: str, body: Any = None, token: str = MEMBER, http: int = 0, **rest: Any) -> Any:
        method, _, path = line.partition(" ")
        answer = self.ask(method, "/v2.0" + path, body, token, **rest)
        expected = http or {"POST": 201, "DELETE": 204}.get(method, 200)
        assert answer.status_code == expected, f"{line}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def refused(self, line: str, body: Any = None, token: str = MEMBER, **rest: Any) -> tuple[int, str]:
        method, _, path = line.partition(" ")
        answer = self.ask(method, "/v2.0" + path, body, token, **rest)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["NeutronError"]["type"]

    def net(self, token: str = MEMBER, cidr: str = "10.1.0.0/24", **extra: Any) -> tuple[Any, Any]:
        """A network with one subnet."""
        network = self.x("POST /networks", {"network": {"name": "n", **extra}}, token)["network"]
        given = {"network_id": network["id"], "ip_version": 6 if ":" in cidr else 4, "cidr": cidr}
        return network, self.x("POST /subnets", {"subnet": given}, token)["subnet"]

    def port(self, network_id: str, token: str = MEMBER, **extra: Any) -> Any:
        return self.x("POST /ports", {"port": {"network_id": network_id, **extra}}, token)["port"]
