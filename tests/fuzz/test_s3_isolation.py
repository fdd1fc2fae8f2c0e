"""The S3 API: what another project's bucket tells, and who may do what; the table is docs/OBJECT_ISOLATION.md.

Names of buckets are one space, as S3 has it: another project's bucket is there and refuses everything alike
(AccessDenied), whether the key, version or upload exists; a container made by Swift is no bucket to others.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from tests.fuzz import object_table
from tests.fuzz.object_index import IndexWatch
from tests.fuzz.people import PASSWORD, V3, Side, _people, callers, person, role, sign_in
from tests.fuzz.s3_operations import KEY, MISSING, Operation, operations
from tests.fuzz.s3_signed import NOBODY, Pair, ask, pair_of, side_pair
from tests.fuzz.world import Reply, World

BUCKET, SWIFTS, NONE = "victims-box", "victims-swift", "nobodys-box"
SECRET = b"a secret of the victim"
NO_UPLOAD, NO_VERSION = "AAAAAAAAAAAAAAAAAAAAAAAA", "1234567890.12345"


@dataclass
class Stage:
    """A bucket of the victim's, and who asks for it."""

    world: World
    victim: Side
    own: Side
    pairs: dict[str, Pair]
    watch: IndexWatch
    known: dict[str, str]
    made: list[str] = field(default_factory=list)

    def ask(self, pair: Pair, op: Operation, bucket: str, facts: Mapping[str, str], key: str = KEY) -> Reply:
        """The operation on this bucket and key; `facts` fill the holes."""
        holes = {"$bucket": bucket, "$key": key, **facts}

        def fill(text: str) -> str:
            return re.sub(r"\$[a-z]+", lambda m: holes[m[0]], text)

        body = fill(op.body.decode()).encode()
        path = f"/{bucket}/{key}" if op.on_object else f"/{bucket}"
        query = {k: fill(v) for k, v in op.query.items()}
        return ask(self.world, pair, op.method, path, body, query, {k: fill(v) for k, v in op.headers.items()})


def furnish_bucket(world: World, pair: Pair, name: str) -> dict[str, str]:
    """A bucket with versions, an object of two of them, and an upload that goes on. What fills the holes."""
    ask(world, pair, "PUT", f"/{name}")
    on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    ask(world, pair, "PUT", f"/{name}", on, {"versioning": ""})
    first = ask(world, pair, "PUT", f"/{name}/{KEY}", SECRET)
    assert ask(world, pair, "PUT", f"/{name}/{KEY}", SECRET + b" again").status == 200, first.raw
    raw = ask(world, pair, "POST", f"/{name}/{KEY}", b"", {"uploads": ""}).raw
    upload = re.search(rb"<UploadId>([^<]+)</UploadId>", raw)
    assert upload is not None, raw
    query = {"partNumber": "1", "uploadId": upload[1].decode()}
    part = ask(world, pair, "PUT", f"/{name}/{KEY}", b"a part", query)
    assert part.status == 200, part.raw
    return {"$upload": upload[1].decode(), "$version": first.headers["x-amz-version-id"], "$etag": part.headers["etag"]}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    state = tmp_path_factory.mktemp("s3")
    world = World(state)
    try:
        victim, own = Side("victim"), Side("own")
        _people(world, victim)
        _people(world, own)
        pairs = {"owner": side_pair(world, victim), "nobody": NOBODY}
        token, _ = person(world, "victims reader", ["reader"], victim.ids["domain"], {"project": victim.ids["project"]})
        pairs["reader of the project"] = pair_of(world, token, victim.ids["project"])
        for name, other in callers(world, own).items():
            if name in ("owner", "reader", "service"):
                pairs["another project's " + name] = pair_of(world, other, own.ids["project"])
        known = furnish_bucket(world, pairs["owner"], BUCKET)
        container = f"/object-store/v1/AUTH_{victim.ids['project']}/{SWIFTS}"
        assert world.call("PUT", container, token=victim.token).status == 201
        assert world.call("PUT", f"{container}/{KEY}", SECRET, token=victim.token).status == 201
        assert ask(world, pairs["another project's owner"], "PUT", "/own-box").status == 200
        assert ask(world, pairs["another project's owner"], "PUT", f"/own-box/{KEY}", b"own").status == 200
        yield Stage(world, victim, own, pairs, IndexWatch(state), known)
    finally:
        world.close()


