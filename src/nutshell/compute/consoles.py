"""Consoles of servers: the log, and live VNC and serial ones over a websocket with a token that serves once.

Source: Compute API, "Show Console Output", "Create Console"; RFC 6455. The websocket carries the console's bytes as
binary messages, which is what noVNC and serial console clients speak.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from nutshell.compute import wire
from nutshell.compute.capability import Consoles
from nutshell.compute.errors import WrongState
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.drivers import DriverFault
from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx

RULE = "os_compute_api:os-remote-consoles"
LIFETIME_S = 600.0
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f]")
PAGE = """<!DOCTYPE html>
<html><head><title>{kind} console</title></head><body>
<p>This is the address of a {kind} console. A client such as noVNC opens it as a websocket, once; its messages are the
console's bytes:</p>
<pre id="address"></pre>
<script>document.getElementById("address").textContent = location.href.replace(/^http/, "ws")</script>
</body></html>
"""
TYPES = {"novnc": "vnc", "serial": "serial"}
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ConsoleToken(Resource, service="compute", one="console_token", many="console_tokens"):
    """Leave to open one console once. `id` is the token's SHA-256: the token itself is known to its asker only."""

    server_id: str = field()
    kind: str = field()
    expires_at: float = field(index=True)


class NoConsole(NotFound):
    """{why}"""


class Length(Body):
    length: int | str | None = field(default=None)


def _read_log(ask: Ask[Server]) -> str:
    s, asked = ask.target, ask.given.get("length")
    lines: int | None = None
    if asked is not None:
        try:
            lines = int(asked)
        except ValueError:
            raise wire.invalid("length", asked, f"{asked!r} does not match '^-?[0-9]+$'") from None
        lines = None if lines < 0 else lines
    if not s.host:
        raise Conflict(f"Instance {s.id} is not ready")
    try:
        return ask.cloud.driver(Consoles).console_log(s.id, lines)
    except DriverFault as why:
        if s.launched_at is None:
            raise Conflict(f"Instance {s.id} is not ready") from None
        raise NoConsole(f"Guest does not have a console available: {why.why}") from None


@compute.action(
    Server, "os-getConsoleOutput", rule="os_compute_api:os-console-output", body=Length, http=200, writes=False,
    slow=True,
)  # fmt: skip
def console_output(ask: Ask[Server]) -> Any:
    return {"output": UNPRINTABLE.sub("", _read_log(ask))}


# -- asking for a live console


def _open(ask: Ask[Server], console_type: str) -> str:
    """The console's address with a new token. 400 for a type there is none of, 409 for a server that has none now."""
    s = ask.target
    kind = TYPES.get(console_type)
    if kind is None:
        raise BadRequest(f"Unavailable console type {console_type}.")
    if s.launched_at is None:
        raise Conflict(f"Instance {s.id} is not ready")
    if s.vm_state not in ("active", "paused", "rescued", "resized", "error"):
        raise WrongState(action=f"get_{kind}_console", id=s.id, attr="vm_state", state=s.vm_state)
    token = secrets.token_urlsafe(32)
    ask.tx.drop_where(ConsoleToken, ConsoleToken.c("expires_at") < ask.now)
    held = ConsoleToken(id=hash_token(token), server_id=s.id, kind=kind, expires_at=ask.now + LIFETIME_S)
    ask.tx.add(held, quiet=True)
    path = f"{ask.service.mount}/consoles/{kind}?token={token}"
    if kind == "serial":
        return re.sub("^http", "ws", ask.base) + path
    page, _, rest = path.partition("?")  # noVNC's form: a page, and the websocket's path as a parameter
    return f"{ask.base}{page}?{rest}&path={quote(path.lstrip('/'), safe='')}"


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class OldConsole(Body):
    type: str = field()


def _old(name: str, allowed: tuple[str, ...]) -> None:
    def act(ask: Ask[Server]) -> Any:
        asked = ask.given["type"]
        if asked not in allowed:
            raise wire.invalid("type", asked, f"{asked!r} is not one of {list(allowed)}")
        return {"console": {"type": asked, "url": _open(ask, asked)}}

    compute.action(Server, name, rule=RULE, body=OldConsole, http=200, until="2.5")(act)


_old("os-getVNCConsole", ("novnc", "xvpvnc"))
_old("os-getSPICEConsole", ("spice-html5",))
_old("os-getSerialConsole", ("serial",))


class NewConsole(Body):
    protocol: str = field(pattern="^(vnc|spice|serial|rdp|mks)$")
    type: str = field(pattern="^(novnc|xvpvnc|spice-html5|spice-direct|serial|rdp-html5|webmks)$")


@compute.route(
    "POST", "/servers/{id}/remote-consoles", rule=RULE, noun=Server, loads=True, body=NewConsole,
    wrap="remote_console", since="2.6",
)  # fmt: skip
def create_console(ask: Ask[Server]) -> Any:
    protocol, asked = ask.given["protocol"], ask.given["type"]
    if TYPES.get(asked) != protocol:
        raise BadRequest(f"Unavailable console type {asked}.")
    return {"remote_console": {"protocol": protocol, "type": asked, "url": _open(ask, asked)}}


# -- the console itself


@compute.route("GET", "/consoles/{kind}", public=True, prefixes=("",))
def explain(ask: Ask[Any]) -> Answer:
    """For a browser that opens the address itself: what it is. The token is not used up."""
    text = PAGE.format(kind="VNC" if ask.params["kind"] == "vnc" else "serial")
    return Answer(200, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


@compute.route("WEBSOCKET", "/consoles/{kind}", public=True, prefixes=("",), socket=True)
async def serve_console(ask: Ask[Any], receive: Receive, send: Send) -> None:
    """Bridge a websocket to the guest's console until either side ends."""
    token, kind = ask.asked("token"), ask.params["kind"]
    held = await ask.cloud.write_async(lambda tx: _redeem(tx, token, kind))
    if held is None:
        raise NoConsole("The token is not valid.")
    driver = ask.cloud.driver(Consoles)
    try:
        path = await ask.cloud.in_thread(lambda: driver.console_address(held, kind))
        reader, writer = await asyncio.open_unix_connection(path)
    except (DriverFault, OSError) as why:
        raise Conflict(f"The console cannot be reached: {why}") from None
    await receive()  # websocket.connect
    offered = [p.strip() for p in ask.headers.get("sec-websocket-protocol", "").split(",")]
    await send({"type": "websocket.accept", "subprotocol": "binary" if "binary" in offered else None})
    try:
        up = asyncio.create_task(_to_guest(receive, writer))
        down = asyncio.create_task(_from_guest(reader, send))
        _, rest = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        if not up.done() or up.cancelled() or down.done():
            await send({"type": "websocket.close", "code": 1000})
    finally:
        writer.close()


def _redeem(tx: Tx, token: str, kind: str) -> str | None:
    """The server a token is for; the token is used up."""
    found = tx.get(ConsoleToken, hash_token(token))
    if found is None or found.kind != kind or found.expires_at < tx.now:
        return None
    tx.drop(found, quiet=True)
    server = tx.get(Server, found.server_id)
    return server.id if server is not None else None


async def _to_guest(receive: Receive, writer: asyncio.StreamWriter) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes") or (message.get("text") or "").encode()
        writer.write(data)
        await writer.drain()


async def _from_guest(reader: asyncio.StreamReader, send: Send) -> None:
    while data := await reader.read(65_536):
        await send({"type": "websocket.send", "bytes": data})
