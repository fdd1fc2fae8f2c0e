"""Every route with bodies, paths, queries and versions from its OpenAPI document and worse, on a simulated cloud.

No answer is a 5xx; a refusal changes nothing in the database; an answer is what the document says.
`FUZZ_MINUTES` goes on that long with further seeds, from `FUZZ_SEED` on (`make fuzz`).
"""

import hashlib
import json
import os
import shlex
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.fuzz.isolation import HOLE
from tests.fuzz.people import Side, furnish
from tests.fuzz.places import bodies, template
from tests.fuzz.values import NUMBERS, ODD, TEXTS, Values, fits
from tests.fuzz.world import Reply, World

from nutshell.core.service import Route, Service
from nutshell.core.versions import show
from nutshell.operator.openapi.document import BODIES, body_of, document, newest
from nutshell.operator.openapi.shapes import Kinds, answered, parameters

SEED = int(os.environ.get("FUZZ_SEED", "1"))
MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
SERVICES = ("nutshell", "identity", "image", "placement", "network", "volume", "compute", "metadata", "object_store")
ROUNDS = 6  # requests of each kind for each route
BOOKKEEPING = ("identity_login_failures", "identity_logins")  # failed log-ins are counted
JUNK = (b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{}{}", b"[" * 3000, b"\x00", b"{\x00}",
        b'{"a":' * 900 + b"1" + b"}" * 900, b'{"a": 1, "a": 2}', b'{"a": 1e999}', b'{"a": NaN}',
        b'{"a": "\\ud800"}')  # fmt: skip


@dataclass
class Field:
    """The cloud, as it is before every request."""

    world: World
    side: Side
    kept: sqlite3.Connection
    digest: str = ""

    def reset(self) -> None:
        self.world.restore(self.kept)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    world = World(tmp_path_factory.mktemp("requests"))
    try:
        side = furnish(world, "own")
        side.ids["public_image"] = world.done("GET", "/image/v2/images?name=cirros")["images"][0]["id"]
        world.running.runner.stop()
        made = Field(world, side, world.keep())
        made.digest = digest(world)
        yield made
    finally:
        world.close()


def digest(world: World) -> str:
    """Of everything in the database but the bookkeeping of log-ins."""
    found = hashlib.sha256()
    base = world._database
    for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name").fetchall():
        if name not in BOOKKEEPING and not name.startswith("sqlite_"):
            for row in base.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall():
                found.update(repr((name, row)).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


class Fuzz:
    """Requests to one service from one seed."""

    def __init__(self, ground: Field, service: Service, seed: int) -> None:
        self.ground, self.service = ground, service
        self.random = Random(f"{service.name}/{seed}")
        self.side = ground.side
        self.paper = document(service)
        self.values = Values(self.random, self.paper["components"]["schemas"], list(self.side.ids.values()))
        self.wrong: list[str] = []
        self.sent = 0

    def route(self, route: Route) -> None:
        """Some requests of every kind to this route."""
        kinds = Kinds()
        shape = body_of(self.service, route, kinds) if route.method in BODIES else None
        self.values.components = kinds.components
        answer = answered(self.service, route, kinds)
        plain = self.path(route, self.own)
        if answer is not None:
            self.send(route, plain, None, self.ground.world.admin, answer)
        for _ in range(ROUNDS):
            token = self.random.choice((self.side.token, self.ground.world.admin))
            if shape is None:
                self.send(route, self.path(route, self.odd), None, token)
                self.send(route, plain + self.query(route), None, token)
                continue
            given = self.values.fitting(shape)
            self.send(route, plain, given, token)
            self.send(route, plain, self.values.spoilt(given), token)
            self.send(route, self.path(route, self.odd), given, token)
            for told in self.told(route):
                self.send(route, plain, self.values.spoilt(told), token)
        if route.method in BODIES:
            self.send(route, plain, self.random.choice(JUNK), self.ground.world.admin)

    def told(self, route: Route) -> list[Any]:
        """The bodies the test of isolation knows, with our own ids."""
        try:
            known = bodies(self.service, route)
        except LookupError:
            return []
        ids = {**self.side.ids, "token": self.side.token, "own": self.side.ids["network"]}
        return [json.loads(HOLE.sub(lambda m: ids[m[0][1:]], json.dumps(b))) for b in known[:3]]

    def path(self, route: Route, fill: Any) -> str:
        try:
            pattern = template(self.service, route)
        except LookupError:
            pattern = "/".join("x" if s.startswith("{") else s for s in route.path.split("/"))
        return self.service.mount + route.prefix + HOLE.sub(lambda m: quote(fill(m[0][1:]), safe=""), pattern)

    def own(self, kind: str) -> str:
        return self.side.ids[kind]

    def odd(self, kind: str) -> str:
        text = self.random.choice((*TEXTS[:20], *(str(n) for n in NUMBERS), self.side.ids[kind], "x" * 300))
        return text or "-"

    def query(self, route: Route) -> str:
        r = self.random
        names = [p["name"] for p in parameters(self.service, route) if p["in"] == "query"]
        names += [
            "limit",
            "marker",
            "sort",
            "sort_key",
            "sort_dir",
            "fields",
            "changes-since",
            "all_tenants",
            "x",
            "name",
        ]
        pairs = [
            (r.choice(names), str(r.choice((*TEXTS, *NUMBERS, *self.side.ids.values()))))
            for _ in range(r.randrange(1, 4))
        ]
        return "?" + urlencode(pairs)[:8000]

    def headers(self, route: Route, older: bool) -> Mapping[str, str]:
        found = {}
        versions = self.service.versions
        if versions is not None and older and self.random.random() < 0.3:
            low, high = max(versions.lowest, route.span.since), min(versions.highest, route.span.until)
            found["OpenStack-API-Version"] = f"{versions.name} {show((low[0], self.random.randint(low[1], high[1])))}"
        elif versions is not None:
            found["OpenStack-API-Version"] = f"{versions.name} {show(min(versions.highest, route.span.until))}"
        if route.method == "PATCH" and self.service.name == "image":
            found["Content-Type"] = "application/openstack-images-v2.1-json-patch"
        elif route.streams:
            found["Content-Type"] = "application/octet-stream"
        return found

    def send(self, route: Route, path: str, body: Any, token: str, answer: Any = None) -> None:
        """One request, judged."""
        self.sent += 1
        world, headers = self.ground.world, self.headers(route, older=answer is None)
        changes = world._database.total_changes
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
        reply = world.call(route.method, path, data, token=token, headers=headers)
        touched = world._database.total_changes != changes
        why = ""
        if reply.status >= 500 and reply.status != 501:
            why = f"answered {reply.status}"
        elif reply.status >= 400 and touched and digest(world) != self.ground.digest:
            why = f"refused ({reply.status}), and changed something"
        elif reply.status < 300 and answer is not None:
            why = fits(reply.body, answer, self.values.components)
        if touched and (reply.status < 400 or why):
            self.ground.reset()
        if why:
            self.wrong.append(f"{why}\n{curl(route.method, path, data, headers)}\n  {said(reply)}")


def curl(method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> str:
    """The request as a command."""
    words = ["curl", "-sX", method, "-H", "X-Auth-Token: $TOKEN"]
    for name, value in {"Content-Type": "application/json", **headers}.items():
        words += ["-H", f"{name}: {value}"]
    if data is not None:
        words += ["--data-binary", data.decode("utf-8", "backslashreplace")[:400]]
    return " ".join(shlex.quote(w) for w in [*words, f"http://127.0.0.1:5000{path}"])


def said(reply: Reply) -> str:
    return reply.raw.decode("utf-8", "replace")[:300]


@pytest.mark.parametrize("name", SERVICES)
def test_no_request_breaks_the_cloud(ground: Field, name: str, caplog: pytest.LogCaptureFixture) -> None:
    service = next(s for s in ground.world.cloud.services if s.name == name)
    end, seed = time.monotonic() + 60 * MINUTES / len(SERVICES), SEED
    while True:
        fuzz = Fuzz(ground, service, seed)
        for route in newest(service):
            fuzz.route(route)
        traces = {(r.exc_text or "")[-400:]: None for r in caplog.records if r.exc_info}
        told = "\n".join([*fuzz.wrong[:15], *list(traces)[:6]])
        assert not fuzz.wrong, f"seed {seed}: {len(fuzz.wrong)} of {fuzz.sent}\n{told}"
        seed += 1
        if time.monotonic() >= end:
            return


def test_every_service_is_fuzzed(ground: Field) -> None:
    assert {s.name for s in ground.world.cloud.services if s.routes} - {"system"} <= set(SERVICES)


def test_the_checks_see_what_they_look_for(ground: Field) -> None:
    """A change is seen in the digest, an answer of another shape is not taken."""
    before = digest(ground.world)
    ground.world.done("POST", "/network/v2.0/networks", {"network": {"name": "new"}})
    assert digest(ground.world) != before
    ground.reset()
    assert digest(ground.world) == before
    assert fits(
        {"a": [1, "x"]}, {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}, {}
    )
    assert not fits(
        {"a": None}, {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, {}
    )
    assert ODD
