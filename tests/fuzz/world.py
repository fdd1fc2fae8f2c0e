"""A whole simulated cloud in this process, and callers of every role and scope who speak to it without a socket."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nutshell import app
from nutshell.core.config import CloudConfig, load_settings
from nutshell.core.store import SqliteStore

ADMIN_PASSWORD = "an admin's password"
HIGHEST = {
    "OpenStack-API-Version": "compute 2.96, volume 3.71, placement 1.39",
    "Content-Type": "application/json",
}


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class World:
    """`world.call("GET", "/compute/v2.1/servers", token=t)`; the loops run unless `loops=False`."""

    def __init__(self, state: Path, *, loops: bool = True, of: Any = None, **settings: Any) -> None:
        of = app.parts() if of is None else of
        given = {CloudConfig: {"state": state, "simulate": True, "admin_password": ADMIN_PASSWORD} | settings}
        self.running = app.build(load_settings(app.tables(of), None, {}, given), of=of)
        self.cloud = self.running.cloud
        self._loop = asyncio.new_event_loop()
        if loops:
            self.running.runner.start()
        self.admin = self.login("admin", ADMIN_PASSWORD, {"project": {"name": "admin", "domain": {"id": "default"}}})

    def call(
        self, method: str, path: str, body: Any = None, *, token: str = "", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """`body` is sent as JSON unless it is bytes."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Host": "cloud.example:5000", **HIGHEST, **(headers or {})}
        if method in ("PUT", "POST", "PATCH"):
            given.setdefault("Content-Length", str(len(data)))
        if token:
            given["X-Auth-Token"] = token
        parts = urlsplit(path)
        where = (parts.path.encode("utf-8", "surrogateescape"), parts.query.encode("utf-8", "surrogateescape"))
        return self.send(method, where, [data], given)

    def send(
        self, method: str, where: tuple[bytes, bytes], pieces: Sequence[bytes], headers: Mapping[str, str]
    ) -> Reply:
        """`where`: path and query as they go over the wire; the body comes in these pieces."""
        return self._loop.run_until_complete(self._send(method, where, list(pieces), headers))

    async def _send(
        self, method: str, where: tuple[bytes, bytes], pieces: list[bytes], headers: Mapping[str, str]
    ) -> Reply:
        out: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            out.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": where[0].decode("utf-8", "replace"),
            "raw_path": where[0],
            "query_string": where[1],
            "headers": [(k.lower().encode("latin1"), v.encode("latin1", "replace")) for k, v in headers.items()],
            "client": ("192.0.2.7", 4711),
            "server": ("cloud.example", 5000),
        }
        await self.running.app(scope, receive, send)
        start = next(m for m in out if m["type"] == "http.response.start")
        raw = b"".join(m.get("body", b"") for m in out if m["type"] == "http.response.body")
        raw += b"".join(Path(m["path"]).read_bytes() for m in out if m["type"] == "http.response.pathsend")
        return Reply(start["status"], {k.decode(): v.decode("latin1") for k, v in start["headers"]}, raw)

    def login(self, name: str, password: str, scope: Any = None) -> str:
        """A token by password; the user is of the default domain."""
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if scope is not None:
            auth["scope"] = scope
        reply = self.call("POST", "/identity/v3/auth/tokens", {"auth": auth})
        assert reply.status == 201, reply.raw
        return reply.headers["x-subject-token"]

    def done(self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str) -> Any:
        """The decoded answer of a request that must succeed."""
        reply = self.call(method, path, body, token=token or self.admin, headers=headers)
        assert reply.status < 400, f"{method} {path}: {reply.status} {reply.raw.decode()}"
        return reply.body if reply.raw and "json" in reply.headers.get("content-type", "") else None

    def until(self, true: Callable[[], Any], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.005)

    def keep(self) -> sqlite3.Connection:
        """A copy of the whole database as it is. The loops must have been stopped."""
        kept = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.backup(kept)
        return kept

    def restore(self, kept: sqlite3.Connection) -> None:
        """Put a copy back in place."""
        kept.backup(self._database)

    @property
    def _database(self) -> sqlite3.Connection:
        store = self.cloud.store
        assert isinstance(store, SqliteStore)
        return store._writer_connection

    def close(self) -> None:
        self.running.close()
        self._loop.close()
