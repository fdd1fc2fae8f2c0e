"""Image data over the wire: received, hashed and judged while it streams; sent whole or in part (Image API v2, "Image
data"; RFC 9110 section 14 for ranges)."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    RangeNotSatisfiable,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.image import limits, placing, signatures
from nutshell.image.cache import ImageCache, queue
from nutshell.image.files import CHUNK, ImageFiles, Receiver, Sums, TooMuch
from nutshell.image.formats import ImageRefused
from nutshell.image.images import Image, Status, load
from nutshell.image.service import image, is_admin
from nutshell.image.stores import StoreFault, StoreFull, Stores

Receive = Callable[[], Any]
UNKNOWN = 1 << 62  # more bytes than anything has


class ClientLeft(Exception):
    """The connection ended before the data did."""


def files_of(cloud: Cloud) -> ImageFiles:
    return cloud.port(ImageFiles)


def check_media_type(ask: Ask[Any]) -> None:
    kind = ask.headers.get("content-type", "").split(";")[0].strip()
    if kind != "application/octet-stream":
        raise UnsupportedMediaType(f"Invalid content type {kind or 'None'}")


def begin(tx: Tx, row: Image, status: Status) -> Image:
    """The image starts to take data. 409 in a state that cannot, 400 while its formats are not known."""
    if row.status != Status.QUEUED:
        raise Conflict(f"Image status transition from {row.status} to {status} is not allowed")
    missing = [n for n in ("disk_format", "container_format") if not getattr(row, n)]
    if missing and status == Status.SAVING:
        word = "Property" if len(missing) == 1 else "Properties"
        raise BadRequest(f"{word} {', '.join(missing)} must be set prior to saving data.")
    return tx.put(row, status=status, verb="upload")


def back_to_queued(tx: Tx, image_id: str, before: Status) -> None:
    """The data did not come: another upload may be tried."""
    row = tx.get(Image, image_id)
    if row is not None and row.status == before:
        tx.put(row, status=Status.QUEUED, size=None, virtual_size=None, locations=[], verb="upload_failed")


async def receive_into(cloud: Cloud, receiver: Receiver, receive: Receive) -> None:
    """Feed the request's body, about a mebibyte at a time; hashing and writing run beside the reading."""
    parts: list[bytes] = []
    held, busy = 0, None
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            if busy is not None:
                await busy
            raise ClientLeft()
        data = message.get("body", b"")
        parts.append(data)
        held += len(data)
        more = message.get("more_body", False)
        if held >= CHUNK or not more:
            if busy is not None:
                await busy
            whole = b"".join(parts)
            busy = asyncio.ensure_future(cloud.in_thread(lambda data=whole: receiver.feed(data)))  # type: ignore[misc]
            parts, held = [], 0
        if not more:
            if busy is not None:
                await busy
            return


@image.route("PUT", "/images/{image_id}/file", rule="upload_image", noun=Image, verb="upload", against=load, http=204,
             streams=True)  # fmt: skip
async def upload(ask: Ask[Any], receive: Receive) -> Answer:
    check_media_type(ask)
    cloud, image_id = ask.cloud, ask.params["image_id"]
    stores, files = cloud.port(Stores), files_of(cloud)
    store = stores.need(ask.headers.get("x-image-meta-store", stores.default.id))
    if store.read_only:
        raise Conflict(f"Store {store.id} cannot be written.")
    _, sums = await take_data(ask, receive, Status.SAVING)
    try:
        await cloud.in_thread(lambda: placing.accept(cloud, image_id, sums, store))
    except Exception as why:
        files.remove(image_id)
        await cloud.write_async(lambda tx: back_to_queued(tx, image_id, Status.SAVING))
        if isinstance(why, StoreFull):
            raise TooLarge(f"Image storage media is full: {why}") from None
        if isinstance(why, StoreFault):
            raise Unavailable(str(why)) from None
        raise
    finally:
        files.let_go(image_id)
    return Answer(204)


@image.route("PUT", "/images/{image_id}/stage", rule="upload_image", noun=Image, verb="stage", against=load, http=204,
             streams=True)  # fmt: skip
async def stage(ask: Ask[Any], receive: Receive) -> Answer:
    check_media_type(ask)
    cloud, image_id = ask.cloud, ask.params["image_id"]
    _, sums = await take_data(ask, receive, Status.UPLOADING)
    try:
        await cloud.write_async(lambda tx: tx.put(tx.need(Image, image_id), size=sums.size, verb="stage"))
    finally:
        files_of(cloud).let_go(image_id)
    return Answer(204)


