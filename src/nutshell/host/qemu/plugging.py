"""Live changes of a running guest: devices in and out, disks grown, copied and memory saved, all over QMP.

Source: QEMU's QMP reference (device_add, device_del, blockdev-add, blockdev-backup, migrate).
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from nutshell.compute.capability import Disk, Nic
from nutshell.core.drivers import DriverFault
from nutshell.host.qemu import images
from nutshell.host.qemu.devices import (
    SCSI,
    describe_disk,
    describe_nic,
    describe_node,
    describe_scsi,
    disk_device_id,
    netdev_id,
    nic_device_id,
    node_name,
)
from nutshell.host.qemu.monitors import Monitor

_PATIENCE_S = 60.0
_ASK_AGAIN_S = 1.0


def devices(monitor: Monitor) -> set[str]:
    """Ids of the devices that are plugged in now."""
    return {str(each["name"]) for each in monitor.execute("qom-list", {"path": "/machine/peripheral"})}


def nodes(monitor: Monitor) -> set[str]:
    return {str(each["node-name"]) for each in monitor.execute("query-named-block-nodes", {"flat": True})}


def port_of(monitor: Monitor, device_id: str) -> int | None:
    """The root port in which a plugged device sits."""
    with suppress(DriverFault, ValueError):
        bus = monitor.execute("qom-get", {"path": f"/machine/peripheral/{device_id}", "property": "parent_bus"})
        return int(str(bus).rpartition("/")[2].removeprefix("rp"))
    return None


def plug_disk(monitor: Monitor, disk: Disk, port: int) -> None:
    """`port`: the root port for virtio, or for the SCSI controller should the guest have none yet."""
    if disk.bus not in ("virtio", "scsi"):
        raise DriverFault(f"a disk on bus {disk.bus} cannot be plugged into a running guest", final=True)
    plugged = devices(monitor)
    if disk_device_id(disk.disk_id) in plugged:
        return
    if node_name(disk.disk_id) in nodes(monitor):  # an interrupted run got this far
        monitor.execute("blockdev-del", {"node-name": node_name(disk.disk_id)})
    if disk.bus == "scsi" and SCSI not in plugged:
        monitor.execute("device_add", describe_scsi(port))
    monitor.execute("blockdev-add", describe_node(disk))
    try:
        monitor.execute("device_add", describe_disk(disk, port))
    except DriverFault:
        with suppress(DriverFault):
            monitor.execute("blockdev-del", {"node-name": node_name(disk.disk_id)})
        raise


def unplug_disk(monitor: Monitor, disk_id: str, hurry: threading.Event) -> None:
    _remove_device(monitor, disk_device_id(disk_id), hurry)
    if node_name(disk_id) in nodes(monitor):
        monitor.execute("blockdev-del", {"node-name": node_name(disk_id)})


def plug_nic(monitor: Monitor, nic: Nic, port: int, tap: int, vhost: bool) -> None:
    if nic_device_id(nic.port_id) in devices(monitor):
        return
    with suppress(DriverFault):  # left by an interrupted run
        monitor.execute("netdev_del", {"id": netdev_id(nic.port_id)})
    monitor.execute("getfd", {"fdname": netdev_id(nic.port_id)}, fd=tap)
    monitor.execute(
        "netdev_add",
        {"type": "tap", "id": netdev_id(nic.port_id), "fd": netdev_id(nic.port_id), "vhost": vhost},
    )
    try:
        monitor.execute("device_add", describe_nic(nic, port))
    except DriverFault:
        with suppress(DriverFault):
            monitor.execute("netdev_del", {"id": netdev_id(nic.port_id)})
        raise


def unplug_nic(monitor: Monitor, port_id: str, hurry: threading.Event) -> None:
    _remove_device(monitor, nic_device_id(port_id), hurry)
    with suppress(DriverFault):  # an interrupted run may have removed it
        monitor.execute("netdev_del", {"id": netdev_id(port_id)})


def _remove_device(monitor: Monitor, device_id: str, hurry: threading.Event) -> None:
    """Ask the guest to let go until it does: one that is still booting does not hear it."""
    until = time.monotonic() + _PATIENCE_S

    def ours(data: dict[str, Any]) -> bool:
        return data.get("device") == device_id

    with monitor.waiting("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", fits=ours) as waiter:
        while device_id in devices(monitor):
            if hurry.is_set():
                raise DriverFault("given up: the guest is being removed")
            if time.monotonic() > until:
                raise DriverFault(f"the guest did not let go of {device_id} within {_PATIENCE_S:.0f} s")
            with suppress(DriverFault):  # "already in the process of unplug"
                monitor.execute("device_del", {"id": device_id})
            if waiter.wait(_ASK_AGAIN_S):
                if waiter.name == "DEVICE_UNPLUG_GUEST_ERROR":
                    raise DriverFault(f"the guest refuses to let go of {device_id}")
                return


def resize(monitor: Monitor, disk_id: str, size: int) -> None:
    monitor.execute("block_resize", {"node-name": node_name(disk_id), "size": size}, timeout_s=120)


def copy_disk(monitor: Monitor, disk_id: str, target: Path, timeout_s: float) -> None:
    """The disk as it is at this moment, flattened into a qcow2, while the guest writes on."""
    source = node_name(disk_id)
    size = _size(monitor, source)
    copy = "t" + source[1:]
    _clear_job(monitor, copy)

    def write(fresh: Path) -> None:
        images.create_empty(fresh, size)
        file = {"driver": "file", "filename": str(fresh)}
        node = {"driver": "qcow2", "node-name": copy, "file": file, "discard": "unmap", "detect-zeroes": "unmap"}
        monitor.execute("blockdev-add", node)
        try:
            _backup(monitor, source, copy, timeout_s)
        finally:
            _clear_job(monitor, copy)

    images.make(target, write)


def _backup(monitor: Monitor, source: str, copy: str, timeout_s: float) -> None:
    with monitor.waiting("BLOCK_JOB_COMPLETED", fits=lambda data: data["device"] == copy) as waiter:
        monitor.execute(
            "blockdev-backup",
            {"job-id": copy, "device": source, "target": copy, "sync": "full", "auto-dismiss": True},
        )
        if not waiter.wait(timeout_s):
            raise DriverFault(f"the copy took longer than {timeout_s} s")
        if waiter.data.get("error"):
            raise DriverFault(f"the copy failed: {waiter.data['error']}")


def _clear_job(monitor: Monitor, copy: str) -> None:
    """End a copy that still runs, an interrupted run's too, and close its target."""
    if any(job["id"] == copy for job in monitor.execute("query-jobs")):
        with monitor.waiting("BLOCK_JOB_CANCELLED", "BLOCK_JOB_COMPLETED") as waiter, suppress(DriverFault):
            monitor.execute("block-job-cancel", {"device": copy, "force": True})
            waiter.wait(30)
    if copy in nodes(monitor):
        monitor.execute("blockdev-del", {"node-name": copy})


