"""A simulated cloud in this process and an HTTP client for its object store, without a socket."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nutshell import app
from nutshell.core.config import CloudConfig, load_settings
from nutshell.server.files import OFFERED


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    body: bytes
    by_file: bool = False  # the server was given the file to send

    def json(self) -> Any:
        return json.loads(self.body)


def file_sent(file: str | tuple[int, float], start: Any) -> bytes:
    """What the server would send: as much as was announced, of a path from its start, of an open file from where it
    stands."""
    size = int(dict(start["headers"])[b"content-length"])
    with open(file if isinstance(file, str) else os.dup(file[0]), "rb", buffering=0) as source:
        return source.read(size)


@dataclass
class Swift:
    """`swift("PUT", "/c/o", b"...")` as the administrator, in the administrators' account."""

    running: Any
    loop: asyncio.AbstractEventLoop
    token: str = field(default="", repr=False)
    root: str = ""

    def __call__(
        self, method: str, path: str = "", body: bytes = b"", query: str = "", token: str | None = None, **headers: str
    ) -> Got:
        given = {k.replace("_", "-"): v for k, v in headers.items()}
        if (token := self.token if token is None else token) and "x-auth-token" not in given:
            given["x-auth-token"] = token
        if method in ("PUT", "POST") and "transfer-encoding" not in given:
            given.setdefault("content-length", str(len(body)))
        return self.raw(method, quote(self.root + path), body, query, given)

    def raw(
        self, method: str, path: str, body: bytes, query: str, headers: Mapping[str, str], cut: bool = False
    ) -> Got:
        pieces = [body[i : i + 65536] for i in range(0, len(body), 65536)] or [b""]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                return {"type": "http.disconnect"}
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces) or cut}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.pathsend":
                message = {"type": message["type"], "body": file_sent(message["path"], sent[0])}
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "scheme": "http",
            "query_string": query.encode(), "client": ("127.0.0.1", 1), "extensions": {OFFERED: {}},
            "headers": [(k.encode(), v.encode()) for k, v in {"host": "cloud", **headers}.items()],
        }  # fmt: skip
        self.loop.run_until_complete(self.running.app(scope, receive, send))
        found = {k.decode(): v.decode("latin1") for k, v in sent[0]["headers"]}
        data = b"".join(m.get("body", b"") for m in sent[1:])
        return Got(sent[0]["status"], found, data, any(m["type"] == "http.response.pathsend" for m in sent))

    @property
    def engine(self) -> Any:
        """The engine itself, once it was used."""
        from nutshell.object_store.port import ObjectEngine

        return self.running.cloud.port(ObjectEngine)._made

    def log_in(self, project: str, user: str, password: str) -> str:
        login = {"x-auth-user": f"{project}:{user}", "x-auth-key": password}
        got = self.raw("GET", "/auth/v1.0", b"", "", login)
        assert got.status == 200, got
        self.root = got.headers["x-storage-url"].removeprefix("http://cloud")
        return got.headers["x-auth-token"]


@contextmanager
def swift_cloud(state: Path | None = None, engine: Any = None, **settings: object) -> Iterator[Swift]:
    from nutshell.object_store.settings import ObjectStoreConfig

    given = {"simulate": True, "admin_password": "secret", **({"state": str(state)} if state else {})}
    parts = app.parts()
    running = app.build(load_settings(app.tables(parts), None, {}, {CloudConfig: given, ObjectStoreConfig: settings}))
    if engine is not None:  # instead of the one on directories
        from nutshell.object_store.port import ObjectEngine

        made_later: Any = running.cloud.port(ObjectEngine)
        made_later.become(engine)
    loop = asyncio.new_event_loop()
    made = Swift(running, loop)
    made.token = made.log_in("admin", "admin", "secret")
    try:
        yield made
    finally:
        loop.close()
        running.close()
        if (engine := made.engine) is not None:
            engine.close()
