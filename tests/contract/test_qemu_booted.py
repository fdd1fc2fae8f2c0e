"""What needs a guest's own cooperation, on one boot of the tiny image: consoles, plugging, suspension, power."""

import fcntl
import json
import os
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nutshell.compute.capability import Disk, Guest, Nic, Power

pytestmark = pytest.mark.real
MIB = 1 << 20
HOST = "test-host"


def open_tap(port_id: str) -> int:
    """A tap of its own that goes with its last user (Documentation/networking/tuntap.rst)."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    name = b"ns" + port_id[:8].encode()
    fcntl.ioctl(file, 0x400454CA, struct.pack("16sH22x", name, 0x0002 | 0x1000 | 0x4000))
    return file


class Serial:
    """A person at the serial console."""

    def __init__(self, address: str) -> None:
        self._wire = socket.socket(socket.AF_UNIX)
        self._wire.connect(address)
        self._wire.settimeout(20)
        self._heard = b""

    def until(self, word: str) -> str:
        while word.encode() not in self._heard:
            data = self._wire.recv(4096)
            assert data, f"hung up; heard {self._heard!r}"
            self._heard += data
        end = self._heard.index(word.encode()) + len(word)
        said, self._heard = self._heard[:end], self._heard[end:]
        return said.decode(errors="replace")

    def say(self, line: str) -> None:
        self._wire.sendall(line.encode() + b"\n")

    def log_in(self) -> None:
        self.say("")
        self.until("login: ")
        self.say("cirros")
        self.until("assword: ")
        self.say("gocubsgo")
        self.until("$ ")

    def run(self, command: str) -> str:
        mark = f"E{time.time_ns()}"
        self.say(f"clear; echo B''{mark}; {command}; echo {mark[0]}''{mark[1:]}")
        self.until(f"B{mark}")
        return self.until(mark).removesuffix(mark).strip()

    def close(self) -> None:
        self._wire.close()


def eventually(check: Callable[[], bool], what: str, timeout_s: float = 15) -> None:
    until = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < until, what
        time.sleep(0.1)


class Booted:
    def __init__(self, state: Path, image: Path) -> None:
        from nutshell.host.qemu.driver import QemuHypervisor

        self.state = state
        tap = open_tap if os.access("/dev/net/tun", os.R_OK | os.W_OK) and os.geteuid() == 0 else None
        self.has_tap = tap is not None
        self.driver = QemuHypervisor(state, HOST, tap)
        server_id = str(uuid.uuid4())
        root = self.driver.create_root(HOST, server_id, str(image), "qcow2", 256 * MIB)
        facts = json.dumps({"uuid": server_id, "hostname": "box", "name": "box"}).encode()
        config = self.driver.write_config_drive(HOST, server_id, {"openstack/latest/meta_data.json": facts})
        self.guest = Guest(server_id, "box", 1, 128, (root, config), ())
        self.driver.start(HOST, self.guest)
        log = self.driver.console_log
        eventually(lambda: "box login: " in log(server_id, None), "no login prompt with the drive's name", 60)
        self.serial = Serial(self.driver.console_address(server_id, "serial"))
        self.serial.log_in()


@pytest.fixture(scope="module")
def booted(qemu_state: Path, tiny_image: Path) -> Iterator[Booted]:
    booted = Booted(qemu_state, tiny_image)
    yield booted
    booted.serial.close()
    booted.driver.destroy(booted.guest.server_id)
    booted.driver.delete_disks(booted.guest.server_id)
    booted.driver.close()


@pytest.fixture
def volume(booted: Booted) -> Disk:
    path = booted.state / f"volume-{uuid.uuid4()}"
    with path.open("wb") as out:
        out.truncate(8 * MIB)
    return Disk(str(uuid.uuid4()), str(path), "raw", "vdb")


def test_a_disk_comes_is_written_grows_and_goes(booted: Booted, volume: Disk) -> None:
    driver, serial, server_id = booted.driver, booted.serial, booted.guest.server_id
    driver.plug_disk(server_id, volume)
    eventually(lambda: volume.disk_id[:20] in serial.run("cat /sys/block/vdb/serial"), "the guest sees no disk")
    serial.run("echo hello volume | sudo dd of=/dev/vdb; sync")
    assert Path(volume.path).read_bytes()[:12] == b"hello volume"
    os.truncate(volume.path, 16 * MIB)
    driver.resize_disk(server_id, volume.disk_id, 16 * MIB)
    eventually(lambda: serial.run("cat /sys/block/vdb/size") == str(16 * MIB // 512), "the guest sees no growth")
    started = time.monotonic()
    driver.unplug_disk(server_id, volume.disk_id)
    assert time.monotonic() - started < 5
    assert "vdb" not in serial.run("ls /sys/block")


def test_a_card_comes_and_goes(booted: Booted) -> None:
    if not booted.has_tap:
        pytest.skip("taps need root and /dev/net/tun")
    driver, serial, server_id = booted.driver, booted.serial, booted.guest.server_id
    nic = Nic(str(uuid.uuid4()), "fa:16:3e:01:02:03", mtu=1400)
    for _ in range(2):
        driver.plug_nic(server_id, nic)
    eventually(lambda: nic.mac in serial.run("cat /sys/class/net/*/address"), "the guest sees no card")
    assert "1400" in serial.run("cat /sys/class/net/*/mtu")
    assert driver.observe([server_id])[0].port_ids == (nic.port_id,)
    for _ in range(2):
        driver.unplug_nic(server_id, nic.port_id)
    assert nic.mac not in serial.run("cat /sys/class/net/*/address")
    driver.plug_nic(server_id, nic)  # its tap is free again
    driver.unplug_nic(server_id, nic.port_id)


def test_a_suspended_guest_goes_on_where_it_was(booted: Booted, volume: Disk) -> None:
    driver, server_id = booted.driver, booted.guest.server_id
    driver.plug_disk(server_id, volume)
    booted.serial.run("remembered=42")
    driver.suspend(server_id)
    assert driver.observe([server_id])[0].power is Power.SUSPENDED
    booted.serial.close()
    driver.resume(server_id)
    booted.serial = Serial(driver.console_address(server_id, "serial"))
    assert booted.serial.run("echo $remembered") == "42"
    assert volume.disk_id[:20] in booted.serial.run("cat /sys/block/vdb/serial")
    driver.unplug_disk(server_id, volume.disk_id)
    assert not (booted.state / "guests" / server_id / "memory").exists()


def test_a_live_snapshot_boots_no_less(booted: Booted) -> None:
    target = booted.state / "live.qcow2"
    booted.serial.run("sync")
    booted.driver.snapshot_root(booted.guest.server_id, str(target))
    header = target.read_bytes()[:32]
    assert header[:4] == b"QFI\xfb"
    assert header[8:16] == bytes(8)
    assert int.from_bytes(header[24:32]) == 256 * MIB
    assert booted.serial.run("echo alive") == "alive"


def test_root_grows_live(booted: Booted) -> None:
    for size in (320, 320, 256):
        booted.driver.resize_root(booted.guest.server_id, size * MIB)
    eventually(lambda: booted.serial.run("cat /sys/block/vda/size") == str(320 * MIB // 512), "no growth")


def test_zz_power_off_from_inside_is_no_crash(booted: Booted) -> None:
    with suppress(AssertionError, OSError):
        booted.serial.say("sudo poweroff")
    server_id = booted.guest.server_id
    eventually(lambda: booted.driver.observe([server_id])[0].power is Power.SHUTDOWN, "did not power off", 20)
    assert booted.driver.observe([server_id])[0].why == ""
