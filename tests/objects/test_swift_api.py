"""The Swift API, feature by feature, through the whole pipeline."""

import hashlib
import hmac
import io
import json
import tarfile
import time
from collections.abc import Iterator

import pytest

from tests.objects.memory_engine import MemoryEngine
from tests.objects.swift_rig import Swift, swift_cloud

BIG = bytes(range(256)) * 6000


@pytest.fixture(scope="module", params=["directories", "dictionaries"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Swift]:
    """On the engine that ships, and on another that fills the same Protocols."""
    with swift_cloud(engine=MemoryEngine() if request.param == "dictionaries" else None) as made:
        yield made


@pytest.fixture
def swift(cloud: Swift, request: pytest.FixtureRequest) -> Swift:
    """A container of the test's own, /c, emptied before."""
    for name in ("c", "c2", "c3"):
        for entry in (cloud("GET", f"/{name}", query="format=json").json() if cloud("HEAD", f"/{name}").status < 300 else ()):  # fmt: skip  # noqa: E501
            cloud("DELETE", f"/{name}/{entry['name']}")
        cloud("DELETE", f"/{name}")
    assert cloud("PUT", "/c").status == 201
    return cloud


def test_an_object_comes_back_to_the_byte_with_its_headers(swift: Swift) -> None:
    put = swift("PUT", "/c/é b", BIG, content_type="image/x", x_object_meta_colour="red", content_encoding="gzip")
    assert (put.status, put.headers["etag"]) == (201, hashlib.md5(BIG).hexdigest())
    got = swift("GET", "/c/é b")
    assert (got.status, got.body) == (200, BIG)
    assert got.headers["content-type"] == "image/x"
    assert got.headers["x-object-meta-colour"] == "red"
    head = swift("HEAD", "/c/é b")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BIG)))
    assert swift("HEAD", "/c").headers["x-container-bytes-used"] == str(len(BIG))
    assert swift("DELETE", "/c/é b").status == 204
    assert swift("GET", "/c/é b").status == 404
    assert swift("HEAD", "/c").headers["x-container-object-count"] == "0"


def test_ranges_and_conditions(swift: Swift) -> None:
    etag = swift("PUT", "/c/o", b"0123456789").headers["etag"]
    assert swift("GET", "/c/o", range="bytes=2-4").body == b"234"
    assert swift("GET", "/c/o", range="bytes=-3").body == b"789"
    two = swift("GET", "/c/o", range="bytes=0-1,8-")
    assert two.status == 206
    assert b"\r\n\r\n01\r\n--" in two.body
    assert int(two.headers["content-length"]) == len(two.body)
    assert swift("GET", "/c/o", range="bytes=10-").status == 416
    assert swift("GET", "/c/o", range="bytes=x").status == 200
    assert swift("GET", "/c/o", if_none_match=etag).status == 304
    assert swift("GET", "/c/o", if_match='"no"').status == 412
    assert swift("PUT", "/c/o", b"", if_none_match="*").status == 412
    assert swift("PUT", "/c/new", b"", if_none_match="*").status == 201


@pytest.mark.parametrize("headers", [{"etag": "0" * 32}, {"x_delete_at": "1"}, {"x_object_meta_": "v"}])
def test_what_is_refused_changes_nothing(swift: Swift, headers: dict[str, str]) -> None:
    assert swift("PUT", "/c/o", b"data", **headers).status in (400, 422)
    assert swift("GET", "/c/o").status == 404


def test_an_upload_that_breaks_off_leaves_nothing(swift: Swift) -> None:
    headers = {"x-auth-token": swift.token, "content-length": str(len(BIG) + 1)}
    assert swift.raw("PUT", swift.root + "/c/half", BIG, "", headers, cut=True).status == 499
    assert swift("GET", "/c/half").status == 404


def test_listings(swift: Swift) -> None:
    for name in ("a", "b/1", "b/2", "b/c/3", "d"):
        swift("PUT", f"/c/{name}", name.encode())
    assert swift("GET", "/c").body == b"a\nb/1\nb/2\nb/c/3\nd\n"
    assert swift("GET", "/c", query="delimiter=/").body == b"a\nb/\nd\n"
    assert swift("GET", "/c", query="delimiter=/&reverse=on").body == b"d\nb/\na\n"
    assert swift("GET", "/c", query="prefix=b/&delimiter=/").body == b"b/1\nb/2\nb/c/\n"
    assert swift("GET", "/c", query="marker=b/1&end_marker=d&limit=2").body == b"b/2\nb/c/3\n"
    one = swift("GET", "/c", query="format=json&prefix=a").json()
    assert one[0]["hash"] == hashlib.md5(b"a").hexdigest()
    assert b"<name>b/1</name>" in swift("GET", "/c", query="format=xml").body
    assert swift("GET", "/c", accept="image/png").status == 406
    assert swift("GET", "/c", query="limit=10001").status == 412
    assert "c" in [e["name"] for e in swift("GET", "", query="format=json").json()]


