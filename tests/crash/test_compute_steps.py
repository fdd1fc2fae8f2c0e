"""Servers' operations cut off after every call of the hypervisor: the next run ends in the same state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.wire.compute_rig import VOLUME, Rig, until

from nutshell.compute.capability import Disks, HotPluggable, Hypervisor, Pausable

# The cut also ends whatever loop meets it: that is the crash, not a failure of the test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Cut(BaseException):
    """The process dies here."""


class Dying:
    """The hypervisor until its `nth` call of those that change the world; from then on every call dies."""

    def __init__(self, world: Any, nth: int, after: bool) -> None:
        self._world, self._left, self._after = world, nth, after
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._world, name)
        if name.startswith("_") or not callable(real) or name in ("hosts", "wait_changes"):
            return real

        def call(*given: Any) -> Any:
            if self.dead:
                raise Cut()
            self._left -= 1
            if self._left <= 0:
                self.dead = True
                if self._after:
                    real(*given)
                raise Cut()
            return real(*given)

        return call


def begin_and_cut(
    state: Path, first: Callable[[Rig], str], act: Callable[[Rig, str], None], nth: int, after: bool
) -> tuple[str, bool, Rig]:
    """A server by `first`, then `act` cut off; (its id, whether the cut was reached, the next run)."""
    rig = Rig(state)
    made = first(rig)
    dying = Dying(rig.world, nth, after)
    for kind in (Hypervisor, Disks, HotPluggable, Pausable):
        rig.cloud.drivers[kind] = dying
    act(rig, made)
    until(lambda: dying.dead or is_done(rig), seconds=5)
    rig.close()
    return made, dying.dead, Rig(state, like=rig)


def is_done(rig: Rig) -> bool:
    text = "SELECT count(*) FROM compute_servers WHERE task <> '' AND deleted_at IS NULL"
    devices = "SELECT count(*) FROM compute_devices WHERE due_at IS NOT NULL"
    return bool(rig.cloud.read(lambda tx: (tx.sql(text).fetchone()[0], tx.sql(devices).fetchone()[0])) == (0, 0))


def boot(rig: Rig) -> str:
    return rig.boot()


CASES: dict[str, tuple[Callable[[Rig, str], None], str]] = {
    "stop": (lambda r, s: assert_ok(r.act(s, "os-stop")), "SHUTOFF"),
    "hard reboot": (lambda r, s: assert_ok(r.act(s, "reboot", {"type": "HARD"})), "ACTIVE"),
    "pause": (lambda r, s: assert_ok(r.act(s, "pause")), "PAUSED"),
    "resize": (lambda r, s: assert_ok(r.act(s, "resize", {"flavorRef": "84"})), "VERIFY_RESIZE"),
    "rescue": (lambda r, s: assert_ok(r.act(s, "rescue", {})), "RESCUE"),
    "shelve": (lambda r, s: assert_ok(r.act(s, "shelve")), "SHELVED_OFFLOADED"),
    "delete": (lambda r, s: assert_ok(r.call("DELETE", f"/servers/{s}")), ""),
    "attach": (lambda r, s: assert_ok(attach(r, s)), "ACTIVE"),
}


def attach(rig: Rig, server_id: str) -> Any:
    body = {"volumeAttachment": {"volumeId": VOLUME}}
    return rig.call("POST", f"/servers/{server_id}/os-volume_attachments", json=body)


def assert_ok(answer: Any) -> None:
    assert answer.status_code in (200, 202, 204), answer.text


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", CASES)
def test_an_operation_cut_off_at_any_call_ends_as_if_it_had_not_been(tmp_path: Path, name: str, after: bool) -> None:
    act, status = CASES[name]
    for nth in range(1, 12):
        made, reached, rig = begin_and_cut(tmp_path / str(nth), boot, act, nth, after)
        try:
            if status:
                rig.until(made, status)
                until(lambda rig=rig: is_done(rig))  # type: ignore[misc]
            else:
                rig.gone(made)
                assert rig.world.observe(None) == []
                assert rig.networks.ports == {}
            if name == "attach":
                assert rig.volumes.known[VOLUME].status == "in-use"
        finally:
            rig.close()
        if not reached:
            return
    raise AssertionError("the operation calls the hypervisor more often than this test cuts it")
