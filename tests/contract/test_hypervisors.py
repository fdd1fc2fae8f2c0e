"""One suite that every hypervisor driver must pass: what `compute/capability.py` promises."""

import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from nutshell.compute.capability import (
    Consoles,
    Disk,
    Disks,
    Guest,
    HostFacts,
    HotPluggable,
    Hypervisor,
    Nic,
    Pausable,
    Power,
    Watchable,
)
from nutshell.compute.drivers.memory import MemoryHypervisor
from nutshell.core.drivers import DriverFault
from nutshell.host.rpc import Server, proxy

MIB = 1 << 20


class Driver(Hypervisor, Watchable, Pausable, HotPluggable, Consoles, Disks, Protocol):
    """Every capability at once."""


@dataclass
class World:
    """A driver under test and how to open its world again, as after a kill -9."""

    driver: Any
    directory: Path
    image: Path
    open: Callable[[], Any]
    os_image: Path | None = None  # one that boots; None: any guest seems to

    @property
    def host(self) -> str:
        name: str = self.driver.hosts()[0].name
        return name

    def reopen(self) -> None:
        if hasattr(self.driver, "close"):  # a remote one has none
            self.driver.close()
        self.driver = self.open()

    def guest(self, *, nics: int = 0, boots: bool = False) -> Guest:
        """A guest with a root disk, not started. Unless it `boots`, the firmware finds nothing there to run."""
        server_id = str(uuid.uuid4())
        image, kind = (self.os_image, "qcow2") if boots and self.os_image else (self.image, "raw")
        root = self.driver.create_root(self.host, server_id, str(image), kind, 256 * MIB if boots else 8 * MIB)
        cards = tuple(Nic(str(uuid.uuid4()), f"fa:16:3e:00:00:{n:02x}") for n in range(nics))
        return Guest(server_id, f"test-{server_id[:8]}", 1, 128, (root,), cards)

    def volume(self) -> Disk:
        """A disk from elsewhere, as a volume driver would make it."""
        path = self.directory / f"volume-{uuid.uuid4()}"
        with path.open("wb") as out:
            out.truncate(4 * MIB)
        return Disk(str(uuid.uuid4()), str(path), "raw", "vdb")

    def power(self, guest: Guest) -> Power | None:
        seen = self.driver.observe([guest.server_id])
        return seen[0].power if seen else None


@pytest.fixture(scope="module")
def qemu_world(qemu_state: Path, tiny_image: Path) -> Iterator[World]:
    from nutshell.host.qemu.driver import QemuHypervisor

    image = qemu_state / "image.raw"
    image.write_bytes(b"\0" * MIB)

    def open_driver() -> QemuHypervisor:
        return QemuHypervisor(qemu_state, "test-host")

    world = World(open_driver(), qemu_state, image, open_driver, tiny_image)
    yield world
    world.driver.close()


