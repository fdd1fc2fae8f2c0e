"""The Swift API as an ASGI application: from the socket to the filters and back."""

import logging
import os
import time
import typing as t
from urllib.parse import parse_qsl

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.trace import Traces
from nutshell.object_store.sockets import draw_of, end_after, patient, send_answer, sends_parts
from nutshell.object_store.swift import accounts, containers, reads, writes
from nutshell.object_store.swift.authorize import authenticate
from nutshell.object_store.swift.direct import shortly
from nutshell.object_store.swift.messages import Refusal, Request, Response, plain, unquote
from nutshell.object_store.swift.pipeline import assemble, handled
from nutshell.object_store.swift.site import Site

log = logging.getLogger("nutshell.object_store")
Scope = t.MutableMapping[str, t.Any]
INNER = "x-object-sysmeta-"  # what the store's own parts keep beside an object; its owner does not see it
METHODS: t.Mapping[str, t.Mapping[str, t.Any]] = {
    "account": {"GET": accounts.get, "HEAD": accounts.get, "PUT": accounts.put, "POST": accounts.post,
                "DELETE": accounts.delete},
    "container": {"GET": containers.get, "HEAD": containers.get, "PUT": containers.put, "POST": containers.post,
                  "DELETE": containers.delete},
    "object": {"GET": reads.get, "HEAD": reads.get, "PUT": writes.put, "POST": writes.post, "DELETE": writes.delete},
}  # fmt: skip


class Application:
    """`await application(scope, receive, send)`, mounted at /object-store and, for old clients, at /v1."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.handle = assemble(site, self.serve)
        self._run = site.handle

    async def __call__(self, scope: Scope, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 4404})
            return
        started = time.perf_counter()
        patience_s = self.site.config.client_timeout_s
        trans_id = f"tx{os.urandom(11).hex()[:21]}-{int(time.time()):010x}"
        req: Request | None = None
        try:
            req = read_request(self.site.cloud, scope, patient(receive, patience_s), trans_id)
            answer = await handled(self._answer(req), req)
        except Refusal as why:
            answer = why.response()
        except Exception:
            log.exception("%s %s failed", trans_id, scope["method"])
            answer = plain(500)
        for name in [n for n in answer.headers if n.startswith(INNER)]:
            del answer.headers[name]
        answer.headers["x-trans-id"] = answer.headers["x-openstack-request-id"] = trans_id
        end_after(scope, answer)
        sent = 0
        try:
            sent = await send_answer(scope["method"], answer, send, _latin1, patience_s)
        finally:
            self.site.cloud.port(Traces).finished(
                None,
                trans_id,
                scope["method"],
                req.path if req is not None else "",
                answer.status,
                time.perf_counter() - started,
                sent,
                "object_store",
                *((req.who,) if req is not None else ()),
            )

    async def _answer(self, req: Request) -> Response:
        authenticate(self.site.cloud, req)
        return await shortly(self.site, req) or await self._run(req)

    async def serve(self, req: Request) -> Response:
        """The innermost: accounts, containers, objects themselves."""
        if not req.account:
            raise Refusal(404)
        kind = "object" if req.obj else "container" if req.container else "account"
        handler = METHODS[kind].get(req.method)
        if handler is None:
            raise Refusal(405, headers={"allow": ", ".join([*METHODS[kind], "OPTIONS"])})
        found: Response = await handler(self.site, req)
        return found


def _latin1(text: str) -> bytes:
    return text.encode("latin1", "replace")


def read_request(cloud: Cloud, scope: Scope, receive: t.Any, trans_id: str) -> Request:
    """The request as the filters take it. 404, 412 for paths that are none."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.split(b"?")[0].decode("latin1")
    headers: dict[str, str] = {}
    for key, value in scope["headers"]:
        name = key.decode("latin1").lower()
        if "-sysmeta-" in name or name.startswith("x-backend-"):  # what the parts of the store tell each other
            continue
        text = value.decode("latin1")
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    mount, rest = ("/object-store", path[len("/object-store") :]) if path.startswith("/object-store") else ("", path)
    parts = rest.split("/", 4)
    text = scope["query_string"].decode("latin1")
    query = dict(parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="surrogateescape")) if text else {}
    for value in query.values():
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refusal(412, "Invalid UTF8 or contains NULL") from None
    version, account, container, obj = ([unquote(p) for p in parts[1:]] + ["", "", "", ""])[:4]
    if len(parts) > 3 and not container and obj:
        raise Refusal(404)
    fixed = cloud.settings[CloudConfig].endpoint
    client = scope.get("client") or ("",)
    return Request(
        scope["method"],
        path,
        mount,
        version,
        account,
        container,
        obj,
        headers,
        query,
        receive,
        draw_of(scope),
        base=fixed.rstrip("/") if fixed else f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}",
        client=client[0],
        trans_id=trans_id,
        notes={"may_send_file": True, "may_send_part": sends_parts(scope), "raw_query": text},
    )
