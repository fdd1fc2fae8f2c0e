"""The public HTTP APIs as any client uses them: a token, the catalog, requests.

Source: OpenStack's Identity API v3 (authentication, catalog); every service's API reference for the paths used.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit


class DemoFailed(Exception):
    """A step did not really happen; the message says what was expected and what was there."""


class Session:
    """One person's token and catalog."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """`variables` are those of `nutshell env`. Fails when the password is not taken."""
        self._context = ssl.create_default_context(cafile=variables["OS_CACERT"]) if "OS_CACERT" in variables else None
        self._token = ""
        person = {
            "name": variables["OS_USERNAME"],
            "password": variables["OS_PASSWORD"],
            "domain": {"name": variables["OS_USER_DOMAIN_NAME"]},
        }
        project = {"name": variables["OS_PROJECT_NAME"], "domain": {"name": variables["OS_PROJECT_DOMAIN_NAME"]}}
        wanted = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": person}},
                "scope": {"project": project},
            }
        }
        status, headers, body = self._send("POST", f"{variables['OS_AUTH_URL']}/auth/tokens", wanted, {})
        if status != 201:
            raise DemoFailed(f"identity answers {status} to the password: {body}")
        self._token = headers["x-subject-token"]
        self.project_id: str = body["token"]["project"]["id"]
        self._endpoints = {
            service["type"]: endpoint["url"].rstrip("/")
            for service in body["token"]["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public" and endpoint["region"] == variables["OS_REGION_NAME"]
        }

    def get(self, service: str, path: str) -> Any:
        return self.call("GET", service, path)

    def post(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        return self.call("POST", service, path, body)

    def put(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        return self.call("PUT", service, path, body)

    def delete(self, service: str, path: str) -> None:
        """Absent is success."""
        self.call("DELETE", service, path, also=(404,))

    def call(
        self, method: str, service: str, path: str, body: Mapping[str, Any] | None = None, also: tuple[int, ...] = ()
    ) -> Any:
        """The decoded body. DemoFailed for any status that is neither 2xx nor in `also`."""
        status, _, answer = self._send(method, self._url(service) + path, body, _VERSIONS.get(service, {}))
        if not 200 <= status < 300 and status not in also:
            raise DemoFailed(f"{method} {service}{path} answers {status}: {json.dumps(answer)[:600]}")
        return answer

    def try_delete(self, service: str, path: str) -> bool:
        """Whether it is gone or going; False while something else still needs it (409)."""
        status, _, answer = self._send("DELETE", self._url(service) + path, None, _VERSIONS.get(service, {}))
        if status in (400, 409):
            return False
        if not 200 <= status < 300 and status != 404:
            raise DemoFailed(f"DELETE {service}{path} answers {status}: {json.dumps(answer)[:600]}")
        return True

    def _url(self, service: str) -> str:
        for name in _TYPES[service]:
            if name in self._endpoints:
                return str(self._endpoints[name]) + _SUFFIX.get(service, "")
        raise DemoFailed(f"the catalog has no {service} service; it has {', '.join(sorted(self._endpoints))}")

    def _send(
        self, method: str, url: str, body: Mapping[str, Any] | None, more: Mapping[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        parts = urlsplit(url)
        wire: http.client.HTTPConnection
        if parts.scheme == "https":
            wire = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=60, context=self._context)
        else:
            wire = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {"Content-Type": "application/json", "Accept": "application/json", **more}
        if self._token:
            headers["X-Auth-Token"] = self._token
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            wire.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = wire.getresponse()
            text = answer.read()
        except OSError as error:
            raise DemoFailed(f"{method} {url}: {error}; is the cloud up? (nutshell status)") from error
        finally:
            wire.close()
        try:
            decoded = json.loads(text) if text else None
        except ValueError:
            decoded = text.decode(errors="replace")
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, decoded


_TYPES = {
    "compute": ("compute",),
    "network": ("network",),
    "image": ("image",),
    "volume": ("block-storage", "volumev3", "volume"),
}
_SUFFIX = {"network": "/v2.0", "image": "/v2"}
_VERSIONS = {
    "compute": {"OpenStack-API-Version": "compute 2.79", "X-OpenStack-Nova-API-Version": "2.79"},
    "volume": {"OpenStack-API-Version": "volume 3.60"},
}


def wait_until(look: Callable[[], Any], timeout_s: float, failed: Callable[[], str], every_s: float = 0.2) -> Any:
    """What `look` returns as soon as it is true; DemoFailed with what `failed` says after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise DemoFailed(f"{failed()} (waited {timeout_s:.0f} s)")
        time.sleep(every_s)
