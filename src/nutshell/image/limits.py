"""How much a project may store: registered limits where there are any, else this service's quotas (Identity API v3,
"Unified Limits"; Image API v2, "Quota usage")."""

from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import TooLarge
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.image.images import Image, Status
from nutshell.image.service import image

MIB = 1 << 20
NAMES = ("image_size_total", "image_stage_total", "image_count_total", "image_count_uploading")


def limit(cloud: Cloud, tx: Tx, project_id: str, name: str) -> int:
    """In mebibytes or images; -1 is none."""
    return cloud.quotas.limit(tx, project_id, f"image.{name}")


def used(tx: Tx, project_id: str) -> dict[str, int]:
    """What a project has now, in bytes and images. Data counts once for each store it is in."""
    row = tx.sql(
        f"SELECT count(*), coalesce(sum(CASE WHEN status IN (?, ?) THEN size * {_PLACES} ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN status IN (?, ?) THEN size ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN status IN (?, ?, ?) THEN 1 ELSE 0 END), 0)"
        f" FROM {Image.table.name} WHERE project_id = ? AND deleted_at IS NULL",
        *(Status.ACTIVE, Status.DEACTIVATED),
        *(Status.UPLOADING, Status.IMPORTING),
        *(Status.SAVING, Status.UPLOADING, Status.IMPORTING),
        project_id,
    ).fetchone()
    return {
        "image_count_total": int(row[0]),
        "image_size_total": int(row[1]),
        "image_stage_total": int(row[2]),
        "image_count_uploading": int(row[3]),
    }


_PLACES = "((length(locations) - length(replace(locations, '\"store\"', ''))) / 7)"


def room(cloud: Cloud, tx: Tx, project_id: str, name: str) -> int | None:
    """The bytes that may still come; None: any number. 413 when the limit is used up."""
    most = limit(cloud, tx, project_id, name)
    if most < 0:
        return None
    left = most * MIB - used(tx, project_id)[name]
    if left <= 0:
        raise TooLarge(f"Resource {name} is over limit of {most}: {-left // MIB + most} MiB are used")
    return left


def check_uploading(cloud: Cloud, tx: Tx, project_id: str) -> None:
    """413 when one more image may not receive data now."""
    most = limit(cloud, tx, project_id, "image_count_uploading")
    if most >= 0 and used(tx, project_id)["image_count_uploading"] >= most:
        raise TooLarge(f"Resource image_count_uploading is over limit of {most}")


@image.route("GET", "/info/usage", rule="get_images")
def show_usage(ask: Ask[Any]) -> dict[str, Any]:
    """Counts and mebibytes of the caller's project against its limits; -1 is none."""
    project_id = ask.who.project_id
    found = used(ask.tx, project_id)
    shown = {}
    for name in NAMES:
        amount = found[name] if "count" in name else -(-found[name] // MIB)
        shown[name] = {"usage": amount, "limit": limit(ask.cloud, ask.tx, project_id, name)}
    return {"usage": shown}
