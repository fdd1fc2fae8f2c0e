"""What every test may use: a PostgreSQL server of the test run's own, started when first asked for."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import database


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="what the tests' clouds keep their state on",
    )


@pytest.fixture(scope="session", autouse=True)
def _database(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--database postgresql` every cloud of the tests gets a database on a server of the test run's own."""
    if request.config.getoption("--database") == "sqlite":
        yield
        return
    os.environ[database.SERVER] = request.getfixturevalue("postgres_server")
    yield
    del os.environ[database.SERVER]


@pytest.fixture(autouse=True)
def _databases_go() -> Iterator[None]:
    yield
    if database.on_postgresql():
        database.drop_unused(os.environ[database.SERVER])


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on a free port with C collation; the URL without a database name."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (apt install postgresql)")
    home = Path("/tmp") / f"nutshell-pg-{uuid.uuid4().hex[:8]}"
    home.mkdir(mode=0o700)
    rest: dict[str, object] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": "/"}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
        rest |= {"user": owner.pw_uid, "group": owner.pw_gid}
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    data = home / "data"
    init = [binaries / "initdb", "-D", data, "-A", "trust", "-U", "nutshell", "--locale=C", "-E", "UTF8", "-N"]
    subprocess.run([str(a) for a in init], check=True, **rest)  # type: ignore[call-overload]
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(home), "-c", "fsync=off", "-c", "max_connections=200"]
    server = subprocess.Popen([str(binaries / "postgres"), "-D", str(data), *options], **rest)  # type: ignore[call-overload]
    url = f"postgresql://nutshell@127.0.0.1:{port}"
    try:
        _await(url)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # without waiting for those who are connected
        server.wait(timeout=20)
        shutil.rmtree(home, ignore_errors=True)


def _await(url: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    for _ in range(200):
        try:
            psycopg.connect(url + "/postgres", connect_timeout=1).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("PostgreSQL did not start")


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of the test's own."""
    import psycopg

    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server + "/postgres", autocommit=True) as c:
        c.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_server}/{name}"
    with psycopg.connect(postgres_server + "/postgres", autocommit=True) as c:
        c.execute(f"DROP DATABASE {name} WITH (FORCE)")
