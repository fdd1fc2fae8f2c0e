"""The tiny image, built from Debian packages and booted under plain QEMU: what a conformance suite does in a guest."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny.tiny_guest import TinyGuest, config_drive, lacking

from nutshell.host.tiny import build_tiny, missing
from nutshell.image.formats import inspect

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(lacking() or missing()), reason=f"not installed: {lacking() + missing()}"),
]
UUID = "6c2b1c1e-5d0a-4b1e-9d0b-0c0f00000001"
PROMPT = "login: "
BANNER = "login as 'cirros' user. default password: 'gocubsgo'. use 'sudo' for root."


def meta_data(name: str, key: str) -> bytes:
    """As the metadata service and the config drive say it, with traps for careless parsers."""
    facts = {
        "meta": {"hostname": "not-this", "text": 'a "quoted" \\ word \u00e9', "uuid": "nor-this"},
        "uuid": UUID,
        "public_keys": {"my.key": key},
        "keys": [{"name": "my.key", "type": "ssh", "data": key}],
        "hostname": f"{name}.example.org",
        "name": name,
        "launch_index": 0,
        "devices": [],
    }
    return json.dumps(facts).encode()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    heard: list[float] = []
    folder = tmp_path_factory.mktemp("tiny")
    started = time.monotonic()
    path = build_tiny(folder / "tiny.qcow2", lambda _, part: heard.append(part))
    assert time.monotonic() - started < 60
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    return path


def test_image_is_small_and_accepted(image: Path) -> None:
    facts = inspect(image, "qcow2")
    assert not facts.refused
    assert facts.size < 24 << 20
    assert facts.virtual_size < 100 << 20
    assert list(image.parent.iterdir()) == [image]


@pytest.fixture(scope="module")
def guest(image: Path) -> Iterator[TinyGuest]:
    """A running guest with a config drive."""
    folder = image.parent / "drive"
    drive = image.parent / "config.iso"
    guest = TinyGuest(folder, image, "-drive", f"file={drive},if=virtio,format=raw,read-only=on")
    script = b'#!/bin/sh\necho "user data ran as $(id -un) on $(hostname)"\necho once >> /var/lib/ran\n'
    config_drive(drive, {"meta_data.json": meta_data("vm-one", guest.public_key), "user_data": script})
    guest.start()
    try:
        guest.wait_log("vm-one " + PROMPT)
        yield guest
    finally:
        guest.kill()


def test_console_shows_banner_and_user_data(guest: TinyGuest) -> None:
    assert BANNER in guest.log()
    guest.wait_log("user data ran as root on vm-one")
    assert len(guest.log().splitlines()) > 5


def test_key_and_password_both_log_in(guest: TinyGuest) -> None:
    guest.wait_log("nutshell: eth0 has")
    assert guest.shell("hostname; id -un").split() == ["vm-one", "cirros"]
    assert guest.shell_by_password("hostname", "gocubsgo").stdout == "vm-one\n"
    assert guest.shell_by_password("hostname", "wrong").returncode


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("sudo id -u", "0\n"),
        ("sudo sh -c 'echo \"a  b $0\"' 'c  d'", "a  b c  d\n"),
        ("sudo ls -a /root >/dev/null && echo listed", "listed\n"),
        ("ls /root 2>/dev/null || echo kept out", "kept out\n"),
        ("grep -c ^processor /proc/cpuinfo", "1\n"),
        ("lsblk -lb --nodeps | awk 'NR == 2 {print $1, $4, $6}'", "vda 1073741824 disk\n"),
        ("lsblk --nodeps --noheadings --output NAME", "vda\nvdb\n"),
        ("blkid -L config-2 -o device", "/dev/vdb\n"),
        ("ip -o addr | awk '/10.0.2.15/ {print $2}'", "eth0\n"),
        ("ip addr show eth0 | awk '/ether/ {print $2}'", "52:54:00:12:34:56\n"),
        ("cat /etc/resolv.conf | grep -c nameserver", "1\n"),
        ("sudo /bin/kill -0 $(cat /var/run/udhcpc.eth0.pid) && echo runs", "runs\n"),
        ("ping -c1 -w5 10.0.2.2 | grep -c ' 0% packet loss'", "1\n"),
        ("ping6 -c1 -w5 ::1 >/dev/null && echo ok", "ok\n"),
        ("curl -V >/dev/null && echo ok", "ok\n"),
        ("df / | awk 'END {print ($2 > 900000)}'", "1\n"),
    ],
)
def test_commands_that_conformance_suites_run(guest: TinyGuest, command: str, expected: str) -> None:
    assert guest.shell(command) == expected


def test_config_drive_mounts(guest: TinyGuest) -> None:
    guest.shell("sudo mount $(blkid -L config-2 -o device) /mnt")
    assert json.loads(guest.shell("sudo cat /mnt/openstack/latest/meta_data.json"))["uuid"] == UUID
    guest.shell("sudo umount /mnt")


def test_netcat_keeps_listening(guest: TinyGuest) -> None:
    guest.shell("sudo nc -p 8080 -lk -e echo foolish >/dev/null 2>&1 &")
    guest.shell("sudo nc -u -p 8081 -lk -e echo foolish >/dev/null 2>&1 &")
    time.sleep(1)
    for options in ("127.0.0.1 8080", "127.0.0.1 8080", "-u 127.0.0.1 8081"):
        assert guest.shell(f"echo bar | nc -w 1 {options}") == "foolish\n"


@pytest.mark.parametrize("kind", ["ext4", "vfat"])
def test_plugged_disk_is_seen_formatted_and_written(guest: TinyGuest, kind: str) -> None:
    guest.wait(lambda: "vdc" not in guest.shell("lsblk -d -n -o NAME"), "free slot")
    disk = guest.folder / f"{kind}.raw"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    file_node = {"driver": "file", "filename": str(disk)}
    device = {"driver": "virtio-blk-pci", "drive": kind, "id": f"d-{kind}", "bus": "rp1", "serial": "volume-7"}
    guest.monitor(
        {"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": kind, "file": file_node}},
        {"execute": "device_add", "arguments": device},
    )
    guest.wait(lambda: "vdc" in guest.shell("lsblk -d -n -o NAME"), "disk vdc", 15)
    assert guest.shell("cat /sys/block/vdc/serial") == "volume-7"
    guest.shell(f"sudo mkfs -t {kind} /dev/vdc && sudo mkdir -p /mnt/vdc && sudo mount /dev/vdc /mnt/vdc")
    guest.shell('sudo sh -c "date > /mnt/vdc/timestamp; sync" && sudo cat /mnt/vdc/timestamp && sudo umount /mnt/vdc')
    assert kind in guest.shell("sudo lsblk --fs --ascii")
    guest.monitor({"execute": "device_del", "arguments": {"id": f"d-{kind}"}})
    guest.wait(lambda: "vdc" not in guest.shell("lsblk -d -n -o NAME"), "end of disk vdc", 15)


def test_zz_files_survive_reboot_and_the_power_button_works(guest: TinyGuest) -> None:
    guest.shell("echo kept > kept; sudo sh -c 'date > /tmp/timestamp; sync'")
    guest.shell("sudo reboot", check=False)
    guest.wait_log("vm-one " + PROMPT, times=2)
    guest.wait_log("nutshell: eth0 has", times=2)
    assert guest.shell("cat kept; ls /tmp/timestamp; sudo cat /var/lib/ran") == "kept\n/tmp/timestamp\nonce\n"
    guest.wait(lambda: guest.shell("pidof acpid", check=False) != "", "acpid", 15)
    guest.monitor({"execute": "system_powerdown"})
    guest.wait_end(15)


ANSWER = """
import sys
path = sys.stdin.buffer.readline().split()[1].decode()
while sys.stdin.buffer.readline().strip():
    pass
