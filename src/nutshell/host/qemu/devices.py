"""Disks and cards as QEMU wants them described: the same words on its command line and in QMP.

Source: QEMU's docs/system/invocation and QMP reference (BlockdevOptions, device_add).
"""

import hashlib
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from nutshell.compute.capability import Disk, Guest, Nic
from nutshell.core.drivers import DriverFault

Described = dict[str, Any]
SCSI = "scsi0"  # the controller, there when a disk needs it
_NAMED = {"root", "config", "swap"}  # disks that are no volumes carry no serial number


def node_name(disk_id: str) -> str:
    """Node names have at most 31 characters, too few for a UUID with a prefix."""
    return "n" + hashlib.sha256(disk_id.encode()).hexdigest()[:24]


def disk_device_id(disk_id: str) -> str:
    return f"disk-{disk_id}"


def nic_device_id(port_id: str) -> str:
    return f"nic-{port_id}"


def netdev_id(port_id: str) -> str:
    return f"net-{port_id}"


def describe_node(disk: Disk) -> Described:
    """The block device behind a disk; its format is the one given, never probed."""
    if disk.format not in ("raw", "qcow2"):
        raise DriverFault(f"disk {disk.disk_id}: no format {disk.format}", final=True)
    return {
        "driver": disk.format,
        "node-name": node_name(disk.disk_id),
        "read-only": disk.read_only or disk.cdrom,
        "discard": "unmap",
        "file": _describe_protocol(disk),
    }


def _describe_protocol(disk: Disk) -> Described:
    scheme, colon, _ = disk.path.partition(":")
    if not colon or disk.path.startswith("/"):
        return {"driver": "file", "filename": disk.path, "locking": "off" if disk.shareable else "auto"}
    if scheme == "nbd+unix":
        url = urlsplit(disk.path)
        sockets = parse_qs(url.query).get("socket")
        if not sockets:
            raise DriverFault(f"disk {disk.disk_id}: {disk.path} names no socket", final=True)
        described: Described = {"driver": "nbd", "server": {"type": "unix", "path": sockets[0]}, "reconnect-delay": 30}
        export = unquote(url.path.lstrip("/"))
        return {**described, "export": export} if export else described
    raise DriverFault(f"disk {disk.disk_id}: this driver cannot open {scheme}: addresses", final=True)


def describe_disk(disk: Disk, place: int) -> Described:
    """`place` is a root port's number for virtio, a channel for sata and ide, a target for scsi."""
    described: Described = {
        "id": disk_device_id(disk.disk_id),
        "drive": node_name(disk.disk_id),
    }
    if not disk.cdrom:
        described |= {"rerror": "report", "werror": "report"}
        if disk.shareable:
            described["share-rw"] = True
    if disk.disk_id not in _NAMED and not disk.disk_id.startswith("ephemeral"):
        described["serial"] = disk.disk_id[:20]
    if disk.boot_index is not None:
        described["bootindex"] = disk.boot_index + 1
    if disk.bus == "virtio":
        return {"driver": "virtio-blk-pci", "bus": f"rp{place}", **described}
    if disk.bus == "scsi":
        return {"driver": "scsi-cd" if disk.cdrom else "scsi-hd", "bus": f"{SCSI}.0", **described}
    if disk.bus in ("sata", "ide"):
        return {"driver": "ide-cd" if disk.cdrom else "ide-hd", "bus": f"ide.{place}", **described}
    raise DriverFault(f"disk {disk.disk_id}: no bus {disk.bus}", final=True)


def describe_scsi(port: int) -> Described:
    return {"driver": "virtio-scsi-pci", "id": SCSI, "bus": f"rp{port}"}


_CARDS = {"virtio": "virtio-net-pci", "e1000e": "e1000e", "e1000": "e1000", "rtl8139": "rtl8139", "vmxnet3": "vmxnet3"}


def describe_nic(nic: Nic, port: int) -> Described:
    driver = _CARDS.get(nic.model)
    if driver is None:
        raise DriverFault(f"port {nic.port_id}: no card model {nic.model}", final=True)
    described: Described = {
        "driver": driver,
        "id": nic_device_id(nic.port_id),
        "netdev": netdev_id(nic.port_id),
        "mac": nic.mac,
        "bus": f"rp{port}",
        "romfile": "",  # no network boot: its ROM costs time at every start
    }
    if driver == "virtio-net-pci":
        described["host_mtu"] = nic.mtu
    if nic.boot_index is not None:
        described["bootindex"] = nic.boot_index + 1
    return described


def needs_port(guest: Guest) -> list[str]:
    """Device ids that take a root port each, in the order in which the guest should find them."""
    ids = [disk_device_id(disk.disk_id) for disk in guest.disks if disk.bus == "virtio"]
    ids += [nic_device_id(nic.port_id) for nic in guest.nics]
    return ids + ([SCSI] if any(disk.bus == "scsi" for disk in guest.disks) else [])
