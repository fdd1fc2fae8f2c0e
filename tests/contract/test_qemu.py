"""What only the QEMU driver promises: guests outlive it, deaths are noticed and told apart, disks are honest."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import nutshell
from nutshell.compute.capability import Disk, Guest, Nic, Power
from nutshell.core.drivers import DriverFault

pytestmark = pytest.mark.real
MIB = 1 << 20
HOST = "test-host"
# cli; mov dx,0x604; mov ax,0x2000; out dx,ax; hlt: ACPI power-off through q35's PM1a control register
POWERS_OFF = bytes.fromhex("faba0406b80020effaf4ebfd")
# cli; mov dx,0x3f8; mov al,'x'; out dx,al; hlt; jmp: says one letter on the serial port
SPEAKS = bytes.fromhex("fabaf803b078eef4ebfd")


class Box:
    """A driver over one state directory, and guests made of a few instructions."""

    def __init__(self, state: Path) -> None:
        from nutshell.host.qemu.driver import QemuHypervisor

        self.state = state
        self.new = lambda: QemuHypervisor(state, HOST)
        self.driver = self.new()

    def reopen(self) -> None:
        self.driver.close()
        self.driver = self.new()

    def image(self, code: bytes = b"") -> Path:
        path = self.state / f"image-{code.hex()[:20]}.raw"
        if not path.exists():
            path.write_bytes(((code or b"\xfa\xf4\xeb\xfd").ljust(510, b"\0") + b"\x55\xaa").ljust(MIB, b"\0"))
        return path

    def guest(self, code: bytes = b"", **more: object) -> Guest:
        server_id = str(uuid.uuid4())
        root = self.driver.create_root(HOST, server_id, str(self.image(code)), "raw", 8 * MIB)
        return replace(Guest(server_id, "box", 1, 128, (root,), ()), **more)  # type: ignore[arg-type]

    def volume(self, **more: object) -> Disk:
        path = self.state / f"volume-{uuid.uuid4()}"
        path.write_bytes(b"\0" * (4 * MIB))
        return replace(Disk(str(uuid.uuid4()), str(path), "raw", "vdb"), **more)  # type: ignore[arg-type]

    def power(self, guest: Guest) -> Power | None:
        seen = self.driver.observe([guest.server_id])
        return seen[0].power if seen else None

    def pid(self, guest: Guest) -> int:
        return self.pids(guest)[0]

    def pids(self, guest: Guest) -> list[int]:
        from nutshell.host.qemu.processes import name_of

        return [int(e) for e in os.listdir("/proc") if e.isdigit() and name_of(int(e)).endswith(guest.server_id)]

    def eventually(self, guest: Guest, power: Power, timeout_s: float = 10) -> None:
        until = time.monotonic() + timeout_s
        while self.power(guest) is not power:
            assert time.monotonic() < until, f"is {self.power(guest)}, not {power}"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def shared_box(qemu_state: Path) -> Iterator[Box]:
    box = Box(qemu_state)
    yield box
    box.driver.close()


@pytest.fixture
def box(shared_box: Box) -> Iterator[Box]:
    yield shared_box
    for seen in shared_box.driver.observe(None):
        shared_box.driver.destroy(seen.server_id)
        shared_box.driver.delete_disks(seen.server_id)


def test_a_killed_guest_is_seen_as_crashed_at_once(box: Box) -> None:
    guest = box.guest()
    box.driver.start(HOST, guest)
    time.sleep(0.1)
    cursor, _ = box.driver.wait_changes(0, 0)
    os.kill(box.pid(guest), signal.SIGKILL)
    _, changed = box.driver.wait_changes(cursor, 5)
    assert changed == [guest.server_id]
    box.eventually(guest, Power.CRASHED, 1)
    assert "signal 9" in box.driver.observe([guest.server_id])[0].why
    box.driver.start(HOST, guest)
    assert box.power(guest) is Power.RUNNING
    assert box.driver.observe([guest.server_id])[0].why == ""


def test_a_guest_that_powers_itself_off_did_not_crash(box: Box) -> None:
    guest = box.guest(POWERS_OFF)
    box.driver.start(HOST, guest)
    box.eventually(guest, Power.SHUTDOWN)
    until = time.monotonic() + 5
    while box.pids(guest):
        assert time.monotonic() < until, "its process stays"
        time.sleep(0.05)


def test_a_guest_that_powered_off_unwatched_did_not_crash(box: Box) -> None:
    guest = box.guest(POWERS_OFF)
    box.driver.start(HOST, guest)
    box.driver.close()  # before the firmware has come to the boot sector
    time.sleep(2)
    box.driver = box.new()
    assert box.power(guest) is Power.SHUTDOWN
    assert box.pids(guest) == []


def test_a_guest_killed_unwatched_crashed(box: Box) -> None:
    guest = box.guest()
    box.driver.start(HOST, guest)
    pid = box.pid(guest)
    box.driver.close()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    box.driver = box.new()
    assert box.power(guest) is Power.CRASHED
    assert box.driver.observe([guest.server_id])[0].why
    assert box.driver.observe([guest.server_id])[0].lost
    assert not [each for each in (box.state / "s").iterdir() if guest.server_id in each.name], "dead sockets stay"


def test_guests_that_went_down_with_everything_are_lost_and_stopped_ones_are_not(box: Box) -> None:
    runs, stopped, dead = box.guest(), box.guest(), box.guest()
    for each in (runs, stopped, dead):
        box.driver.start(HOST, each)
    box.driver.stop(stopped.server_id, 0)
    os.kill(box.pid(dead), signal.SIGKILL)
    box.eventually(dead, Power.CRASHED)
    box.driver.stop_all(0)
    box.reopen()
    assert [each.lost for each in box.driver.observe([runs.server_id, stopped.server_id, dead.server_id])] == [
        True, False, False,
    ]  # fmt: skip
    assert box.pids(runs) == []
    box.driver.start(HOST, runs)
    assert not box.driver.observe([runs.server_id])[0].lost


def test_a_guest_that_does_not_answer_is_unknown_until_it_does(box: Box) -> None:
    guest, stuck = box.guest(), box.guest()
    for each in (guest, stuck):
        box.driver.start(HOST, each)
        os.kill(box.pid(each), signal.SIGSTOP)
    box.reopen()
    assert box.power(guest) is Power.UNKNOWN
    os.kill(box.pid(guest), signal.SIGCONT)
    box.driver.start(HOST, guest)
    assert box.power(guest) is Power.RUNNING
    box.driver.destroy(stuck.server_id)
    assert box.pids(stuck) == []


CHILD = """
import sys, time
from pathlib import Path
import msgspec
from nutshell.compute.capability import Guest
from nutshell.host.qemu.driver import QemuHypervisor
driver = QemuHypervisor(Path(sys.argv[1]), sys.argv[2])
guest = msgspec.json.decode(sys.argv[3], type=Guest)
print("ready", flush=True)
getattr(driver, sys.argv[4])(*([sys.argv[2], guest] if sys.argv[4] == "start" else [guest.server_id]))
print("done", flush=True)
time.sleep(60)
"""


def _act_and_die(box: Box, guest: Guest, verb: str, after_s: float) -> None:
    """Another process does `verb` and is killed that long after it began."""
    import msgspec

    words = [str(box.state), HOST, msgspec.json.encode(guest).decode(), verb]
    where = {**os.environ, "PYTHONPATH": str(Path(nutshell.__file__).parents[1])}
    child = subprocess.Popen([sys.executable, "-c", CHILD, *words], stdout=subprocess.PIPE, text=True, env=where)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(after_s)
    child.kill()
    child.wait()


@pytest.mark.parametrize("after_ms", [0, 12, 25, 40, 60, 90])
def test_killed_while_starting_a_guest_the_next_driver_finishes(box: Box, after_ms: int) -> None:
    guest = box.guest()
    box.driver.close()
    _act_and_die(box, guest, "start", after_ms / 1000)
    box.driver = box.new()
    before = box.power(guest)
    assert before in (None, Power.SHUTDOWN, Power.RUNNING, Power.PAUSED)
    box.driver.start(HOST, guest)
    assert box.power(guest) is Power.RUNNING
    assert len(box.pids(guest)) == 1
    box.driver.destroy(guest.server_id)
    assert box.pids(guest) == []
    assert not any(guest.server_id in path.name for path in box.state.glob("[gs]*/*"))


@pytest.mark.parametrize("verb", ["suspend", "destroy", "pause"])
def test_killed_within_a_verb_the_next_driver_finishes(box: Box, verb: str) -> None:
    guest = box.guest()
    box.driver.start(HOST, guest)
    box.driver.close()
    _act_and_die(box, guest, verb, random.Random(verb).uniform(0, 0.03))  # which moment does not matter
    box.driver = box.new()
    if verb != "destroy" or box.power(guest) is not None:
        getattr(box.driver, verb)(guest.server_id)
    assert box.power(guest) is {"suspend": Power.SUSPENDED, "destroy": None, "pause": Power.PAUSED}[verb]
    assert len(box.pids(guest)) == (1 if verb == "pause" else 0)


def test_a_guest_never_runs_twice(box: Box) -> None:
    from nutshell.host.qemu import processes

    guest = box.guest()
    box.driver.start(HOST, guest)
    with pytest.raises(DriverFault, match="another process"):
        processes.lock(box.state / "guests" / guest.server_id / "lock")


def test_two_clouds_do_not_see_each_other(box: Box, tmp_path: Path) -> None:
    other = Box(tmp_path / "o")
    guest = box.guest()
    box.driver.start(HOST, guest)
    try:
        assert list(other.driver.observe(None)) == []
        other.driver.remove_everything()
        assert box.power(guest) is Power.RUNNING
    finally:
        other.driver.close()


def test_a_missing_disk_and_a_missing_network_are_final(box: Box) -> None:
    guest = box.guest()
    for wrong in (
        replace(guest, disks=(replace(guest.disks[0], path=str(box.state / "no-such-disk")),)),
        replace(guest, nics=(Nic(str(uuid.uuid4()), "fa:16:3e:00:00:01"),)),
        replace(guest, machine="pdp11"),
        replace(guest, firmware="openboot"),
        replace(guest, disks=(replace(guest.disks[0], path="rbd:pool/volume"),)),
    ):
        with pytest.raises(DriverFault) as caught:
            box.driver.start(HOST, wrong)
        assert caught.value.final
        assert box.power(guest) is Power.SHUTDOWN
    box.driver.start(HOST, guest)
    assert box.power(guest) is Power.RUNNING


def test_a_shareable_volume_serves_two_guests_and_another_does_not(box: Box) -> None:
    one, two = box.guest(), box.guest()
    shared, own = box.volume(shareable=True), box.volume()
    for guest in (one, two):
        box.driver.start(HOST, guest)
        box.driver.plug_disk(guest.server_id, shared)
    box.driver.plug_disk(one.server_id, own)
    with pytest.raises(DriverFault, match="lock"):
        box.driver.plug_disk(two.server_id, own)
    assert box.driver.observe([two.server_id])[0].disk_ids == ("root", shared.disk_id)


def test_a_volume_behind_a_block_server(box: Box) -> None:
    volume = box.volume()
    place = box.state / "nbd"
    server = subprocess.Popen(["qemu-nbd", "-k", str(place), "-f", "raw", "-x", "vol", "-t", volume.path])
    try:
        until = time.monotonic() + 5
        while not place.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        guest = box.guest()
        box.driver.start(HOST, guest)
        box.driver.plug_disk(guest.server_id, replace(volume, path=f"nbd+unix:///vol?socket={place}"))
        assert volume.disk_id in box.driver.observe([guest.server_id])[0].disk_ids
        box.driver.reboot(guest.server_id, True, 0)
        assert box.power(guest) is Power.RUNNING
        box.driver.destroy(guest.server_id)
    finally:
        server.terminate()
        server.wait()


def test_scsi_and_sata_disks(box: Box) -> None:
    guest = box.guest()
    config = box.driver.write_config_drive(HOST, guest.server_id, {"openstack/latest/meta_data.json": b"{}"})
    sata = box.volume(bus="sata")
    box.driver.start(HOST, replace(guest, disks=(*guest.disks, sata)))
    with pytest.raises(DriverFault) as caught:
        box.driver.plug_disk(guest.server_id, box.volume(bus="sata"))
    assert caught.value.final
    box.driver.plug_disk(guest.server_id, box.volume(bus="scsi"))  # brings its controller along
    box.driver.suspend(guest.server_id)
    box.driver.resume(guest.server_id)
    assert box.power(guest) is Power.RUNNING
    assert config.cdrom


def test_a_uefi_guest_starts(box: Box) -> None:
    if not Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists():
        pytest.skip("OVMF is not installed (apt install ovmf)")
    guest = box.guest(firmware="uefi")
    box.driver.start(HOST, guest)
    assert box.power(guest) is Power.RUNNING


def test_a_snapshot_is_the_disk_live_and_stopped(box: Box) -> None:
    guest = box.guest(POWERS_OFF)
    wanted = box.image(POWERS_OFF).read_bytes()[:512]
    for live in (True, False):
        if live:
            box.driver.start(HOST, replace(guest, disks=(replace(guest.disks[0], boot_index=None),)))
            box.driver.pause(guest.server_id)
        else:
            box.driver.stop(guest.server_id, 0)
        target = box.state / f"snapshot-{live}.qcow2"
        box.driver.snapshot_root(guest.server_id, str(target))
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(target)], check=True)
        raw = box.state / "snapshot.raw"
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(target), str(raw)], check=True)
        assert raw.stat().st_size == 8 * MIB
        assert raw.read_bytes()[:512] == wanted
        assert b"backing" not in subprocess.run(["qemu-img", "info", str(target)], capture_output=True).stdout
    assert not list(box.state.rglob(".*.tmp"))


def test_images_are_cached_once_and_forgotten_with_their_last_overlay(box: Box) -> None:
    image = box.image(b"\x90")
    cache = box.state / "image-cache"
    before = set(cache.glob("*.raw"))
    guests = [str(uuid.uuid4()) for _ in range(2)]
    for server_id in guests:
        box.driver.create_root(HOST, server_id, str(image), "raw", 0)
    assert len(set(cache.glob("*.raw")) - before) == 1
    image.unlink()
    box.driver.delete_disks(guests[0])
    assert len(set(cache.glob("*.raw")) - before) == 1
    box.driver.delete_disks(guests[1])
    assert set(cache.glob("*.raw")) <= before


def test_half_made_disks_are_swept_at_the_start(box: Box) -> None:
    guest = box.guest()
    half = box.state / "disks" / guest.server_id / ".root.qcow2.tmp"
    half.write_bytes(b"half")
    box.reopen()
    assert not half.exists()
    assert Path(guest.disks[0].path).exists()


def test_serial_output_is_logged_and_turned_over(box: Box) -> None:
    from nutshell.host.qemu.consoles import turn_over

    guest = box.guest(SPEAKS)
    box.driver.start(HOST, guest)
    until = time.monotonic() + 10
    while box.driver.console_log(guest.server_id, None) != "x":
        assert time.monotonic() < until
        time.sleep(0.05)
    log = box.state / "guests" / guest.server_id / "console.log"
    turn_over(log, limit=0)
    assert log.stat().st_size == 0
    assert box.driver.console_log(guest.server_id, None) == "x"
    box.driver.reboot(guest.server_id, True, 0)
    while box.driver.console_log(guest.server_id, None) != "xx":
        assert time.monotonic() < until + 10
        time.sleep(0.05)
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(box.driver.console_address(guest.server_id, "serial"))


def test_the_config_drive_can_be_read(box: Box) -> None:
    import io

    import pycdlib

    server_id = str(uuid.uuid4())
    files = {"openstack/latest/meta_data.json": b'{"uuid": 1}', "ec2/latest/user-data": b"#!/bin/sh\n"}
    drive = box.driver.write_config_drive(HOST, server_id, files)
    disc = pycdlib.PyCdlib()
    disc.open(drive.path)
    assert disc.pvd.volume_identifier.strip() == b"config-2"
    for name, content in files.items():
        for kind in ("rr_path", "joliet_path"):
            out = io.BytesIO()
            disc.get_file_from_iso_fp(out, **{kind: f"/{name}"})
            assert out.getvalue() == content
    disc.close()
    box.driver.delete_disks(server_id)


def test_accelerator_is_only_what_ran_a_guest() -> None:
    from nutshell.host.qemu import accelerators

    found = accelerators.probe_kvm()
    assert found.kvm or found.why_not
    assert "tcg" in found.option(128) or found.kvm
