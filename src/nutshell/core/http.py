"""The request pipeline at the socket: an ASGI application.

request id → limits → authenticate → route → version → authorise → validate → verb in a transaction → render → log.
Reads run where they arrive; writes run in the store's writer; routes that block run on threads.
"""

import asyncio
import io
import logging
import time
import typing as t
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from urllib.parse import parse_qs

import msgspec

from nutshell.core import errors
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.errors import Fault
from nutshell.core.events import Request, set_request
from nutshell.core.faults import Change, Cut, hang_up
from nutshell.core.perform import perform, prepare
from nutshell.core.policy import Who
from nutshell.core.routing import Found, Router
from nutshell.core.service import Answer, Ask, Route, Service
from nutshell.core.store import Tx
from nutshell.core.trace import Traces
from nutshell.core.versions import ALWAYS, Version

log = logging.getLogger("nutshell.http")
Scope = MutableMapping[str, t.Any]
Receive = Callable[[], Awaitable[MutableMapping[str, t.Any]]]
Send = Callable[[MutableMapping[str, t.Any]], Awaitable[None]]
NOBODY = Who()
BODY_WAIT_S = 60  # for a body that is read whole, or a file that is sent: who is slower is not served
DEEPEST = 64  # what a body may hold within one another: nothing of the API needs a tenth of it


