"""What every store of drives must do (volume/capability.py): content that lasts, copies that do not depend, repeats."""

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from nutshell.core.drivers import DriverFault
from nutshell.host.disks.files import FileVolumes
from nutshell.host.rpc import Server, proxy
from nutshell.image.formats import write_qcow2
from nutshell.volume.capability import Growable, ImageMaking, Snapshotting, VolumeDriver
from nutshell.volume.drivers.memory import MemoryVolumes

MIB = 2**20
ONE, TWO = "0e000000-0000-4000-8000-000000000001", "0e000000-0000-4000-8000-000000000002"
SNAP = "0f000000-0000-4000-8000-000000000001"
needs_qemu_img = pytest.mark.skipif(which("qemu-img") is None, reason="qemu-img is not installed")


class World:
    """A driver, how a guest writes to its volumes, and how it is started again after a kill."""

    def __init__(self, driver: Any, write: Callable[[str, bytes], None], again: Callable[[], Any], tmp: Path) -> None:
        self.driver, self.write, self.again, self.tmp = driver, write, again, tmp

    def content(self, volume_id: str) -> bytes:
        target = self.tmp / "out.raw"
        self.driver.write_image(volume_id, str(target), "raw")
        return target.read_bytes()

    def size(self, volume_id: str) -> int:
        return len(self.content(volume_id))


