"""Imports whole machines: the first disk of an OVA becomes the image, its hardware the image's properties."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from nutshell.core.store import Tx
from nutshell.image.data import activate, files_of
from nutshell.image.files import PARTIAL, sum_up
from nutshell.image.images import Image, take_image
from nutshell.image.ova.archive import OvaRefused
from nutshell.image.ova.unpacking import unpack

if TYPE_CHECKING:
    from nutshell.image.importing import Work

__all__ = ["OvaRefused", "take_apart"]
SPACE = uuid.UUID("6e757473-6865-6c6c-8000-6f7661646973")


def take_apart(work: "Work", row: Image, staged: Path) -> Image:
    """The image of the machine's first disk, staged in the archive's place; further disks are images by now.

    OvaRefused, ImageRefused, TooLarge (413).
    """
    found = unpack(staged, f"{row.id}.ova{{}}{PARTIAL}")
    try:
        for n, (path, form) in enumerate(found.disks[1:], 2):
            _add(work, row, n, path, form)
        first, form = found.disks[0]
        facts = {"container_format": "bare", "disk_format": form, "name": row.name or found.machine.name}
        files_of(work.cloud).keep(first, staged)
        return work.change(lambda r: {**facts, "extra": {**r.extra, **found.properties()}})
    finally:
        for path, _ in found.disks:
            path.unlink(missing_ok=True)


def _add(work: "Work", row: Image, n: int, path: Path, form: str) -> None:
    """One more disk as an image of its own; done once, however often it is asked for."""
    cloud, files = work.cloud, files_of(work.cloud)
    image_id = str(uuid.uuid5(SPACE, f"{row.id}/{n}"))
    sums = sum_up(path, form, any_raw=files.any_raw)
    if cloud.read(lambda tx: tx.find(Image, id=image_id, deleted=True)):
        return
    files.keep(path, files.path(image_id))

    def add(tx: Tx) -> None:
        take_image(cloud, tx, row.project_id)
        made = Image(
            id=image_id,
            name=f"{row.name or 'image'} disk {n}",
            project_id=row.project_id,
            visibility=row.visibility,
            disk_format=form,
            container_format="bare",
            extra={"ova_disk_of": row.id},
            updated_at=tx.now,
        )
        activate(cloud, tx, tx.add(made), sums)

    cloud.write(add)