class App:
    """`await app(scope, receive, send)`: the whole cloud."""

    def __init__(self, cloud: Cloud, traces: Traces, router: Router | None = None) -> None:
        """`router`: that of another cloud with the same services."""
        self.cloud, self.traces = cloud, traces
        self.router = cloud.ports[Router] = router or Router(cloud.services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        path = _raw_path(scope)
        mount = self.cloud.mounts.get(path.removeprefix("/").partition("/")[0])
        if mount is not None:  # a data path, which is its own pipeline
            await mount(scope, receive, send)
            return
        started = time.perf_counter()
        given = {k.decode("latin1"): v.decode("latin1") for k, v in scope["headers"]}
        socket = scope["type"] == "websocket"
        method = "WEBSOCKET" if socket else scope["method"]
        request_id = "req-" + str(uuid.uuid4())
        ask: Ask[t.Any] | None = None
        refused: Exception | None = None
        service = self.router.service_at(path)
        try:
            found = self.router.find(path)
            if found is None or (method == "WEBSOCKET" and not socket):  # nobody may call a method that
                raise errors.NoRoute()
            service = found.service
            ask = await self._ask(scope, found, method, path, given, request_id)
            ask.marks += (("began", started), ("authenticated", time.perf_counter()))
            answer = await self._answer(ask, receive, send)
        except Cut:
            hang_up(scope.get("client"))
            raise
        except Fault as fault:
            refused = fault
            answer = self._refusal(fault, service, request_id, given)
        except Exception as why:
            refused = why
            log.exception("%s %s %s failed", request_id, method, path)
            answer = self._refusal(
                Fault("The server has either erred or is incapable of performing the requested operation."),
                service,
                request_id,
                given,
            )
        if answer is None:  # a websocket served itself
            return
        if socket:
            await send({"type": "websocket.close", "code": 4000 + answer.http, "reason": str(answer.http)})
            return
        if ask is not None:
            ask.marks.append(("answered", time.perf_counter()))
        sent = await self._send(answer, method, service, ask, request_id, send)
        self.traces.finished(
            ask,
            request_id,
            method,
            path,
            answer.http,
            time.perf_counter() - started,
            sent,
            service.name if service else "",
            refused=refused,
        )

    async def _ask(
        self, scope: Scope, found: Found, method: str, path: str, headers: Mapping[str, str], request_id: str
    ) -> Ask[t.Any]:
        """The request with its caller, version and route; nothing of the body read yet."""
        service = found.service
        at = service.versions.asked(headers) if service.versions is not None else ALWAYS
        if service.versions is not None and found.routes[0].prefix in service.unversioned:
            at = service.versions.lowest
        route = choose(found.routes, method, at)
        query = (
            parse_qs(scope["query_string"].decode("latin1"), keep_blank_values=True) if scope["query_string"] else {}
        )
        token = headers.get("x-auth-token", "")
        who = NOBODY
        if not route.public or token:
            who = self._caller(token, route)
            if self.cloud.admits is not None:
                self.cloud.admits(who, service, method, path)
        set_request(Request(request_id, who.user_id, who.project_id))
        return Ask(
            who=who,
            tx=t.cast(Tx, None),
            cloud=self.cloud,
            service=service,
            route=route,
            method=method,
            path=path,
            params=found.params,
            query=query,
            headers=headers,
            base=self._base(scope, headers),
            request_id=request_id,
            at=at,
            token=token,
            source=(scope.get("client") or ("",))[0],
            sends_files="nutshell.descriptor" in scope.get("extensions", ()),
        )

    def _caller(self, token: str, route: Route) -> Who:
        if self.cloud.authenticate is None:
            return NOBODY
        if not token:
            raise self._unauthorized()
        try:
            return self.cloud.authenticate(token)
        except errors.Unauthorized:
            if route.public:
                return NOBODY
            raise self._unauthorized() from None

    @staticmethod
    def _unauthorized() -> Fault:
        return errors.Unauthorized(headers={"WWW-Authenticate": 'Keystone uri="/identity"'})

    def _base(self, scope: Scope, headers: Mapping[str, str]) -> str:
        fixed = self.cloud.settings[CloudConfig].endpoint
        if fixed:
            return fixed.rstrip("/")
        host = headers.get("x-forwarded-host", "").split(",")[0].strip() or headers.get("host", "localhost")
        scheme = headers.get("x-forwarded-proto", "").split(",")[0].strip() or scope.get("scheme", "http")
        return f"{ {'ws': 'http', 'wss': 'https'}.get(scheme, scheme) }://{host}"

    async def _answer(self, ask: Ask[t.Any], receive: Receive, send: Send) -> Answer | None:
        route, cloud = ask.route, self.cloud
        if route.socket:
            cloud.store.read(lambda tx: prepare(ask, tx))
            await route.handler(ask, receive, send)
            return None
        if route.streams:
            change = await self._struck(ask)
            ask.sends_files = ask.sends_files and change is None
            cloud.store.read(lambda tx: prepare(ask, tx))
            answer = t.cast(Answer, await route.handler(ask, receive))
            return answer if change is None else change(answer)
        ask.raw = await read_body(receive, ask.service.max_body)
        if route.method not in ("GET", "HEAD", "DELETE") or ask.raw:
            ask.body = _json(ask)
            if route.action == "*":
                ask.route = choose_action(ask)
        ask.marks.append(("read", time.perf_counter()))
        change = await self._struck(ask)
        answer = await self._carry_out(ask)
        return answer if change is None else change(answer)

    async def _struck(self, ask: Ask[t.Any]) -> Change | None:
        """What a fault rule makes of the answer; raises where it refuses the request instead."""
        faults = self.cloud.faults
        return await faults.request(ask) if faults is not None and faults.on else None

    async def _carry_out(self, ask: Ask[t.Any]) -> Answer:
        route, cloud = ask.route, self.cloud
        if route.before is not None:
            before = route.before
            cloud.store.read(lambda tx: prepare(ask, tx))
            ask.prepared = await asyncio.wrap_future(cloud.hashing.submit(_in_request, before, ask))
        if route.writes:
            for attempt in (1, 2, 3):
                try:
                    return await asyncio.wrap_future(cloud.store.submit(lambda tx: _perform(ask, tx)))
                except errors.StaleRow:
                    if attempt == 3:
                        raise
        if route.slow:
            return await asyncio.wrap_future(
                cloud.hashing.submit(_in_request, lambda a: cloud.store.read(lambda tx: _perform(a, tx)), ask)
            )
        return cloud.store.read(lambda tx: _perform(ask, tx))

    @staticmethod
    def _refusal(fault: Fault, service: Service | None, request_id: str, headers: Mapping[str, str]) -> Answer:
        from nutshell.core.service import plain_error

        if service is not None and service.refuses is not None:
            return service.refuses(fault, headers)

        body = (service.error if service is not None else plain_error)(fault, request_id)
        return Answer(fault.http, body, fault.headers)

    async def _send(
        self, answer: Answer, method: str, service: Service | None, ask: Ask[t.Any] | None, request_id: str, send: Send
    ) -> int:
        """Write the answer out; returns the body's bytes."""
        headers = {service.request_id_header if service else "x-openstack-request-id": request_id}
        if service is not None:
            headers.update(service.headers)
        if service is not None and service.versions is not None:
            headers.update(service.versions.headers(ask.at if ask is not None else service.versions.lowest))
            if service.versions.legacy:
                headers["x-compute-request-id"] = request_id
        body = answer.body
        if isinstance(body, bytes):
            data = body
        elif body is None:
            data = b""
        else:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        headers.update(answer.headers)
        if answer.chunks is None and answer.http != 204 and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(data))
        await send(
            {
                "type": "http.response.start",
                "status": answer.http,
                "headers": [
                    (k.lower().encode("latin1"), str(v).encode("latin1", "replace")) for k, v in headers.items()
                ],
            }
        )
        if answer.chunks is None or method == "HEAD":
            await send({"type": "http.response.body", "body": b"" if method == "HEAD" else data})
            return len(data)
        if isinstance(answer.chunks, io.IOBase):
            with answer.chunks as file:
                await send({"type": "http.response.pathsend", "path": (file.fileno(), BODY_WAIT_S)})
            return int(headers["Content-Length"])
        return await _send_chunks(answer.chunks, send)


