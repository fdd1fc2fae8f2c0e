"""Keeps files and rows of images together: nothing half after a crash, no file without its image."""

import logging
import time

from nutshell.core.cloud import Cloud
from nutshell.core.store import Tx
from nutshell.image.cache import tend
from nutshell.image.data import back_to_queued, files_of
from nutshell.image.files import PARTIAL, STAGED
from nutshell.image.images import Image, LeftData, Status
from nutshell.image.remote import RemoteImages
from nutshell.image.stores import StoreFault, Stores
from nutshell.image.tasks import OPEN, ImageTask

log = logging.getLogger("nutshell.image")
GRACE_S = 60.0  # a file younger than this may be about to get its row


def sweep(cloud: Cloud) -> float | None:
    """Uploads that ended without a word go back to queued; files nobody needs are removed."""
    files = files_of(cloud)
    waiting = cloud.read(lambda tx: tx.find(Image, status=[Status.SAVING, Status.UPLOADING]))
    for row in waiting:
        if not files.claim(row.id):
            continue
        try:
            if row.status == Status.SAVING or not files.staged(row.id).exists():
                cloud.write(lambda tx, row=row: back_to_queued(tx, row.id, row.status))  # type: ignore[misc]
        finally:
            files.let_go(row.id)
    _delete_left(cloud)
    tend(cloud)
    listed = list(files.found())  # before the rows are read: what appears meanwhile is not judged by old rows
    known = cloud.read(_statuses)
    tasks = cloud.read(lambda tx: tx.find(ImageTask, status=list(OPEN)))
    going = {one.image_id for one in tasks}
    cloud.port(RemoteImages).keep_only({one.id for one in tasks})
    home = cloud.port(Stores).home.id
    away = cloud.read(lambda tx: _away(tx, home)) if len(cloud.port(Stores).writable()) > 1 else frozenset()
    for image_id, path in listed:
        status = known.get(image_id)
        if path.name.endswith(STAGED) and image_id in going:
            continue
        if status is None or path.name.endswith(PARTIAL):
            gone = True
        elif path.name.endswith(STAGED):
            gone = status in (Status.ACTIVE, Status.DEACTIVATED, Status.KILLED)
        else:
            gone = status == Status.KILLED or (status == Status.QUEUED and _old(path.stat().st_mtime))
            gone = gone or image_id in away
        if gone and files.claim(image_id):  # else its data is coming, or being read
            try:
                path.unlink(missing_ok=True)
            finally:
                files.let_go(image_id)
    return None


def _delete_left(cloud: Cloud) -> None:
    """Data that no image needs any more goes from its store. A store that fails is left alone until the next pass."""
    files, stores, failed = files_of(cloud), cloud.port(Stores), set[str]()
    for left in cloud.read(lambda tx: tx.find(LeftData, order="created_at, id", limit=1000)):
        if left.store in failed or not files.claim(left.image_id):
            continue
        try:
            row = cloud.read(lambda tx, left=left: tx.get(Image, left.image_id))  # type: ignore[misc]
            used = row is not None and any((o["store"], o["url"]) == (left.store, left.url) for o in row.locations)
            if not used:
                stores.delete([{"store": left.store, "url": left.url}])
            cloud.write(lambda tx, left=left: tx.drop(left, quiet=True))  # type: ignore[misc]
        except StoreFault as why:
            failed.add(left.store)
            log.warning("data of image %s stays in store %s: %s", left.image_id, left.store, why)
        finally:
            files.let_go(left.image_id)


def _old(modified_at: float) -> bool:
    return time.time() - modified_at > GRACE_S


def _away(tx: Tx, home: str) -> frozenset[str]:
    """Images that can be used and are in other stores only: what was received here went there."""
    rows = tx.sql(
        f"SELECT id FROM {Image.table.name} WHERE deleted_at IS NULL AND status IN (?, ?) AND locations NOT LIKE ?",
        *(Status.ACTIVE, Status.DEACTIVATED, f'%"{home}"%'),
    )
    return frozenset(row[0] for row in rows.fetchall())


def _statuses(tx: Tx) -> dict[str, str]:
    return dict(tx.sql(f"SELECT id, status FROM {Image.table.name} WHERE deleted_at IS NULL").fetchall())
