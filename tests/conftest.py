"""What every test may use: a PostgreSQL server of the test run's own, started when first asked for."""

import os
import uuid
from collections.abc import Iterator

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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server on a free port with C collation; the URL without a database name."""
    if database.find_binaries() is None:
        pytest.skip("PostgreSQL's server is not installed (apt install postgresql)")
    with database.server() as url:
        yield url


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
