"""The `nutshell` command with the real API process, simulated: first start, credentials, TLS, settings, kill -9."""

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.ports import free_port

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    base = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "NUTSHELL_"))}

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nutshell.cli", *arguments, "--state", str(tmp_path / "state")]
        environment = {**base, "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml"), **more}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    yield call
    call("reset", "--yes")


def get_token(auth: dict[str, Any], context: ssl.SSLContext | None = None) -> int:
    """The status that identity answers to this clouds.yaml entry's password."""
    person = {"name": auth["username"], "password": auth["password"], "domain": {"name": auth["user_domain_name"]}}
    scope = {"project": {"name": auth["project_name"], "domain": {"name": auth["project_domain_name"]}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": person}}, "scope": scope}}
    request = urllib.request.Request(
        f"{auth['auth_url']}/auth/tokens", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def clouds(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((tmp_path / "clouds.yaml").read_text())["clouds"]
    return found


def test_both_clouds_of_clouds_yaml_let_in_and_passwords_outlive_a_restart(run: Run, tmp_path: Path, port: int) -> None:
    assert run("up", "--simulate", "--port", str(port)).returncode == 0
    first = clouds(tmp_path)
    assert get_token(first["nutshell"]["auth"]) == 201
    assert get_token(first["nutshell-admin"]["auth"]) == 201
    assert get_token({**first["nutshell"]["auth"], "password": "wrong"}) == 401
    assert run("down").returncode == 0
    assert run("up", "--simulate", "--port", str(port)).returncode == 0
    assert clouds(tmp_path) == first
    assert get_token(first["nutshell"]["auth"]) == 201


def test_env_prints_what_a_shell_takes(run: Run, port: int) -> None:
    assert run("up", "--simulate", "--port", str(port), "--admin-password", "a'b $c").returncode == 0
    said = run("env", "--admin").stdout
    variables = dict(word.split("=", 1) for word in shlex.split(said) if word != "export")
    assert variables == {
        "OS_AUTH_URL": f"http://127.0.0.1:{port}/identity/v3",
        "OS_USERNAME": "admin",
        "OS_PASSWORD": "a'b $c",
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": "RegionOne",
        "OS_IDENTITY_API_VERSION": "3",
    }
    assert "OS_USERNAME=demo" in run("env").stdout


def test_the_state_directory_lets_nobody_else_in(run: Run, tmp_path: Path, port: int) -> None:
    assert run("up", "--simulate", "--port", str(port)).returncode == 0
    state = tmp_path / "state"
    assert state.stat().st_mode & 0o077 == 0
    for name in ("credentials.json", "cloud.json", "cloud.db"):
        assert (state / name).stat().st_mode & 0o077 == 0, name
    password = json.loads((state / "credentials.json").read_text())["admin"]["password"]
    logs = "".join(path.read_text() for path in (state / "log").iterdir())
    assert password not in logs


def test_after_kill_9_up_finds_everything_again(run: Run, tmp_path: Path, port: int) -> None:
    assert run("up", "--simulate", "--port", str(port)).returncode == 0
    for _ in range(2):
        pid = json.loads(run("status", "--json").stdout)["pids"]["api"]
        os.kill(pid, signal.SIGKILL)
        assert run("up", "--simulate", "--port", str(port)).returncode == 0
        assert get_token(clouds(tmp_path)["nutshell"]["auth"]) == 201


def test_an_up_that_is_killed_leaves_nothing_in_the_way(run: Run, tmp_path: Path, port: int) -> None:
    command = [sys.executable, "-m", "nutshell.cli", "up", "--simulate", "--port", str(port)]
    for wait_s in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5):
        process = subprocess.Popen(
            [*command, "--state", str(tmp_path / "state")],
            env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml")},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(wait_s)
        process.kill()
        process.wait()
    done = run("up", "--simulate", "--port", str(port))
    assert done.returncode == 0, done.stderr
    assert get_token(clouds(tmp_path)["nutshell-admin"]["auth"]) == 201
    assert run("down").returncode == 0
    with socket.socket() as probe:  # no process of ours has the port any more
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_tls(run: Run, tmp_path: Path, port: int) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *names], check=True, capture_output=True)
    done = run("up", "--simulate", "--port", str(port), "--tls-cert", str(certificate), "--tls-key", str(key))
    assert done.returncode == 0, done.stderr
    assert f"https://127.0.0.1:{port}/" in done.stdout
    assert run("status").returncode == 0
    entry = clouds(tmp_path)["nutshell"]
    assert entry["cacert"] == str(certificate)
    assert get_token(entry["auth"], ssl.create_default_context(cafile=str(certificate))) == 201
    assert f"OS_CACERT={certificate}" in run("env").stdout


def test_settings_come_from_the_state_directory_and_the_environment(run: Run, tmp_path: Path, port: int) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "nutshell.toml").write_text(f'[cloud]\nport = {port}\nsimulate = true\nregion = "Here"\n')
    assert run("up").returncode == 0
    assert "OS_REGION_NAME=Here" in run("env").stdout
    assert run("reset", "--yes").returncode == 0
    assert (tmp_path / "state" / "nutshell.toml").exists()
    assert run("up", NUTSHELL_CLOUD_REGION="There").returncode == 0
    assert "OS_REGION_NAME=There" in run("env").stdout


@pytest.mark.parametrize(
    ("toml", "variables", "says"),
    [
        ("[identiti]\n", {}, "did you mean 'identity'?"),
        ("[cloud]\nprot = 1\n", {}, "did you mean 'port'?"),
        ("", {"NUTSHELL_COMPUTE_NONSENSE": "1"}, "unknown variable NUTSHELL_COMPUTE_NONSENSE"),
    ],
)
def test_unknown_settings_are_refused(
    run: Run, tmp_path: Path, port: int, toml: str, variables: dict[str, str], says: str
) -> None:
    (tmp_path / "n.toml").write_text(toml)
    done = run("up", "--simulate", "--port", str(port), "--config", str(tmp_path / "n.toml"), **variables)
    assert done.returncode == 2
    assert says in done.stderr
    assert run("status").returncode == 3


def test_two_clouds_side_by_side(run: Run, tmp_path: Path, port: int) -> None:
    other = [sys.executable, "-m", "nutshell.cli"]
    environment = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(tmp_path / "other.yaml")}
    where = ["--state", str(tmp_path / "second")]
    assert run("up", "--simulate", "--port", str(port)).returncode == 0
    subprocess.run([*other, "up", "--simulate", "--port", str(free_port()), *where], check=True, env=environment)
    try:
        mine = clouds(tmp_path)["nutshell"]["auth"]
        theirs = yaml.safe_load((tmp_path / "other.yaml").read_text())["clouds"]["nutshell"]["auth"]
        assert (get_token(mine), get_token(theirs)) == (201, 201)
        assert get_token({**theirs, "auth_url": mine["auth_url"]}) == 401
        assert run("down").returncode == 0
        assert get_token(theirs) == 201
    finally:
        subprocess.run([*other, "reset", "--yes", *where], check=True, env=environment)


def test_foreground_ends_with_a_signal(tmp_path: Path, port: int) -> None:
    command = [sys.executable, "-m", "nutshell.cli", "up", "--simulate", "--foreground", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--state", str(tmp_path / "state")],
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Nutshell")
    assert get_token(clouds(tmp_path)["nutshell"]["auth"]) == 201
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 0
    assert not any(Path("/proc").glob(f"{process.pid}"))
    with pytest.raises(urllib.error.URLError):
        get_token(clouds(tmp_path)["nutshell"]["auth"])
