"""The network drive: WebDAV's verbs over the containers that Swift's API shows, without a socket."""

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from nutshell.object_store.dav.locks import KeptLocks
from tests.objects.engine_rig import make_engine
from tests.objects.memory_engine import MemoryEngine
from tests.objects.swift_rig import Got, Swift, swift_cloud

WORDS = b"the words of a file"


class Drive:
    """`drive("PUT", "/c/f", b"...")` in the project admin."""

    def __init__(self, swift: Swift, name: str = "admin", secret: str = "secret", project: str = "admin") -> None:
        self.swift, self.root = swift, "/dav/" + project
        self.basic = "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()

    def __call__(self, method: str, path: str = "", body: bytes = b"", cut: bool = False, **headers: str) -> Got:
        given = {k.replace("_", "-").lower(): v for k, v in headers.items()}
        given.setdefault("authorization", self.basic)
        if method not in ("GET", "HEAD") and "transfer-encoding" not in given:
            given.setdefault("content-length", str(len(body)))
        return self.swift.raw(method, quote(self.root + path), body, "", given, cut)

    def send(self, method: str, path: str, to: str, **headers: str) -> int:
        return self(method, path, destination="http://cloud" + quote(self.root + to), **headers).status

    def found(self, path: str, depth: str = "1", *names: str) -> dict[str, dict[str, Any]]:
        """Address → property → text, of those that are there."""
        asked = "".join(f"<x:{n} xmlns:x='{ns}'/>" for ns, n in (n.split("}") for n in (m.lstrip("{") for m in names)))
        body = f"<propfind xmlns='DAV:'><prop>{asked}</prop></propfind>".encode() if names else b""
        got = self("PROPFIND", path, body, depth=depth)
        assert got.status == 207, got
        out: dict[str, dict[str, Any]] = {}
        for one in ElementTree.fromstring(got.body):
            known = out.setdefault(one.findtext("{DAV:}href", ""), {})
            for stat in one.findall("{DAV:}propstat"):
                if "200" in stat.findtext("{DAV:}status", ""):
                    known |= {p.tag: p.text for p in stat.find("{DAV:}prop") or ()}
        return out

    def members(self, path: str) -> set[str]:
        base = quote(self.root + path).rstrip("/") + "/"
        return {h.removeprefix(base) for h in self.found(path, "1", "{DAV:}resourcetype")} - {""}


