"""Objects of another project's account answer as those of an account that does not exist, whoever asks."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.fuzz.isolation import plain
from tests.fuzz.people import Side, _people, callers
from tests.fuzz.world import Reply, World

ROOT = "/object-store/v1/AUTH_"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
BELOW = (
    "",
    "/box",
    "/box/thing",
    "/box/thing?multipart-manifest=get",
    "/box?prefix=t&format=json",
    "?format=json",
    "/no",
)


@dataclass(frozen=True)
class Accounts:
    """Two projects; the one has an object."""

    world: World
    victim: Side
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    world = World(tmp_path_factory.mktemp("objects"))
    try:
        victim, own = Side("victim"), Side("own")
        _people(world, victim)
        _people(world, own)
        here = ROOT + victim.ids["project"]
        for path, data in (("/box", None), ("/box/thing", b"secret")):
            reply = world.call("PUT", here + path, data, token=victim.token)
            assert reply.status == 201, reply.raw
        yield Accounts(world, victim, callers(world, own))
    finally:
        world.close()


def told(reply: Reply, project: str) -> tuple[int, str, list[str]]:
    names = sorted(n for n in reply.headers if n not in ("content-length",))
    return reply.status, plain(reply, {project}).replace(reply.headers.get("x-trans-id", "-"), "TRANS"), names


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("below", BELOW)
def test_another_account_answers_as_none(accounts: Accounts, method: str, below: str) -> None:
    project, missing = accounts.victim.ids["project"], "f" * 32
    for name, token in {**accounts.tokens, "nobody": ""}.items():
        if name == "system reader" and method in ("GET", "HEAD"):  # the rule object_store:read_any says so
            continue
        answers = []
        for one in (project, missing):
            reply = accounts.world.call(method, f"{ROOT}{one}{below}", None, token=token)
            assert b"secret" not in reply.raw
            answers.append(told(reply, one))
        assert answers[0] == answers[1], name
    path = f"{ROOT}{project}/box/thing"
    assert accounts.world.call("GET", path, token=accounts.victim.token).raw == b"secret"