def test_copies_share_their_bytes_until_one_goes(swift: Swift) -> None:
    swift("PUT", "/c/o", BIG, x_object_meta_a="1")
    assert swift("COPY", "/c/o", destination="c/copy", x_object_meta_b="2").status == 201
    assert swift("DELETE", "/c/o").status == 204
    got = swift("GET", "/c/copy")
    assert got.body == BIG
    assert (got.headers["x-object-meta-a"], got.headers["x-object-meta-b"]) == ("1", "2")
    assert swift("PUT", "/c/part", b"", x_copy_from="c/copy", range="bytes=0-9").status == 201
    assert swift("GET", "/c/part").body == BIG[:10]


def test_a_large_part_of_an_object_is_sent_by_the_server(swift: Swift) -> None:
    swift("PUT", "/c/big", BIG)
    files = not isinstance(swift.engine, MemoryEngine)
    assert swift("GET", "/c/big").by_file == files
    for said, start, end in (
        ("0-1199999", 0, 1_200_000),
        ("100001-", 100_001, len(BIG)),
        ("-1200001", -1_200_001, None),
    ):
        got = swift("GET", "/c/big", range=f"bytes={said}")
        assert (got.status, got.by_file, got.body == BIG[start:end]) == (206, files, True)
    little = swift("GET", "/c/big", range="bytes=7-1000")
    assert (little.status, little.by_file, little.body) == (206, False, BIG[7:1001])
    assert swift("HEAD", "/c/big", range="bytes=7-1200000").body == b""


def test_a_manifest_as_long_as_what_is_sent_as_a_file_is_read(swift: Swift) -> None:
    name = "long" * 250
    swift("PUT", f"/c/{name}", b"x" * 5)
    manifest = [{"path": f"/c/{name}", "range": "1-2"} for _ in range(950)]
    assert swift("PUT", "/c/slo", json.dumps(manifest).encode(), query="multipart-manifest=put").status == 201
    assert len(swift("GET", "/c/slo", query="multipart-manifest=get").body) > 1 << 20
    assert swift("GET", "/c/slo").body == b"xx" * 950


def test_a_static_large_object_that_is_named_dynamic_too_stays_static(swift: Swift) -> None:
    """A POST writes X-Object-Manifest on any object; what that names was read as the list of segments (500)."""
    for n in (1, 2):
        swift("PUT", f"/c/two/{n}", b"%d" % n * 5)
    manifest = json.dumps([{"path": f"/c/two/{n}"} for n in (1, 2)]).encode()
    swift("PUT", "/c/both", manifest, query="multipart-manifest=put")
    assert swift("POST", "/c/both", x_object_manifest="c/two/1").status == 202
    assert swift("GET", "/c/both").body == b"1111122222"
    assert swift("GET", "/c/both", query="part-number=2").body == b"22222"
    assert swift("COPY", "/c/both", destination="c/again", query="multipart-manifest=get").status == 201
    assert swift("GET", "/c/again").body == b"1111122222"


def test_a_large_object_that_is_whole_no_more_is_not_copied(swift: Swift) -> None:
    """Its later segments are seen when the copy is under way, which was a fault (500)."""
    for n in (1, 2):
        swift("PUT", f"/c/gone/{n}", b"%d" % n * 5)
    manifest = json.dumps([{"path": f"/c/gone/{n}"} for n in (1, 2)]).encode()
    swift("PUT", "/c/torn", manifest, query="multipart-manifest=put")
    swift("PUT", "/c/before", b"as it was")
    swift("PUT", "/c/gone/2", b"other")
    assert swift("COPY", "/c/torn", destination="c/before").status == 409
    assert swift("GET", "/c/before").body == b"as it was"