try:
    body, status = open(sys.argv[1] + path.replace("/", "_"), "rb").read(), b"200 OK"
except OSError:
    body, status = b"", b"404 Not Found"
head = b"HTTP/1.0 " + status + b"\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body)
sys.stdout.buffer.write(head + body)
sys.stdout.buffer.flush()
"""


@pytest.mark.parametrize("form", ["openstack", "ec2"])
def test_metadata_service_and_plugged_card(image: Path, form: str) -> None:
    folder = image.parent / form
    answer = image.parent / "answer.py"
    answer.write_text(ANSWER)
    # QEMU's user-mode network runs a command for each connection to the metadata address.
    forward = f"guestfwd=tcp:169.254.169.254:80-cmd:{sys.executable} -S {answer} {folder}/md"
    net = f"user,net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,dhcpstart=169.254.10.15,{forward}"
    guest = TinyGuest(folder, image, net=net)
    pages = {"openstack/latest/meta_data.json": meta_data("vm-two", guest.public_key)}
    if form == "ec2":
        pages = {
            "latest/meta-data/instance-id": b"i-00000001",
            "latest/meta-data/hostname": b"vm-two.novalocal",
            "latest/meta-data/public-keys/0/openssh-key": guest.public_key.encode(),
            "latest/user-data": b"#!/bin/sh\ntouch /var/lib/ran\n",
        }
    for path, content in pages.items():
        (folder / ("md_" + path.replace("/", "_"))).write_bytes(content)
    guest.start()
    try:
        guest.wait_log("vm-two " + PROMPT)
        assert guest.shell("hostname") == "vm-two\n"
        if form == "ec2":
            guest.wait(lambda: "ran" in guest.shell("ls /var/lib"), "trace of the user data")
            return
        time.sleep(2)
        device = {"driver": "virtio-net-pci", "netdev": "n1", "bus": "rp1", "id": "e1"}
        guest.monitor(
            {"execute": "netdev_add", "arguments": {"type": "user", "id": "n1", "net": "10.9.0.0/24"}},
            {"execute": "device_add", "arguments": device},
        )
        guest.wait(lambda: " 10.9.0.15/24" in guest.shell("ip -4 addr show dev eth1", check=False), "lease on eth1", 20)
    finally:
        guest.kill()