def told(reply: Reply, *names: str) -> tuple[int, str, list[str]]:
    """An answer without what was asked for and without the request's id."""
    text = reply.raw.decode("utf-8", "replace").replace(reply.headers.get("x-amz-request-id", "-"), "ID")
    for name in names:
        text = text.replace(name, "NAME")
    return reply.status, text, sorted(n for n in reply.headers if n != "content-length")


def code(reply: Reply) -> str:
    found = re.search(rb"<Code>(\w+)</Code>", reply.raw)
    return f"{reply.status} {found[1].decode()}" if found else str(reply.status)


OPERATIONS = {op.name: op for op in operations()}
STRANGERS = ("another project's owner", "another project's reader", "another project's service", "nobody")


@pytest.mark.parametrize("name", OPERATIONS)
def test_another_projects_bucket_refuses_whatever_is_in_it(stage: Stage, name: str) -> None:
    op, before = OPERATIONS[name], stage.watch.digest()
    nothing = {"$upload": NO_UPLOAD, "$version": NO_VERSION, "$etag": '"x"'}
    for who in STRANGERS:
        there = stage.ask(stage.pairs[who], op, BUCKET, stage.known)
        other = stage.ask(stage.pairs[who], op, BUCKET, nothing, MISSING if op.on_object else KEY)
        if op.name == "PUT /bucket":
            taken = who == "another project's owner"  # who may make none is told nothing
            assert code(there) == ("409 BucketAlreadyExists" if taken else "403 AccessDenied")
        elif op.name == "POST /bucket?delete" and who != "nobody":
            assert there.status == 200
            assert b"<Code>AccessDenied</Code>" in there.raw
            assert b"<Deleted>" not in there.raw
        elif op.method != "HEAD":
            assert code(there) == "403 AccessDenied", (who, there.raw)
        else:
            assert there.status == 403, who
        if op.on_object:
            assert told(there, KEY, *stage.known.values()) == told(other, MISSING, *nothing.values()), who
        elif op.body:
            assert told(there) == told(other), who
        for secret in (SECRET, stage.victim.ids["project"].encode(), stage.victim.ids["user"].encode()):
            assert secret not in there.raw, who
    assert stage.watch.digest() == before


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_container_of_swift_is_no_bucket_to_others(stage: Stage, name: str) -> None:
    """Nothing at all is told of it: not even that the name is taken."""
    op, before = OPERATIONS[name], stage.watch.digest()
    if name == "PUT /bucket":
        return  # makes the stranger's own: test_the_name_of_a_container_is_free
    for who in STRANGERS:
        there = stage.ask(stage.pairs[who], op, SWIFTS, stage.known)
        nothing = stage.ask(stage.pairs[who], op, NONE, stage.known)
        assert told(there, SWIFTS) == told(nothing, NONE), who
        assert nothing.status in (403, 404), who
    assert stage.watch.digest() == before


def test_the_name_of_a_container_is_free(stage: Stage) -> None:
    """A stranger's bucket of that name is another place, and each finds their own."""
    other = stage.pairs["another project's owner"]
    assert ask(stage.world, other, "PUT", f"/{SWIFTS}").status == 200
    assert ask(stage.world, other, "GET", f"/{SWIFTS}/{KEY}").status == 404
    assert ask(stage.world, stage.pairs["owner"], "GET", f"/{SWIFTS}/{KEY}").raw == SECRET
    assert ask(stage.world, other, "DELETE", f"/{SWIFTS}").status == 204
    assert ask(stage.world, stage.pairs["owner"], "GET", f"/{SWIFTS}/{KEY}").raw == SECRET


def test_listings_show_only_ones_own(stage: Stage) -> None:
    seen = ask(stage.world, stage.pairs["owner"], "GET", "/").raw
    assert b"<Name>victims-box</Name>" in seen
    for who in STRANGERS:
        raw = ask(stage.world, stage.pairs[who], "GET", "/").raw
        assert b"victims" not in raw, who