def test_large_objects_of_both_kinds(swift: Swift) -> None:
    for n in (1, 2, 3):
        swift("PUT", f"/c/seg/{n}", b"%d" % n * 5)
    manifest = [{"path": f"/c/seg/{n}"} for n in (1, 2)] + [{"path": "/c/seg/3", "range": "1-2"}]
    made = swift("PUT", "/c/slo", json.dumps(manifest).encode(), query="multipart-manifest=put")
    assert made.status == 201
    got = swift("GET", "/c/slo")
    assert (got.body, got.headers["etag"]) == (b"111112222233", made.headers["etag"])
    assert swift("GET", "/c/slo", range="bytes=4-6").body == b"122"
    assert swift("PUT", "/c/bad", b'[{"path":"/c/none"}]', query="multipart-manifest=put").status == 400
    swift("PUT", "/c/dlo", b"", x_object_manifest="c/seg/")
    assert swift("GET", "/c/dlo").body == b"111112222233333"
    gone = swift("DELETE", "/c/slo", query="multipart-manifest=delete", accept="application/json").json()
    assert gone["Number Deleted"] == 4


def test_versions(swift: Swift) -> None:
    swift("POST", "/c", x_versions_enabled="true")
    ids = [swift("PUT", "/c/o", b"v%d" % n).headers["x-object-version-id"] for n in (1, 2)]
    assert swift("GET", "/c/o", query=f"version-id={ids[0]}").body == b"v1"
    swift("DELETE", "/c/o")
    assert swift("GET", "/c/o").status == 404
    listed = swift("GET", "/c", query="versions").json()
    assert [e["is_latest"] for e in listed] == [True, False, False]
    assert swift("PUT", "/c/o", b"", query=f"version-id={ids[0]}").status == 201
    assert swift("GET", "/c/o").body == b"v1"
    assert swift("DELETE", "/c").status == 409
    for entry in swift("GET", "/c", query="versions").json():
        assert swift("DELETE", "/c/o", query=f"version-id={entry['version_id']}").status == 204
    assert swift("HEAD", "/c").headers["x-container-bytes-used"] == "0"


def test_the_older_stack_brings_the_last_copy_back(swift: Swift) -> None:
    swift("PUT", "/c2")
    swift("POST", "/c", x_versions_location="c2")
    swift("PUT", "/c/o", b"one")
    swift("PUT", "/c/o", b"two")
    assert swift("GET", "/c2").body.startswith(b"001o/")
    swift("DELETE", "/c/o")
    assert swift("GET", "/c/o").body == b"one"
    assert swift("GET", "/c2").status == 204


def test_symlinks(swift: Swift) -> None:
    etag = swift("PUT", "/c/t", b"target").headers["etag"]
    assert swift("PUT", "/c/l", b"", x_symlink_target="c/t").status == 201
    assert swift("GET", "/c/l").body == b"target"
    assert swift("GET", "/c/l", query="symlink=get").headers["x-symlink-target"] == "c/t"
    assert swift("PUT", "/c/s", b"", x_symlink_target="c/t", x_symlink_target_etag=etag).status == 201
    swift("PUT", "/c/t", b"other")
    assert swift("GET", "/c/s").status == 409
    assert swift("PUT", "/c/loop", b"", x_symlink_target="c/loop").status == 400


