"""Images in directories, in the object store and in a bucket: one suite for all stores, and the API on top."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.test_s3 import client_of

import nutshell.testing
from nutshell.core.config import ConfigError
from nutshell.image.cache import ImageCache
from nutshell.image.files import ImageFiles
from nutshell.image.port import Images
from nutshell.image.stores import ImageStore, StoreFault, Stores
from nutshell.object_store.depots import ACCOUNT
from nutshell.object_store.port import Depot, ObjectEngine

MIB = 1 << 20
DATA = os.urandom(11 * MIB + 5)  # three parts for S3, twelve segments for Swift
STORES = ("file", "swift", "s3")
SMALL = {"stores": ["file", "swift=object-store", "s3=s3:images/deep@{url}/s3"], "segment_mib": 1}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Any]:
    """Another cloud, whose object store speaks S3."""
    with nutshell.testing.cloud(allow_unanswered=True) as found:
        yield found


@pytest.fixture(scope="module")
def bucket(elsewhere: Any) -> Any:
    """A client of it; the bucket is there."""
    client = client_of(elsewhere)
    client.create_bucket(Bucket="images")
    return client


@pytest.fixture(scope="module")
def settings(elsewhere: Any, bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    keys = bucket._request_signer._credentials
    file = tmp_path_factory.mktemp("keys") / "credentials"
    file.write_text(f"[s3]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n")
    stores = [text.format(url=elsewhere.url) for text in SMALL["stores"]]
    return {**SMALL, "stores": stores, "s3_credentials": str(file)}


@pytest.fixture(scope="module")
def cloud(settings: dict[str, Any]) -> Iterator[Any]:
    with nutshell.testing.cloud({"image": settings}, allow_unanswered=True) as found:
        s3: Any = found.state.port(Stores).by_id["s3"]
        assert s3._client  # loading boto3 takes seconds of a busy machine, which no test's `settle` shall wait for
        yield found


@pytest.fixture
def left(cloud: Any, bucket: Any) -> Callable[[], list[str]]:
    """The names of everything that lies in both object stores, and uploads that go on."""

    def names() -> list[str]:
        engine = cloud.state.port(ObjectEngine)
        _, box = engine.find(ACCOUNT, "images")
        page = {"after": "", "until": "", "prefix": "", "limit": 100, "reverse": False}
        found = [r.name for r in engine.read(lambda i: i.list_objects(box.id, **page))] if box is not None else []
        found += [one["Key"] for one in bucket.list_objects_v2(Bucket="images").get("Contents", ())]
        return found + [one["Key"] for one in bucket.list_multipart_uploads(Bucket="images").get("Uploads", ())]

    return names


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, cloud: Any) -> ImageStore:
    found: ImageStore = cloud.state.port(Stores).by_id[request.param]
    return found


@pytest.mark.parametrize("size", [0, 1, MIB, len(DATA)])
def test_a_store_gives_back_what_it_took(store: ImageStore, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA[:size])
    url = store.put(f"contract-{size}", source)
    assert url == store.address(f"contract-{size}")
    assert store.size(url) == size
    for start, end in ((0, size), (0, 1 << 62), (1, size), (size // 2, size // 2 + 2 * MIB), (size - 1, size), (3, 3)):
        last = min(end, size)
        assert b"".join(store.read(url, max(start, 0), last if end < 1 << 62 else end)) == DATA[max(start, 0) : last]
    source.write_bytes(b"shorter")
    assert store.put(f"contract-{size}", source) == url
    assert b"".join(store.read(url, 0, 7)) == b"shorter"
    store.delete(url)
    store.delete(url)
    with pytest.raises(StoreFault):
        store.size(url)
    with pytest.raises(StoreFault):
        b"".join(store.read(url, 0, 7))


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("name", ["swift", "s3"])
def test_what_a_killed_upload_left_is_swept(cloud: Any, left: Any, name: str, tmp_path: Path) -> None:
    from nutshell.image.placing import put_into

    store = cloud.state.port(Stores).by_id[name]
    image_id = "7e4cbe19-0f30-4b46-9d7c-12f2bd9a2a3c"
    source = tmp_path / "source"
    source.write_bytes(DATA)

    class Dying:
        """The store, and the process dies when the data is there and its row is not."""

        def __getattr__(self, wanted: str) -> Any:
            return getattr(store, wanted)

        def put(self, image_id: str, source: Path) -> str:
            store.put(image_id, source)
            raise Killed()

    with pytest.raises(Killed):
        put_into(cloud.state, Dying(), image_id, source)  # type: ignore[arg-type]
    assert any(image_id in one for one in left())
    cloud._running.runner.run_once("image-files")
    assert not [one for one in left() if image_id in one]


def test_half_an_upload_is_removed_by_its_address(cloud: Any, bucket: Any, left: Any) -> None:
    """Parts without their object: what a kill in the middle of `put` leaves."""
    image_id = "1f4cbe19-0f30-4b46-9d7c-12f2bd9a2a3d"
    key = f"deep/{image_id}"
    upload = bucket.create_multipart_upload(Bucket="images", Key=key)["UploadId"]
    bucket.upload_part(Bucket="images", Key=key, UploadId=upload, PartNumber=1, Body=b"x" * MIB)
    engine, stores = cloud.state.port(ObjectEngine), cloud.state.port(Stores)
    depot = cloud.state.port(Depot)
    source = cloud.directory / "half"
    source.write_bytes(b"x" * 3 * MIB)
    depot.put("images", image_id, source, MIB)
    _, box = engine.find(ACCOUNT, "images")
    engine.change_now(lambda index: index.drop_object(index.object(box.id, image_id)))
    assert len([one for one in left() if image_id in one]) == 4
    for name in ("swift", "s3"):
        stores.by_id[name].delete(stores.by_id[name].address(image_id))
    assert not [one for one in left() if image_id in one]


def upload(connection: Any, data: bytes, **more: Any) -> Any:
    made = connection.image.post("/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"}).json()
    headers = {"Content-Type": "application/octet-stream", **more}
    answer = connection.image.put(f"/images/{made['id']}/file", data=data, headers=headers, status_code_retries=0)
    return made["id"], answer


@pytest.mark.parametrize("name", ["swift", "s3"])
def test_an_image_goes_through_a_store(cloud: Any, left: Any, name: str) -> None:
    connection = cloud.connection("admin")
    image_id, answer = upload(connection, DATA, **{"X-Image-Meta-Store": name})
    assert answer.status_code == 204, answer.text
    shown = connection.image.get(f"/images/{image_id}").json()
    assert (shown["status"], shown["stores"], shown["size"]) == ("active", name, len(DATA))
    assert not cloud.state.port(ImageFiles).path(image_id).exists()
    got = connection.image.get(f"/images/{image_id}/file", headers={"Range": f"bytes={MIB - 5}-{7 * MIB}"})
    assert (got.status_code, got.content) == (206, DATA[MIB - 5 : 7 * MIB + 1])
    assert connection.image.get(f"/images/{image_id}/file").content == DATA
    assert cloud.state.port(Images).path(image_id).read_bytes() == DATA
    copy = {"method": {"name": "copy-image"}, "all_stores": True}
    assert connection.image.post(f"/images/{image_id}/import", json=copy).status_code == 202
    cloud.settle()
    assert set(connection.image.get(f"/images/{image_id}").json()["stores"].split(",")) == set(STORES)
    assert connection.image.delete(f"/stores/{name}/{image_id}").status_code == 204
    cloud.settle()
    assert name not in connection.image.get(f"/images/{image_id}").json()["stores"]
    assert connection.image.get(f"/images/{image_id}/file").content == DATA
    assert connection.image.delete(f"/images/{image_id}").status_code == 204
    cloud.settle()
    cloud._running.runner.run_once("image-files")
    assert not [one for one in left() if image_id in one]
    assert not cloud.state.port(ImageCache).path(image_id).exists()


def test_staged_data_is_imported_into_every_store(cloud: Any) -> None:
    connection = cloud.connection("admin")
    made = connection.image.post("/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"}).json()
    connection.image.put(f"/images/{made['id']}/stage", data=DATA, headers={"Content-Type": "application/octet-stream"})
    order = {"method": {"name": "glance-direct"}, "stores": ["s3", "swift"]}
    assert connection.image.post(f"/images/{made['id']}/import", json=order).status_code == 202
    cloud.settle()
    shown = connection.image.get(f"/images/{made['id']}").json()
    assert (shown["status"], sorted(shown["stores"].split(","))) == ("active", ["s3", "swift"])
    assert connection.image.get(f"/images/{made['id']}/file").content == DATA
    connection.image.delete(f"/images/{made['id']}")


def test_what_stores_say_of_themselves(cloud: Any, settings: dict[str, Any]) -> None:
    found = cloud.connection("admin").image.get("/info/stores/detail").json()["stores"]
    assert [(one["id"], one["type"], one.get("default")) for one in found] == [
        ("file", "file", "true"),
        ("swift", "swift", None),
        ("s3", "s3", None),
    ]
    assert found[1]["properties"] == {
        "container": "images",
        "large_object_size": 1,
        "large_object_chunk_size": 1,
    }
    assert found[2]["properties"]["s3_store_bucket"] == "images"
    secret = Path(settings["s3_credentials"]).read_text().split()[-1]
    assert secret not in str(found)
    assert secret not in repr(cloud.state.port(Stores))
    assert cloud.connection("demo").image.get("/info/stores/detail").status_code == 403


def test_servers_and_volumes_come_from_the_default_store(settings: dict[str, Any]) -> None:
    """The object store is the default: uploads, snapshots and volumes' images go there, servers boot from there."""
    chosen = {**settings, "default_backend": "swift"}
    with nutshell.testing.cloud({"image": chosen}) as cloud:
        connection = cloud.connection()
        image_id, answer = upload(connection, DATA)
        assert answer.status_code == 204
        assert connection.image.get(f"/images/{image_id}").json()["stores"] == "swift"
        server = connection.create_server("web", image=image_id, flavor="m1.tiny", network="private", wait=True)
        assert server.status == "ACTIVE"
        volume = connection.create_volume(size=1, image=image_id, wait=True)
        assert volume.status == "available"
        snapshot = connection.create_image_snapshot("shot", server, wait=True)
        shown = connection.image.get(f"/images/{snapshot.id}").json()
        assert (shown["status"], shown["stores"]) == ("active", "swift")
        back = connection.create_server("back", image=snapshot.id, flavor="m1.tiny", network="private", wait=True)
        assert back.status == "ACTIVE"


