"""The command line as a client of a cloud's own API: who asks, where, and what was answered.

With OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME (or OS_PROJECT_ID) in the environment it is that user
of that cloud; else the administrator of the cloud in the state directory.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nutshell.cli import processes
from nutshell.cli.places import Places, read_json
from nutshell.cli.says import Refusal, accounts_in, state_option

TIMEOUT_S = 60.0
LONG_TIMEOUT_S = 3600.0  # a disk may have to be converted before its first byte


@dataclass
class OperatorClient:
    """`ask("GET", "/nutshell/v1/faults")` as one user. Raises Refusal with the cloud's own words."""

    base: str
    username: str
    password: str = field(repr=False)
    project: Mapping[str, Any]
    user_domain: str = "Default"
    cacert: str = ""
    token: str = field(default="", repr=False)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        if not self.token:
            self._login()
        status, _, said = self._send(method, path, body)
        if status >= 400:
            why = said.get("error", said) if isinstance(said, dict) else said
            message = why.get("message", why) if isinstance(why, dict) else why
            raise Refusal(f"{message} ({method} {path}: {status})", 2 if status in (400, 403, 404) else 1)
        return said

    def _login(self) -> None:
        user = {"name": self.username, "password": self.password, "domain": {"name": self.user_domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": self.project}}}
        status, headers, said = self._send("POST", "/identity/v3/auth/tokens", body)
        if status != 201:
            raise Refusal(f"{self.base} does not let {self.username} in ({status}): {said}")
        self.token = headers["x-subject-token"]

    def save(self, path: str, file: Path) -> int:
        """GET into a file, which has its name only when it is whole; its bytes. Raises Refusal."""
        if not self.token:
            self._login()
        wire, partial = self._wire(LONG_TIMEOUT_S), file.with_name(f".{file.name}.part")
        try:
            wire.request("GET", urlsplit(self.base).path + path, headers={"X-Auth-Token": self.token})
            answer = wire.getresponse()
            if answer.status != 200:
                raise Refusal(f"{answer.read().decode(errors='replace')} (GET {path}: {answer.status})", 2)
            with open(partial, "wb") as out:
                while data := answer.read(1 << 20):
                    out.write(data)
            return partial.replace(file).stat().st_size
        except (OSError, http.client.HTTPException) as error:
            raise Refusal(f"{file} is not written: {error or type(error).__name__}") from error
        finally:
            partial.unlink(missing_ok=True)
            wire.close()

    def _wire(self, timeout_s: float) -> Any:
        at = urlsplit(self.base)
        kind: Any = http.client.HTTPConnection
        more: dict[str, Any] = {"timeout": timeout_s}
        if at.scheme == "https":
            kind, more["context"] = http.client.HTTPSConnection, ssl.create_default_context(cafile=self.cacert or None)
        return kind(at.hostname, at.port, **more)

    def _send(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        at = urlsplit(self.base)
        wire = self._wire(TIMEOUT_S)
        headers = {"Content-Type": "application/json", **({"X-Auth-Token": self.token} if self.token else {})}
        try:
            wire.request(method, at.path + path, None if body is None else json.dumps(body), headers)
            answer = wire.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refusal(f"{self.base} does not answer {method} {path}: {error or type(error).__name__}") from error
        finally:
            wire.close()
        said = json.loads(raw) if "json" in (answer.getheader("content-type") or "") and raw else raw.decode()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, said


def find_client(places: Places, env: Mapping[str, str]) -> OperatorClient:
    """The client as the environment or the state directory has it. Raises Refusal when neither does."""
    if env.get("OS_AUTH_URL") and env.get("OS_USERNAME") and env.get("OS_PASSWORD"):
        domain = {"name": env.get("OS_PROJECT_DOMAIN_NAME", "Default")}
        project: dict[str, Any] = {"name": env.get("OS_PROJECT_NAME", ""), "domain": domain}
        if env.get("OS_PROJECT_ID"):
            project = {"id": env["OS_PROJECT_ID"]}
        base = env["OS_AUTH_URL"].rstrip("/").removesuffix("/v3").removesuffix("/identity")
        user_domain = env.get("OS_USER_DOMAIN_NAME", "Default")
        return OperatorClient(
            base, env["OS_USERNAME"], env["OS_PASSWORD"], project, user_domain, env.get("OS_CACERT", "")
        )
    record = processes.find(places.run / "api.json")
    account = accounts_in(read_json(places.credentials)).get("admin")
    if record is None or account is None:
        raise Refusal(f"this cloud is not up; start it: nutshell up{state_option(places)}")
    named = {"name": account.project, "domain": {"id": "default"}}
    cacert = str(record.facts.get("cacert") or "")
    return OperatorClient(record.facts["endpoint"], account.username, account.password, named, cacert=cacert)