@pytest.fixture(params=["memory", "memory-remote", pytest.param("file", marks=needs_qemu_img)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "file":
        driver = FileVolumes(tmp_path / "volumes", "here")

        def scribble(volume_id: str, data: bytes) -> None:
            with open(driver.connect(volume_id).path, "r+b") as file:
                file.write(data)

        yield World(driver, scribble, lambda: FileVolumes(tmp_path / "volumes", "here"), tmp_path)
        return
    memory = MemoryVolumes(tmp_path / "volumes")
    if request.param == "memory":
        yield World(memory, memory.write, lambda: MemoryVolumes(tmp_path / "volumes"), tmp_path)
        memory.close()
        return
    kinds = (VolumeDriver, Growable, Snapshotting, ImageMaking)
    server = Server(tmp_path / "s", {"volume": (kinds, memory)})
    remote = proxy(tmp_path / "s", "volume", kinds)
    yield World(remote, memory.write, lambda: MemoryVolumes(tmp_path / "volumes"), tmp_path)
    server.close()
    memory.close()


def test_the_driver_offers_every_capability(world: World) -> None:
    for kind in (VolumeDriver, Growable, Snapshotting, ImageMaking):
        assert isinstance(world.driver, kind)
    pool = world.driver.pools()[0]
    assert 0 < pool.free <= pool.total
    assert "@" in pool.name


def test_a_volume_is_empty_and_a_repeated_create_keeps_its_content(world: World) -> None:
    world.driver.create(ONE, MIB)
    assert world.content(ONE) == bytes(MIB)
    world.write(ONE, b"data")
    world.driver.create(ONE, MIB)
    assert world.content(ONE).startswith(b"data")
    assert world.driver.existing([ONE, TWO]) == [ONE]
    assert list(world.driver.existing(None)) == [ONE]


def test_delete_is_success_twice(world: World) -> None:
    world.driver.create(ONE, MIB)
    world.driver.delete(ONE)
    world.driver.delete(ONE)
    assert not world.driver.existing(None)
    with pytest.raises(DriverFault):
        world.driver.connect(ONE)


def test_a_volume_from_a_raw_image(world: World) -> None:
    (world.tmp / "image").write_bytes(b"boot" + bytes(1020))
    for _ in range(2):
        world.driver.create_from_image(ONE, MIB, str(world.tmp / "image"), "raw")
    assert world.content(ONE) == b"boot" + bytes(MIB - 4)


def test_a_volume_from_a_qcow2_image_differs_from_an_empty_one(world: World) -> None:
    write_qcow2(world.tmp / "image", [b"boot"], MIB)
    world.driver.create_from_image(ONE, 2 * MIB, str(world.tmp / "image"), "qcow2")
    assert world.size(ONE) == 2 * MIB
    assert world.content(ONE) != bytes(2 * MIB)


def test_a_missing_image_is_final(world: World) -> None:
    with pytest.raises(DriverFault) as fault:
        world.driver.create_from_image(ONE, MIB, str(world.tmp / "none"), "raw")
    assert fault.value.final
    assert not world.driver.existing(None)


def test_a_clone_does_not_follow_its_source(world: World) -> None:
    world.driver.create(ONE, MIB)
    world.write(ONE, b"old")
    world.driver.create_from_volume(TWO, 2 * MIB, ONE)
    world.write(ONE, b"new")
    assert world.content(TWO)[:4] == b"old\0"
    assert world.size(TWO) == 2 * MIB
    world.driver.delete(ONE)
    assert world.content(TWO)[:3] == b"old"


def test_growing_keeps_the_content_and_never_shrinks(world: World) -> None:
    world.driver.create(ONE, MIB)
    world.write(ONE, b"kept")
    world.driver.grow(ONE, 3 * MIB)
    world.driver.grow(ONE, 3 * MIB)
    world.driver.grow(ONE, MIB)
    assert world.size(ONE) == 3 * MIB
    assert world.content(ONE).startswith(b"kept")


def test_snapshots_hold_a_moment(world: World) -> None:
    world.driver.create(ONE, MIB)
    world.write(ONE, b"then")
    world.driver.snapshot(ONE, SNAP)
    world.write(ONE, b"now!")
    world.driver.snapshot(ONE, SNAP)  # a repeat is not a new moment
    world.driver.create_from_snapshot(TWO, MIB, SNAP)
    assert world.content(TWO).startswith(b"then")
    assert world.content(ONE).startswith(b"now!")
    world.driver.revert(ONE, SNAP)
    world.driver.revert(ONE, SNAP)
    assert world.content(ONE).startswith(b"then")
    world.driver.delete_snapshot(SNAP)
    world.driver.delete_snapshot(SNAP)
    with pytest.raises(DriverFault):
        world.driver.revert(ONE, SNAP)


def test_content_too_large_for_the_volume_is_final(world: World) -> None:
    world.driver.create(ONE, 2 * MIB)
    world.driver.snapshot(ONE, SNAP)
    for call, source in (("create_from_volume", ONE), ("create_from_snapshot", SNAP)):
        with pytest.raises(DriverFault) as fault:
            getattr(world.driver, call)(TWO, MIB, source)
        assert fault.value.final
    assert list(world.driver.existing(None)) == [ONE]


def test_images_are_written_in_the_format_asked_for(world: World) -> None:
    world.driver.create(ONE, MIB)
    target = world.tmp / "image.qcow2"
    assert world.driver.write_image(ONE, str(target), "qcow2") == target.stat().st_size
    assert target.read_bytes()[:4] == b"QFI\xfb"
    with pytest.raises(DriverFault):
        world.driver.write_image(ONE, str(target), "floppy")


def test_everything_is_there_after_a_kill(world: World) -> None:
    world.driver.create(ONE, MIB)
    world.write(ONE, b"data")
    world.driver.snapshot(ONE, SNAP)
    again = world.again()
    assert list(again.existing(None)) == [ONE]
    again.create_from_snapshot(TWO, MIB, SNAP)
    again.write_image(TWO, str(world.tmp / "again"), "raw")
    assert (world.tmp / "again").read_bytes().startswith(b"data")


@needs_qemu_img
def test_attached_drives_are_copied_and_grown_by_the_hypervisor(tmp_path: Path) -> None:
    asked: list[tuple[Any, ...]] = []

    class Guests:
        def copy_attached(self, disk_id: str, target: Path) -> bool:
            asked.append(("copy", disk_id))
            write_qcow2(target, [b"from the guest"], MIB)
            return True

        def resize_attached(self, disk_id: str, size: int) -> bool:
            asked.append(("resize", disk_id, size))
            return True

    driver = FileVolumes(tmp_path / "volumes", "here", Guests())
    driver.create(ONE, MIB)
    driver.snapshot(ONE, SNAP)
    driver.grow(ONE, 2 * MIB)
    driver.create_from_snapshot(TWO, MIB, SNAP)
    assert Path(driver.connect(TWO).path).read_bytes().startswith(b"from the guest")
    assert asked == [("copy", ONE), ("resize", ONE, 2 * MIB)]