@pytest.mark.parametrize(("where", "status"), [("images@http://127.0.0.1:9", 503), ("none@{url}/s3", 503)])
def test_a_bucket_that_cannot_be_had(elsewhere: Any, settings: dict[str, Any], where: str, status: int) -> None:
    chosen = {**settings, "stores": ["file", f"s3=s3:{where.format(url=elsewhere.url)}"]}
    with nutshell.testing.cloud({"image": chosen}, allow_unanswered=True) as cloud:
        connection = cloud.connection("admin")
        image_id, answer = upload(connection, b"data", **{"X-Image-Meta-Store": "s3"})
        assert answer.status_code == status
        assert "store s3 cannot take the data" in answer.text
        shown = connection.image.get(f"/images/{image_id}").json()
        assert (shown["status"], shown["size"]) == ("queued", None)


def test_data_comes_from_whichever_store_has_it(cloud: Any) -> None:
    """The heaviest store is asked first; the others when it fails; when all do, that is said before any byte."""
    connection, stores = cloud.connection("admin"), cloud.state.port(Stores)
    image_id, _ = upload(connection, DATA, **{"X-Image-Meta-Store": "s3"})
    copy = {"method": {"name": "copy-image"}, "stores": ["swift"]}
    assert connection.image.post(f"/images/{image_id}/import", json=copy).status_code == 202
    cloud.settle()
    stores.by_id["s3"].delete(stores.by_id["s3"].address(image_id))
    assert connection.image.get(f"/images/{image_id}/file").content == DATA
    cloud.settle()
    assert cloud.state.port(Images).path(image_id).read_bytes() == DATA
    connection.image.delete(f"/cache/{image_id}")
    stores.by_id["swift"].delete(stores.by_id["swift"].address(image_id))
    assert connection.image.get(f"/images/{image_id}/file", status_code_retries=0).status_code == 503
    connection.image.delete(f"/images/{image_id}")


def test_a_full_store_is_said_to_be_full(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No device has so much room: 413, and the image can be tried again."""
    engine = cloud.state.port(ObjectEngine)
    upload(cloud.connection("admin"), b"the engine is open now", **{"X-Image-Meta-Store": "swift"})
    monkeypatch.setattr(engine._made, "free_bytes", dict)
    image_id, answer = upload(cloud.connection("admin"), DATA, **{"X-Image-Meta-Store": "swift"})
    assert answer.status_code == 413, answer.text
    assert cloud.connection("admin").image.get(f"/images/{image_id}").json()["status"] == "queued"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stores", ["file", "file"]),
        ("stores", ["swift=object-store"]),
        ("stores", ["file", "x=ftp://a"]),
        ("stores", ["file", "x=s3:https://host"]),
        ("stores", ["file", "x=s3:bucket@https://key:secret@host"]),
        ("default_backend", "none"),
        ("store_weights", ["none=1"]),
    ],
)
def test_settings_that_cannot_be(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as why, nutshell.testing.cloud({"image": {key: value}}):
        pass
    assert f"image.{key}" in str(why.value)
    assert "secret" not in str(why.value)
