"""The guest of a server: own disks made, volumes connected, cards plugged, in the shape the driver wants."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nutshell.compute.capability import Disk, Disks, Guest, Nic
from nutshell.compute.devices import Device
from nutshell.compute.servers.status import Want
from nutshell.compute.servers.work import Later, Work
from nutshell.core.drivers import DriverFault
from nutshell.core.store import Tx
from nutshell.image.port import Images
from nutshell.volume.port import Volumes

GIB = 2**30
SPACE = uuid.UUID("6e4e2d8c-6f5b-5b8e-9a54-6a30c1de1f77")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def rescue_id(server_id: str) -> str:
    """The name under which the rescue disk is kept beside the server's own."""
    return str(uuid.uuid5(SPACE, f"rescue:{server_id}"))


def make_guest(work: Work) -> Guest:
    """Everything the guest needs, made; safe to repeat. DriverFault."""
    s = work.server
    disks = [*own_disks(work), *(volume_disk(work, d) for d in work.volumes())]
    disks = sorted(disks, key=lambda d: (99 if d.boot_index is None else d.boot_index, d.device))
    rescue = s.want is Want.RESCUED
    if rescue:
        disks = _with_rescue(work, disks)
    nics = tuple(Nic(p.port_id, p.mac, p.mtu) for p in work.ports)
    firmware = "uefi" if s.image.get("properties", {}).get("hw_firmware_type") == "uefi" else "bios"
    return Guest(s.id, s.name, s.flavor["vcpus"], s.flavor["ram"], tuple(disks), nics, firmware, rescue=rescue)


def own_disks(work: Work) -> list[Disk]:
    """Root, ephemeral, swap and config drive, made on the server's host unless they are there."""
    driver, s = work.cloud.driver(Disks), work.server
    found = []
    if s.local.get("root"):
        image_id = s.shelved_image_id if s.task == "unshelve" and s.shelved_image_id else s.image_id
        size = max(s.flavor["disk"] * GIB, 0) or s.image.get("virtual_size", 0)
        found.append(_root(work, driver, s.id, image_id, size))
    for n, gib in enumerate(s.local.get("ephemerals", ())):
        blank = driver.create_blank(s.host, s.id, f"ephemeral{n}", gib * GIB, "ext4")
        found.append(replace(blank, device=s.local["devices"][f"ephemeral{n}"]))
    if s.local.get("swap_mib"):
        blank = driver.create_blank(s.host, s.id, "swap", s.local["swap_mib"] * 2**20, "swap")
        found.append(replace(blank, device=s.local["devices"]["swap"]))
    if s.config_drive:
        found.append(driver.write_config_drive(s.host, s.id, _config_files(work)))
    return found


def _root(work: Work, driver: Disks, disks_of: str, image_id: str, size: int) -> Disk:
    images = work.cloud.port(Images)
    form = work.server.image.get("disk_format", "qcow2")
    if image_id != work.server.image_id:
        facts = work.cloud.read(lambda tx: images.facts(tx, image_id))
        form = facts.disk_format if facts is not None else "qcow2"
        size = max(size, facts.virtual_size if facts is not None else 0)
    disk = driver.create_root(work.server.host, disks_of, str(images.path(image_id)), form, size)
    return replace(disk, device="vda", boot_index=0)


def stable_rescue(properties: Mapping[str, Any]) -> bool:
    """Whether a rescue image asks that the server's own disks keep their names ("stable device rescue")."""
    return any(properties.get(name) for name in ("hw_rescue_device", "hw_rescue_bus"))


def _with_rescue(work: Work, disks: list[Disk]) -> list[Disk]:
    """The rescue disk boots; the server's own disks follow it, or keep their places where its image asks for that."""
    s, images = work.server, work.cloud.port(Images)
    image_id = s.rescue_image_id or s.image_id
    rescue = replace(
        _root(work, work.cloud.driver(Disks), rescue_id(s.id), image_id, s.flavor["disk"] * GIB), disk_id="rescue"
    )
    facts = work.cloud.read(lambda tx: images.facts(tx, image_id))
    if facts is not None and stable_rescue(facts.properties):
        taken = {d.device for d in disks}
        free = next(f"vd{letter}" for letter in LETTERS if f"vd{letter}" not in taken)
        return [*(replace(d, boot_index=None) for d in disks), replace(rescue, device=free)]
    moved = [
        replace(d, device=f"vd{LETTERS[i + 1]}" if d.device.startswith("vd") else d.device, boot_index=None)
        for i, d in enumerate(disks)
    ]
    return [rescue, *moved]


def _config_files(work: Work) -> dict[str, bytes]:
    from nutshell.compute.guest_data import config_drive_files

    return work.cloud.read(lambda tx: config_drive_files(work.cloud, tx, work.server, work.ports, work.devices))


def volume_disk(work: Work, d: Device) -> Disk:
    found = work.cloud.port(Volumes).connect(work.cloud, d.target_id)
    return Disk(
        d.target_id,
        found.path,
        found.format,
        d.device,
        read_only=d.read_only,
        shareable=d.shareable,
        boot_index=d.boot_index,
    )


def await_volumes(work: Work) -> None:
    """Reserve what was made for this server as soon as it is there. Later while it is not, DriverFault when it
    failed."""
    volumes = work.cloud.ports.get(Volumes)
    for d in work.volumes():
        if d.attachment_id or volumes is None:
            continue
        facts = work.cloud.read(lambda tx, d=d: volumes.facts(tx, d.target_id))  # type: ignore[misc]
        if facts is None or facts.status.startswith("error"):
            raise DriverFault(f"Volume {d.target_id} did not finish being created: it is in error.", final=True)
        if facts.status not in ("available", "reserved", "in-use"):
            raise Later(f"volume {d.target_id} is {facts.status}")

        def reserve(tx: Tx, d: Device = d) -> None:
            work.fresh(tx)
            held = volumes.reserve(tx, d.target_id, work.server.id)
            tx.put(d, attachment_id=held.attachment_id, quiet=True)

        work.cloud.write(reserve)
    work.read()
