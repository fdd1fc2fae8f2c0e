"""Keeps files and rows of images together: nothing half after a crash, no file without its image."""

import logging
import time

from nutshell.core.cloud import Cloud
from nutshell.core.store import Tx
from nutshell.image.data import back_to_queued, files_of
from nutshell.image.files import PARTIAL, STAGED
from nutshell.image.images import Image, Status

log = logging.getLogger("nutshell.image")
GRACE_S = 60.0  # a file younger than this may be about to get its row


def sweep(cloud: Cloud) -> float | None:
    """Uploads that ended without a word go back to queued; files nobody needs are removed."""
    files = files_of(cloud)
    waiting = cloud.read(lambda tx: tx.find(Image, status=[Status.SAVING, Status.UPLOADING]))
    for row in waiting:
        received = row.status == Status.UPLOADING and files.staged(row.id).exists()
        if not received and files.claim(row.id):
            try:
                cloud.write(lambda tx, row=row: back_to_queued(tx, row.id, row.status))  # type: ignore[misc]
            finally:
                files.let_go(row.id)
    listed = list(files.found())  # before the rows are read: what appears meanwhile is not judged by old rows
    known = cloud.read(_statuses)
    for image_id, path in listed:
        status = known.get(image_id)
        if image_id in files.busy:
            continue
        if status is None or path.name.endswith(PARTIAL):
            gone = True
        elif path.name.endswith(STAGED):
            gone = status in (Status.ACTIVE, Status.DEACTIVATED, Status.KILLED)
        else:
            gone = status == Status.KILLED or (status == Status.QUEUED and _old(path.stat().st_mtime))
        if gone:
            path.unlink(missing_ok=True)
    return None


def _old(modified_at: float) -> bool:
    return time.time() - modified_at > GRACE_S


def _statuses(tx: Tx) -> dict[str, str]:
    return dict(tx.sql(f"SELECT id, status FROM {Image.table.name} WHERE deleted_at IS NULL").fetchall())
