"""The host's border: paths outside the state directory are refused, what is made for the API can be read by it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest

from nutshell.compute.capability import Disk, Guest, Hypervisor, Pausable
from nutshell.compute.drivers.memory import MemoryHypervisor
from nutshell.core.drivers import DriverFault
from nutshell.host.guard import guarded
from nutshell.host.rpc import Server, proxy

ME = (os.geteuid(), os.getegid())


@runtime_checkable
class Store(Protocol):
    name: str

    def create(self, volume_id: str, image_path: str) -> None: ...
    def write_image(self, volume_id: str, target_path: str) -> int: ...
    def start(self, guest: Guest) -> None: ...
    def console_address(self, server_id: str) -> str: ...


@dataclass
class Fake:
    calls: list[tuple[Any, ...]]
    state: Path
    name: str = "fake"

    def create(self, volume_id: str, image_path: str) -> None:
        self.calls.append((volume_id, image_path))

    def write_image(self, volume_id: str, target_path: str) -> int:
        Path(target_path).write_text("x")
        return 1

    def start(self, guest: Guest) -> None:
        self.calls.append((guest,))

    def console_address(self, server_id: str) -> str:
        path = self.state / "host" / "s" / "vnc"
        path.parent.mkdir(parents=True, mode=0o700)
        path.touch()
        return str(path)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake([], tmp_path)


@pytest.fixture
def kept(fake: Fake) -> Any:
    return guarded(fake, (Store, Pausable), fake.state, ME)


def test_paths_inside_pass_and_others_are_refused(kept: Any, fake: Fake, tmp_path: Path) -> None:
    kept.create("v", str(tmp_path / "images" / "a"))
    (tmp_path / "link").symlink_to("/etc")
    for outside in ("/etc/shadow", str(tmp_path / ".." / "x"), str(tmp_path / "link" / "shadow"), "relative"):
        with pytest.raises(DriverFault, match="not in the cloud's state") as caught:
            kept.create("v", outside)
        assert caught.value.final
    assert fake.calls == [("v", str(tmp_path / "images" / "a"))]


def test_disks_in_a_guest_are_looked_at(kept: Any, fake: Fake, tmp_path: Path) -> None:
    disk = Disk("root", str(tmp_path / "d"), "raw", "vda")
    guest = Guest("s", "n", 1, 64, (disk,), ())
    kept.start(guest)
    kept.start(replace(guest, disks=(replace(disk, path=f"nbd+unix:///a?socket={tmp_path}/s"),)))
    for bad in ("/dev/sda", "nbd+unix:///a?socket=/run/other", "file:/etc/shadow"):
        with pytest.raises(DriverFault):
            kept.start(replace(guest, disks=(disk, replace(disk, path=bad))))
    assert len(fake.calls) == 2


def test_what_is_written_and_consoles_can_be_reached(kept: Any, tmp_path: Path) -> None:
    assert kept.write_image("v", str(tmp_path / "out")) == 1
    address = Path(kept.console_address("s"))
    assert address.stat().st_uid == ME[0]
    assert address.parent.stat().st_mode & 0o011 == 0o011
    assert not address.parent.stat().st_mode & 0o044


def test_capabilities_stay_what_they_are_and_cross_the_socket(kept: Any, tmp_path: Path) -> None:
    assert isinstance(kept, Store)
    assert not isinstance(kept, Pausable)
    memory = MemoryHypervisor(tmp_path)
    server = Server(
        tmp_path / "rpc", {"h": ((Hypervisor, Pausable), guarded(memory, (Hypervisor, Pausable), tmp_path, ME))}
    )
    far = proxy(tmp_path / "rpc", "h", (Hypervisor, Pausable))
    assert isinstance(far, Pausable)
    assert [one.name for one in far.hosts()] == [one.name for one in memory.hosts()]
    server.close()
    memory.close()
