"""Object versioning: containers that keep what was replaced or deleted (X-Versions-Enabled, ?version-id, ?versions).

Source: Object Storage documentation, "Object versioning". The past lies in the index beside the present, with the same
bytes; no hidden containers.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from nutshell.object_store.rows import TICKS, ContainerRow, ObjectRow, timestamp
from nutshell.object_store.swift import checks, listings
from nutshell.object_store.swift.authorize import denied
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, is_true, plain
from nutshell.object_store.swift.site import Site

MARKER_TYPE = "application/x-deleted;swift_versions_deleted=1"
HEADER = "x-versions-enabled"
NEWEST = 1 << 62  # greater than every version: a page that begins behind a nameless one


def object_versions(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if not req.container:
            return await inner(req)
        _, container = site.engine.find(req.account, req.container)
        if not req.obj:
            return await _container(site, inner, req, container)
        asked = req.query.get("version-id")
        if asked is not None:
            return await _one_version(site, inner, req, container, asked)
        if container is None or HEADER not in container.meta:
            return await inner(req)
        return await _object(site, inner, req, is_true(container.meta[HEADER]))

    return handle


# -- containers
async def _container(site: Site, inner: Handler, req: Request, container: ContainerRow | None) -> Response:
    if req.method in ("PUT", "POST") and HEADER in req.headers:
        site.admitted(req)  # what the container is like is not told to strangers
        meta = container.meta if container is not None else {}
        older = ("x-versions-location", "x-history-location")
        if any(meta.get(h) or req.headers.get(h) for h in older):
            raise Refusal(400, "Cannot enable object versioning on a container that is already using the legacy"
                               " versioned writes feature.")  # fmt: skip
        if meta.get("x-container-sync-to"):
            raise Refusal(400, "Cannot enable object versioning on a container configured as source of container"
                               " syncing.")  # fmt: skip
        req.headers[HEADER] = str(is_true(req.headers[HEADER]))
    if req.method == "GET" and "versions" in req.query:
        return await _list(site, inner, req)
    if req.method == "DELETE" and container is not None:
        site.admitted(req)
        row = container
        if site.engine.read(lambda i: i.list_versions(row.id, after=("", 0), prefix="", limit=1)):
            raise Refusal(409, "Delete all versions before deleting container.")
    return await inner(req)


async def _list(site: Site, inner: Handler, req: Request) -> Response:
    accept = req.headers.get("accept", "*/*")
    if not any(a.split(";")[0].strip() in ("*/*", "application/*", "application/json", "") for a in accept.split(",")):
        raise Refusal(406)
    if req.query.get("format", "json").lower() != "json":
        raise Refusal(406)
    limit = checks.listing_limit(req, checks.LIMITS["container_listing_limit"])
    marker, version_marker = req.query.get("marker", ""), req.query.get("version_marker")
    if version_marker is not None and not marker:
        raise Refusal(400, "version_marker param requires marker")
    delimiter = req.query.get("delimiter", "")
    if set(delimiter) & set("0123456789.\0"):
        raise Refusal(400, "invalid delimiter param")
    before = _version(version_marker, "invalid version_marker param") if version_marker not in (None, "null") else 0
    if version_marker == "null":
        before = NEWEST
    answer = await inner(req.sub("GET", headers=dict(req.headers), query={"limit": "1", "format": "json"}))
    if not answer.good:
        return answer
    row: ContainerRow = answer.row
    answer.entries = _entries(site, req, row, (marker, before), limit)
    req.query["format"] = "json"
    return answer


def _entries(site: Site, req: Request, row: ContainerRow, after: tuple[str, int], limit: int) -> list[dict[str, Any]]:
    """Present and past together, by name, the newest first."""
    prefix, delimiter = req.query.get("prefix", ""), req.query.get("delimiter", "")
    reverse = is_true(req.query.get("reverse", ""))
    out: list[dict[str, Any]] = []
    folders: set[str] = set()
    latest = ""
    batch = 1 if delimiter else limit + 1  # behind a folder another is likely
    while len(out) < limit:
        page = _page(site, row, after, prefix, batch, reverse)
        jumped = False
        for one, current in page:
            after = (one.name, one.version or one.ts)
            cut = one.name.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                folder = one.name[: cut + len(delimiter)]
                if folder not in folders:
                    folders.add(folder)
                    out.append({"subdir": folder})
                after, jumped = (folder if reverse else folder + listings.LAST, 0), True
                break
            out.append(_entry(site, row, one, current, (one.name != latest, reverse)))
            latest = one.name
            if len(out) >= limit:
                break
        if not jumped and len(page) < batch:
            break
        batch = 1 if jumped else min(batch * 4, limit + 1)
    return out[:limit]


def _page(
    site: Site, row: ContainerRow, after: tuple[str, int], prefix: str, limit: int, reverse: bool
) -> Sequence[tuple[ObjectRow, bool]]:
    name, version = after

    def work(index: Any) -> list[tuple[ObjectRow, bool]]:
        present = [
            (o, True)
            for o in index.list_objects(row.id, after=name, until="", prefix=prefix, limit=limit, reverse=reverse)
        ]
        if name and version and name.startswith(prefix):
            here = index.object(row.id, name)
            if here is not None and not here.version and version >= NEWEST:
                here = None  # the page before ended with it
            mine = (here.version or here.ts) if here is not None else 0
            if here is not None and (mine > version if reverse else mine < version):
                present.insert(0, (here, True))
        past = index.list_versions(row.id, after=after, prefix=prefix, limit=limit, reverse=reverse)
        both = [*present, *((p, False) for p in past)]
        both.sort(key=lambda b: b[0].version or b[0].ts, reverse=not reverse)
        both.sort(key=lambda b: b[0].name, reverse=reverse)
        return both[:limit]

    return site.engine.read(work)


def _entry(
    site: Site, container: ContainerRow, row: ObjectRow, current: bool, order: tuple[bool, bool]
) -> dict[str, Any]:
    first, reverse = order
    entry = listings.entry_of(row)
    entry["version_id"] = timestamp(row.version) if row.version else "null"
    if current:
        entry["is_latest"] = True
    elif row.kind == "marker" and (first or reverse):
        entry["is_latest"] = site.engine.read(lambda i: _newest(i, container.id, row))
    else:
        entry["is_latest"] = False
    return entry


def _newest(index: Any, container_id: int, row: ObjectRow) -> bool:
    """Whether a delete marker is what its name means now."""
    if index.object(container_id, row.name) is not None:
        return False
    found = index.list_versions(container_id, after=(row.name, 1 << 62), prefix=row.name, limit=1)
    return bool(found) and found[0].version == row.version


# -- objects
async def _object(site: Site, inner: Handler, req: Request, enabled: bool) -> Response:
    if req.method in ("GET", "HEAD"):
        answer = await inner(req)
        if answer.row is not None and "x-object-version-id" not in answer.headers:
            _tell(req, answer, site)
        return answer
    if req.method == "PUT":
        req.notes["before"] = lambda index, row, old: _keep_past(index, row, old, enabled)
        answer = await inner(req)
        if answer.good and enabled and answer.row is not None:
            answer.headers["x-object-version-id"] = timestamp(answer.row.version)
        return answer
    if req.method == "DELETE":
        return await _delete(site, inner, req, enabled)
    return await inner(req)


def _tell(req: Request, answer: Response, site: Site) -> None:
    row = answer.row
    _, container = site.engine.find(req.account, req.container)
    mine = container is not None and row.container_id == container.id and row.name == req.obj
    answer.headers["x-object-version-id"] = timestamp(row.version) if row.version else "null"
    if row.version and mine:
        path = quote(f"/{req.version}/{req.account}/{req.container}/{req.obj}")
        answer.headers["content-location"] = f"{path}?version-id={timestamp(row.version)}"


def _keep_past(index: Any, row: ObjectRow, old: ObjectRow | None, enabled: bool) -> tuple[ObjectRow, ObjectRow | None]:
    if old is not None and (enabled or old.version):
        past(index, old)
    return (msgspec.structs.replace(row, version=row.ts) if enabled else row), old


def past(index: Any, row: ObjectRow) -> None:
    """The present becomes a past version; its bytes stay when it is replaced."""
    index.share(row.blob)
    index.put_version(msgspec.structs.replace(row, version=row.version or row.ts, delete_at=0))


async def _delete(site: Site, inner: Handler, req: Request, enabled: bool) -> Response:
    """What was there becomes the past; with versions kept, a marker says when."""
    made: list[int] = []

    def mark(index: Any, container_id: int, at: int) -> None:
        made[:] = [at]
        index.put_version(ObjectRow(container_id, req.obj, at, 0, "d41d8cd98f00b204e9800998ecf8427e", MARKER_TYPE, 0,
                                    {}, 0, at, "marker"))  # fmt: skip

    def before(index: Any, row: ObjectRow) -> bool:
        if enabled or row.version:
            past(index, row)
        if enabled:
            mark(index, row.container_id, max(site.now(), row.ts + 1))
        return False

    req.notes["before_delete"] = before
    try:
        answer = await inner(req)
    except Refusal as why:
        answer = why.response()
    if answer.status == 404 and enabled:
        _, container = site.container(req)
        await site.engine.change(lambda index: mark(index, container.id, site.now()))
    if made:
        answer.headers["x-object-version-id"] = timestamp(made[0])
    return answer


# -- one version
def _version(text: str | None, complaint: str) -> int:
    if text is None or not re.fullmatch(r"\d{1,10}(\.\d{1,5})?(_[0-9a-f]{1,16})?", text):
        raise Refusal(400, complaint)
    whole, _, rest = text.partition("_")[0].partition(".")
    return int(whole) * TICKS + int(rest.ljust(5, "0") or 0)


async def _one_version(
    site: Site, inner: Handler, req: Request, container: ContainerRow | None, asked: str
) -> Response:
    if req.method == "POST":
        raise Refusal(400, "POST to a specific version is not allowed")
    site.admitted(req)  # whether there are versions is not told to strangers
    kept = container is not None and HEADER in container.meta
    if not kept and asked != "null":
        raise Refusal(400, "version-aware operations require that the container is versioned")
    version = 0 if asked == "null" else _version(asked, "Invalid version parameter")
    if req.method == "PUT":
        return await _restore(site, req, version)
    if req.method == "DELETE":
        return await _drop(site, req, version, asked)
    if req.method not in ("GET", "HEAD"):
        return await inner(req)
    _, found = site.container(req)
    if not req.owner:
        raise denied(req)
    row = site.engine.read(lambda i: find_version(i, found.id, req.obj, version))
    if row is None:
        raise Refusal(404)
    if row.kind == "marker":
        raise Refusal(404, headers={"x-object-version-id": asked, "content-type": MARKER_TYPE})
    req.notes |= {"row": row, "expired": True}  # a time to be deleted is the present one's
    answer = await inner(req)
    answer.headers["x-object-version-id"] = asked
    return answer


def find_version(index: Any, container_id: int, name: str, version: int) -> ObjectRow | None:
    """That version, past or present; version 0: the present one if it has none."""
    row: ObjectRow | None = index.object(container_id, name)
    if row is not None and row.version == version:
        return row
    found: ObjectRow | None = index.version(container_id, name, version) if version else None
    return found


async def _drop(site: Site, req: Request, version: int, asked: str) -> Response:
    """That version goes for good; where it was the present one, there is none any more."""
    _, container = site.container(req)

    def work(index: Any) -> str:
        row = index.object(container.id, req.obj)
        if row is not None and row.version == version:
            index.drop_object(row)
            return "null"
        if not version:  # there is no nameless version: nothing goes for good, only the present one becomes the past
            if row is None:
                raise Refusal(404)
            past(index, row)
            index.drop_object(row)
            return "null"
        old = index.version(container.id, req.obj, version)
        if old is None:
            raise Refusal(404, headers={"x-object-version-id": asked})
        index.drop_version(old)
        return timestamp(row.version) if row is not None and row.version else "null"

    current = await site.engine.change(work)
    return plain(204, headers={"x-object-version-id": asked, "x-object-current-version-id": current})


async def _restore(site: Site, req: Request, version: int) -> Response:
    """PUT ?version-id: that version becomes the present one."""
    if not version:
        raise Refusal(400, "Invalid version parameter")
    if req.length is None and req.headers.get("transfer-encoding", "") != "chunked":
        raise Refusal(411)
    if req.length or await req.read(1 << 20):
        raise Refusal(400, "PUT version-id requests require a zero byte body")
    _, container = site.container(req)

    def work(index: Any) -> ObjectRow:
        row: ObjectRow | None = index.object(container.id, req.obj)
        if row is not None and row.version == version:
            return row
        old: ObjectRow | None = index.version(container.id, req.obj, version)
        if old is None or old.kind == "marker":
            raise Refusal(404, "The specified version does not exist")
        if row is not None:
            past(index, row)
        index.share(old.blob)
        index.drop_version(old)
        index.put_object(old, row)
        return old

    row = await site.engine.change(work)
    return plain(201, headers={"etag": row.etag, "x-object-version-id": timestamp(row.version),
                               "last-modified": checks.http_time(row.ts)})  # fmt: skip
