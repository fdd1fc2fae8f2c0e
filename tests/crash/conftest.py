"""One cloud of real servers for all the crash tests, with a guest that watches."""

import os
import shutil
from collections.abc import Iterator

import pytest
from tests.crash.real_cloud import PATIENCE_S, RealCloud

from nutshell.cli.places import Places

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCloud]:
    made = RealCloud(tmp_path_factory.mktemp("real") / "state")
    if built := os.environ.get("TINY_IMAGE"):  # spares the build
        places = Places(made.state)
        places.tiny_image.parent.mkdir(parents=True)
        shutil.copyfile(built, places.tiny_image)
    try:
        made.up()
        made.ready()
        yield made
    finally:
        made.cloud.command("reset", "--yes")
    assert made.machine.traces() == {}
    assert not made.state.exists()


@pytest.fixture(scope="package")
def witness(cloud: RealCloud) -> str:
    """A guest that runs all the time; on its floating IP one can log in."""
    server_id = cloud.make_server(name="witness")
    _, address = cloud.make_floating(cloud.port_of(server_id))
    cloud.guest(address).wait(PATIENCE_S)
    return server_id


@pytest.fixture
def witness_restarts() -> None:
    """For tests that end the witness or the whole machine."""


@pytest.fixture
def unnoticed(cloud: RealCloud, witness: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """But for the tests that say so, the witness is the same run of the same guest afterwards."""
    restarts = "witness_restarts" in request.fixturenames
    before = cloud.machine.guests()[witness]
    boot = cloud.guest(cloud.address_of(witness)).run(BOOT_ID)
    yield
    if not restarts:
        assert cloud.machine.guests()[witness] == before
        assert cloud.guest(cloud.address_of(witness)).run(BOOT_ID) == boot
