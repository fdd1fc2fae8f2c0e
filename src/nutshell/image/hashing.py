"""What is done with a location that was added: its data is read and hashed, as far as that is configured."""

import hashlib
import time
from typing import TYPE_CHECKING, Any

from nutshell.image.images import Image, Status
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import StoreFault, Stores

if TYPE_CHECKING:
    from nutshell.image.importing import Work

LOOK_S = 1.0  # how often it is looked whether the image is still there


def settle(work: "Work") -> None:
    """The location becomes the image's data: at once when nothing was promised of it, else when the promise holds."""
    row = work.row()
    given = work.task.input.get("validation_data") or {}
    settings = work.cloud.settings[ImageConfig]
    if not settings.secure_hash:
        _finish(work, {"os_hash_algo": given.get("os_hash_algo"), "os_hash_value": given.get("os_hash_value")})
        return
    algorithm = given.get("os_hash_algo", settings.hashing_algorithm)
    if not given and row.status == Status.IMPORTING:
        row = work.change(lambda r: {"status": Status.ACTIVE, "os_hash_algo": algorithm}, verb="activate")
    try:
        size, md5, value = _read(work, row, algorithm)
    except StoreFault as why:
        _fail(work, str(why), keep=not given)
        return
    if given and given["os_hash_value"].lower() != value:
        _fail(work, f"the data's {algorithm} is {value}", keep=False)
        return
    _finish(work, {"size": size, "checksum": md5, "os_hash_algo": algorithm, "os_hash_value": value})


def _read(work: "Work", row: Image, algorithm: str) -> tuple[int, str, str]:
    """(bytes, md5, hash) of what lies at the location. StoreFault; Gone when the image was deleted meanwhile."""
    place = row.locations[0]
    store = work.cloud.port(Stores).by_id[place["store"]]
    md5, hashed = hashlib.md5(usedforsecurity=False), hashlib.new(algorithm, usedforsecurity=False)
    size, looked_at = 0, time.monotonic()
    for data in store.read(place["url"], 0, 1 << 62):
        md5.update(data)
        hashed.update(data)
        size += len(data)
        if time.monotonic() - looked_at > LOOK_S:
            looked_at = time.monotonic()
            work.row()
    return size, md5.hexdigest(), hashed.hexdigest()


def _finish(work: "Work", facts: dict[str, Any]) -> None:
    if "size" not in facts:
        row = work.row()
        try:
            facts["size"] = work.cloud.port(Stores).by_id[row.locations[0]["store"]].size(row.locations[0]["url"])
        except StoreFault as why:
            _fail(work, str(why), keep=False)
            return
    work.end({**facts, "status": Status.ACTIVE}, verb="activate")


def _fail(work: "Work", why: str, *, keep: bool) -> None:
    """The image is as before; its location stays, for a web address is not ours to delete."""
    status = Status.ACTIVE if keep else Status.QUEUED
    work.end({"status": status, "os_hash_algo": None, "os_hash_value": None}, why, verb="import_failed")
