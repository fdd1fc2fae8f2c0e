"""The Swift API: another project's account answers as one that does not exist, whoever asks and however.

Who may do what with their own is the table docs/OBJECT_ISOLATION.md.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from tests.fuzz import object_table
from tests.fuzz.isolation import plain
from tests.fuzz.object_index import IndexWatch
from tests.fuzz.people import PASSWORD, V3, Side, _people, callers, person, role, sign_in
from tests.fuzz.swift_operations import OPERATIONS, Operation, archive, filled
from tests.fuzz.world import Reply, World

from nutshell.object_store import syncing

ROOT = "/object-store/v1/AUTH_"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "COPY")
BELOW = (
    "",
    "/box",
    "/box/thing",
    "/box/thing?multipart-manifest=get",
    "/box/thing?symlink=get",
    "/box/thing?version-id=1234567890.12345",
    "/box?prefix=t&format=json",
    "/box?versions",
    "?format=json",
    "/no",
)
SECRET = b"secret"
READS = ("GET", "HEAD", "COPY")  # the rule object_store:read_any lets a reader of the system do this
BOXES = ("box", "full", "older", "marked")


@dataclass(frozen=True)
class Accounts:
    """Two projects; the one has an object, the other asks."""

    world: World
    victim: Side
    own: Side
    tokens: dict[str, str]
    watch: IndexWatch

    def put(self, below: str, data: bytes | None = b"", account: str = "", token: str = "", **headers: str) -> Reply:
        """In the caller's own account, where nothing else is said."""
        given = {k.replace("_", "-"): v for k, v in headers.items()}
        path = ROOT + (account or self.own.ids["project"]) + below
        return self.world.call("PUT", path, data, token=token or self.own.token, headers=given)

    def get(self, below: str, method: str = "GET") -> Reply:
        return self.world.call(method, ROOT + self.own.ids["project"] + below, token=self.own.token)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    state = tmp_path_factory.mktemp("objects")
    world = World(state)
    try:
        victim, own = Side("victim"), Side("own")
        _people(world, victim)
        _people(world, own)
        furnish(world, victim, "box")
        here = f"{ROOT}{victim.ids['project']}"
        marks = ({"X-Container-Meta-Quota-Bytes": "3"}, {"X-Versions-Location": "box"},
                 {"X-Container-Rfc-Compliant-Etags": "true"})  # fmt: skip
        for name, headers in zip(BOXES[1:], marks, strict=True):
            assert world.call("PUT", f"{here}/{name}", token=victim.token, headers=headers).status == 201
            thing = world.call("PUT", f"{here}/{name}/thing", b"abc", token=victim.token)
            assert thing.status == 201
        assert world.call("PUT", f"{ROOT}{own.ids['project']}/box", token=own.token).status == 201
        world.running.runner.stop()  # the pass of syncing is called by the test
        yield Accounts(world, victim, own, callers(world, own), IndexWatch(state))
    finally:
        world.close()


def furnish(world: World, side: Side, container: str) -> str:
    """A container that keeps versions, with an object; the version that is past."""
    here = f"{ROOT}{side.ids['project']}/{container}"
    on = {"X-Versions-Enabled": "true"}
    assert world.call("PUT", here, token=side.token, headers=on).status == 201
    first = world.call("PUT", f"{here}/thing", b"before", token=side.token)
    assert world.call("PUT", f"{here}/thing", SECRET, token=side.token).status == 201
    return first.headers["x-object-version-id"]


def told(reply: Reply, project: str) -> tuple[int, str, list[str]]:
    names = sorted(n for n in reply.headers if n not in ("content-length",))
    return reply.status, plain(reply, {project}).replace(reply.headers.get("x-trans-id", "-"), "TRANS"), names


