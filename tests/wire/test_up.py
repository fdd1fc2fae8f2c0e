"""`up`, `down`, `status`, `env`, `reset` as processes see them, with a stand-in for the API process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.ports import free_port

from nutshell.cli import processes, states
from nutshell.cli.down import bring_down, reset
from nutshell.cli.launch import Programs, free_lock, start_api
from nutshell.cli.places import Places
from nutshell.cli.says import Refusal
from nutshell.cli.status import find_status
from nutshell.cli.up import Wanted, bring_up, read_wanted

FAKE = Programs(api=(sys.executable, str(Path(__file__).parent / "fake_api.py")))

Want = Callable[..., Wanted]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    places = Places(tmp_path / "state")
    yield places
    record = processes.find(places.run / "api.json")
    if record is not None:
        processes.end(record, 1)


@pytest.fixture
def want(places: Places, port: int) -> Want:
    def make(**more: object) -> Wanted:
        return read_wanted({"state": places.state, "port": port, "simulate": True, **more}, None, {})

    return make


@pytest.fixture
def said() -> list[str]:
    return []


def test_up_then_status_then_down(want: Want, places: Places, said: list[str], port: int) -> None:
    bring_up(want(), said.append, FAKE)
    assert f"http://127.0.0.1:{port}/" in said[0]
    assert "admin-secret" in said[0]
    status = find_status(places)
    assert status["state"] == "up"
    assert status["endpoint"] == f"http://127.0.0.1:{port}"
    assert status["drivers"]["compute"] == "memory"
    found = yaml.safe_load((places.state.parent / "clouds.yaml").read_text())["clouds"]
    assert found["nutshell"]["auth"]["password"] == "demo-secret"
    assert found["nutshell-admin"]["auth"]["username"] == "admin"
    pid = status["pids"]["api"]
    bring_down(places, said.append, FAKE)
    assert processes.start_time(pid) is None
    assert find_status(places)["state"] == "down"
    bring_down(places, said.append, FAKE)
    assert "was not running" in said[-1]


def test_up_again_is_success_with_the_same_process(want: Want, places: Places, said: list[str]) -> None:
    bring_up(want(), said.append, FAKE)
    before = find_status(places)["pids"]
    bring_up(want(), said.append, FAKE)
    assert find_status(places)["pids"] == before
    assert said[0].splitlines()[1:] == said[1].splitlines()[1:]
    with pytest.raises(Refusal, match="runs already"):
        bring_up(want(port=1234), said.append, FAKE)


def test_up_after_kill_9(want: Want, places: Places, said: list[str]) -> None:
    bring_up(want(), said.append, FAKE)
    pid = find_status(places)["pids"]["api"]
    os.kill(pid, signal.SIGKILL)
    while processes.start_time(pid) is not None:
        time.sleep(0.01)
    assert find_status(places)["state"] == "down"
    bring_up(want(), said.append, FAKE)
    assert find_status(places)["state"] == "up"


def test_a_process_nobody_noted_is_found_by_its_lock(want: Want, places: Places, said: list[str]) -> None:
    """As when `up` was killed between starting the API and writing down whom it started."""
    for mend in ("down", "up"):
        states.prepare(places, True, None)
        free_lock(places)
        started = start_api(places, FAKE.api, want().launch, None)
        assert os.read(started.ready, 10) == b"ready\n"
        os.close(started.ready)
        (places.run / "api.json").unlink(missing_ok=True)
        if mend == "down":
            bring_down(places, said.append, FAKE)
            assert processes.start_time(started.pid) is None
    bring_up(want(), said.append, FAKE)
    assert processes.start_time(started.pid) is None
    assert find_status(places)["state"] == "up"


def test_a_reused_pid_is_not_taken_for_ours(want: Want, places: Places, said: list[str]) -> None:
    bring_up(want(), said.append, FAKE)
    bring_down(places, said.append, FAKE)
    other = subprocess.Popen(["sleep", "30"])
    try:
        record = json.loads((places.run / "api.json").read_text())
        (places.run / "api.json").write_text(json.dumps({**record, "pid": other.pid}))
        bring_down(places, said.append, FAKE)
        assert other.poll() is None
        assert find_status(places)["state"] == "down"
    finally:
        other.kill()
        other.wait()


def test_a_port_in_use_is_named_with_its_user(want: Want, port: int, said: list[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(Refusal) as caught:
            bring_up(want(), said.append, FAKE)
    assert f"port {port} is in use by" in caught.value.why
    assert f"(pid {os.getpid()})" in caught.value.why
    assert "--port" in caught.value.why


def test_a_process_that_ends_at_once_shows_its_last_words(want: Want, said: list[str]) -> None:
    with pytest.raises(Refusal) as caught:
        bring_up(want(region="broken"), said.append, FAKE)
    assert "exit code 7" in caught.value.why
    assert "cannot start, for this is a test" in caught.value.why


def test_a_start_that_fails_ends_the_simulated_world_it_began(want: Want, places: Places, said: list[str]) -> None:
    with pytest.raises(Refusal):
        bring_up(want(region="broken", database="postgresql://nobody@127.0.0.1:1/none"), said.append, FAKE)
    assert (places.logs / "host.log").exists(), "it was begun"
    assert processes.find(places.run / "host.json") is None
    assert processes.find_holders(places.run / "host.lock") == []


def test_reset_erases_and_leaves_no_cloud_behind(want: Want, places: Places, said: list[str]) -> None:
    bring_up(want(), said.append, FAKE)
    reset(places, said.append, FAKE)
    assert not places.state.exists()
    assert yaml.safe_load((places.state.parent / "clouds.yaml").read_text()) == {"clouds": None}
    reset(places, said.append, FAKE)
    assert "nothing to erase" in said[-1]


def test_a_directory_of_others_is_neither_used_nor_erased(want: Want, places: Places, said: list[str]) -> None:
    places.state.mkdir()
    (places.state / "thesis.txt").write_text("years of work")
    for act in (lambda: bring_up(want(), said.append, FAKE), lambda: reset(places, said.append, FAKE)):
        with pytest.raises(Refusal, match=r"thesis\.txt"):
            act()
    assert (places.state / "thesis.txt").read_text() == "years of work"


def test_a_simulated_state_is_not_started_as_a_real_one(want: Want, places: Places, said: list[str]) -> None:
    bring_up(want(), said.append, FAKE)
    for step in (lambda: None, lambda: bring_down(places, said.append, FAKE)):  # it runs, it does not
        step()
        with pytest.raises(Refusal, match="holds a simulated cloud") as caught:
            bring_up(want(simulate=False), said.append, FAKE)
        assert caught.value.code == 2


def test_a_path_too_long_for_the_sockets_of_real_servers_is_refused(tmp_path: Path) -> None:
    places = Places(tmp_path / ("x" * 60))
    with pytest.raises(Refusal, match="at most 59 characters") as caught:
        states.prepare(places, False, None)
    assert caught.value.code == 2
    assert not places.state.exists()
    states.prepare(places, True, None)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"port": 70000}, "is no port"),
        ({"tls_cert": "/x"}, "needs both"),
        ({"tls_cert": "/nowhere/x", "tls_key": "/nowhere/y"}, "no such file"),
    ],
)
def test_wrong_options_are_refused_with_exit_code_2(tmp_path: Path, given: dict[str, object], says: str) -> None:
    with pytest.raises(Refusal, match=says) as caught:
        read_wanted({"state": tmp_path, **given}, None, {})
    assert caught.value.code == 2


def run(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nutshell.cli", *arguments, "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_exit_codes_of_the_command(tmp_path: Path) -> None:
    assert run("status", state=tmp_path / "s").returncode == 3
    assert json.loads(run("status", "--json", state=tmp_path / "s").stdout)["state"] == "down"
    refused = run("reset", state=tmp_path / "s")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    refused = run("env", state=tmp_path / "s")
    assert (refused.returncode, "nutshell up" in refused.stderr) == (1, True)
    assert run("down", state=tmp_path / "s").returncode == 0
    assert run("nonsense", state=tmp_path / "s").returncode == 2