@pytest.mark.parametrize("part", [False, True])
def test_a_copy_reads_no_more_than_its_caller_may(stage: Stage, part: bool) -> None:
    """CopyObject and UploadPartCopy out of another project's bucket, by key and by version."""
    world, other = stage.world, stage.pairs["another project's owner"]
    query: dict[str, str] = {}
    if part:
        raw = ask(world, other, "POST", "/own-box/copy", b"", {"uploads": ""}).raw
        query = {"partNumber": "1", "uploadId": raw.partition(b"<UploadId>")[2].partition(b"<")[0].decode()}
    before = stage.watch.digest()
    answers = set()
    known = (KEY, MISSING, f"{KEY}?versionId={stage.known['$version']}", f"{KEY}?versionId={NO_VERSION}")
    for source in (*(f"{BUCKET}/{k}" for k in known), f"{BUCKET}+segments/{KEY}/{stage.known['$upload']}"):
        reply = ask(world, other, "PUT", "/own-box/copy", b"", query, {"x-amz-copy-source": source})
        answers.add(code(reply))
        assert SECRET not in reply.raw
    assert answers <= {"403 AccessDenied", "404 NoSuchBucket"}
    gone = [ask(world, other, "PUT", "/own-box/copy", b"", query, {"x-amz-copy-source": f"{b}/{KEY}"})
            for b in (SWIFTS, NONE)]  # fmt: skip
    assert told(gone[0], SWIFTS) == told(gone[1], NONE)
    assert stage.watch.digest() == before


def test_leave_given_by_a_name_is_not_for_who_takes_that_name(stage: Stage) -> None:
    """Names of projects and users are free in every domain: one may call them as another's name or id."""
    world, owner = stage.world, stage.pairs["owner"]
    friend = Side("friend")
    _people(world, friend)
    named = friend.ids["project"]
    stolen = world.done("POST", f"{V3}/projects", {"project": {"name": named, "domain_id": stage.own.ids["domain"]}})
    alike = world.done("POST", f"{V3}/projects", {"project": {"name": "friend", "domain_id": stage.own.ids["domain"]}})
    given = {"name": "friend", "password": PASSWORD, "domain_id": stage.own.ids["domain"]}
    thief = world.done("POST", f"{V3}/users", {"user": given})["user"]["id"]
    pairs = []
    for project in (stolen["project"]["id"], alike["project"]["id"]):
        world.done("PUT", f"{V3}/projects/{project}/users/{thief}/roles/{role(world, 'member')}")
        pairs.append(pair_of(world, sign_in(world, thief, {"project": {"id": project}}), project))
    facts = furnish_bucket(world, owner, "shared-box")
    policy = b'{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::shared-box/*", '
    for principal in (f'"arn:aws:iam::{named}:root"', f'"{named}"', '"friend:friend"'):
        whole = policy + f'"Principal": {{"AWS": [{principal}]}}}}}}'.encode()
        assert ask(world, owner, "PUT", "/shared-box", whole, {"policy": ""}).status == 204
        for pair in pairs:
            assert ask(world, pair, "GET", f"/shared-box/{KEY}").status == 403, principal
        if "friend:friend" not in principal:  # by its id, whoever means it gets in
            assert ask(world, side_pair(world, friend), "GET", f"/shared-box/{KEY}").status == 200, principal
    assert ask(world, owner, "DELETE", "/shared-box", b"", {"policy": ""}).status == 204
    for grantee in (named, "friend:friend"):
        given_acl = {"x-amz-grant-full-control": f'id="{grantee}"'}
        assert ask(world, owner, "PUT", f"/shared-box/{KEY}", b"", {"acl": ""}, given_acl).status == 200
        for pair in pairs:
            assert ask(world, pair, "GET", f"/shared-box/{KEY}").status == 403, grantee
            query = {"versionId": facts["$version"]}
            assert ask(world, pair, "GET", f"/shared-box/{KEY}", b"", query).status == 403, grantee


def test_the_table_of_s3_is_as_it_is_checked_in(stage: Stage) -> None:
    """Every operation, asked by each in a bucket furnished for them alone."""
    who = ("owner", "reader of the project", "another project's owner", "nobody")
    rows = []
    for n, (name, op) in enumerate(OPERATIONS.items()):
        row = []
        for i, one in enumerate(who):
            bucket = f"table-{n}-{i}"
            facts = furnish_bucket(stage.world, stage.pairs["owner"], bucket)
            row.append(code(stage.ask(stage.pairs[one], op, bucket, facts)))
        row.append(code(stage.ask(stage.pairs["another project's owner"], op, f"none-{n}", stage.known)))
        rows.append((name, *row))
    object_table.compare("S3", ("request", *who, "no such bucket"), rows)
