"""A keep-alive HTTP client of one user of a cloud, for tests and benchmarks: no dependency, little overhead."""

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

IDLE_S = 2.0


class Client:
    """One connection, one token. `call` returns (status, headers, decoded body)."""

    def __init__(self, base: str, user: str, password: str, project: str) -> None:
        at = urlsplit(base)
        self.connection = http.client.HTTPConnection(at.hostname or "", at.port or 80, timeout=120)
        self.token, self.project_id = "", ""
        self.used_at = 0.0
        self.login_body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "password": password, "domain": {"id": "default"}}},
                },
                "scope": {"project": {"name": project, "domain": {"id": "default"}}},
            }
        }

    def login(self) -> None:
        status, headers, body = self.call("POST", "/identity/v3/auth/tokens", self.login_body)
        assert status == 201, body
        self.token = headers["x-subject-token"]
        self.project_id = body["token"]["project"]["id"]

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, decode: bool = True
    ) -> tuple[int, dict[str, str], Any]:
        send = {"Content-Type": "application/json", **(headers or {})}
        if self.token:
            send["X-Auth-Token"] = self.token
        data = json.dumps(body).encode() if body is not None else None
        if time.monotonic() - self.used_at > IDLE_S:  # the server may have closed it meanwhile
            self.connection.close()
        self.used_at = time.monotonic()
        self.connection.request(method, path, data, send)
        answer = self.connection.getresponse()
        raw = answer.read()
        kept = {k.lower(): v for k, v in answer.getheaders()}
        decoded = json.loads(raw) if decode and raw and "json" in kept.get("content-type", "") else raw
        return answer.status, kept, decoded

    def get(self, path: str, **rest: Any) -> Any:
        status, _, body = self.call("GET", path, **rest)
        assert status == 200, (path, status, body)
        return body
