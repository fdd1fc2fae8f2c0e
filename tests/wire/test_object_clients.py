"""The programs that people keep their files with, unmodified: each stores, lists and fetches, and bytes are compared.

Those that are Debian packages are driven where they are installed (CI installs them): rclone, restic, s3cmd, duplicity.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config
from tests.ports import free_port

from nutshell.testing.client import Client


@dataclass(frozen=True)
class Store:
    base: str
    s3: str  # the port that speaks S3 alone
    directory: Path
    password: str
    access: str
    secret: str

    def run(self, *command: object, env: Mapping[str, str] | None = None) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "OS_", "RCLONE_", "RESTIC_"))}
        found = {**kept, "HOME": str(self.directory), **(env or {})}
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=found, timeout=300)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    @property
    def keys(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    directory = tmp_path_factory.mktemp("clients")
    state, port, s3_port = directory / "c", free_port(), free_port()
    env = {
        **os.environ,
        "OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    env["NUTSHELL_OBJECT_STORE_S3_PORT"] = str(s3_port)
    command = [sys.executable, "-m", "nutshell.cli"]
    at = ["--state", str(state)]
    subprocess.run([*command, "up", "--simulate", "--port", str(port), *at], env=env, check=True, timeout=120)
    try:
        password = json.loads((state / "credentials.json").read_text())["admin"]["password"]
        base = f"http://127.0.0.1:{port}"
        client = Client(base, "admin", password, "admin")
        client.login()
        _, _, found = client.call("GET", "/identity/v3/users?name=admin")
        user = found["users"][0]["id"]
        body = {"tenant_id": client.project_id}
        _, _, made = client.call("POST", f"/identity/v3/users/{user}/credentials/OS-EC2", body)
        yield Store(
            base,
            f"http://127.0.0.1:{s3_port}",
            directory,
            password,
            made["credential"]["access"],
            made["credential"]["secret"],
        )
    finally:
        subprocess.run([*command, "down", *at], env=env, check=False, timeout=120)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A few files, one of them larger than a part of an upload, names that need care."""
    root = tmp_path / "files"
    (root / "sub dir").mkdir(parents=True)
    (root / "small.txt").write_text("small")
    (root / "sub dir" / "ünï+c&de.txt").write_text("names")
    (root / "large.bin").write_bytes(os.urandom(17 << 20))
    return root


def digests(root: Path) -> dict[str, str]:
    found = (p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (apt-get install {program})")


@pytest.mark.parametrize("kind", ["s3", "swift", "webdav"])
def test_rclone(store: Store, files: Path, tmp_path: Path, kind: str) -> None:
    needs("rclone")
    s3 = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": f"{store.base}/s3", "ACCESS_KEY_ID": store.access,
          "SECRET_ACCESS_KEY": store.secret, "REGION": "us-east-1"}  # fmt: skip
    swift = {"TYPE": "swift", "USER": "admin", "KEY": store.password, "AUTH": f"{store.base}/identity/v3",
             "TENANT": "admin", "DOMAIN": "Default", "TENANT_DOMAIN": "Default"}  # fmt: skip
    webdav = {"TYPE": "webdav", "URL": f"{store.base}/dav/admin", "VENDOR": "other", "USER": "admin"}
    if kind == "webdav":
        webdav["PASS"] = store.run("rclone", "obscure", store.password).strip()
    settings = {"s3": s3, "swift": swift, "webdav": webdav}[kind]
    env = {f"RCLONE_CONFIG_REMOTE_{k}": v for k, v in settings.items()}
    env["RCLONE_CONFIG"] = str(tmp_path / "none.conf")
    store.run("rclone", "mkdir", f"remote:rclone-{kind}", env=env)
    store.run("rclone", "sync", files, f"remote:rclone-{kind}/here", env=env)
    store.run("rclone", "check", *(["--download"] if kind == "webdav" else []), files, f"remote:rclone-{kind}/here",
              env=env)  # fmt: skip
    store.run("rclone", "copy", f"remote:rclone-{kind}/here", tmp_path / "back", env=env)
    assert digests(tmp_path / "back") == digests(files)
    store.run("rclone", "purge", f"remote:rclone-{kind}", env=env)


def test_parts_of_large_files_come_to_the_byte(store: Store) -> None:
    """Of an object by each API, and of an image: the server sends them itself."""
    data, part = os.urandom(9 << 20), {"Range": "bytes=1000001-8000000"}
    client = Client(store.base, "admin", store.password, "admin")
    client.login()
    home = f"{store.base}/object-store/v1/AUTH_{client.project_id}/parts"
    token = {"X-Auth-Token": client.token}
    with httpx.Client(headers=token, timeout=60) as web:
        assert web.put(home).status_code == 201
        assert web.put(f"{home}/o", content=data).status_code == 201
        body = {"disk_format": "raw", "container_format": "bare"}
        image = f"{store.base}/image/v2/images/{client.call('POST', '/image/v2/images', body)[2]['id']}/file"
        stream = {"Content-Type": "application/octet-stream"}
        assert web.put(image, content=data, headers=stream).status_code == 204
        for url in (f"{home}/o", image):
            got = web.get(url, headers=part)
            assert (got.status_code, got.content == data[1000001:8000001]) == (206, True)
            assert web.get(url).content == data
    dav = httpx.get(f"{store.base}/dav/admin/parts/o", headers=part, auth=("admin", store.password), timeout=60)
    assert (dav.status_code, dav.content == data[1000001:8000001]) == (206, True)
    s3 = boto3.client("s3", endpoint_url=f"{store.base}/s3", aws_access_key_id=store.access,
                      aws_secret_access_key=store.secret, region_name="us-east-1")  # fmt: skip
    assert s3.get_object(Bucket="parts", Key="o", **part)["Body"].read() == data[1000001:8000001]


