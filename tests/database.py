"""The database a test's cloud is made on: SQLite, or a PostgreSQL database of its own with `--database postgresql`.

Whoever builds a cloud for a test asks here: `database_for(state)` for a cloud in process, `environment_for(state)` for
one started by command. The same state directory gets the same database, so that a cloud can be started again.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port

SERVER = "TESTS_POSTGRESQL"  # URL of the test run's server, without a database; unset: SQLite
TEMPLATE = "nutshell_template"


def on_postgresql() -> bool:
    return SERVER in os.environ


def database_for(state: Path | None) -> str:
    """The URL of this cloud's database, or "" for SQLite in its state directory."""
    if not on_postgresql() or state is None:
        return ""
    server = os.environ[SERVER]
    name = "t" + hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]
    with connected(server) as c:
        if c.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            c.execute(f"CREATE DATABASE {name} TEMPLATE {_template(c, server)}")
    return f"{server}/{name}"


def environment_for(state: Path) -> dict[str, str]:
    """What a command that starts the cloud of this directory needs in its environment."""
    url = database_for(state)
    return {"NUTSHELL_CLOUD_DATABASE": url} if url else {}


def everything_kept(state: Path) -> bytes:
    """What stands in this cloud's database, to look for what must not be there."""
    if not on_postgresql():
        return b"".join(p.read_bytes() for p in state.glob("cloud.db*"))
    import psycopg

    with psycopg.connect(database_for(state)) as c:
        tables = c.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [c.execute(f'SELECT t::text FROM "{name}" t').fetchall() for (name,) in tables]
    return repr(rows).encode()


def drop_unused(server: str) -> None:
    """Drop the databases that no cloud has open."""
    with connected(server) as c:
        for (name,) in c.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 't%' AND NOT datistemplate AND datname <> 'template1'"
            " AND datname NOT IN (SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL)"
        ).fetchall():
            c.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def connected(server: str, name: str = "postgres") -> Any:
    import psycopg

    return psycopg.connect(f"{server}/{name}", autocommit=True)


def _template(c: Any, server: str) -> str:
    """A database with every table, made once: copying it is several times quicker than making them again."""
    if c.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone() is None:
        import psycopg

        from nutshell import app
        from nutshell.core.postgres import create_schema

        app.parts()
        c.execute(f"CREATE DATABASE {TEMPLATE}")
        with psycopg.connect(f"{server}/{TEMPLATE}", autocommit=True) as fresh:
            create_schema(fresh)
    return TEMPLATE


def find_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextmanager
def server() -> Iterator[str]:
    """A server on a free port with C collation; its URL without a database name. Everything of it goes afterwards."""
    binaries = find_binaries()
    assert binaries is not None, "PostgreSQL's server is not installed (apt install postgresql)"
    home = Path("/tmp") / f"nutshell-pg-{uuid.uuid4().hex[:8]}"
    home.mkdir(mode=0o700)
    rest: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": "/"}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
        rest |= {"user": owner.pw_uid, "group": owner.pw_gid}
    port = free_port()
    data = home / "data"
    init = [binaries / "initdb", "-D", data, "-A", "trust", "-U", "nutshell", "--locale=C", "-E", "UTF8", "-N"]
    subprocess.run([str(a) for a in init], check=True, **rest)
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(home), "-c", "fsync=off", "-c", "max_connections=200"]
    process = subprocess.Popen([str(binaries / "postgres"), "-D", str(data), *options], **rest)
    url = f"postgresql://nutshell@127.0.0.1:{port}"
    try:
        _await(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # without waiting for those who are connected
        process.wait(timeout=20)
        shutil.rmtree(home, ignore_errors=True)


def _await(url: str) -> None:
    import psycopg

    for _ in range(400):
        try:
            psycopg.connect(url + "/postgres", connect_timeout=1).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("PostgreSQL did not start")
