"""One process with a cloud on SQLite and one on PostgreSQL: each is asked in its own words (needs PostgreSQL)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.database import SERVER
from tests.volumes_world import ADMIN, MEMBER, OTHER, make, start

from nutshell import app
from nutshell.core import listing

PUBLIC = {"cirros", "cirros-alt"}  # come with the cloud


@pytest.fixture
def clouds(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[app.Running, ...]]:
    monkeypatch.delenv(SERVER, raising=False)  # the first is on SQLite, whatever the others' clouds are on
    made = tuple(start(tmp_path / name, url) for name, url in (("one", ""), ("two", postgres_url)))
    for running in made:
        running.runner.start()
    yield made
    for running in made:
        running.close()


def call(running: app.Running, method: str, path: str, token: str, status: int = 200, **rest: object) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=running.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
            return await client.request(method, path, headers={"X-Auth-Token": token}, **rest)  # type: ignore[arg-type]

    answer = asyncio.run(go())
    assert answer.status_code == status, f"{path}: {answer.text}"
    return answer


@pytest.mark.parametrize("first", [0, 1])
def test_listings_are_right_on_both(clouds: tuple[app.Running, ...], first: int) -> None:
    """Compiled texts are kept for the process; the cloud that lists first must not decide for the other."""
    listing._COMPILED.clear()  # whatever ran before
    order = (clouds[first], clouds[1 - first])
    made = [{make(running, name=name)["id"]: name for name in "ab"} for running in order]
    for running in order:
        for name, rest in {"hidden": {"os_hidden": True}, "own": {}, "open": {"visibility": "community"}}.items():
            call(running, "POST", "/image/v2/images", MEMBER, 201, json={"name": name, **rest})
        for name, public in {"open": True, "closed": False}.items():
            body = {"volume_type": {"name": name, "os-volume-type-access:is_public": public}}
            call(running, "POST", "/volume/v3/p/types", ADMIN, json=body)
    for ask, count in {"": 2, "name=a": 1, "name=none": 0, "bootable=false": 2, "bootable=true": 0,
                       "status=available&sort=name:desc": 2, "limit=1&sort=created_at": 1}.items():  # fmt: skip
        for running, own in zip(order, made, strict=True):
            answer = call(running, "GET", f"/volume/v3/p/volumes?{ask}", MEMBER)
            found = {one["id"]: one["name"] for one in answer.json()["volumes"]}
            assert len(found) == count, ask
            assert found.items() <= own.items()
    for path, token, names in (
        ("/image/v2/images", MEMBER, {*PUBLIC, "own", "open"}),
        ("/image/v2/images?os_hidden=true", MEMBER, {"hidden"}),
        ("/image/v2/images?visibility=community&sort=name:asc", OTHER, {"open"}),
        ("/image/v2/images", OTHER, PUBLIC),
        ("/image/v2/images?sort=size:asc", ADMIN, {*PUBLIC, "own", "open"}),
        ("/volume/v3/p/types", MEMBER, {"open", "__DEFAULT__"}),
        ("/volume/v3/p/types?is_public=false", ADMIN, {"closed"}),
    ):
        for running in order:
            answer = call(running, "GET", path, token).json()
            assert {one["name"] for one in answer.get("images", answer.get("volume_types"))} == names, path
