"""The door of one private cloud: it hands requests to the cloud and notes those that nothing there answers."""

import time
from collections import deque
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from nutshell.core import errors
from nutshell.core.http import App, Receive, Scope, Send, choose
from nutshell.core.versions import ALWAYS

SHOWN = 2000  # bytes of a body that are shown at most
KEPT = 10_000  # requests remembered


@dataclass(frozen=True)
class Unanswered:
    """A request that no route of the cloud takes, or that failed inside it."""

    method: str
    path: str
    why: str
    client: str = ""
    body: str = ""

    def __str__(self) -> str:
        shown = f"  {self.method} {self.path}\n    {self.why}"
        if self.client:
            shown += f"\n    from {self.client}"
        return shown + (f"\n    {self.body}" if self.body else "")


class Front:
    """An ASGI application around a cloud's own."""

    def __init__(self, name: str, app: App) -> None:
        self.name, self.app = name, app
        self.unanswered: list[Unanswered] = []
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._allowed: list[tuple[str, str]] = []

    def allow(self, method: str, path: str) -> None:
        """Such requests may go unanswered; both may hold `*`."""
        self._allowed.append((method.upper(), path))

    def note(self, found: Unanswered) -> None:
        if not any(fnmatchcase(found.method, m) and fnmatchcase(found.path.split("?")[0], p) for m, p in self._allowed):
            self.unanswered.append(found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        heard: list[bytes] = []
        status = [0]

        async def listen() -> MutableMapping[str, Any]:
            message = await receive()
            if sum(map(len, heard)) < SHOWN:
                heard.append(message.get("body", b""))
            return message

        async def answer(message: MutableMapping[str, Any]) -> None:
            status[0] = message.get("status", status[0])
            await send(message)

        path = (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0].decode("latin1")
        query = "?" + scope["query_string"].decode("latin1") if scope["query_string"] else ""
        mounted = path.split("/", 2)[1] in self.app.cloud.mounts
        if not mounted and self.app.router.find(path) is None:
            await self._hear(listen)
        began = time.perf_counter()
        await self.app(scope, listen, answer)
        ms = (time.perf_counter() - began) * 1000
        self.requests.append({"method": scope["method"], "path": path + query, "status": status[0], "ms": ms})
        why = self._why(scope, path, status[0], mounted)
        if why:
            client = dict(scope["headers"]).get(b"user-agent", b"").decode("latin1")
            body = b"".join(heard)[:SHOWN].decode(errors="replace")
            self.note(Unanswered(scope["method"], path + query, why, client, body))

    @staticmethod
    async def _hear(listen: Receive) -> None:
        """The beginning of a body that nobody will read, so that it can be shown."""
        for _ in range(4):
            if not (await listen()).get("more_body"):
                return

    def _why(self, scope: Scope, path: str, status: int, mounted: bool) -> str:
        """Why a request counts as unanswered; empty when it does not."""
        faults = self.app.cloud.faults
        if status == 500 and not (faults is not None and faults.on):
            return "the cloud failed (500): a bug of the simulation, please report it"
        if status not in (404, 405) or mounted:
            return ""
        found = self.app.router.find(path)
        if found is None:
            service = self.app.router.service_at(path)
            here = ", ".join(sorted(s.mount for s in self.app.cloud.services if s.mount))
            return "no route has this path" if service and service.mount else f"no service is here; there are {here}"
        headers = {k.decode("latin1"): v.decode("latin1") for k, v in scope["headers"]}
        try:
            at = found.service.versions.asked(headers) if found.service.versions is not None else ALWAYS
            if found.service.versions is not None and found.routes[0].prefix in found.service.unversioned:
                at = found.service.versions.lowest
            choose(found.routes, scope["method"], at)
        except errors.MethodNotAllowed:
            return f"no route has this method here; there are {', '.join(sorted({r.method for r in found.routes}))}"
        except errors.NoRoute:
            return f"no route has this path in version {at}"
        except errors.Fault:
            return ""
        return ""


def as_report(found: Sequence[Unanswered]) -> str:
    """What a failing test prints."""
    listed = "\n".join(map(str, found))
    return (
        f"{len(found)} request(s) that nothing in the cloud answered:\n{listed}\n"
        "Allow what is meant to be so: cloud.allow_unanswered(method, path), or cloud(allow_unanswered=True)."
    )