MISSING = "f" * 32


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("below", BELOW)
def test_another_account_answers_as_none(accounts: Accounts, method: str, below: str) -> None:
    project, before = accounts.victim.ids["project"], accounts.watch.digest()
    for name, token in {**accounts.tokens, "nobody": ""}.items():
        if name == "system reader" and method in READS:
            continue
        answers = []
        for one in (project, MISSING):
            headers = {"Destination": "box/copied"} if method == "COPY" else {}
            reply = accounts.world.call(method, f"{ROOT}{one}{below}", None, token=token, headers=headers)
            assert SECRET not in reply.raw
            answers.append(told(reply, one))
        assert answers[0] == answers[1], name
    assert accounts.watch.digest() == before


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
def test_every_operation_on_another_account_answers_as_on_none(accounts: Accounts, op: Operation, box: str) -> None:
    """Whatever the container is like: with versions, full, with the older versions, with marks of its own."""
    project, before = accounts.victim.ids["project"], accounts.watch.digest()
    facts = {"$box": box, "$version": "1234567890.12345", "$own": f"AUTH_{accounts.own.ids['project']}"}
    below, headers, body = filled(op, facts)
    callers = {n: t for n, t in accounts.tokens.items() if n != "system reader"}  # who may read: most read first
    for name, token in {**callers, "nobody": ""}.items():
        method = op.method
        answers = []
        for one in (project, MISSING):
            reply = accounts.world.call(method, f"{ROOT}{one}{below}", body, token=token, headers=headers)
            assert SECRET not in reply.raw
            answers.append(told(reply, one))
        assert answers[0] == answers[1], name
    assert accounts.watch.digest() == before


def test_a_copy_from_another_account_is_as_from_none(accounts: Accounts) -> None:
    before, answers = accounts.watch.digest(), []
    for one in (accounts.victim.ids["project"], MISSING):
        for path in ("/box/thing", "/box/none", "/none/none"):
            reply = accounts.put("/box/got", b"", X_Copy_From=path, X_Copy_From_Account=f"AUTH_{one}")
            assert reply.status == 403
            answers.append(told(reply, one))
    assert len({str(a) for a in answers}) == 1
    assert accounts.watch.digest() == before


def test_a_copy_into_another_account_is_as_into_none(accounts: Accounts) -> None:
    assert accounts.put("/box/mine", b"mine").status == 201
    before, answers = accounts.watch.digest(), []
    here = f"{ROOT}{accounts.own.ids['project']}/box/mine"
    for one in (accounts.victim.ids["project"], MISSING):
        for path in ("box/thing", "box/new", "none/none"):
            headers = {"Destination": path, "Destination-Account": f"AUTH_{one}"}
            reply = accounts.world.call("COPY", here, token=accounts.own.token, headers=headers)
            assert reply.status == 403
            answers.append(told(reply, one))
    assert len({str(a) for a in answers}) == 1
    assert accounts.watch.digest() == before


def test_a_link_into_another_account_opens_nothing(accounts: Accounts) -> None:
    """As it is read, as a segment, through a second link, by a temporary URL, in a copy; static or not."""
    etag = hashlib.md5(SECRET).hexdigest()
    answers = []
    for n, one in enumerate((accounts.victim.ids["project"], MISSING)):
        given = {"X_Symlink_Target_Account": f"AUTH_{one}", "X_Symlink_Target": "box/thing"}
        static = [
            told(accounts.put(f"/box/s{n}", b"", X_Symlink_Target_Etag=e, **given), one) for e in (etag, "0" * 32)
        ]
        assert static[0] == static[1]
        assert accounts.put(f"/box/link{n}", b"", **given).status == 201
        assert accounts.put(f"/box/again{n}", b"", X_Symlink_Target=f"box/link{n}").status == 201
        manifest = json.dumps([{"path": f"/box/link{n}"}]).encode()
        found = [
            accounts.get(f"/box/link{n}"),
            accounts.get(f"/box/link{n}", "HEAD"),
            accounts.get(f"/box/again{n}"),
            accounts.put("/box/large?multipart-manifest=put", manifest),
            accounts.put("/box/copied", b"", X_Copy_From=f"/box/link{n}"),
            accounts.get(f"/box/link{n}", "POST"),
        ]
        assert not any(SECRET in r.raw for r in found)
        assert all(r.status >= 300 for r in found)
        answers.append([static[0], *(told(r, one) for r in found)])
    text = [str(a).replace("link0", "link").replace("link1", "link") for a in answers]
    assert text[0] == text[1]