def test_bulk_upload_and_delete(swift: Swift) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, data in (("x/1", b"one"), ("x/2", BIG)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    made = swift("PUT", "/c", archive.getvalue(), query="extract-archive=tar.gz", accept="application/json").json()
    assert made["Number Files Created"] == 2, made
    assert swift("GET", "/c/x/2").body == BIG
    names = b"/c/x/1\n/c/x/2\n/c/none\n"
    gone = swift("POST", "", names, query="bulk-delete", content_type="text/plain", accept="application/json").json()
    assert (gone["Number Deleted"], gone["Number Not Found"]) == (2, 1)


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_temporary_urls(swift: Swift, digest: str) -> None:
    swift("PUT", "/c/o", b"data")
    swift("POST", "/c", x_container_meta_temp_url_key="key")
    expires = int(time.time()) + 100
    path = swift.root + "/c/o"
    sign = hmac.new(b"key", f"GET\n{expires}\n{path}".encode(), digest).hexdigest()
    query = f"temp_url_sig={sign}&temp_url_expires={expires}"
    assert swift("GET", "/c/o", query=query, token="").body == b"data"
    assert swift("PUT", "/c/o", b"x", query=query, token="").status == 401
    assert swift("GET", "/c/o", query=query.replace(str(expires), "1"), token="").status == 401
    assert swift("GET", "/c/o", token="").status == 401


def test_lists_let_others_in(swift: Swift) -> None:
    swift("PUT", "/c/o", b"data")
    assert swift("GET", "/c/o", token="").status == 401
    swift("POST", "/c", x_container_read=".r:*")
    assert swift("GET", "/c/o", token="").body == b"data"
    assert swift("GET", "/c", token="").status == 401
    swift("POST", "/c", x_container_read=".r:*,.rlistings")
    assert swift("GET", "/c", token="").body == b"o\n"
    assert "x-container-read" not in swift("HEAD", "/c", token="").headers
    assert swift("PUT", "/c/o", b"x", token="").status == 401
    assert swift("POST", "/c", x_container_write=".r:*").status == 400


def test_quotas_of_a_container(swift: Swift) -> None:
    swift("POST", "/c", x_container_meta_quota_bytes="5", x_container_meta_quota_count="1")
    assert swift("PUT", "/c/o", b"123456").status == 413
    assert swift("PUT", "/c/o", b"12345").status == 201
    assert swift("PUT", "/c/p", b"").status == 413


def test_expired_objects_are_not_there_and_go(swift: Swift) -> None:
    from nutshell.object_store.background import expire

    swift("PUT", "/c/o", b"data", x_delete_after="50")
    cloud = swift.running.cloud
    cloud.clock.step(60)
    assert swift("GET", "/c/o").status == 404
    expire(cloud)
    assert swift("HEAD", "/c").headers["x-container-object-count"] == "0"


def test_static_web(swift: Swift) -> None:
    swift("POST", "/c", x_container_meta_web_index="index.html", x_container_read=".r:*,.rlistings",
          x_container_meta_web_error="error.html")  # fmt: skip
    swift("PUT", "/c/index.html", b"<p>hello")
    swift("PUT", "/c/404error.html", b"<p>nothing here")
    assert swift("GET", "/c", token="").status == 301
    assert swift("GET", "/c/", token="").body == b"<p>hello"
    missing = swift("GET", "/c/none", token="")
    assert (missing.status, missing.body) == (404, b"<p>nothing here")


def test_deleted_accounts_are_emptied(cloud: Swift) -> None:
    from nutshell.object_store.background import reap

    own, cloud.root = cloud.root, "/v1/AUTH_other"
    try:
        assert cloud("PUT", "/c").status == 201
        cloud("PUT", "/c/o", BIG)
        assert cloud("DELETE", "").status == 204
        assert cloud("GET", "").status == 410
        reap(cloud.running.cloud)
        assert cloud("GET", "").status == 200 or cloud("GET", "").status == 204
    finally:
        cloud.root = own


def test_what_is_sealed_opens_for_its_owner(tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("sealed")
    with swift_cloud(state, encrypt=True) as swift:
        swift("PUT", "/c")
        swift("PUT", "/c/o", BIG)
        swift("PUT", "/c/small", b"a secret that must not be readable")
        assert swift("GET", "/c/o", range="bytes=1000000-1000010").body == BIG[1000000:1000011]
        assert swift("GET", "/c/small").body == b"a secret that must not be readable"
    stored = b"".join(p.read_bytes() for p in (state / "objects" / "d1").rglob("*") if p.is_file())
    assert b"a secret that" not in stored
    assert BIG[:512] not in stored


def test_containers_that_are_synchronised_get_each_others_objects(swift: Swift) -> None:
    from nutshell.object_store.syncing import sync

    account = swift.root.rsplit("/", 1)[1]
    swift("PUT", "/c2", x_container_sync_key="k")
    target = f"//nutshell/here/{account}/c2"
    assert swift("POST", "/c", x_container_sync_to=target, x_container_sync_key="wrong").status == 204
    assert swift("POST", "/c", x_container_sync_to="http://elsewhere/v1/a/c").status == 400
    swift("PUT", "/c/o", BIG)
    sync(swift.running.cloud)
    assert swift("GET", "/c2/o").status == 404
    swift("POST", "/c", x_container_sync_key="k")
    sync(swift.running.cloud)
    assert swift("GET", "/c2/o").body == BIG


def test_a_time_past_the_far_future_is_the_far_future() -> None:
    from nutshell.object_store.swift.checks import LATEST, delete_at

    assert delete_at({"x-delete-at": "1" * 100}, 5) == delete_at({"x-delete-after": "1" * 5000}, 5) == LATEST
