"""One cloud as a benchmark sees it: found by its catalog, spoken to over one kept connection.

Works on any OpenStack cloud: every path is relative to the endpoint the catalog names for a service type.
"""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wire import Answer, Wire

if TYPE_CHECKING:
    from planted import Planter

ALIASES = {"volume": ("block-storage", "volumev3", "volume"), "object_store": ("object-store",)}


@dataclass
class Side:
    name: str
    auth_url: str  # with or without /v3
    user: str
    password: str
    project: str
    token: str = ""
    project_id: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    planter: "Planter | None" = None  # what measures find there
    _wires: dict[str, Wire] = field(default_factory=dict)

    def send(self, url: str, method: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request; opened again once when the server had closed the kept connection."""
        parts = urlsplit(url)
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Host": parts.netloc, "Content-Length": str(len(raw)), "Accept": "*/*"}
        if self.token:
            sent["X-Auth-Token"] = self.token
        if body is not None and not isinstance(body, bytes):
            sent["Content-Type"] = "application/json"
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in (sent | (headers or {})).items()), "", ""]
        head = "\r\n".join(lines).encode()
        for attempt in (1, 2):
            wire = self._wires.get(parts.netloc)
            if wire is None:
                wire = self._wires[parts.netloc] = Wire(parts.hostname or "", parts.port or 80)
            try:
                return wire.ask(method, head, raw)
            except (ConnectionError, TimeoutError):
                wire.close()
                del self._wires[parts.netloc]
                if attempt == 2:
                    raise
        raise AssertionError

    def url(self, service: str, path: str = "") -> str:
        if service == "identity":
            return self.auth_url.removesuffix("/").removesuffix("/v3") + "/v3" + path
        for kind in ALIASES.get(service, (service,)):
            if kind in self.endpoints:
                base = self.endpoints[kind].rstrip("/")
                versions = {"image": "/v2", "network": "/v2.0"}
                missing = versions.get(service, "")
                return base + ("" if base.endswith(missing) else missing) + path
        raise SystemExit(f"{self.name} has no {service}")

    def call(self, service: str, method: str, path: str, body: Any = None, **rest: Any) -> Answer:
        """Raises when refused: a benchmark of refusals would flatter."""
        answer = self.send(self.url(service, path), method, body, rest.get("headers"))
        if answer.status >= 300 and not rest.get("refused_too"):
            raise RuntimeError(f"{self.name}: {method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer

    def login_body(self) -> dict[str, Any]:
        user = {"name": self.user, "password": self.password, "domain": {"name": "Default"}}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": self.project, "domain": {"name": "Default"}}}
        return {"auth": {"identity": identity, "scope": scope}}

    def login(self) -> None:
        self.token = ""
        answer = self.call("identity", "POST", "/auth/tokens", self.login_body())
        found = answer.json()["token"]
        self.token, self.project_id = answer.headers["X-Subject-Token"], found["project"]["id"]
        for entry in found["catalog"]:
            for endpoint in entry["endpoints"]:
                if endpoint["interface"] == "public":
                    self.endpoints[entry["type"]] = endpoint["url"]
