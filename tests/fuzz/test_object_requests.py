"""Swift's and S3's paths, headers, queries and bodies, fitting and odd: no 5xx, and a refusal changes nothing.

`FUZZ_MINUTES` goes on that long with further seeds, from `FUZZ_SEED` on (`make fuzz`).
"""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fuzz.object_index import IndexWatch
from tests.fuzz.object_requests import Asked, Draws, S3Draws, SwiftDraws
from tests.fuzz.people import Side, _people
from tests.fuzz.s3_signed import ROOT as S3
from tests.fuzz.s3_signed import Pair, authorization, side_pair
from tests.fuzz.test_s3_isolation import furnish_bucket
from tests.fuzz.world import Reply, World

SEED = int(os.environ.get("FUZZ_SEED", "1"))
MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
ROUNDS = 4000  # requests of a seed
NOT_FAULTS = (501,)  # "that is not offered"


@dataclass
class Store:
    """One project's account with something of every kind in it."""

    world: World
    side: Side
    pair: Pair
    root: str
    watch: IndexWatch
    facts: dict[str, str]

    def swift(self, asked: Asked) -> Reply:
        given = {"Host": "cloud.example:5000", "X-Auth-Token": self.side.token, **asked.headers}
        if asked.method in ("PUT", "POST") and not given.keys() & {"Content-Length", "Transfer-Encoding"}:
            given["Content-Length"] = str(sum(map(len, asked.pieces)))
        return self.world.send(asked.method, (asked.path, asked.query), asked.pieces, given)

    def s3(self, asked: Asked) -> Reply:
        given = {k: v for k, v in asked.headers.items() if k != "authorization"} | {"Host": "cloud.example:5000"}
        if asked.headers["authorization"]:
            given["Authorization"] = asked.headers["authorization"]
        else:
            given["x-amz-date"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            path, query = (
                S3 + asked.path.decode("utf-8", "surrogateescape"),
                asked.query.decode("utf-8", "surrogateescape"),
            )
            given["Authorization"] = authorization(self.pair, asked.method, path, query, given)
        if asked.method in ("PUT", "POST") and not given.keys() & {"Content-Length", "Transfer-Encoding"}:
            given["Content-Length"] = str(sum(map(len, asked.pieces)))
        return self.world.send(asked.method, (S3.encode() + asked.path, asked.query), asked.pieces, given)


def furnished(state: Path) -> Store:
    world, side = World(state), Side("own")
    _people(world, side)
    world.running.runner.stop()
    pair = side_pair(world, side)
    root = f"/object-store/v1/AUTH_{side.ids['project']}"
    known = furnish_bucket(world, pair, "kept")
    for name, headers in (("box", {}), ("older", {"X-Versions-Location": "kept"}),
                          ("full", {"X-Container-Meta-Quota-Bytes": "20"})):  # fmt: skip
        assert world.call("PUT", f"{root}/{name}", token=side.token, headers=headers).status == 201
    etag = ""
    for name, headers in (("thing", {}), ("a/b", {"X-Object-Meta-A": "b"}), ("parts", {"X-Object-Manifest": "box/a/"}),
                          ("link", {"X-Symlink-Target": "box/thing"}), ("%C3%BC/%C3%B1", {"X-Delete-At": "4102444800"}),
                          ("large?multipart-manifest=put", {})):  # fmt: skip
        body = (
            b'[{"path": "/box/thing"}]'
            if name.startswith("large")
            else b""
            if "X-Symlink-Target" in headers
            else b"hello"
        )
        reply = world.call("PUT", f"{root}/box/{name}", body, token=side.token, headers=headers)
        assert reply.status == 201, reply.raw
        etag = etag or reply.headers["etag"]
    facts = {"$upload": known["$upload"], "$version": known["$version"], "$etag": etag}
    return Store(world, side, pair, root, IndexWatch(state), facts)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = furnished(tmp_path)
    yield made
    made.world.close()


def marks_what_is_not_there(asked: Asked, reply: Reply) -> bool:
    """A container that keeps versions marks the deletion of what is not there, and answers 404 (as Swift does)."""
    return asked.method == "DELETE" and reply.status == 404


def wrong(store: Store, draws: Draws, send: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a seed's requests were answered that they may not be."""
    found = []
    before = store.watch.digest()
    for _ in range(ROUNDS):
        asked = draws.one()  # type: ignore[attr-defined]
        reply: Reply = getattr(store, send)(asked)
        after = store.watch.digest()
        if reply.status >= 500 and reply.status not in NOT_FAULTS:
            traces = [(r.exc_text or "")[-700:] for r in caplog.records[-1:]]
            found.append(f"{reply.status} for {asked}\n" + "\n".join(traces))
        elif reply.status >= 400 and after != before and not marks_what_is_not_there(asked, reply):
            found.append(f"refused ({reply.status} {reply.raw[:200]!r}), and changed something: {asked}")
        before = after
    return found


@pytest.mark.parametrize("send", ["swift", "s3"])
def test_no_request_breaks_the_object_store(send: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    end, seed = time.monotonic() + 60 * MINUTES, SEED
    while True:
        store = furnished(tmp_path / str(seed))
        try:
            draws = SwiftDraws(seed, store.root, store.facts) if send == "swift" else S3Draws(seed, store.facts)
            found = wrong(store, draws, send, caplog)
        finally:
            store.world.close()
        assert not found, f"seed {seed}: {len(found)} of {ROUNDS}\n" + "\n".join(found[:12])
        seed += 1
        if time.monotonic() >= end:
            return


def test_the_draws_reach_what_they_should(store: Store) -> None:
    """Enough of the requests are taken, of every method; the watch sees a change."""
    for send, draws in (("swift", SwiftDraws(0, store.root, store.facts)), ("s3", S3Draws(0, store.facts))):
        taken: dict[str, int] = {}
        for _ in range(600):
            asked = draws.one()
            status = getattr(store, send)(asked).status
            taken[asked.method] = taken.get(asked.method, 0) + (status < 300)
        assert all(taken[m] > 3 for m in ("GET", "HEAD", "PUT")), (send, taken)
        assert taken["DELETE"] + taken["POST"] > 3, (send, taken)
    before = store.watch.digest()
    store.swift(Asked("PUT", store.root.encode() + b"/box/changed", b"", {}, (b"x",)))
    assert store.watch.digest() != before
