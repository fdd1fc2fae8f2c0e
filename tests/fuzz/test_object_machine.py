"""Containers, objects, versions and large objects under random work by Swift's API and S3's, beside a model.

After every step both APIs list what the model has, page by page. A failure prints the steps.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from tests.fuzz.people import Side, _people
from tests.fuzz.s3_signed import ask, side_pair
from tests.fuzz.world import Reply, World

SEED = int(os.environ.get("FUZZ_SEED", "1"))
MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
STORIES = 15
PLAIN, KEPT = "plain-box", "kept-box"  # the second keeps versions
NAMES = ("x", "x/y", "ü %41\U0001f600")
LARGE = "large"
BEFORE_SECONDS = "0000000001.00000"  # a version that nothing has


@dataclass
class Thing:
    """An object, or the manifest of one: what its segments were when it was written."""

    data: bytes
    segments: list[tuple[str, str, int]] | None = None  # name, ETag, bytes
    meta: str = ""


@dataclass
class Past:
    """A version: `data` None marks a deletion."""

    name: str
    version: str
    data: bytes | None
    meta: str = ""


@dataclass
class Model:
    plain: dict[str, Thing] = field(default_factory=dict)
    present: dict[str, Past] = field(default_factory=dict)  # of the container that keeps versions
    past: list[Past] = field(default_factory=list)

    def get(self, box: str, name: str) -> bytes | int | None:
        """The bytes, None for nothing, or the status of a large object that is whole no more."""
        if box == KEPT:
            return self.present[name].data if name in self.present else None
        thing = self.plain.get(name)
        if thing is None or thing.segments is None:
            return thing.data if thing is not None else None
        found = [self._segment(*one) for one in thing.segments]
        return 409 if None in found else b"".join(one or b"" for one in found)

    def read(self, box: str, name: str) -> bytes | int | None:
        """What Swift reads: empty segments are not looked at. -1: the answer begins, and is broken off."""
        expected = self.get(box, name)
        if expected != 409:
            return expected
        found = [self._segment(*one) for one in self.plain[name].segments or [] if one[2]]
        if None not in found:
            return b"".join(one or b"" for one in found)
        return 409 if found[0] is None else -1

    def _segment(self, name: str, etag: str, size: int) -> bytes | None:
        """None when it is not what it was."""
        now = self.plain.get(name)
        return now.data if now is not None and hashlib.md5(now.data).hexdigest() == etag else None


class Stored:
    """One cloud for all examples; each has containers of its own account anew."""

    def __init__(self, state: Path) -> None:
        self.world = World(state)
        self.side = Side("own")
        _people(self.world, self.side)
        self.world.running.runner.stop()
        self.pair = side_pair(self.world, self.side)
        self.root = f"/object-store/v1/AUTH_{self.side.ids['project']}"

    def swift(self, method: str, box: str, name: str = "", body: bytes = b"", query: str = "", **said: str) -> Reply:
        headers = {k.replace("_", "-"): v for k, v in said.items()}
        path = f"{self.root}/{box}" + (f"/{quote(name)}" if name else "") + (f"?{query}" if query else "")
        return self.world.call(method, path, body, token=self.side.token, headers=headers)

    def s3(self, method: str, box: str, name: str = "", body: bytes = b"", **query: str) -> Reply:
        path = f"/{box}" + (f"/{quote(name)}" if name else "")
        return ask(self.world, self.pair, method, path, body, {k.replace("_", "-"): v for k, v in query.items()})


class Work:
    """Every step does one request and holds its answer against the model."""

    def __init__(self, on: Stored) -> None:
        self.on, self.model = on, Model()
        for box, keep in ((PLAIN, ""), (KEPT, "true")):
            self.empty(box)
            reply = self.on.swift("PUT", box, X_Versions_Enabled=keep) if keep else self.on.swift("PUT", box)
            assert reply.status in (201, 202), reply.raw

    def empty(self, box: str) -> None:
        listed = self.on.swift("GET", box, query="versions&format=json")
        for one in listed.body if listed.status == 200 else ():
            query = f"version-id={one['version_id']}" if one["version_id"] != "null" else ""
            self.on.swift("DELETE", box, one["name"], query=query)
        assert not self.on.swift("GET", box, query="format=json").raw.strip(b"[]") or listed.status == 404

    def keep(self, box: str, name: str, data: bytes, version: str, meta: str = "") -> None:
        if box == PLAIN:
            self.model.plain[name] = Thing(data, meta=meta)
            return
        if name in self.model.present:
            self.model.past.append(self.model.present[name])
        self.model.present[name] = Past(name, version, data, meta)

    def put(self, box: str, name: str, data: bytes, s3: bool) -> None:
        reply = self.on.s3("PUT", box, name, data) if s3 else self.on.swift("PUT", box, name, data)
        assert reply.status == (200 if s3 else 201), reply.raw
        assert reply.headers["etag"].strip('"') == hashlib.md5(data).hexdigest()
        self.keep(box, name, data, reply.headers.get("x-amz-version-id" if s3 else "x-object-version-id", ""))

    def get(self, box: str, name: str, s3: bool) -> None:
        expected = self.model.get(box, name) if s3 else self.model.read(box, name)
        if expected == -1:
            with pytest.raises(ConnectionError, match=r"has changed|answers 404"):
                self.on.swift("GET", box, name)
            return
        reply = self.on.s3("GET", box, name) if s3 else self.on.swift("GET", box, name)
        if isinstance(expected, bytes):
            assert (reply.status, reply.raw) == (200, expected)
        elif expected is None or not s3:  # a large object that is broken: Swift says 409; S3 what fits it
            assert reply.status == (expected or 404)
        else:
            assert 400 <= reply.status < 500, reply.raw

    def get_some(self, box: str, name: str, a: int, b: int, s3: bool) -> None:
        expected = self.model.get(box, name)
        if not isinstance(expected, bytes) or a > b:
            return
        said = f"bytes={a}-{b}"
        if s3:
            reply = ask(self.on.world, self.on.pair, "GET", f"/{box}/{quote(name)}", b"", (), {"Range": said})
        else:
            reply = self.on.swift("GET", box, name, Range=said)
        if a < len(expected):
            assert (reply.status, reply.raw) == (206, expected[a : b + 1])
        else:
            assert reply.status == (416 if expected or s3 else reply.status), reply.status

    def delete(self, box: str, name: str, s3: bool) -> None:
        there = self.model.get(box, name) is not None
        reply = self.on.s3("DELETE", box, name) if s3 else self.on.swift("DELETE", box, name)
        assert reply.status == (204 if there or s3 else 404), reply.raw
        if box == PLAIN:
            self.model.plain.pop(name, None)
            return
        if name in self.model.present:
            self.model.past.append(self.model.present.pop(name))
        marker = reply.headers["x-amz-version-id" if s3 else "x-object-version-id"]
        self.model.past.append(Past(name, marker, None))

    def post(self, box: str, name: str, word: str) -> None:
        there = self.model.get(box, name) is not None
        assert self.on.swift("POST", box, name, X_Object_Meta_Word=word).status == (202 if there else 404)
        if there:
            (self.model.plain if box == PLAIN else self.model.present)[name].meta = word  # type: ignore[index]
            assert self.on.swift("HEAD", box, name).headers.get("x-object-meta-word", "") == word
            assert self.on.s3("HEAD", box, name).headers.get("x-amz-meta-word", "") == word

    def copy(self, box: str, name: str, to_box: str, to: str) -> None:
        expected = self.model.read(box, name)
        reply = self.on.swift("COPY", box, name, Destination=quote(f"{to_box}/{to}"))
        if isinstance(expected, bytes):
            assert reply.status == 201, reply.raw
            source = self.model.plain[name].meta if box == PLAIN else self.model.present[name].meta
            self.keep(to_box, to, expected, reply.headers.get("x-object-version-id", ""), source)
        else:
            assert reply.status == (409 if expected else 404)

    def put_large(self, parts: list[str]) -> None:
        manifest = json.dumps([{"path": f"/{PLAIN}/{p}"} for p in parts]).encode()
        reply = self.on.swift("PUT", PLAIN, LARGE, manifest, query="multipart-manifest=put")
        there = all(p in self.model.plain for p in parts)
        if there and all(self.model.plain[p].data for p in parts[:-1]):  # the last alone may be empty
            assert reply.status == 201, reply.raw
            data = {p: self.model.plain[p].data for p in parts}
            etags = [(p, hashlib.md5(data[p]).hexdigest(), len(data[p])) for p in parts]
            self.model.plain[LARGE] = Thing(b"", etags)
        else:
            assert reply.status == 400, reply.raw

    # -- versions
    def version(self, which: int) -> Past:
        known = [*self.model.past, *self.model.present.values(), Past("x", BEFORE_SECONDS, None)]
        return known[which % len(known)]

    def get_version(self, which: int) -> None:
        one = self.version(which)
        reply = self.on.swift("GET", KEPT, one.name, query=f"version-id={one.version}")
        assert reply.status == (404 if one.data is None else 200), reply.raw
        if one.data is not None:
            assert reply.raw == one.data
            assert self.on.s3("GET", KEPT, one.name, versionId=one.version).raw == one.data

    def restore(self, which: int) -> None:
        one = self.version(which)
        reply = self.on.swift("PUT", KEPT, one.name, query=f"version-id={one.version}")
        assert reply.status == (404 if one.data is None else 201), reply.raw
        if one.data is not None and self.model.present.get(one.name) is not one:
            if one.name in self.model.present:
                self.model.past.append(self.model.present[one.name])
            self.model.past.remove(one)
            self.model.present[one.name] = one

    def drop(self, which: int) -> None:
        one = self.version(which)
        reply = self.on.swift("DELETE", KEPT, one.name, query=f"version-id={one.version}")
        if one.version == BEFORE_SECONDS:
            assert reply.status == 404
            return
        assert reply.status == 204, reply.raw
        if self.model.present.get(one.name) is one:
            del self.model.present[one.name]
        else:
            self.model.past.remove(one)

    def remove_a_full_container(self) -> None:
        for box, full in ((PLAIN, bool(self.model.plain)), (KEPT, bool(self.model.present or self.model.past))):
            if full:
                assert self.on.swift("DELETE", box).status == 409
                assert self.on.s3("DELETE", box).status == 409

    # -- what must always hold
    def listings_agree(self) -> None:
        for box in (PLAIN, KEPT):
            wanted = sorted(self.model.plain if box == PLAIN else self.model.present)
            listed = self.on.swift("GET", box, query="format=json").body
            assert [o["name"] for o in listed] == wanted
            for entry in listed:
                expected = self.model.get(box, entry["name"])
                if entry["name"] != LARGE and isinstance(expected, bytes):
                    assert (entry["bytes"], entry["hash"]) == (len(expected), hashlib.md5(expected).hexdigest())
            paged, marker = [], ""
            while page := self.on.swift("GET", box, query=f"format=json&limit=2&marker={quote(marker)}").body:
                paged += [o["name"] for o in page]
                marker = paged[-1]
            assert paged == wanted
            raw = self.on.s3("GET", box, encoding_type="url").raw.decode()
            assert [k.partition("</Key>")[0] for k in raw.split("<Key>")[1:]] == [quote(n, safe="/~*") for n in wanted]
            head = self.on.swift("HEAD", box).headers
            assert int(head["x-container-object-count"]) == len(wanted)

    def versions_agree(self) -> None:
        listed = self.on.swift("GET", KEPT, query="versions&format=json").body
        wanted = {(p.name, p.version) for p in [*self.model.past, *self.model.present.values()]}
        assert {(o["name"], o["version_id"]) for o in listed} == wanted
        assert len(listed) == len(wanted)
        latest = {o["name"]: o["version_id"] for o in listed if o["is_latest"]}
        for name, one in self.model.present.items():
            assert latest.get(name) == one.version
        data = sum(len(p.data or b"") for p in [*self.model.past, *self.model.present.values()])
        assert int(self.on.swift("HEAD", KEPT).headers["x-container-bytes-used"]) == data


# how often of 100 steps each is done, and what it is asked
STEPS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "put": (30, ("box", "name", "data", "s3")),
    "get": (10, ("box", "any", "s3")),
    "get_some": (8, ("box", "any", "place", "place", "s3")),
    "delete": (10, ("box", "any", "s3")),
    "post": (8, ("box", "name", "word")),
    "copy": (8, ("box", "any", "box", "name")),
    "put_large": (8, ("names",)),
    "get_version": (5, ("which",)),
    "restore": (6, ("which",)),
    "drop": (5, ("which",)),
    "remove_a_full_container": (2, ()),
}


def drawn(random: Random, kind: str) -> Any:
    match kind:
        case "box":
            return random.choice((PLAIN, KEPT))
        case "name":
            return random.choice(NAMES)
        case "any":
            return random.choice((*NAMES, LARGE))
        case "names":
            return [random.choice(NAMES) for _ in range(random.randrange(1, 4))]
        case "data":
            return b"a" * 70_000 if random.random() < 0.05 else random.randbytes(random.randrange(13))
        case "s3":
            return random.random() < 0.4
        case "word":
            return random.choice(("", "a", "b c"))
    return random.randrange(21)


def works(stored: Stored, seed: int) -> None:
    """One story from its seed; what was done is told where it ends badly."""
    random, done = Random(seed), [f"seed {seed}"]
    work = Work(stored)
    for name in random.choices(list(STEPS), [weight for weight, _ in STEPS.values()], k=40):
        given = [drawn(random, kind) for kind in STEPS[name][1]]
        done.append(f"{name}{tuple(given)!r}"[:200])
        try:
            getattr(work, name)(*given)
            work.listings_agree()
            work.versions_agree()
        except (AssertionError, ConnectionError) as why:
            raise AssertionError("\n".join(done)) from why


def test_objects_do_as_the_model_does(tmp_path: Path) -> None:
    """`FUZZ_MINUTES` goes on that long with further seeds, from `FUZZ_SEED` on."""
    stored, end, seed = Stored(tmp_path), time.monotonic() + 60 * MINUTES, SEED * 1000
    try:
        while seed < SEED * 1000 + STORIES or time.monotonic() < end:
            works(stored, seed)
            seed += 1
    finally:
        stored.world.close()
