"""What recording traces costs a request: processor time with and without, in one process, taken in turns.

python bench/traces.py [ROUNDS]. Turns of a few requests each cancel what else the machine does; the loss shown is the
median over pairs of turns, with the middle half of the pairs.
"""

import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nutshell import app
from nutshell.core.config import CloudConfig, load_settings
from nutshell.core.events import Event
from nutshell.operator.recorder import Ring

PASSWORD = "only for this run"
Call = Callable[..., Awaitable[tuple[int, dict[bytes, bytes], Any]]]


def caller(asgi: Any) -> Call:
    """`await call(method, path, body, token)`: straight into the application, no socket."""

    async def call(method: str, path: str, body: Any = None, token: str = "") -> tuple[int, dict[bytes, bytes], Any]:
        data = json.dumps(body).encode() if body is not None else b""
        headers = [(b"host", b"bench"), (b"content-type", b"application/json"), (b"x-auth-token", token.encode())]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"headers": headers if token else headers[:2], "client": ("127.0.0.1", 1), "scheme": "http"}
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await asgi(scope, receive, send)
        text = b"".join(m.get("body", b"") for m in sent[1:])
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(text)

    return call


async def measure(running: app.Running, rounds: int) -> None:
    call = caller(running.app)
    user = {"name": "admin", "password": PASSWORD, "domain": {"id": "default"}}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    status, headers, said = await call("POST", "/identity/v3/auth/tokens", {"auth": auth})
    assert status == 201, said
    token, project = headers[b"x-subject-token"].decode(), said["token"]["project"]["id"]
    running.cloud.write(lambda tx: running.cloud.quotas.set_limits(tx, project, {"network.port": -1}))
    _, _, made = await call("POST", "/network/v2.0/networks", {"network": {"name": "n"}}, token)
    port = {"port": {"network_id": made["network"]["id"]}}
    ring = running.cloud.port(Ring)
    on = [False]

    def told(events: Any) -> None:
        if on[0]:
            Ring.committed(ring, events)

    listeners: list[Any] = running.cloud.store._told  # type: ignore[attr-defined]
    listeners[:] = [told if getattr(one, "__self__", None) is ring else one for one in listeners]
    for _ in range(ring.keep + 100):  # full: from here on an old trace goes for each new one
        ring.committed([Event(0.0, "k", "v", "r", request_id=running.cloud.clock.new_id())])
    for name, method, path, body, turn in (
        ("GET networks", "GET", "/network/v2.0/networks", None, 20),
        ("POST port", "POST", "/network/v2.0/ports", port, 6),
    ):
        taken: dict[bool, list[float]] = {True: [], False: []}
        for n in range(-5, rounds):
            for which in (True, False) if n % 2 else (False, True):
                on[0] = which
                running.cloud.recorder = running.traces.recorder = ring if which else None
                began = time.process_time()
                for _ in range(turn):
                    assert (await call(method, path, body, token))[0] in (200, 201)
                if n >= 0:
                    taken[which].append((time.process_time() - began) / turn * 1e6)
        ratios = [a / b - 1 for a, b in zip(taken[True], taken[False], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name}: {statistics.median(taken[False]):.0f} us without, {statistics.median(taken[True]):.0f} us with;"
              f" loss {middle:+.1%} (half of the pairs between {low:+.1%} and {high:+.1%})", flush=True)  # fmt: skip


def main(rounds: int) -> None:
    log = logging.getLogger("nutshell.access")  # on, as it is in a cloud, and written to nowhere
    log.setLevel(logging.INFO)
    log.addHandler(logging.FileHandler(os.devnull))
    log.propagate = False
    with tempfile.TemporaryDirectory(prefix="nutshell-bench-") as name:
        given = {"state": Path(name), "simulate": True, "admin_password": PASSWORD}
        running = app.build(load_settings(app.tables(app.parts()), None, {}, {CloudConfig: given}))
        running.runner.start()
        asyncio.run(measure(running, rounds))
        running.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 150)
    sys.stdout.flush()
    os._exit(0)  # threads that wait for news
