"""An image as an OVA, sent while it is read: descriptor, disk, and the manifest last (a call of this cloud's own:
GET /v2/images/{image_id}/ova)."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.service import Answer, Ask
from nutshell.image import convert
from nutshell.image.cache import ImageCache
from nutshell.image.data import files_of
from nutshell.image.files import CHUNK, PARTIAL
from nutshell.image.images import Image, Status, load
from nutshell.image.ova.archive import END, header, padding
from nutshell.image.ova.ovf import FORMATS, Disk, Machine, write_machine
from nutshell.image.service import image
from nutshell.image.stores import StoreFault, Stores

Receive = Any


@image.route("GET", "/images/{image_id}/ova", rule="download_image", noun=Image, verb="export", against=load,
             streams=True)  # fmt: skip
async def export(ask: Ask[Any], receive: Receive) -> Answer:
    """`?disk_format=`: the disk is converted, vmdk unless another is asked for; "same" leaves it as it is."""
    row: Image = ask.target
    if row.status != Status.ACTIVE or row.disk_format not in convert.FORMATS:
        raise Conflict(f"Only active images with a disk can be exported, not {row.status} {row.disk_format}")
    asked = ask.asked("disk_format", "vmdk")
    wanted = row.disk_format if asked == "same" else asked
    if wanted not in FORMATS:
        raise BadRequest(f"There is no disk format {wanted} for an OVA; there are: same, {', '.join(FORMATS)}")
    cloud = ask.cloud
    try:
        source, passing = await cloud.in_thread(lambda: _disk_file(cloud, row, wanted, ask.request_id))
    except (StoreFault, convert.ConvertFault) as why:
        raise Conflict(f"The image cannot be exported: {why}") from None
    disk = Disk(f"disk.{wanted}", row.virtual_size or row.size or 0, wanted)
    headers = {"Content-Type": "application/ovf", "Content-Disposition": f'attachment; filename="{row.id}.ova"'}
    return Answer(200, None, headers, chunks=_chunks(cloud, _machine(row), disk, source, passing))


def _machine(row: Image) -> Machine:
    said = dict(pair.partition("=")[::2] for pair in row.extra.get("ova_suggested_flavor", "").split(",") if pair)
    vcpus, memory = (int(said.get(n, "0")) if said.get(n, "0").isdecimal() else 0 for n in ("vcpus", "ram"))
    return Machine(row.name or "image", vcpus or 1, memory or max(row.min_ram, 512), [], {}, row.extra)


def _disk_file(cloud: Cloud, row: Image, wanted: str, request_id: str) -> tuple[Path, bool]:
    """The file to send, and whether it is to be removed after."""
    source = cloud.port(Stores).local(row.locations) or cloud.port(ImageCache).fill(row)
    if wanted == row.disk_format or row.disk_format is None:
        return source, False
    target = files_of(cloud).directory / f"{row.id}.{request_id}{PARTIAL}"
    options = ("subformat=streamOptimized",) if wanted == "vmdk" else ()
    convert.convert(source, row.disk_format, target, wanted, options)
    return target, True


async def _chunks(cloud: Cloud, machine: Machine, disk: Disk, source: Path, passing: bool) -> AsyncIterator[bytes]:
    """The archive's bytes. A temporary source is unlinked once open, so that it goes however this ends."""
    with open(source, "rb") as file:
        if passing:
            source.unlink(missing_ok=True)
        size, now = file.seek(0, 2), cloud.clock.now()
        file.seek(0)
        text, digest = write_machine(machine, disk, size), hashlib.sha256()
        yield header("image.ovf", len(text), now) + text + padding(len(text)) + header(disk.href, size, now)
        while data := await cloud.in_thread(lambda: file.read(CHUNK)):
            await cloud.in_thread(lambda data=data: digest.update(data))  # type: ignore[misc]
            yield data
        sums: Mapping[str, str] = {"image.ovf": hashlib.sha256(text).hexdigest(), disk.href: digest.hexdigest()}
        manifest = "".join(f"SHA256({n})= {v}\n" for n, v in sums.items()).encode()
        yield padding(size) + header("image.mf", len(manifest), now) + manifest + padding(len(manifest)) + END