def test_manifests_and_archives_stay_in_their_account(accounts: Accounts) -> None:
    """A path that climbs out is a name like any other."""
    victim, own = f"AUTH_{accounts.victim.ids['project']}", f"AUTH_{accounts.own.ids['project']}"
    theirs = dump(accounts, victim)
    for path in (f"/../{victim}/box/thing", f"/{victim}/box/thing", f"//{victim}/box/thing", "/box/../../box/thing"):
        manifest = json.dumps([{"path": path}]).encode()
        assert accounts.put("/box/large?multipart-manifest=put", manifest).status in (201, 400), path
        assert SECRET not in accounts.get("/box/large").raw, path
        assert accounts.put("/box/dynamic", b"", X_Object_Manifest=quote(path.strip("/"))).status in (201, 400)
        reply = accounts.get("/box/dynamic")
        assert SECRET not in reply.raw, path
        deleted = accounts.world.call("POST", f"/object-store/v1/{own}?bulk-delete", path.encode(),
                                      token=accounts.own.token, headers={"Content-Type": "text/plain"})  # fmt: skip
        assert deleted.status == 200, path
        assert accounts.put("?extract-archive=tar", archive(path.lstrip("/"))).status in (200, 201), path
    assert dump(accounts, victim) == theirs


def dump(accounts: Accounts, account: str) -> str:
    """All that an account holds."""
    from nutshell.object_store.port import ObjectEngine

    engine = accounts.world.cloud.port(ObjectEngine)

    def work(i: Any) -> str:
        row = i.account(account)
        found = [repr(row)]
        for container, usage in i.list_containers(row.id, after="", until="", prefix="", limit=1000, reverse=False):
            page = {"prefix": "", "limit": 1000}
            rows = i.list_objects(container.id, after="", until="", reverse=False, **page)
            found += [repr(container), repr(usage), repr(rows)]
            found.append(repr(i.list_versions(container.id, after=("", 0), **page)))
        return "\n".join(found)

    return engine.read(work)


def test_syncing_writes_only_where_the_other_side_agreed(accounts: Accounts) -> None:
    """Without the target's key nothing is written there, and nothing is ever read from the target."""
    victim = f"AUTH_{accounts.victim.ids['project']}"
    here = f"/object-store/v1/{victim}/box"
    assert accounts.put("/out", b"").status == 201
    assert accounts.put("/out/thing", b"evil").status == 201
    for theirs, mine in (("", "k"), ("", ""), ("theirs", "k"), ("theirs", "")):
        key = {"X-Container-Sync-Key": theirs}
        assert accounts.world.call("POST", here, token=accounts.victim.token, headers=key).status == 204
        before = dump(accounts, victim)
        to = {"X-Container-Sync-To": f"//nutshell/here/{victim}/box", "X-Container-Sync-Key": mine}
        out = f"{ROOT}{accounts.own.ids['project']}/out"
        assert accounts.world.call("POST", out, token=accounts.own.token, headers=to).status == 204
        syncing.sync(accounts.world.cloud)
        assert dump(accounts, victim) == before
        assert accounts.get("/out/thing").raw == b"evil"


def signed(key: str, method: str, path: str, mount: str = "/object-store") -> str:
    said = hmac.new(key.encode(), f"{method}\n4000000000\n{path}".encode(), "sha256").hexdigest()
    return f"{mount}{path}?temp_url_sig={said}&temp_url_expires=4000000000"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
