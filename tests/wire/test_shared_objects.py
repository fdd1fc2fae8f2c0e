"""Two API processes on one state directory: one engine, whichever process is asked, also when its holder dies."""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import database
from tests.wire.several_apis import SeveralApis, until

from nutshell.object_store.engine.owning import Claim
from nutshell.server.passing import introduced, introduction


@pytest.fixture
def apis(tmp_path: Path, postgres_server: str) -> Iterator[SeveralApis]:
    name = "shared_objects"
    with database.connected(postgres_server) as c:
        c.execute(f"CREATE DATABASE {name}")
    made = SeveralApis(tmp_path / "state", f"{postgres_server}/{name}", 2)
    yield made
    made.end()
    made.run("reset", "--yes")


class Store:
    """A project's account, asked at one of the processes."""

    def __init__(self, apis: SeveralApis, which: int) -> None:
        client = apis.client(which)
        self.token = client.token
        project = client.get("/identity/v3/auth/projects")["projects"][0]["id"]
        self.base = f"http://127.0.0.1:{apis.ports[which]}/object-store/v1/AUTH_{project}"

    def ask(self, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        asked = urllib.request.Request(self.base + path, data, {"X-Auth-Token": self.token}, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as why:
            return why.code, why.read()

    def took(self, path: str, data: bytes) -> bool:
        """Whether it was stored; not while the process that had the objects is dying."""
        try:
            return self.ask("PUT", path, data)[0] == 201
        except OSError:
            return False


def body(n: int) -> bytes:
    return hashlib.sha256(b"%d" % n).digest() * (100 if n % 5 else 20_000)  # some beyond what lies in the log


def test_objects_are_one_store_and_outlive_its_holder(apis: SeveralApis) -> None:
    stores = [Store(apis, n) for n in range(2)]
    assert stores[1].ask("PUT", "/c")[0] == 201
    with ThreadPoolExecutor(8) as pool:
        put = list(pool.map(lambda n: stores[n % 2].ask("PUT", f"/c/{n}", body(n))[0], range(60)))
    assert put == [201] * 60
    for n in range(60):
        assert stores[(n + 1) % 2].ask("GET", f"/c/{n}") == (200, body(n))
    holder = int((apis.state / "objects" / "owner").read_text().removeprefix("api-").removesuffix(".sock"))
    gone = apis.ports.index(holder)
    os.kill(apis.pids[gone], 9)
    left = stores[1 - gone]
    until(lambda: left.took("/c/60", body(60)), "the other one takes the objects over")
    assert sorted(map(int, left.ask("GET", "/c")[1].split())) == list(range(61))
    for n in range(61):
        assert left.ask("GET", f"/c/{n}") == (200, body(n))


def test_one_holds_the_claim_and_the_next_gets_it(tmp_path: Path) -> None:
    first, second = Claim(tmp_path / "owner", "one"), Claim(tmp_path / "owner", "two")
    assert first.holder() == ""
    assert second.holder() == "one"
    assert first.holder() == ""
    first.release()
    assert second.holder() == ""
    assert first.holder() == "two"


def test_an_introduction_names_the_client() -> None:
    assert introduced(introduction(("2001:db8::1", 4711)).strip()) == ("2001:db8::1", 4711)
    with pytest.raises(ValueError, match="invalid literal"):
        introduced(b"GET / HTTP/1.1\r")
