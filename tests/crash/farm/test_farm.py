"""A short run of the kill farm on both databases; the long ones are `make kill-farm` (RUNS.md keeps their results)."""

import pytest
from tests import database
from tests.crash.farm.run import farm


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_lost_at_ten_kills(kind: str) -> None:
    if kind == "postgresql" and database.find_binaries() is None:
        pytest.skip("PostgreSQL's server is not installed (apt install postgresql)")
    if kind == "sqlite" and database.on_postgresql():
        pytest.skip("the other one is run")
    report = farm("ci", 10, kind)
    assert report.kills >= 10
    assert report.asked >= 20, "the clouds were worked on"
    assert report.findings == []
