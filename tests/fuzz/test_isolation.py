"""Another project's things answer as nothing does: every route of every service, every role and scope.

Driven by the routes themselves: one that takes an id this test knows nothing of fails as not covered.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.fuzz.excuses import EXCUSES, excused
from tests.fuzz.isolation import Asked, Judge, distinct, requests
from tests.fuzz.people import callers, furnish
from tests.fuzz.places import named
from tests.fuzz.world import World

SERVICES = ("nutshell", "identity", "image", "placement", "network", "volume", "compute", "object_store")
WITH_FILTERS = ("owner", "domain manager")  # whose listings are asked with every filter


@dataclass(frozen=True)
class Stage:
    """The cloud with both sides in it, all settled, and who asks."""

    world: World
    judges: dict[str, Judge]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    world = World(tmp_path_factory.mktemp("isolation"))
    try:
        victim, own = furnish(world, "victim"), furnish(world, "own")
        tokens = callers(world, own)
        world.running.runner.stop()
        image = world.done("GET", "/image/v2/images?name=cirros")["images"][0]["id"]
        for side in (victim, own):
            side.ids["public_image"] = image
        kept: sqlite3.Connection = world.keep()
        yield Stage(world, {name: Judge(world, own, victim, token, kept) for name, token in tokens.items()})
    finally:
        world.close()


def asked_of(world: World, name: str) -> tuple[list[Asked], list[str]]:
    """Every request of a service's routes, and what is not covered."""
    found: list[Asked] = []
    missing: list[str] = []
    service = next(s for s in world.cloud.services if s.name == name)
    for route in distinct(service):
        try:
            found.extend(requests(service, route))
        except LookupError as why:
            missing.append(f"{named(service, route)}: {why}")
    return found, missing


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_is_covered(stage: Stage, service: str) -> None:
    assert not asked_of(stage.world, service)[1], "say what its ids are in tests/fuzz/places.py"


def test_every_service_is_covered(stage: Stage) -> None:
    public = {"system", "metadata"}  # metadata: a guest is known by the address its request comes from
    with_routes = {s.name for s in stage.world.cloud.services if s.routes}
    assert with_routes - public <= set(SERVICES), "add the service here, and its ids to tests/fuzz/places.py"


@pytest.mark.parametrize("service", SERVICES)
def test_another_projects_things_answer_as_nothing_does(stage: Stage, service: str) -> None:
    wrong = []
    for asked in asked_of(stage.world, service)[0]:
        for name, judge in stage.judges.items():
            if "?" in asked.path and name not in WITH_FILTERS:
                continue
            if judge.privileged(asked.route) or excused(str(asked), name):
                continue
            why = judge.wrong(asked)
            if why:
                wrong.append(f"{name}: {asked}\n    {why}")
    assert not wrong, f"{len(wrong)} answers:\n" + "\n".join(wrong[:20])


def test_each_excuse_still_excuses_something(stage: Stage) -> None:
    unused = []
    asked = {s: asked_of(stage.world, s)[0] for s in SERVICES}
    for excuse in EXCUSES:
        service = excuse.request.split(" /")[1].split("/")[0]
        names = [excuse.caller] if excuse.caller else list(stage.judges)
        mine = [a for a in asked[service] if excused(str(a), names[0])]
        if not any(stage.judges[n].wrong(a) for a in mine for n in names if not stage.judges[n].privileged(a.route)):
            unused.append(excuse.request)
    assert not unused, "these answer as nothing does now: take the excuse out"