def _size(monitor: Monitor, node: str) -> int:
    for each in monitor.execute("query-named-block-nodes", {"flat": True}):
        if each["node-name"] == node:
            return int(each["image"]["virtual-size"])
    raise DriverFault(f"the guest has no disk node {node}", final=True)


def save_memory(monitor: Monitor, target: Path, timeout_s: float) -> None:
    """Stop the guest's processors and write its memory and devices to a file."""
    if monitor.execute("query-status")["status"] == "postmigrate":  # saved once before, and not ended
        monitor.execute("cont")
    monitor.execute("stop")
    monitor.execute("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
    monitor.execute("migrate-set-parameters", {"max-bandwidth": 1 << 36})
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        monitor.execute("getfd", {"fdname": "memory"}, fd=file)
        ends = ("completed", "failed", "cancelled")
        with monitor.waiting("MIGRATION", fits=lambda data: data["status"] in ends) as waiter:
            monitor.execute("migrate", {"uri": "fd:memory"})
            if not waiter.wait(timeout_s):
                monitor.execute("migrate_cancel")
                raise DriverFault(f"saving the guest's memory took longer than {timeout_s} s")
        if waiter.data["status"] != "completed":
            why = monitor.execute("query-migrate").get("error-desc", "no reason given")
            raise DriverFault(f"the guest's memory could not be saved: {why}")
        os.fsync(file)
    finally:
        os.close(file)


def grow(monitor: Monitor, disk_id: str, size: int) -> None:
    """As `resize`, but never makes the disk smaller."""
    if _size(monitor, node_name(disk_id)) < size:
        resize(monitor, disk_id, size)