def test_ones_own_key_signs_nothing_of_others(accounts: Accounts, method: str) -> None:
    """A temporary URL opens its own account, or its own container, and no link, manifest or copy leads out of it."""
    own, victim = f"AUTH_{accounts.own.ids['project']}", f"AUTH_{accounts.victim.ids['project']}"
    for below, name in (("", "account"), ("/box", "container")):
        headers = {f"X-{name}-Meta-Temp-Url-Key": name}
        path = f"/object-store/v1/{own}{below}"
        assert accounts.world.call("POST", path, token=accounts.own.token, headers=headers).status == 204
    assert accounts.put("/private", b"").status in (201, 202)
    assert accounts.put("/private/thing", b"only of the account").status == 201
    given = {"X_Symlink_Target_Account": victim, "X_Symlink_Target": "box/thing"}
    accounts.put("/box/out", b"", **given)
    accounts.put("/box/beside", b"", X_Symlink_Target="private/thing")
    theirs = dump(accounts, victim)
    call = accounts.world.call
    for key in ("account", "container", ""):
        answers = [
            told(call(method, signed(key, method, f"/v1/{a}/box/thing"), b"x"), a) for a in (victim, "AUTH_" + MISSING)
        ]
        texts = [str(a).replace(victim, "A").replace("AUTH_" + MISSING, "A") for a in answers]
        assert texts[0] == texts[1]
        assert answers[0][0] == 401
    assert call(method, signed("container", method, f"/v1/{own}/private/thing"), b"x").status == 401
    if method in ("GET", "HEAD"):
        for key in ("account", "container"):
            reply = call(method, signed(key, method, f"/v1/{own}/box/out"))
            assert reply.status == 401, key
        assert call(method, signed("container", method, f"/v1/{own}/box/beside")).status == 401
        assert call(method, signed("account", method, f"/v1/{own}/box/beside")).status == 200
    if method == "PUT":
        for key, source in (("account", {"X-Copy-From": "/box/thing", "X-Copy-From-Account": victim}),
                            ("container", {"X-Copy-From": "/private/thing"}),
                            ("container", {"X-Symlink-Target": "private/thing"}),
                            ("container", {"X-Object-Manifest": "private/th"})):  # fmt: skip
            reply = call(method, signed(key, method, f"/v1/{own}/box/up"), b"", headers=source)
            assert reply.status in (400, 401), source
    assert dump(accounts, victim) == theirs


def test_leave_given_by_a_name_is_not_for_who_takes_that_name(accounts: Accounts) -> None:
    """A project or user elsewhere may be called as another's name or id."""
    world, victim = accounts.world, accounts.victim
    friend = Side("friend")
    _people(world, friend)
    domain = accounts.own.ids["domain"]
    given = {"name": "friend", "password": PASSWORD, "domain_id": domain}
    thief = world.done("POST", f"{V3}/users", {"user": given})["user"]["id"]
    tokens = []
    for name in ("friend", friend.ids["project"], f"AUTH_{friend.ids['project']}"):
        made = world.done("POST", f"{V3}/projects", {"project": {"name": name, "domain_id": domain}})["project"]["id"]
        world.done("PUT", f"{V3}/projects/{made}/users/{thief}/roles/{role(world, 'member')}")
        tokens.append(sign_in(world, thief, {"project": {"id": made}}))
    here = f"{ROOT}{victim.ids['project']}/box"
    ids = friend.ids
    for words in ("friend:friend", "friend", f"{ids['project']}:{ids['user']}", f"{ids['project']}:*",
                  f"*:{ids['user']}", f"AUTH_{ids['project']}"):  # fmt: skip
        headers = {"X-Container-Read": words, "X-Container-Write": words}
        assert world.call("POST", here, token=victim.token, headers=headers).status == 204
        level = {"X-Account-Access-Control": json.dumps({"admin": [words]})}
        assert world.call("POST", f"{ROOT}{victim.ids['project']}", token=victim.token, headers=level).status == 204
        for token in tokens:
            assert world.call("GET", f"{here}/thing", token=token).status == 403, words
            assert world.call("PUT", f"{here}/new", b"x", token=token).status == 403, words
        if not words.startswith("friend"):
            assert world.call("GET", f"{here}/thing", token=friend.token).status == 200, words
    nobody = {"X-Container-Read": "", "X-Container-Write": "", "X-Account-Access-Control": ""}
    assert world.call("POST", here, token=victim.token, headers=nobody).status == 204
    assert world.call("POST", f"{ROOT}{victim.ids['project']}", token=victim.token, headers=nobody).status == 204
    assert world.call("GET", f"{here}/thing", token=friend.token).status == 403