async def take_data(ask: Ask[Any], receive: Receive, status: Status) -> tuple[Image, Sums]:
    """Receive the body under the image's (or its staging) name. The caller lets go of the id, unless this raises."""
    cloud, image_id, files = ask.cloud, ask.params["image_id"], files_of(ask.cloud)
    if not files.claim(image_id):
        raise Conflict(f"The image {image_id} is receiving data already")
    name = "image_size_total" if status == Status.SAVING else "image_stage_total"

    def start(tx: Tx) -> tuple[Image, int | None]:
        row = tx.need(Image, image_id)
        limits.check_uploading(cloud, tx, row.project_id or "")
        return begin(tx, row, status), limits.room(cloud, tx, row.project_id or "", name)

    try:
        row, most = await cloud.write_async(start)
    except BaseException:
        files.let_go(image_id)
        raise
    saving = status == Status.SAVING
    target = files.path(image_id) if saving else files.staged(image_id)
    try:
        checks = signatures.verifier(cloud, row.extra) if saving else None
        receiver = Receiver(files, image_id, row.judged_as if saving else None, also=checks, most=most)
        try:
            await receive_into(cloud, receiver, receive)
            _check_length(ask, receiver.size)
            if checks is not None:
                await cloud.in_thread(receiver.finish)
                checks.verify()
            sums = await cloud.in_thread(lambda: receiver.keep(target))
        finally:
            await cloud.in_thread(receiver.close)
        if cloud.read(lambda tx: tx.get(Image, image_id)) is None:
            files.remove(image_id)
            raise Gone(f"Image {image_id} could not be found after upload. The image may have been deleted during the"
                       " upload.")  # fmt: skip
        return row, sums
    except BaseException as why:
        files.let_go(image_id)
        await cloud.write_async(lambda tx: back_to_queued(tx, image_id, status))
        if isinstance(why, ImageRefused):
            raise UnsupportedMediaType(f"Image content does not match disk_format or is not allowed: {why}") from None
        if isinstance(why, TooMuch):
            raise TooLarge(f"Resource {name} is over limit: there is room for {most} bytes") from None
        if isinstance(why, ClientLeft):
            raise BadRequest("The client went away before its data was whole.") from None
        if isinstance(why, OSError):
            raise TooLarge(f"Image storage media is full: {why.strerror}") from None
        raise


def _check_length(ask: Ask[Any], size: int) -> None:
    for name in ("x-openstack-image-size", "content-length"):
        text = ask.headers.get(name)
        if text is not None:
            if not text.strip().isdecimal():
                raise BadRequest("Invalid or missing image size in request headers.")
            if int(text) != size:
                raise BadRequest(f"The data has {size} bytes, not the {text} that were announced.")


@image.route("GET", "/images/{image_id}/file", rule="download_image", noun=Image, verb="download", against=load,
             streams=True)  # fmt: skip
async def download(ask: Ask[Any], receive: Receive) -> Answer:
    row: Image = ask.target
    if row.status == Status.DEACTIVATED and not is_admin(ask):
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    if row.status not in (Status.ACTIVE, Status.DEACTIVATED) or not row.locations:
        return Answer(204)
    start, end = 0, row.size if row.size is not None else UNKNOWN
    headers = {"Content-Type": "application/octet-stream"}
    http = 200
    asked = read_range(ask.headers, end)
    if asked is not None:
        start, end = asked
        http = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.size}"
    if row.checksum:
        headers["Content-MD5"] = row.checksum
    if row.size is not None:
        headers["Content-Length"] = str(end - start)
    stores, cache = ask.cloud.port(Stores), ask.cloud.port(ImageCache)
    path = stores.local(row.locations) or cache.file(row.id)
    if path is None:
        try:
            chunks = await ask.cloud.in_thread(lambda: stores.read(row.locations, start, end))
        except StoreFault as why:
            raise Unavailable(str(why)) from None
        ask.cloud.store.submit(lambda tx: queue(ask.cloud, tx, row.id))
        return Answer(http, None, headers, chunks=_remote(ask.cloud, chunks))
    try:
        source = open(path, "rb", buffering=0)  # noqa: SIM115 - the generator closes it; opened here, a delete does not disturb us
    except FileNotFoundError:
        return Answer(204)
    source.seek(start)
    if ask.sends_files and row.size is not None and ask.method != "HEAD":
        return Answer(http, None, headers, chunks=source)
    return Answer(http, None, headers, chunks=_chunks(ask.cloud, source, end - start))


async def _chunks(cloud: Cloud, source: Any, left: int) -> AsyncIterator[bytes]:
    with source:
        coming = cloud.threads.submit(source.read, min(CHUNK, left))
        while data := await asyncio.wrap_future(coming):
            left -= len(data)
            coming = cloud.threads.submit(source.read, min(CHUNK, left))  # while this piece is sent; at last nothing
            yield data


async def _remote(cloud: Cloud, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """From a store elsewhere, as it comes."""
    while data := await cloud.in_thread(lambda: next(chunks, b"")):
        yield data


def read_range(headers: Any, size: int) -> tuple[int, int] | None:
    """(first byte, byte after the last) of the one range asked for; None: everything. 416 when it cannot be had."""
    text, pattern = headers.get("range"), r"bytes=(\d*)-(\d*)$"
    if text is None and "content-range" in headers:  # wrong in a request, but what old clients send
        text, pattern = headers["content-range"], r"bytes (\d+)-(\d+)/(?:\d+|\*)$"
    if text is None:
        return None
    m = re.match(pattern, text.strip())
    if m is None or (not m[1] and not m[2]):
        raise RangeNotSatisfiable(f"Invalid range {text}", headers={"Content-Range": f"bytes */{size}"})
    if not m[1]:
        start, end = max(0, size - int(m[2])), size
    else:
        start, end = int(m[1]), min(size, int(m[2]) + 1) if m[2] else size
    if start >= end:
        raise RangeNotSatisfiable(f"Invalid range {text}", headers={"Content-Range": f"bytes */{size}"})
    return start, end


__all__ = ["back_to_queued", "files_of"]
