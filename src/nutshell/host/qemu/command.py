"""The command line that runs one guest: a pure function of its record (QEMU docs/system/invocation)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nutshell.compute.capability import Guest
from nutshell.core.drivers import DriverFault
from nutshell.host.qemu.accelerators import Accelerator
from nutshell.host.qemu.devices import (
    SCSI,
    describe_disk,
    describe_nic,
    describe_node,
    describe_scsi,
    disk_device_id,
    netdev_id,
    nic_device_id,
)
from nutshell.host.qemu.records import GuestFiles, Record

UEFI_CODE, UEFI_VARIABLES = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
_MACHINES = ("", "q35")
_FIRST_PORT_SLOT = 0x10  # root ports sit eight to a slot from here on


@dataclass(frozen=True)
class Launch:
    """What the process gets besides the record."""

    cloud: str
    accelerator: Accelerator
    qmp_fd: int  # a listening socket
    tap_fds: Mapping[str, int]  # port id → tap
    incoming: bool  # memory will be read from a file


def guest_name(cloud: str, server_id: str) -> str:
    return f"{cloud}-{server_id}"


def build_command(record: Record, files: GuestFiles, launch: Launch) -> list[str]:
    guest = record.guest
    if guest.machine not in _MACHINES and not guest.machine.startswith("pc-q35-"):
        raise DriverFault(f"no machine type {guest.machine}: this driver has q35", final=True)
    short = guest.server_id.partition("-")[0]
    command = [
        "qemu-system-x86_64",
        "-name", f"guest={guest_name(launch.cloud, guest.server_id)},process=ns-{launch.cloud[:4]}-{short}",
        "-uuid", guest.server_id,
        "-no-user-config", "-nodefaults",
        "-msg", "timestamp=on",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-machine", _machine(guest),
        "-accel", launch.accelerator.option(guest.ram_mib),
        "-cpu", launch.accelerator.cpu,
        "-m", f"size={guest.ram_mib}M",
        "-smp", f"cpus={guest.vcpus},sockets={guest.vcpus},cores=1,threads=1",
        # cloud-init recognises an OpenStack guest by this product name
        "-smbios", f"type=1,manufacturer=Nutshell,product=OpenStack Nova,uuid={guest.server_id}",
        "-rtc", "base=utc",
        "-boot", "menu=off,strict=on",
        "-no-shutdown",  # a guest that powers off stays visible as such until it was noted
        "-S",
        "-chardev", f"socket,id=qmp,fd={launch.qmp_fd},server=on,wait=off",
        "-mon", "chardev=qmp,mode=control",
        "-chardev", f"socket,id=serial0,path={_quote(files.socket('serial').name)},server=on,wait=off,"
        f"logfile={_quote(files.console)},logappend=on",
        "-device", "isa-serial,chardev=serial0",
        "-vnc", f"unix:{_quote(files.socket('vnc').name)}",
        "-device", "VGA,id=video0",
        "-object", "rng-random,id=rng0,filename=/dev/urandom",
        "-device", "virtio-rng-pci,id=rng,rng=rng0",
    ]  # fmt: skip
    command += _firmware(guest.firmware, files) + _ports(record.ports) + _disks(record)
    command += _nics(record, launch.tap_fds, launch.accelerator.vhost)
    if launch.incoming:
        command += ["-incoming", "defer"]
    return command


def _quote(path: object) -> str:
    """A comma ends an option, two are one."""
    return str(path).replace(",", ",,")


def _machine(guest: Guest) -> str:
    firmware = ",pflash0=code,pflash1=vars" if guest.firmware == "uefi" else ""
    return f"{guest.machine or 'q35'},usb=off,vmport=off,dump-guest-core=off{firmware}"


def _firmware(firmware: str, files: GuestFiles) -> list[str]:
    if firmware == "bios":
        return []
    if firmware != "uefi":
        raise DriverFault(f"no firmware {firmware}", final=True)
    code = {"driver": "raw", "node-name": "code", "read-only": True}
    variables = {"driver": "raw", "node-name": "vars"}
    return [
        "-blockdev", json.dumps({**code, "file": {"driver": "file", "filename": str(UEFI_CODE)}}),
        "-blockdev", json.dumps({**variables, "file": {"driver": "file", "filename": str(files.variables)}}),
    ]  # fmt: skip


def _ports(count: int) -> list[str]:
    command: list[str] = []
    for number in range(count):
        slot, function = divmod(number, 8)
        many = ",multifunction=on" if function == 0 else ""
        place = f"addr={_FIRST_PORT_SLOT + slot:#x}.{function}{many}"
        command += ["-device", f"pcie-root-port,id=rp{number},chassis={number + 1},slot={number + 1},{place}"]
    return command


def _disks(record: Record) -> list[str]:
    command: list[str] = []
    if SCSI in record.slots:
        command += ["-device", json.dumps(describe_scsi(record.slots[SCSI]))]
    channel = 0
    for disk in record.guest.disks:
        place = record.slots.get(disk_device_id(disk.disk_id), channel)
        channel += disk.bus in ("sata", "ide")
        command += ["-blockdev", json.dumps(describe_node(disk))]
        command += ["-device", json.dumps(describe_disk(disk, place))]
    return command


def _nics(record: Record, tap_fds: Mapping[str, int], vhost: bool) -> list[str]:
    command: list[str] = []
    kernel = "on" if vhost else "off"
    for nic in record.guest.nics:
        command += ["-netdev", f"tap,id={netdev_id(nic.port_id)},fd={tap_fds[nic.port_id]},vhost={kernel}"]
        command += ["-device", json.dumps(describe_nic(nic, record.slots[nic_device_id(nic.port_id)]))]
    return command