def test_the_stores_own_accounts_are_nobodys(accounts: Accounts) -> None:
    """What S3 keeps its names in is no account that Swift's API gives to anybody but administrators."""
    for account in (".s3", ".expiring_objects", "%2Es3", ".S3"):
        for name, token in {**accounts.tokens, "nobody": ""}.items():
            for method in ("GET", "PUT", "POST", "DELETE"):
                reply = accounts.world.call(method, f"/object-store/v1/{account}/box", None, token=token)
                expected = {401} if name == "nobody" else {403}
                if name == "system reader":
                    expected = {403, 404}
                assert reply.status in expected, (account, name, method)


def test_the_table_of_swift_is_as_it_is_checked_in(accounts: Accounts) -> None:
    """Every request by each caller, in a container furnished for it; deleting the account is asked of another one."""
    world, victim = accounts.world, accounts.victim
    domain, project = victim.ids["domain"], victim.ids["project"]
    reader, _ = person(world, "victims reader", ["reader"], domain, {"project": project})
    who = {"owner": victim.token, "reader of the project": reader, "another project's owner": accounts.own.token,
           "nobody": ""}  # fmt: skip
    rows = []
    for n, op in enumerate(OPERATIONS):
        row = [op.name]
        for i, token in enumerate(who.values()):
            box = f"table-{n}-{i}"
            facts = {
                "$box": box,
                "$version": furnish(world, victim, box),
                "$own": f"AUTH_{accounts.own.ids['project']}",
            }
            below, headers, body = filled(op, facts)
            row.append(_said(world.call(op.method, f"{ROOT}{project}{below}", body, token=token, headers=headers)))
        below, headers, body = filled(op, {**facts, "$box": "none"})
        reply = world.call(op.method, f"{ROOT}{MISSING}{below}", body, token=accounts.own.token, headers=headers)
        rows.append((*row, _said(reply)))
    object_table.compare("Swift", ("request", *who, "no such account"), rows)


def _said(reply: Reply) -> str:
    """The status; what a report of many says inside a 200 beside it."""
    inside = [line for line in reply.raw.decode("latin1").split("\n") if line.startswith("Response Status: ")]
    return str(reply.status) + (f" ({inside[0][17:20]})" if inside else "")


def test_system_metadata_is_the_stores_own(accounts: Accounts) -> None:
    """Beside a header that makes the store write some, a client's own came in: a quota, an owner, what it likes."""
    world, own = accounts.world, f"{ROOT}{accounts.own.ids['project']}"
    limit = {"X-Account-Quota-Bytes": "10"}
    assert world.call("POST", own, token=world.admin, headers=limit).status == 204
    lifted = {"X-Account-Rfc-Compliant-Etags": "false", "X-Account-Sysmeta-Quota-Bytes": "1000"}
    assert world.call("POST", own, token=accounts.own.token, headers=lifted).status == 204
    assert world.call("HEAD", own, token=accounts.own.token).headers["x-account-quota-bytes"] == "10"
    assert accounts.put("/box/long", b"x" * 20).status == 413
    assert world.call("POST", own, token=world.admin, headers={"X-Account-Quota-Bytes": ""}).status == 204
    broken = {"X_Object_Sysmeta_S3_Acl": "{", "X_Object_Sysmeta_S3_Checksum": "x", "X_Object_Sysmeta_Slo_Size": "x"}
    assert accounts.put("/box/link", b"", X_Symlink_Target="box/none", **broken).status == 201
    assert accounts.put("/box/copied", b"", X_Copy_From="/box/thing", **broken).status in (201, 404)
    kept = dump(accounts, f"AUTH_{accounts.own.ids['project']}")
    assert "sysmeta-s3" not in kept
    assert "'x-object-sysmeta-slo-size': 'x'" not in kept


def test_a_form_that_nobody_signed_leads_nowhere(accounts: Accounts) -> None:
    """It sent the browser on to any address, and wrote that address into a page."""
    words = [("redirect", 'javascript:x">\r\nSet-Cookie: a=b'), ("max_file_count", "1")]
    body = "".join(f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in words) + "--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = accounts.world.call("POST", f"{ROOT}{accounts.own.ids['project']}/box/", body.encode(), headers=kind)
    assert reply.status == 400
    assert "location" not in reply.headers
    assert b"javascript" not in reply.raw
