"""`save`, `fork`, `restore`, `saves`: whole clouds kept and had twice, as their users see it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.ports import free_port

from nutshell.cli.places import Places, read_json
from nutshell.testing.client import Client

SERVERS = "/compute/v2.1/servers"


class Clouds:
    """The command, and clients of what it started."""

    def __init__(self, directory: Path) -> None:
        self.state, self.port = directory / "c", free_port()
        self.clouds_yaml = directory / "clouds.yaml"
        self.started: set[Path] = {self.state}
        self.env = {
            **os.environ,
            "OS_CLIENT_CONFIG_FILE": str(self.clouds_yaml),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def run(self, *arguments: object, ok: int = 0) -> str:
        command = [sys.executable, "-m", "nutshell.cli", *map(str, arguments), "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.env, timeout=120)
        assert done.returncode == ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def up(self) -> None:
        self.run("up", "--simulate", "--port", self.port)

    def fork(self, *arguments: object) -> tuple[Path, int]:
        port = free_port()
        where = self.state.parent / f"fork-{port}"
        self.started.add(where)
        self.run("fork", *arguments, "--port", port, "--into", where)
        return where, port

    def client(self, port: int = 0, user: str = "demo", state: Path | None = None) -> Client:
        said = read_json((state or self.state) / "credentials.json") or {}
        made = Client(f"http://127.0.0.1:{port or self.port}", user, said[user]["password"], user)
        made.login()
        return made

    def down(self) -> None:
        for state in self.started:
            record = read_json(Places(state).run / "api.json")
            if record is not None:
                subprocess.run(
                    [sys.executable, "-m", "nutshell.cli", "down", "--state", str(state)], env=self.env, timeout=60
                )


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    made = Clouds(tmp_path)
    made.up()
    yield made
    made.down()


def make_server(client: Client, name: str) -> str:
    image = next(i["id"] for i in client.get("/image/v2/images")["images"] if i["name"] == "cirros")
    body = {"server": {"name": name, "flavorRef": "1", "imageRef": image, "networks": "none"}}
    status, _, made = client.call("POST", SERVERS, body, {"OpenStack-API-Version": "compute 2.90"})
    assert status == 202, made
    server_id: str = made["server"]["id"]
    deadline = time.monotonic() + 20
    while client.get(f"{SERVERS}/{server_id}")["server"]["status"] != "ACTIVE":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return server_id


def objects(client: Client, path: str, data: bytes | None = None) -> bytes:
    """Put an object, or make a container (empty data), or get one."""
    at = f"http://{client.connection.host}:{client.connection.port}/object-store/v1/AUTH_{client.project_id}/{path}"
    asked = urllib.request.Request(at, data, {"X-Auth-Token": client.token}, method="GET" if data is None else "PUT")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found: bytes = answer.read()
        return found


def names(client: Client) -> list[str]:
    return sorted(s["name"] for s in client.get(SERVERS)["servers"])


def test_a_running_cloud_is_saved_forked_twice_and_restored(clouds: Clouds) -> None:
    demo = clouds.client()
    first = make_server(demo, "first")
    small, large = b"small" * 100, os.urandom(3 << 20)
    objects(demo, "c", b"")
    objects(demo, "c/small", small)
    objects(demo, "c/large", large)
    assert "in " in clouds.run("save", "one", "--note", "with a server")
    said = json.loads(clouds.run("saves", "--json"))
    assert [(s["name"], s["simulate"], s["note"]) for s in said] == [("one", True, "with a server")]
    make_server(demo, "later")

    (state_a, port_a), (state_b, port_b) = clouds.fork("one"), clouds.fork()
    a, b = clouds.client(port_a, state=state_a), clouds.client(port_b, state=state_b)
    assert names(a) == ["first"]
    assert names(b) == ["first", "later"]
    assert a.get(f"{SERVERS}/{first}")["server"]["id"] == first
    # each goes its own way, its guests and objects too
    for fork in (a, b):
        assert (objects(fork, "c/small"), objects(fork, "c/large")) == (small, large)
    objects(a, "c/small", b"of a")
    objects(demo, "c/small", b"of the first")
    objects(demo, "c/new", b"of the first")
    assert [objects(one, "c/small") for one in (demo, a, b)] == [b"of the first", b"of a", small]
    make_server(a, "only-a")
    assert a.call("DELETE", f"{SERVERS}/{first}")[0] == 204
    assert names(demo) == ["first", "later"]
    assert b.get(f"{SERVERS}/{first}")["server"]["status"] == "ACTIVE"
    # the catalog leads to the fork; a token of the cloud is valid there
    _, _, body = a.call("POST", "/identity/v3/auth/tokens", a.login_body)
    urls = {e["url"] for s in body["token"]["catalog"] for e in s["endpoints"]}
    assert all(url.startswith(f"http://127.0.0.1:{port_a}/") for url in urls)
    b.token = demo.token
    assert names(b) == ["first", "later"]
    # clouds.yaml keeps the first cloud's names for the first cloud
    found = yaml.safe_load(clouds.clouds_yaml.read_text())["clouds"]
    assert found["nutshell"]["auth"]["auth_url"] == f"http://127.0.0.1:{clouds.port}/identity/v3"
    assert found[f"nutshell-{port_a}-admin"]["auth"]["username"] == "admin"
    marks = [read_json(Places(s).mark) or {} for s in (clouds.state, state_a, state_b)]
    assert len({m["id"] for m in marks}) == 3

    assert "runs; first: nutshell down" in clouds.run("restore", "one", "--yes", ok=1)
    clouds.run("down")
    clouds.run("restore", "one", "--yes")
    clouds.up()
    again = clouds.client()
    assert names(again) == ["first"]
    assert (objects(again, "c/small"), objects(again, "c/large")) == (small, large)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        objects(again, "c/new")
    assert names(b) == ["first", "later"]
    clouds.run("saves", "delete", "one")
    assert json.loads(clouds.run("saves", "--json")) == []


def test_a_save_under_load_has_all_that_was_acknowledged(clouds: Clouds) -> None:
    """Also the simulated guests of a moment: the fork's servers come to rest and none is lost."""
    demo = clouds.client(user="admin")
    body: dict[str, Any] = {"server": {"name": "s", "flavorRef": "1", "imageRef": "", "networks": "none"}}
    body["server"]["imageRef"] = demo.get("/image/v2/images")["images"][0]["id"]
    command = [sys.executable, "-m", "nutshell.cli", "save", "busy", "--state", str(clouds.state)]
    made: list[str] = []
    saving: subprocess.Popen[bytes] | None = None
    before = 0
    while saving is None or saving.poll() is None:
        if len(made) == 5:
            before, saving = len(made), subprocess.Popen(command, env=clouds.env, stdout=subprocess.DEVNULL)
        if len(made) < 10:
            status, _, answer = demo.call("POST", SERVERS, body, {"OpenStack-API-Version": "compute 2.90"})
            assert status == 202
            made.append(answer["server"]["id"])
            continue
        time.sleep(0.02)
    assert saving.returncode == 0
    state, port = clouds.fork("busy")
    fork = clouds.client(port, "admin", state)
    found = {s["id"] for s in fork.get(SERVERS)["servers"]}
    assert set(made[:before]) <= found <= set(made)
    deadline = time.monotonic() + 20
    while {s["status"] for s in fork.get(f"{SERVERS}/detail")["servers"]} != {"ACTIVE"}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_fork_that_is_there_already_is_refused(clouds: Clouds) -> None:
    where, port = clouds.fork()
    said = clouds.run("fork", "--port", port, "--into", where, ok=1)
    assert f"it runs at http://127.0.0.1:{port}" in said
    assert "no saved cloud is called 'x'" in clouds.run("fork", "x", ok=1)
    os.kill((read_json(where / "run" / "api.json") or {})["pid"], signal.SIGKILL)
    assert "start it: nutshell up --simulate" in clouds.run("fork", "--port", port, "--into", where, ok=1)
