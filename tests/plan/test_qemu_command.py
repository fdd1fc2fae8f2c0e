"""The QEMU command line and device descriptions, as pure functions of a guest's record."""

import json
from pathlib import Path

import pytest

from nutshell.compute.capability import Disk, Guest, Nic
from nutshell.core.drivers import DriverFault
from nutshell.host.qemu.accelerators import Accelerator
from nutshell.host.qemu.command import Launch, build_command
from nutshell.host.qemu.devices import describe_disk, describe_nic, describe_node, needs_port, node_name
from nutshell.host.qemu.records import GuestFiles, Record, last_words, with_slot, without_slot

SERVER = "11111111-2222-3333-4444-555555555555"
VOLUME = "99999999-8888-7777-6666-555555555555"
ROOT = Disk("root", "/state/root.qcow2", "qcow2", "vda", boot_index=0)
NIC = Nic("aaaaaaaa-0000-0000-0000-000000000000", "fa:16:3e:00:00:01", mtu=1450)
TCG = Accelerator(False, "no")


def record(*disks: Disk, **more: object) -> Record:
    made = Record(Guest(SERVER, "a,b -device evil", 2, 256, disks or (ROOT,), (NIC,), **more), ports=12)  # type: ignore[arg-type]
    for device_id in needs_port(made.guest):
        made, _ = with_slot(made, device_id)
    return made


def command(made: Record, accelerator: Accelerator = TCG, incoming: bool = False) -> list[str]:
    files = GuestFiles(Path("/sta,te/guests") / SERVER, Path("/s"), SERVER)
    return build_command(made, files, Launch("c10ud", accelerator, 7, {NIC.port_id: 9}, incoming))


def option(words: list[str], name: str) -> list[str]:
    return [words[n + 1] for n, word in enumerate(words) if word == f"-{name}"]


def test_the_command_carries_cloud_and_server_and_nothing_a_user_wrote() -> None:
    words = command(record())
    assert option(words, "name")[0].startswith(f"guest=c10ud-{SERVER},")
    assert not any("evil" in word for word in words)
    assert option(words, "uuid") == [SERVER]
    assert any("logfile=/sta,,te/guests/" in word for word in option(words, "chardev"))


def test_at_least_eight_ports_are_spare_and_no_two_devices_share_one() -> None:
    made = record(ROOT, Disk(VOLUME, "/v", "raw", "vdb"), Disk("config", "/c", "raw", "sda", bus="scsi", cdrom=True))
    words = command(made)
    ports = [word for word in option(words, "device") if word.startswith("pcie-root-port")]
    assert len(ports) == len(set(ports)) == 12
    assert len(set(made.slots.values())) == len(made.slots) == 4  # two disks, a card, the SCSI controller
    assert option(words, "netdev") == [f"tap,id=net-{NIC.port_id},fd=9,vhost=off"]


@pytest.mark.parametrize(("accelerator", "cpu", "how"), [(TCG, "max", "tcg,"), (Accelerator(True), "host", "kvm")])
def test_the_accelerator_chooses_the_processor(accelerator: Accelerator, cpu: str, how: str) -> None:
    words = command(record(), accelerator)
    assert option(words, "cpu") == [cpu]
    assert option(words, "accel")[0].startswith(how)


def test_translated_code_has_a_cap() -> None:
    sizes = [int(TCG.option(ram).rpartition("=")[2]) for ram in (64, 128, 400, 65_536)]
    assert sizes == [32, 32, 50, 128]


def test_only_a_resumed_guest_waits_for_memory() -> None:
    assert "-incoming" not in command(record())
    assert option(command(record(), incoming=True), "incoming") == ["defer"]


def test_a_disk_is_opened_in_its_format_and_carries_its_volume() -> None:
    disk = Disk(VOLUME, "/vol,ume", "raw", "vdb")
    node = describe_node(disk)
    assert (node["driver"], node["file"]["filename"], node["file"]["locking"]) == ("raw", "/vol,ume", "auto")
    assert len(node["node-name"]) < 32
    assert node_name(VOLUME) != node_name("root")
    device = describe_disk(disk, 3)
    assert (device["bus"], device["serial"]) == ("rp3", VOLUME[:20])
    assert "serial" not in describe_disk(ROOT, 0)
    assert describe_disk(ROOT, 0)["bootindex"] == 1
    json.dumps((node, device))


def test_a_shareable_disk_is_not_locked() -> None:
    disk = Disk(VOLUME, "/v", "raw", "vdb", shareable=True)
    assert describe_node(disk)["file"]["locking"] == "off"
    assert describe_disk(disk, 1)["share-rw"] is True


def test_an_nbd_address_is_taken_apart() -> None:
    node = describe_node(Disk(VOLUME, "nbd+unix:///vol%201?socket=/run/a.sock", "raw", "vdb"))
    assert node["file"]["server"] == {"type": "unix", "path": "/run/a.sock"}
    assert node["file"]["export"] == "vol 1"


@pytest.mark.parametrize(
    "disk",
    [
        Disk(VOLUME, "nbd+unix:///vol", "raw", "vdb"),
        Disk(VOLUME, "http://elsewhere/", "raw", "vdb"),
        Disk(VOLUME, "/v", "vmdk", "vdb"),
    ],
)
def test_what_cannot_be_opened_is_refused(disk: Disk) -> None:
    with pytest.raises(DriverFault) as caught:
        describe_node(disk)
    assert caught.value.final


def test_unknown_bus_and_model_are_refused() -> None:
    with pytest.raises(DriverFault):
        describe_disk(Disk(VOLUME, "/v", "raw", "vdb", bus="floppy"), 0)
    with pytest.raises(DriverFault):
        describe_nic(Nic("p", "m", model="ne2000"), 0)


def test_slots_are_reused_and_run_out() -> None:
    made, first = with_slot(Record(record().guest, ports=2), "a")
    made, second = with_slot(made, "b")
    assert (first, second) == (0, 1)
    assert with_slot(made, "a")[1] == 0
    with pytest.raises(DriverFault):
        with_slot(made, "c")
    assert with_slot(without_slot(made, "a"), "c")[1] == 0


def test_a_record_survives_its_file_and_a_torn_one_is_none(tmp_path: Path) -> None:
    files = GuestFiles(tmp_path / SERVER, Path("/tmp"), SERVER)  # the sockets' directory: tmp_path may be too long
    assert files.load() is None
    made = record()
    files.save(made)
    assert files.load() == made
    files.record.write_bytes(b"{")
    assert files.load() is None
    assert last_words(files.words) == ""
    files.remove()
    assert not files.home.exists()


def test_a_socket_path_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(DriverFault, match="too long"):
        GuestFiles(tmp_path, Path("/" + "x" * 80), SERVER).socket("vnc")