@pytest.mark.parametrize("kind", ["s3", "swift"])
def test_restic(store: Store, files: Path, tmp_path: Path, kind: str) -> None:
    needs("restic")
    env = {**store.keys, "RESTIC_PASSWORD": "secret", "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
    swift = {"RESTIC_REPOSITORY": "swift:restic:/", "OS_AUTH_URL": f"{store.base}/identity/v3", "OS_USERNAME": "admin",
             "OS_PASSWORD": store.password, "OS_PROJECT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Default",
             "OS_PROJECT_DOMAIN_NAME": "Default", "OS_REGION_NAME": "RegionOne"}  # fmt: skip
    env |= swift if kind == "swift" else {"RESTIC_REPOSITORY": f"s3:{store.s3}/restic-s3"}
    store.run("restic", "init", env=env)
    store.run("restic", "backup", files, env=env)
    store.run("restic", "check", "--read-data", env=env)
    store.run("restic", "restore", "latest", "--target", tmp_path / "back", env=env)
    assert digests(tmp_path / "back" / files.relative_to("/")) == digests(files)


def test_s3cmd(store: Store, files: Path, tmp_path: Path) -> None:
    needs("s3cmd")
    host = store.s3.removeprefix("http://")
    common = [f"--access_key={store.access}", f"--secret_key={store.secret}", f"--host={host}", f"--host-bucket={host}",
              "--no-ssl", "--no-check-md5", "--no-progress"]  # fmt: skip
    store.run("s3cmd", *common, "mb", "s3://s3cmd-bucket")
    store.run("s3cmd", *common, "sync", f"{files}/", "s3://s3cmd-bucket/here/")
    listed = store.run("s3cmd", *common, "ls", "--recursive", "s3://s3cmd-bucket")
    assert len(listed.splitlines()) == 3
    (tmp_path / "back").mkdir()
    store.run("s3cmd", *common, "sync", "s3://s3cmd-bucket/here/", f"{tmp_path / 'back'}/")
    assert digests(tmp_path / "back") == digests(files)
    store.run("s3cmd", *common, "rb", "--recursive", "--force", "s3://s3cmd-bucket")


def test_python_swiftclient(store: Store, files: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "swift"
    if not program.exists():
        pytest.skip("python-swiftclient is not installed")
    env = {"OS_AUTH_URL": f"{store.base}/identity/v3", "OS_USERNAME": "admin", "OS_PASSWORD": store.password,
           "OS_PROJECT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
           "ST_AUTH_VERSION": "3", "OS_REGION_NAME": "RegionOne"}  # fmt: skip
    back = tmp_path / "back"
    command = f"cd {files} && {program} upload --segment-size 5242880 swiftclient ."
    store.run("sh", "-c", command, env=env)
    store.run(program, "download", "swiftclient", "--output-dir", back, env=env)
    assert digests(back) == digests(files)
    store.run(program, "delete", "swiftclient", env=env)


def test_duplicity(store: Store, files: Path, tmp_path: Path) -> None:
    needs("duplicity")
    env = {"SWIFT_USERNAME": "admin", "SWIFT_PASSWORD": store.password, "SWIFT_AUTHURL": f"{store.base}/identity/v3",
           "SWIFT_AUTHVERSION": "3", "SWIFT_TENANTNAME": "admin", "SWIFT_USER_DOMAIN_NAME": "Default",
           "SWIFT_PROJECT_DOMAIN_NAME": "Default", "SWIFT_REGIONNAME": "RegionOne"}  # fmt: skip
    store.run("duplicity", "full", "--no-encryption", files, "swift://duplicity", env=env)
    store.run("duplicity", "restore", "--no-encryption", "swift://duplicity", tmp_path / "back", env=env)
    assert digests(tmp_path / "back") == digests(files)


def test_duplicity_over_webdav(store: Store, files: Path, tmp_path: Path) -> None:
    needs("duplicity")
    url = store.base.replace("http://", f"webdav://admin:{store.password}@") + "/dav/admin/duplicity-dav"
    drive(store, "MKCOL", "duplicity-dav")
    store.run("duplicity", "full", "--no-encryption", files, url)
    store.run("duplicity", "restore", "--no-encryption", url, tmp_path / "back")
    assert digests(tmp_path / "back") == digests(files)


def drive(store: Store, method: str, path: str, *more: object) -> str:
    """One request to the network drive, by curl."""
    return store.run(
        "curl", "-sf", "-u", f"admin:{store.password}", "-X", method, *more, f"{store.base}/dav/admin/{path}"
    )


def test_litmus(store: Store, tmp_path: Path) -> None:
    """The WebDAV conformance suite: basic, copymove, props, locks, http."""
    needs("litmus")
    drive(store, "MKCOL", "litmus-here")
    command = f"cd {tmp_path} && litmus -k {store.base}/dav/admin/litmus-here/ admin {store.password}"  # it writes logs
    said = store.run("sh", "-c", command)
    summaries = [line for line in said.splitlines() if line.startswith("<- summary")]
    assert len(summaries) == 5, said
    assert all(" 0 failed" in line for line in summaries), said
    drive(store, "DELETE", "litmus-here")


def test_cadaver(store: Store, files: Path, tmp_path: Path) -> None:
    needs("cadaver")
    host = store.base.removeprefix("http://").partition(":")[0]
    (store.directory / ".netrc").write_text(f"machine {host}\nlogin admin\npassword {store.password}\n")
    words = ["mkcol cadaver", "cd cadaver", f"put {files / 'large.bin'} large", "lock large", "unlock large",
             "move large moved", "copy moved copied", f"get copied {tmp_path / 'back'}", "ls", "cd ..",
             "rmcol cadaver"]  # fmt: skip
    (tmp_path / "said").write_text("\n".join(words) + "\n")
    said = store.run("sh", "-c", f"cadaver {store.base}/dav/admin/ < {tmp_path / 'said'}")
    assert "failed" not in said
    assert said.count("succeeded") >= 8, said
    assert (tmp_path / "back").read_bytes() == (files / "large.bin").read_bytes()


@pytest.mark.real
def test_davfs2_mounts_the_drive(store: Store, files: Path, tmp_path: Path) -> None:
    needs("mount.davfs")
    url, at = f"{store.base}/dav/admin/", tmp_path / "drive"
    cache = Path(tempfile.mkdtemp(prefix="davfs-", dir="/tmp"))  # davfs2 has a user of its own
    cache.chmod(0o1777)
    (tmp_path / "secrets").write_text(f"{url} admin {store.password}\n")
    (tmp_path / "secrets").chmod(0o600)
    settings = f"cache_dir {cache}\nask_auth 0\nbuf_size 64\nsecrets {tmp_path / 'secrets'}\n"
    (tmp_path / "davfs.conf").write_text(settings)
    at.mkdir()
    mount = ["mount", "-t", "davfs", "-o", f"conf={tmp_path / 'davfs.conf'}", url, at]
    store.run(*mount)
    try:
        store.run("mkdir", at / "davfs")
        store.run("cp", "-r", files, at / "davfs/")
        store.run("mv", at / "davfs/files/large.bin", at / "davfs/files/sub dir/moved #1?.bin")
    finally:
        store.run("umount", at)
        for kept in cache.iterdir():
            shutil.rmtree(kept)
    store.run(*mount)  # nothing of it in a cache
    try:
        (files / "large.bin").rename(files / "sub dir/moved #1?.bin")
        assert digests(at / "davfs/files") == digests(files)
        store.run("rm", "-r", at / "davfs")
        assert not (at / "davfs").exists()
    finally:
        store.run("umount", at)
        shutil.rmtree(cache)


def test_curl_and_the_first_login(store: Store, tmp_path: Path) -> None:
    needs("curl")
    who = ["-H", "X-Auth-User: admin:admin", "-H", f"X-Auth-Key: {store.password}"]
    said = store.run("curl", "-sf", "-D", "-", "-o", os.devnull, *who, f"{store.base}/auth/v1.0")
    lines = (line.split(": ", 1) for line in said.splitlines() if ": " in line)
    found = {name.lower(): value for name, value in lines}
    url, token = found["x-storage-url"], ["-H", f"X-Auth-Token: {found['x-auth-token']}"]
    (tmp_path / "one").write_bytes(os.urandom(100_000))
    store.run("curl", "-sf", *token, "-X", "PUT", f"{url}/curl")
    store.run("curl", "-sf", *token, "-T", tmp_path / "one", f"{url}/curl/one")
    store.run("curl", "-sf", *token, "-o", tmp_path / "two", f"{url}/curl/one")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_bucket_in_the_hosts_name(store: Store, tmp_path: Path) -> None:
    needs("curl")
    keys = {"aws_access_key_id": store.access, "aws_secret_access_key": store.secret}
    paths = Config(s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=store.s3, region_name="us-east-1", config=paths, **keys)
    client.create_bucket(Bucket="by-name")
    client.put_object(Bucket="by-name", Key="a/b", Body=b"found", ACL="public-read")
    port = store.s3.rpartition(":")[2]
    asked = ["curl", "-sf", "-H", f"Host: by-name.s3.localhost:{port}", f"{store.s3}/a/b"]
    assert store.run(*asked) == "found"