@pytest.fixture(params=["memory", "remote", pytest.param("qemu", marks=pytest.mark.real)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "qemu":
        yield request.getfixturevalue("qemu_world")
        return
    image = tmp_path / "image.raw"
    image.write_bytes(b"\0" * MIB)
    world = World(MemoryHypervisor(tmp_path), tmp_path, image, lambda: MemoryHypervisor(tmp_path))
    if request.param == "memory":
        yield world
    else:  # the same one over the socket of `nutshell host`
        every = (Hypervisor, Watchable, Pausable, HotPluggable, Consoles, Disks)
        local = world.driver
        server = Server(tmp_path / "rpc", {"hypervisor": (every, local)})
        remote = proxy(tmp_path / "rpc", "hypervisor", every)
        world.driver = remote
        yield world
        server.close()
        if world.driver is remote:
            world.driver = local
    world.driver.close()


@pytest.fixture
def running(world: World) -> Iterator[Guest]:
    guest = world.guest()
    world.driver.start(world.host, guest)
    yield guest
    world.driver.destroy(guest.server_id)
    world.driver.delete_disks(guest.server_id)


def test_it_has_every_capability(world: World) -> None:
    for capability in (Hypervisor, Watchable, Pausable, HotPluggable, Consoles, Disks):
        assert isinstance(world.driver, capability)


def test_facts_of_a_host_are_plausible(world: World) -> None:
    facts = world.driver.hosts()[0]
    assert facts.vcpus > 0
    assert facts.ram_mib > 0
    assert facts.disk_gib > 0
    assert facts.hypervisor_version > 1000


def test_a_guest_never_defined_is_absent(world: World) -> None:
    assert list(world.driver.observe([str(uuid.uuid4())])) == []


def test_started_guest_runs_and_a_second_start_changes_nothing(world: World, running: Guest) -> None:
    before = world.driver.console_address(running.server_id, "vnc")
    world.driver.start(world.host, replace(running, ram_mib=256))
    assert world.power(running) is Power.RUNNING
    assert world.driver.console_address(running.server_id, "vnc") == before


def test_observe_names_disks_and_ports(world: World, running: Guest) -> None:
    seen = world.driver.observe([running.server_id])[0]
    assert seen.disk_ids == ("root",)
    assert seen.port_ids == ()


def test_observe_all_finds_it(world: World, running: Guest) -> None:
    assert running.server_id in [seen.server_id for seen in world.driver.observe(None)]


def test_start_on_an_unknown_host_is_final(world: World) -> None:
    guest = world.guest()
    with pytest.raises(DriverFault) as caught:
        world.driver.start("no-such-host", guest)
    assert caught.value.final
    assert world.power(guest) is None


def test_stop_then_start_again(world: World, running: Guest) -> None:
    for _ in range(2):
        world.driver.stop(running.server_id, 0)
        assert world.power(running) is Power.SHUTDOWN
    world.driver.start(world.host, running)
    assert world.power(running) is Power.RUNNING


def test_stop_of_an_absent_guest_is_success(world: World) -> None:
    world.driver.stop(str(uuid.uuid4()), 0)


def test_hard_reboot_starts_a_stopped_guest(world: World, running: Guest) -> None:
    world.driver.stop(running.server_id, 0)
    world.driver.reboot(running.server_id, True, 0)
    assert world.power(running) is Power.RUNNING


def test_destroy_forgets_and_repeats(world: World, running: Guest) -> None:
    for _ in range(2):
        world.driver.destroy(running.server_id)
        assert world.power(running) is None
    with pytest.raises(DriverFault):
        world.driver.console_log(running.server_id, None)


def test_verbs_on_an_absent_guest_are_refused(world: World) -> None:
    absent = str(uuid.uuid4())
    for call in (world.driver.pause, world.driver.unpause, world.driver.suspend, world.driver.resume):
        with pytest.raises(DriverFault) as caught:
            call(absent)
        assert caught.value.final


def test_pause_and_unpause_repeat(world: World, running: Guest) -> None:
    for _ in range(2):
        world.driver.pause(running.server_id)
        assert world.power(running) is Power.PAUSED
    for _ in range(2):
        world.driver.unpause(running.server_id)
        assert world.power(running) is Power.RUNNING


def test_start_lets_a_paused_guest_go_on(world: World, running: Guest) -> None:
    world.driver.pause(running.server_id)
    world.driver.start(world.host, running)
    assert world.power(running) is Power.RUNNING


def test_suspend_and_resume_repeat(world: World, running: Guest) -> None:
    for _ in range(2):
        world.driver.suspend(running.server_id)
        assert world.power(running) is Power.SUSPENDED
    for _ in range(2):
        world.driver.resume(running.server_id)
        assert world.power(running) is Power.RUNNING


def test_start_resumes_and_stop_discards_a_suspended_guest(world: World, running: Guest) -> None:
    world.driver.suspend(running.server_id)
    world.driver.start(world.host, running)
    assert world.power(running) is Power.RUNNING
    world.driver.suspend(running.server_id)
    world.driver.stop(running.server_id, 0)
    assert world.power(running) is Power.SHUTDOWN


def test_a_stopped_guest_cannot_pause(world: World, running: Guest) -> None:
    world.driver.stop(running.server_id, 0)
    with pytest.raises(DriverFault) as caught:
        world.driver.pause(running.server_id)
    assert caught.value.final


def test_a_reopened_driver_finds_every_guest(world: World, running: Guest) -> None:
    other = world.guest()
    world.driver.start(world.host, other)
    world.driver.pause(other.server_id)
    third = world.guest()
    world.driver.start(world.host, third)
    world.driver.suspend(third.server_id)
    world.reopen()
    seen = {each.server_id: each.power for each in world.driver.observe(None)}
    assert seen[running.server_id] is Power.RUNNING
    assert seen[other.server_id] is Power.PAUSED
    assert seen[third.server_id] is Power.SUSPENDED
    world.driver.resume(third.server_id)
    assert world.power(third) is Power.RUNNING
    for guest in (other, third):
        world.driver.destroy(guest.server_id)
        world.driver.delete_disks(guest.server_id)
    left = [each.server_id for each in world.driver.observe(None)]
    assert running.server_id in left
    assert other.server_id not in left


def test_disk_plugged_while_stopped_is_there_after_start(world: World, running: Guest) -> None:
    volume = world.volume()
    world.driver.stop(running.server_id, 0)
    for _ in range(2):
        world.driver.plug_disk(running.server_id, volume)
    world.driver.reboot(running.server_id, True, 0)
    assert world.driver.observe([running.server_id])[0].disk_ids == ("root", volume.disk_id)
    world.driver.stop(running.server_id, 0)
    for _ in range(2):
        world.driver.unplug_disk(running.server_id, volume.disk_id)
    assert world.driver.observe([running.server_id])[0].disk_ids == ("root",)


def test_disk_plugged_live_survives_a_reboot(world: World, running: Guest) -> None:
    volume = world.volume()
    for _ in range(2):
        world.driver.plug_disk(running.server_id, volume)
    os.truncate(volume.path, 8 * MIB)
    world.driver.resize_disk(running.server_id, volume.disk_id, 8 * MIB)
    world.driver.reboot(running.server_id, True, 0)
    assert world.driver.observe([running.server_id])[0].disk_ids == ("root", volume.disk_id)


def test_resize_of_a_disk_it_does_not_have_is_refused(world: World, running: Guest) -> None:
    with pytest.raises(DriverFault):
        world.driver.resize_disk(running.server_id, str(uuid.uuid4()), 8 * MIB)


def test_devices_of_a_suspended_guest_cannot_change(world: World, running: Guest) -> None:
    world.driver.suspend(running.server_id)
    with pytest.raises(DriverFault) as caught:
        world.driver.plug_disk(running.server_id, world.volume())
    assert caught.value.final


def test_vnc_console_greets(world: World, running: Guest) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(world.driver.console_address(running.server_id, "vnc"))
        assert client.recv(12) == b"RFB 003.008\n"


def test_unknown_console_kind_is_refused(world: World, running: Guest) -> None:
    with pytest.raises(DriverFault):
        world.driver.console_address(running.server_id, "spice")


def test_a_booted_guest_keeps_its_promises(world: World) -> None:
    """One boot for all that needs the guest's cooperation: log, devices in and out, reboot, power button."""
    guest = world.guest(boots=True)
    world.driver.start(world.host, guest)
    try:
        log = _wait_for_login(world, guest, 1)
        assert len(world.driver.console_log(guest.server_id, 2).split("\n")) == 2
        volume = world.volume()
        for _ in range(2):
            world.driver.plug_disk(guest.server_id, volume)
            assert volume.disk_id in world.driver.observe([guest.server_id])[0].disk_ids
            for _ in range(2):
                world.driver.unplug_disk(guest.server_id, volume.disk_id)
            assert world.driver.observe([guest.server_id])[0].disk_ids == ("root",)
        world.driver.reboot(guest.server_id, False, 20)
        assert world.power(guest) is Power.RUNNING
        _wait_for_login(world, guest, 2)
        started = time.monotonic()
        world.driver.stop(guest.server_id, 20)
        assert time.monotonic() - started < 15, "the guest did not hear its power button"
        assert world.power(guest) is Power.SHUTDOWN
        assert log.strip()[:40] in world.driver.console_log(guest.server_id, None)
    finally:
        world.driver.destroy(guest.server_id)
        world.driver.delete_disks(guest.server_id)


def _wait_for_login(world: World, guest: Guest, times: int) -> str:
    deadline = time.monotonic() + 60
    while (log := world.driver.console_log(guest.server_id, None)).count(" login: ") < times:
        assert time.monotonic() < deadline, f"no login prompt: {log[-500:]!r}"
        time.sleep(0.2)
    return str(log)


def test_root_disk_is_made_once_grows_and_goes(world: World) -> None:
    server_id = str(uuid.uuid4())
    first = world.driver.create_root(world.host, server_id, str(world.image), "raw", 8 * MIB)
    assert first == world.driver.create_root(world.host, server_id, str(world.image), "raw", 8 * MIB)
    assert first.disk_id == "root"
    for size in (16 * MIB, 16 * MIB, 8 * MIB):
        world.driver.resize_root(server_id, size)
    target = world.directory / "snapshot.qcow2"
    world.driver.snapshot_root(server_id, str(target))
    assert _qcow2_size(target) == 16 * MIB
    for _ in range(2):
        world.driver.delete_disks(server_id)
    with pytest.raises(DriverFault):
        world.driver.resize_root(server_id, 16 * MIB)


def test_blank_and_config_disks(world: World) -> None:
    server_id = str(uuid.uuid4())
    world.driver.create_root(world.host, server_id, str(world.image), "raw", 8 * MIB)
    for disk_id, filesystem in (("swap", "swap"), ("ephemeral0", "vfat")):
        disk = world.driver.create_blank(world.host, server_id, disk_id, 16 * MIB, filesystem)
        assert disk.disk_id == disk_id
        assert disk == world.driver.create_blank(world.host, server_id, disk_id, 16 * MIB, filesystem)
    with pytest.raises(DriverFault):
        world.driver.create_blank(world.host, server_id, "ephemeral1", 16 * MIB, "ntfs")
    for content in (b"{}", b'{"a": 1}'):
        config = world.driver.write_config_drive(
            world.host, server_id, {"openstack/latest/meta_data.json": content, "openstack/latest/user_data": b"#!"}
        )
    assert config.disk_id == "config"
    assert config.read_only
    world.driver.delete_disks(server_id)


def test_changes_are_told(world: World, running: Guest) -> None:
    cursor, everyone = world.driver.wait_changes(0, 0)
    assert running.server_id in everyone
    time.sleep(0.2)  # the start's own events come in
    cursor, _ = world.driver.wait_changes(cursor, 0)
    assert world.driver.wait_changes(cursor, 0.05)[1] == []
    threading.Timer(0.1, world.driver.pause, (running.server_id,)).start()
    started = time.monotonic()
    _, changed = world.driver.wait_changes(cursor, 10)
    assert changed == [running.server_id]
    assert time.monotonic() - started < 5


def _qcow2_size(path: Path) -> int:
    """Virtual size, read from the header; no backing file may be named."""
    header = path.read_bytes()[:32]
    assert header[:4] == b"QFI\xfb"
    assert header[8:16] == bytes(8), "has a backing file"
    return int.from_bytes(header[24:32])


# what only the simulated driver promises


def test_ten_thousand_simulated_hosts_are_cheap() -> None:
    started = time.monotonic()
    hosts = [HostFacts(f"sim{n}", "memory", 1_000_000, 8, 16_384, 100) for n in range(10_000)]
    driver = MemoryHypervisor(hosts=hosts)
    for n in range(1_000):
        server_id = str(uuid.UUID(int=n))
        root = driver.create_root(f"sim{n * 7}", server_id, "image", "qcow2", MIB)
        driver.start(f"sim{n * 7}", Guest(server_id, "n", 1, 128, (root,), ()))
    assert len(driver.hosts()) == 10_000
    assert len(driver.observe(None)) == 1_000
    assert time.monotonic() - started < 2


def test_simulated_faults_strike_the_chosen_call(tmp_path: Path) -> None:
    driver = MemoryHypervisor()
    host = driver.hosts()[0].name
    driver.faults.fail("start", nth=2, final=True)
    one, two = (Guest(str(uuid.uuid4()), "n", 1, 128, (), ()) for _ in range(2))
    driver.start(host, one)
    with pytest.raises(DriverFault, match="simulated"):
        driver.start(host, two)
    driver.start(host, two)
    driver.crash(one.server_id, "panic")
    assert driver.observe([one.server_id])[0].why == "panic"
    driver.lose_host(host)
    assert driver.hosts() == ()
    assert driver.observe([two.server_id])[0].power is Power.UNKNOWN
    with pytest.raises(DriverFault) as caught:
        driver.stop(two.server_id, 0)
    assert not caught.value.final
    driver.find_host(host)
    assert driver.observe([two.server_id])[0].power is Power.RUNNING


def test_the_simulated_world_survives_a_torn_journal(tmp_path: Path) -> None:
    driver = MemoryHypervisor(tmp_path)
    host = driver.hosts()[0].name
    guest = Guest(str(uuid.uuid4()), "n", 1, 128, (), (Nic("p", "fa:16:3e:00:00:01"),))
    driver.start(host, guest)
    for _ in range(2_500):  # enough to be compacted
        driver.pause(guest.server_id)
        driver.unpause(guest.server_id)
    journal = tmp_path / "world.jsonl"
    assert journal.stat().st_size < 2_000_000
    with journal.open("ab") as out:
        out.write(b'["guest","torn')
    again = MemoryHypervisor(tmp_path)
    assert [seen.server_id for seen in again.observe(None)] == [guest.server_id]
    assert "login:" in again.console_log(guest.server_id, None)


def test_the_simulated_serial_console_answers(tmp_path: Path) -> None:
    driver = MemoryHypervisor()
    guest = Guest(str(uuid.uuid4()), "box", 1, 128, (), ())
    driver.start(driver.hosts()[0].name, guest)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(driver.console_address(guest.server_id, "serial"))
        client.sendall(b"echo hello\r")
        text = b""
        while b"\r\nhello\r\n" not in text:
            text += client.recv(1024)
    driver.close()


def test_the_simulated_snapshot_is_a_valid_image(tmp_path: Path) -> None:
    driver = MemoryHypervisor()
    server_id = str(uuid.uuid4())
    driver.create_root(driver.hosts()[0].name, server_id, "image", "qcow2", 100 << 30)
    driver.snapshot_root(server_id, str(tmp_path / "s.qcow2"))
    assert _qcow2_size(tmp_path / "s.qcow2") == 100 << 30
    try:
        checked = subprocess.run(["qemu-img", "check", "-f", "qcow2", str(tmp_path / "s.qcow2")], capture_output=True)
    except FileNotFoundError:
        pytest.skip("qemu-img is not installed: only the header was checked")
    assert checked.returncode == 0, checked.stderr
