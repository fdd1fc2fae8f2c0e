"""The first images: two small disks the package writes itself, or the tiny image that boots."""

import os
import shutil
import uuid
from pathlib import Path

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.store import Tx
from nutshell.identity.port import Identity
from nutshell.image.data import files_of
from nutshell.image.files import PARTIAL
from nutshell.image.formats import write_qcow2
from nutshell.image.images import Image
from nutshell.image.placing import activate

NAMES = ("cirros", "cirros-alt")
VIRTUAL_SIZE = 64 * 2**20
SPACE = uuid.UUID("6e757473-6865-6c6c-8000-696d61676573")


def seed(cloud: Cloud, tx: Tx) -> None:
    """Both images once; who deletes one does not meet it again."""
    config = cloud.settings[CloudConfig]
    tiny = config.state / "cache" / "tiny.qcow2" if config.state is not None else None
    if not config.simulate and config.state is not None and (tiny is None or not tiny.exists()):
        return
    for name in NAMES:
        image_id = str(uuid.uuid5(SPACE, name))
        if not tx.find(Image, id=image_id, deleted=True):
            _add(cloud, tx, image_id, name, None if config.simulate else tiny)


def _add(cloud: Cloud, tx: Tx, image_id: str, name: str, source: Path | None) -> None:
    files = files_of(cloud)
    partial = files.directory / f"{image_id}{PARTIAL}"
    if source is not None:
        shutil.copyfile(source, partial)
    else:
        write_qcow2(partial, [f"nutshell {name}\n".encode().ljust(512, b"\0")], VIRTUAL_SIZE, cluster_bits=9 + 3)
    files.keep(partial, files.path(image_id))
    os.chmod(files.path(image_id), 0o644)
    sums = files.sum_up(files.path(image_id), "qcow2")
    identity = cloud.ports.get(Identity)
    owner = identity.find_project(tx, "admin") if identity is not None else None
    row = tx.add(
        Image(
            id=image_id,
            name=name,
            project_id=owner,
            visibility="public",
            disk_format="qcow2",
            container_format="bare",
            updated_at=tx.now,
        )
    )
    activate(cloud, tx, row, sums)