@pytest.fixture(scope="module", params=["directories", "dictionaries"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Swift]:
    with swift_cloud(engine=MemoryEngine() if request.param == "dictionaries" else None) as made:
        yield made


@pytest.fixture
def drive(cloud: Swift, request: pytest.FixtureRequest) -> Iterator[Drive]:
    """With a container `c`, which the test leaves empty or not."""
    one = Drive(cloud)
    assert one("MKCOL", "/c").status == 201
    yield one
    assert one("DELETE", "/c").status == 204


def test_a_file_comes_back_to_the_byte_whole_and_in_part(drive: Drive) -> None:
    data = os.urandom(3 << 20)
    assert drive("PUT", "/c/f.bin", data).status == 201
    got = drive("GET", "/c/f.bin")
    assert (got.status, got.body) == (200, data)
    etag = got.headers["etag"]
    assert etag.startswith('"')
    assert drive("GET", "/c/f.bin", range="bytes=1000000-1000009").body == data[1000000:1000010]
    assert drive("HEAD", "/c/f.bin").headers["content-length"] == str(len(data))
    assert drive("GET", "/c/f.bin", if_none_match=etag).status == 304
    assert drive("PUT", "/c/f.bin", b"new", if_match='"other"').status == 412
    again = drive("PUT", "/c/f.bin", b"new", if_match=etag)
    assert (again.status, drive("GET", "/c/f.bin").body) == (204, b"new")
    assert again.headers["etag"] == drive("GET", "/c/f.bin").headers["etag"]
    assert drive("PUT", "/c/f.bin", b"", transfer_encoding="chunked").status == 204


def test_an_upload_that_breaks_off_leaves_what_was_there(drive: Drive) -> None:
    assert drive("PUT", "/c/f", WORDS).status == 201
    assert drive("PUT", "/c/f", os.urandom(200_000), cut=True).status >= 400
    assert drive("GET", "/c/f").body == WORDS
    assert drive("PUT", "/c/new", os.urandom(200_000), cut=True).status >= 400
    assert drive.members("/c") == {"f"}


def test_what_swift_stores_is_there_and_the_other_way_round(drive: Drive, cloud: Swift) -> None:
    cloud("PUT", "/c/a/b/deep.txt", WORDS)
    cloud("PUT", "/c/a", b"")  # how some clients mark a folder
    cloud("PUT", "/c/marked", content_type="application/directory")
    cloud("PUT", "/c/a-first", WORDS)
    assert drive.members("/c") == {"a/", "a-first", "marked/"}
    assert drive.members("/c/a") == {"b/"}
    assert drive("GET", "/c/a/b/deep.txt").body == WORDS
    assert drive("PUT", "/c/a/mine", WORDS).status == 201
    assert drive("MKCOL", "/c/made").status == 201
    assert cloud("GET", "/c/a/mine").body == WORDS
    assert "made/" in cloud("GET", "/c").body.decode().split("\n")
    assert b'href="/dav/admin/c/a/"' in drive("GET", "/c/").body


def test_folders_are_made_where_their_parents_are(drive: Drive) -> None:
    assert drive("MKCOL", "/c/x/y").status == 409
    assert drive("PUT", "/c/x/f", b"1").status == 409
    assert drive("MKCOL", "/c/x").status == 201
    assert drive("MKCOL", "/c/x").status == 405
    assert drive("MKCOL", "/c/z", b"<x/>").status == 415
    assert drive("PUT", "/c/x/f", b"1").status == 201
    assert drive("DELETE", "/c/x/f").status == 204
    assert drive.members("/c") == {"x/"}  # the last file leaves the folder
    assert drive("PUT", "/top", b"1").status == 409  # no container
    assert drive("DELETE", "").status == 403


@pytest.mark.parametrize("name", ["plain", "sub dir/ünï+c&de", "a?b#c;d%41", "%2e%2e"])
def test_copies_and_moves(drive: Drive, name: str) -> None:
    drive("MKCOL", "/c/from")
    drive("MKCOL", "/c/to")
    for part in name.split("/")[:-1]:
        drive("MKCOL", f"/c/from/{part}")
    assert drive("PUT", f"/c/from/{name}", WORDS).status == 201
    assert drive.send("COPY", "/c/from", "/c/to/copied") == 201
    assert drive("GET", f"/c/to/copied/{name}").body == WORDS
    assert drive.send("MOVE", "/c/from", "/c/moved", depth="infinity") == 201
    assert drive("GET", f"/c/moved/{name}").body == WORDS
    assert drive("GET", f"/c/from/{name}").status == 404
    assert drive.send("COPY", f"/c/moved/{name}", f"/c/to/{name.split('/')[-1]}") == 201
    assert drive.send("COPY", f"/c/moved/{name}", f"/c/to/{name.split('/')[-1]}", overwrite="F") == 412
    assert drive.send("MOVE", "/c/moved", "/c/to") == 204  # instead of what was there
    assert drive.members("/c") == {"to/"}
    assert drive("GET", f"/c/to/{name}").body == WORDS
    assert drive.send("MOVE", "/c/to", "/c/to/inside") == 403
    assert drive("COPY", "/c/to", destination="http://elsewhere/dav/admin/c/x").status == 502


def test_large_objects_are_files_and_keep_their_segments_when_moved(drive: Drive, cloud: Swift) -> None:
    cloud("PUT", "/c/parts/1", b"a" * 2000)
    cloud("PUT", "/c/parts/2", b"b" * 10)
    said = b'[{"path": "/c/parts/1"}, {"path": "/c/parts/2"}]'
    assert cloud("PUT", "/c/large", said, query="multipart-manifest=put").status == 201
    whole = b"a" * 2000 + b"b" * 10
    assert drive("GET", "/c/large").body == whole
    assert drive.found("/c", "1", "{DAV:}getcontentlength")["/dav/admin/c/large"] == {"{DAV:}getcontentlength": "2010"}
    assert drive.send("MOVE", "/c/large", "/c/moved") == 201
    assert drive("GET", "/c/moved").body == whole
    assert cloud("HEAD", "/c/moved").headers["x-static-large-object"] == "True"
    assert drive.send("COPY", "/c/moved", "/c/copied") == 201
    assert drive("DELETE", "/c/parts").status == 204
    assert drive("GET", "/c/copied").body == whole


def test_earlier_versions_are_kept_where_the_container_says_so(drive: Drive, cloud: Swift) -> None:
    cloud("POST", "/c", x_versions_enabled="true")
    drive("PUT", "/c/f", b"one")
    drive("PUT", "/c/f", b"two")
    drive("DELETE", "/c/f")
    assert drive.members("/c") == set()
    kept = cloud("GET", "/c", query="versions&format=json").json()
    assert sorted(v["bytes"] for v in kept) == [0, 3, 3]
    for version in kept:
        cloud("DELETE", "/c/f", query="version-id=" + version["version_id"])


def test_properties_stay_with_what_they_are_said_of(drive: Drive, cloud: Swift) -> None:
    body = b"<propertyupdate xmlns='DAV:'><set><prop><c xmlns='urn:x'>blue</c></prop></set></propertyupdate>"
    drive("PUT", "/c/f", WORDS)
    drive("MKCOL", "/c/d")
    for path in ("/c/f", "/c/d", "/c"):
        assert b"200 OK" in drive("PROPPATCH", path, body).body
        assert drive.found(path, "0", "{urn:x}c").popitem()[1] == {"{urn:x}c": "blue"}
    drive("PUT", "/c/f", b"new content")
    assert drive.send("MOVE", "/c/f", "/c/d/g") == 201
    assert drive.found("/c/d/g", "0", "{urn:x}c") == {"/dav/admin/c/d/g": {"{urn:x}c": "blue"}}
    assert not [h for h in cloud("GET", "/c/d/g").headers if "sysmeta" in h or "dav" in h]
    live = b"<propertyupdate xmlns='DAV:'><set><prop><getetag>1</getetag></prop></set></propertyupdate>"
    assert b"403 Forbidden" in drive("PROPPATCH", "/c/d/g", live).body
    much = body.replace(b"blue", b"b" * 40_000)
    assert b"507" in drive("PROPPATCH", "/c/d/g", much).body


LOCK = b"<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>"


def test_locks_hold_for_everybody_without_the_token(drive: Drive, cloud: Swift) -> None:
    drive("PUT", "/c/f", WORDS)
    token = drive("LOCK", "/c/f", LOCK, timeout="Second-600").headers["lock-token"]
    assert drive("LOCK", "/c/f", LOCK).status == 423
    made = drive("LOCK", "/c/not-yet", LOCK)
    assert (made.status, drive("GET", "/c/not-yet").body) == (201, b"")
    assert drive("UNLOCK", "/c/not-yet", lock_token=made.headers["lock-token"]).status == 204
    for path in ("/dav/admin", "/dav/" + cloud.root.rpartition("/")[2]):  # however the project is called
        drive.root = path
        assert drive("PUT", "/c/f", b"other").status == 423
        assert drive("DELETE", "/c/f").status == 423
        assert drive.send("MOVE", "/c/f", "/c/g") == 423
        assert drive("DELETE", "/c").status == 207
    assert drive("GET", "/c/f").body == WORDS
    assert drive("PUT", "/c/f", b"mine", **{"if": f"({token})"}).status == 204
    assert drive("UNLOCK", "/c/f", lock_token="<opaquelocktoken:other>").status == 409
    assert drive("UNLOCK", "/c/f", lock_token=token).status == 204
    assert drive("DELETE", "/c/f").status == 204


def test_locks_outlive_the_process(tmp_path: Path) -> None:
    asked = {"depth": "0", "owner": b"<owner/>", "principal": "u", "scope": "exclusive", "type": "write"}
    engine = make_engine(tmp_path / "o")
    made = KeptLocks(engine).create("/AUTH_a/c/f/", {**asked, "timeout": 60})
    KeptLocks(engine).create("/AUTH_a/c/gone", {**asked, "timeout": 0})
    engine.close()
    engine = make_engine(tmp_path / "o")
    locks = KeptLocks(engine)
    assert locks.get(made["token"]) == made
    everything = {"include_root": False, "include_children": True, "token_only": True}
    assert locks.get_lock_list("/AUTH_a", **everything) == [made["token"]]
    locks.cleanup()
    locks.refresh(made["token"], timeout=100)
    assert locks.delete(made["token"])
    assert locks.get(made["token"]) is None
    assert not engine.read(
        lambda i: i.list_objects(locks._container("locks").id, after="", until="", prefix="", limit=9, reverse=False)
    )  # type: ignore[union-attr]
    engine.close()


def test_a_lock_that_ran_out_holds_nobody(drive: Drive) -> None:
    drive("PUT", "/c/f", WORDS)
    assert drive("LOCK", "/c/f", LOCK, timeout="Second-1").status == 200
    deadline = time.monotonic() + 10
    while drive("PUT", "/c/f", b"other").status == 423:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert drive("PUT", "/c/f", b"other").status == 204


def test_quotas(drive: Drive, cloud: Swift) -> None:
    cloud("POST", "/c", x_container_meta_quota_bytes="100")
    assert drive("PUT", "/c/f", b"x" * 60).status == 201
    assert drive("PUT", "/c/g", b"x" * 60).status == 507
    names = ("{DAV:}quota-used-bytes", "{DAV:}quota-available-bytes")
    assert list(drive.found("/c", "0", *names).popitem()[1].values()) == ["60", "40"]
    assert "{DAV:}quota-used-bytes" not in drive.found("/c", "0").popitem()[1]


@pytest.mark.parametrize("name", ["", "nobody", "admin"])
def test_who_cannot_sign_in_is_asked_to(cloud: Swift, name: str) -> None:
    got = Drive(cloud, name, "wrong")("PROPFIND", depth="0") if name else Drive(cloud)("GET", authorization="Bearer x")
    assert got.status == 401
    assert got.headers["www-authenticate"].startswith("Basic realm=")
    assert Drive(cloud)("OPTIONS", authorization="").headers["dav"] == "1, 2"


def test_another_projects_drive_is_none_of_ours(cloud: Swift) -> None:
    assert Drive(cloud, project="demo")("PROPFIND", depth="0").status == 401
    assert Drive(cloud, project="no-such-project")("PROPFIND", depth="0").status == 401
    assert Drive(cloud, name="admin@Default")("PROPFIND", depth="0").status == 207
    assert Drive(cloud, name="admin@elsewhere")("PROPFIND", depth="0").status == 401


def identity(cloud: Swift, method: str, path: str, body: Any = None) -> Any:
    said = json.dumps(body).encode() if body is not None else b""
    given = {"x-auth-token": cloud.token, "content-type": "application/json", "content-length": str(len(said))}
    got = cloud.raw(method, "/identity/v3" + path, said, "", given)
    assert got.status < 300, got
    return got.json() if got.body else None


def test_roles_count_and_a_changed_password_at_once(cloud: Swift, drive: Drive) -> None:
    drive("PUT", "/c/f", WORDS)
    made = identity(
        cloud, "POST", "/users", {"user": {"name": "reader@home", "password": "first", "domain_id": "default"}}
    )
    user = made["user"]["id"]
    project = cloud.root.rpartition("AUTH_")[2]
    roles = {r["name"]: r["id"] for r in identity(cloud, "GET", "/roles")["roles"]}
    reader = Drive(cloud, "reader@home", "first")
    assert reader("GET", "/c/f").status == 401  # no role there
    identity(cloud, "PUT", f"/projects/{project}/users/{user}/roles/{roles['reader']}")
    assert reader("GET", "/c/f").body == WORDS
    assert reader.members("/c") == {"f"}
    assert reader("PUT", "/c/f", b"other").status == 403
    assert reader("PUT", "/c/g", b"other").status == 403
    assert reader("MKCOL", "/theirs").status == 403
    assert reader("DELETE", "/c/f").status in (403, 207)
    assert reader.send("MOVE", "/c/f", "/c/g") == 403
    patch = b"<propertyupdate xmlns='DAV:'><set><prop><c xmlns='urn:x'>b</c></prop></set></propertyupdate>"
    assert b"403 Forbidden" in reader("PROPPATCH", "/c/f", patch).body
    assert drive("GET", "/c/f").body == WORDS
    identity(cloud, "PATCH", f"/users/{user}", {"user": {"password": "second"}})
    assert reader("GET", "/c/f").status == 401


def test_application_credentials_sign_in_with_their_id(cloud: Swift, drive: Drive) -> None:
    drive("PUT", "/c/f", WORDS)
    users = identity(cloud, "GET", "/users")["users"]
    user = next(u["id"] for u in users if u["name"] == "admin")
    path = f"/users/{user}/application_credentials"
    whole = identity(cloud, "POST", path, {"application_credential": {"name": "drive"}})["application_credential"]
    rules = [{"service": "object-store", "method": "GET", "path": "/dav/**"}]
    few = identity(cloud, "POST", path, {"application_credential": {"name": "few", "access_rules": rules}})
    assert Drive(cloud, whole["id"], whole["secret"])("GET", "/c/f").body == WORDS
    assert Drive(cloud, whole["id"], "wrong")("GET", "/c/f").status == 401
    assert Drive(cloud, whole["id"], whole["secret"], project="demo")("GET", "/c/f").status == 401
    limited = Drive(cloud, few["application_credential"]["id"], few["application_credential"]["secret"])
    assert limited("GET", "/c/f").body == WORDS
    assert limited("PUT", "/c/f", b"other").status == 401
    identity(cloud, "DELETE", f"{path}/{whole['id']}")
    assert Drive(cloud, whole["id"], whole["secret"])("GET", "/c/f").status == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("PROPFIND", "", b"", {"depth": "infinity"}, 403),
        ("PROPFIND", "", b"", {}, 403),
        ("PROPFIND", "", b"<not", {"depth": "0"}, 400),
        ("PROPFIND", "", b"<a>" + b"x" * (2 << 20), {"depth": "0"}, 413),
        ("PROPFIND", "", b'<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>', {"depth": "0"}, 400),
        ("PROPFIND", "/none", b"", {"depth": "0"}, 404),
        ("GET", "/../../../x", b"", {}, 400),
        ("GET", "/c/\ufdd0", b"", {}, 400),
        ("POST", "/c", b"", {}, 405),
        ("LOCK", "/none/x", LOCK, {}, 409),
        ("COPY", "/c", b"", {}, 400),
        ("MKCOL", "/" + "x" * 300, b"", {}, 400),
        ("PUT", "/c/" + "x" * 1100, b"1", {}, 400),
    ],
)
def test_what_is_refused(
    drive: Drive, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert drive(method, path, body, **headers).status == status
    assert drive.members("/c") == set()
