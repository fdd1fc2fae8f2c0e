"""Imports whole machines: the first disk of an OVA becomes the image, its hardware the image's properties."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nutshell.core.cloud import Cloud
from nutshell.core.store import Tx
from nutshell.image.data import files_of
from nutshell.image.files import PARTIAL
from nutshell.image.images import Image, Status, take_image
from nutshell.image.ova.archive import OvaRefused
from nutshell.image.ova.unpacking import unpack
from nutshell.image.placing import accept

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
    sums = files.sum_up(path, form)
    made = Image(
        id=image_id,
        name=f"{row.name or 'image'} disk {n}",
        project_id=row.project_id,
        visibility=row.visibility,
        disk_format=form,
        container_format="bare",
        extra={"ova_disk_of": row.id},
    )
    with files.held(image_id):
        if not cloud.write(lambda tx: _begin(cloud, tx, made)):
            return
        files.keep(path, files.path(image_id))
        accept(cloud, image_id, sums)


def _begin(cloud: Cloud, tx: Tx, made: Image) -> bool:
    """Whether the disk's image is still to be filled."""
    found = tx.find(Image, id=made.id, deleted=True)
    if not found:
        take_image(cloud, tx, made.project_id)
        tx.add(replace(made, updated_at=tx.now))
    return not found or (found[0].deleted_at is None and found[0].status == Status.QUEUED)
