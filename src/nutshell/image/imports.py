"""Interoperable import: staged data is checked and becomes the image (Image API v2, "Interoperable image import")."""

from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.image.data import activate, files_of
from nutshell.image.files import sum_up
from nutshell.image.formats import ImageRefused
from nutshell.image.images import IMPORT_METHODS, Image, Status, load
from nutshell.image.service import image
from nutshell.image.tasks import close_tasks, open_task


@image.route("POST", "/images/{image_id}/import", rule="upload_image", noun=Image, verb="import", against=load,
             wrap="")  # fmt: skip
def import_image(ask: Ask[Any]) -> Answer:
    row: Image = ask.target
    method = _method(ask.body)
    if method not in IMPORT_METHODS:
        raise BadRequest(f"Unknown import method name '{method}'.")
    missing = [n for n in ("disk_format", "container_format") if not getattr(row, n)]
    if missing:
        raise BadRequest(f"Properties {', '.join(missing)} need to be set before import")
    if row.status != Status.UPLOADING or files_of(ask.cloud).path(row.id).exists():
        raise Conflict(f"Image needs to be in '{Status.UPLOADING}' state to use glance-direct method, not {row.status}")
    if not files_of(ask.cloud).staged(row.id).exists():
        raise Conflict(f"The data of image {row.id} is not staged yet")
    open_task(ask.tx, row, ask.new_id(), ask.who.user_id, ask.body)
    ask.tx.put(row, status=Status.IMPORTING, due_at=ask.now, verb="import")
    return Answer(202)


def _method(body: Any) -> str:
    if not isinstance(body, dict) or not isinstance(body.get("method"), dict):
        raise BadRequest('Only \'method\' objects are supported: expected {"method": {"name": …}}')
    name = body["method"].get("name")
    if not isinstance(name, str):
        raise BadRequest("Import request requires a 'name' field in 'method'.")
    stores = body.get("stores")
    if stores is not None and (not isinstance(stores, list) or any(s != "file" for s in stores)):
        raise BadRequest("The requested store does not exist; there is: file")
    return name


def settle(cloud: Cloud, row: Image) -> None:
    """Check what is staged and make it the image; what is refused leaves the image queued, as an upload would."""
    if row.status != Status.IMPORTING:
        cloud.write(lambda tx: tx.put(row, due_at=None, quiet=True))
        return
    files = files_of(cloud)
    try:
        sums = sum_up(files.staged(row.id), row.disk_format or "raw", any_raw=files.any_raw)
    except (ImageRefused, FileNotFoundError) as why:
        reason = str(why)

        def give_up(tx: Tx) -> None:
            extra = {**row.extra, "os_glance_failed_import": "file"}
            tx.put(row, status=Status.QUEUED, due_at=None, extra=extra, verb="import_failed")
            close_tasks(tx, row.id, reason)

        cloud.write(give_up)
        files.remove(row.id)
        return
    files.keep(files.staged(row.id), files.path(row.id))

    def done(tx: Tx) -> None:
        activate(cloud, tx, row, sums)
        close_tasks(tx, row.id)

    cloud.write(done)
