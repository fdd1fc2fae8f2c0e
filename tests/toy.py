"""A small service that uses everything the core offers, for the core's own tests."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nutshell import app
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, load_settings
from nutshell.core.errors import Conflict
from nutshell.core.operations import Operation, begin, finish, open_on
from nutshell.core.policy import Who
from nutshell.core.reconcile import Loop, settling
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask, Service
from nutshell.core.versions import Versions
from tests.database import database_for


class Boat(
    Resource,
    service="toy",
    one="boat",
    many="boats",
    tombstone=True,
    visible="toy:get",
    unique=(("project_id", "name"),),
):
    """A thing that floats."""

    project_id: str = field(default="", brief=True)
    name: str = field(write="create update", max_length=20, brief=True, filter=True, sort=True)
    length_m: int = field(default=1, wire="length", write="create", lo=1, sort=True, filter=True)
    captain: str | None = field(default=None, write="create update", since="1.2", sort=True)
    secret_port: str = field(default="Tortuga", see="toy:secret")
    shared: bool = field(default=False, write="create", hidden=True)
    afloat: bool = field(default=False, hidden=True)
    due_at: float | None = field(default=None, hidden=True, index=True)


class Ballast(Body):
    """How much to load."""

    tons: int = field(lo=1, hi=9)


@dataclass(frozen=True)
class ToyConfig:
    """Settings of the toy."""

    table: ClassVar[str] = "toy"


@Boat.shows("status", brief=True)
def status(boat: Boat, ctx: Context) -> str:
    return "afloat" if boat.afloat else "building"


def make_service() -> Service:
    toy = Service("toy", "/toy", prefixes=("/v1",), versions=Versions("toy", (1, 1), (1, 5)), detail_route=True)
    toy.policy(
        {
            "toy:get": "rule:project_reader_or_admin or field:boats:shared=True",
            "toy:create": "role:member",
            "toy:change": "rule:project_member_or_admin",
            "toy:secret": "role:admin",
        }
    )
    toy.reads(Boat, list_rule="toy:create", show_rule="toy:get")

    @toy.verb(Boat, "create", rule="toy:create", http=202)
    def create(ask: Ask[Boat]) -> Boat:
        if ask.tx.count(Boat, name=ask.given["name"], project_id=ask.who.project_id):
            raise Conflict(f"a boat is called {ask.given['name']} already")
        ask.cloud.quotas.take(ask.tx, ask.who.project_id, {"toy.boats": 1})
        return ask.tx.add(Boat(id=ask.new_id(), project_id=ask.who.project_id, due_at=ask.now, **ask.given))

    @toy.verb(Boat, "update", rule="toy:change")
    def update(ask: Ask[Boat]) -> Boat:
        return ask.tx.put(ask.target, **ask.given)

    @toy.verb(Boat, "delete", rule="toy:change")
    def delete(ask: Ask[Boat]) -> None:
        ask.cloud.quotas.give_back(ask.tx, ask.target.project_id, {"toy.boats": 1})
        ask.tx.drop(ask.target)

    @toy.action(Boat, "load", rule="toy:change", body=Ballast)
    def load(ask: Ask[Boat]) -> None:
        begin(ask.tx, ask.target, "load", {"tons": ask.given["tons"]}, new_id=ask.new_id(), deadline_s=60)
        ask.tx.put(ask.target, due_at=ask.now)

    @toy.route("POST", "/echo", rule="toy:create", streams=True)
    async def echo(ask: Ask[Any], receive: Any) -> Answer:
        """Sends back what it is sent, as it comes."""

        async def parts() -> AsyncIterator[bytes]:
            while True:
                message = await receive()
                yield message.get("body", b"").upper()
                if not message.get("more_body"):
                    return

        return Answer(200, chunks=parts())

    return toy


LOAD_STEPS = ("opened", "filled", "closed")


def settle(cloud: Cloud, boat: Boat) -> None:
    """Float a new boat; carry out a load step by step, each in a transaction of its own."""
    operation = cloud.read(lambda tx: open_on(tx, boat.id))
    if operation is None:
        cloud.write(lambda tx: tx.put(boat, afloat=True, due_at=None))
        return
    step = next_step(operation)
    if step is None:
        tons = operation.args["tons"]

        def done(tx: Any) -> None:
            finish(tx, operation)
            tx.put(boat, length_m=boat.length_m + tons, due_at=None)

        cloud.write(done)
        return

    def advance(tx: Any) -> None:
        tx.put(operation, step=step, quiet=True)
        tx.put(boat, due_at=tx.now)

    cloud.write(advance)


def next_step(operation: Operation) -> str | None:
    """The step after the last finished one."""
    at = LOAD_STEPS.index(operation.step) + 1 if operation.step else 0
    return LOAD_STEPS[at] if at < len(LOAD_STEPS) else None


def toy_who(token: str) -> Who:
    """Tokens are "user:project:role,role"."""
    user, project, roles = token.split(":")
    return Who(user_id=user, project_id=project, roles=frozenset(roles.split(",")))


def wire(cloud: Cloud) -> None:
    cloud.authenticate = toy_who


def loops(cloud: Cloud) -> list[Loop]:
    return [settling("boats", Boat, settle)]


def start(state: Path | None) -> app.Running:
    """A cloud of only the toy."""
    part = app.Part(make_service(), ToyConfig, {"boats": 10}, wire, loops, lambda cloud, tx: None)
    settings = load_settings(
        [CloudConfig, ToyConfig],
        None,
        {},
        {CloudConfig: {"state": state, "simulate": True, "database": database_for(state)}} if state else {},
    )
    return app.build(settings, of=[part])
