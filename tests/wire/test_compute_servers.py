"""Servers as their clients meet them, on the simulated hypervisor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.wire.compute_rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_server_becomes_active_and_goes(rig: Rig) -> None:
    made = rig.boot()
    shown = rig.show(made)
    assert shown["OS-EXT-STS:vm_state"] == "active"
    assert shown["OS-EXT-STS:power_state"] == 1
    assert list(shown["addresses"]) == ["private"]
    assert shown["flavor"]["ram"] == 128
    assert [g["name"] for g in shown["security_groups"]] == ["default"]
    assert len(rig.networks.realised) == 1
    assert rig.call("DELETE", f"/servers/{made}").status_code == 204
    rig.gone(made)
    assert rig.networks.ports == {}
    assert rig.world.observe(None) == []
    used = rig.cloud.read(lambda tx: rig.cloud.quotas.used(tx, "p", ["compute.instances", "compute.ram"]))
    assert set(used.values()) == {0}