def _in_request(work: Callable[[Ask[t.Any]], t.Any], ask: Ask[t.Any]) -> t.Any:
    """Run on another thread as part of the same request."""
    set_request(Request(ask.request_id, ask.who.user_id, ask.who.project_id))
    return work(ask)


def _perform(ask: Ask[t.Any], tx: Tx) -> Answer:
    ask.marks.append(("waited", time.perf_counter()))
    try:
        return perform(ask, tx)
    finally:
        ask.marks.append(("carried out", time.perf_counter()))


async def _send_chunks(chunks: t.Any, send: Send) -> int:
    sent = 0
    if hasattr(chunks, "__aiter__"):
        async for chunk in chunks:
            sent += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    else:
        for chunk in chunks:
            sent += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})
    return sent


def choose(routes: t.Sequence[Route], method: str, at: Version) -> Route:
    """The route for a method and version; several actions at one path answer as the pseudo route "*"."""
    mine = [r for r in routes if r.method == method] or (
        [r for r in routes if r.method == "GET"] if method == "HEAD" else []
    )
    if not mine:
        allowed = ", ".join(sorted({r.method for r in routes}))
        raise errors.MethodNotAllowed(method=method, headers={"Allow": allowed})
    if mine[0].action:
        return Route("POST", mine[0].path, _never, None, action="*", prefix=mine[0].prefix)
    for r in mine:
        if at in r.span:
            return r
    raise errors.NoRoute()


def _never(ask: Ask[t.Any]) -> t.Any:
    raise AssertionError("an action route is chosen by the body first")


def choose_action(ask: Ask[t.Any]) -> Route:
    """The action the body names."""
    body = ask.body
    if not isinstance(body, dict) or len(body) != 1:
        raise errors.BadRequest("Malformed request body: it must hold exactly one action.")
    name = next(iter(body))
    for r in ask.service.routes:
        if r.action == name and r.prefix == ask.route.prefix and r.path == ask.route.path and ask.at in r.span:
            return r
    raise errors.BadRequest(f"There is no such action: {name}")


async def read_body(receive: Receive, limit: int, wait_s: float = BODY_WAIT_S) -> bytes:
    """The whole body, or 413; 408 when it does not come."""
    try:
        async with asyncio.timeout(wait_s):
            return await _read_body(receive, limit)
    except TimeoutError:
        raise errors.RequestTimedOut(seconds=wait_s) from None


async def _read_body(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.BadRequest("The client went away before its request was whole.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise errors.RequestTooLarge(limit=limit)
        if part:
            parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _json(ask: Ask[t.Any]) -> t.Any:
    if not ask.raw:
        return None
    try:
        found = msgspec.json.decode(ask.raw)
        if ask.raw.count(b"[") + ask.raw.count(b"{") > DEEPEST and _depth(found) > DEEPEST:
            raise RecursionError
        return found
    except RecursionError:
        raise errors.BadRequest("Malformed request body: it is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if ask.route.body is None and ask.route.wrap == "":
            return None  # a route that takes any bytes reads `ask.raw`
        raise errors.BadRequest("Malformed request body: it is not valid JSON.") from None


def _depth(found: t.Any) -> int:
    """How many objects and lists stand within one another."""
    depth, level = 0, [found]
    while level:
        level = [
            v
            for one in level
            for v in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
        depth += 1
    return depth


def _raw_path(scope: Scope) -> str:
    raw = scope.get("raw_path") or scope["path"].encode()
    return t.cast(bytes, raw).split(b"?")[0].decode("latin1")


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
