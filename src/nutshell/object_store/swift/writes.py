"""Writing objects (Object Storage API, "Create or replace object", "Create or update object metadata", "Delete")."""

import mimetypes
from typing import Any

import msgspec

from nutshell.object_store.numbers import count
from nutshell.object_store.rows import ContainerRow, ObjectRow, timestamp
from nutshell.object_store.sockets import pour
from nutshell.object_store.swift import checks, ranges
from nutshell.object_store.swift.checks import http_time
from nutshell.object_store.swift.messages import ClientLeft, Refusal, Request, Response, is_true, plain
from nutshell.object_store.swift.site import Site

KEPT = (
    "content-disposition",
    "content-encoding",
    "content-language",
    "cache-control",
    "expires",
    "x-robots-tag",
    "x-object-manifest",
)


def metadata_from(req: Request) -> dict[str, str]:
    """What a PUT or POST says the object's headers are."""
    inside = bool(req.notes.get("inside"))
    return {
        k: v
        for k, v in req.headers.items()
        if k.startswith("x-object-meta-")  # an empty one is kept, too
        or (v and (k in KEPT or (inside and (k == "x-static-large-object" or k.startswith("x-object-sysmeta-")))))
    }


def content_type(req: Request) -> str:
    """As said, or guessed from the name."""
    said = req.headers.get("content-type", "")
    if not said or is_true(req.headers.get("x-detect-content-type", "")):
        said = mimetypes.guess_type(req.obj)[0] or "application/octet-stream"
    try:
        said.encode("latin1").decode()
    except UnicodeDecodeError:
        raise Refusal(400, "Invalid Content-Type") from None
    return said


def check_put(site: Site, req: Request) -> int:
    """The request as such; the seconds at which it wants the object deleted."""
    length = req.length
    coding = req.headers.get("transfer-encoding", "").lower()
    if coding and coding != "chunked":
        if "chunked" in coding:
            raise Refusal(501)
        raise Refusal(400, "Invalid Transfer-Encoding header value")
    if length is None and coding != "chunked" and req.body is None and "h2" not in req.notes:
        raise Refusal(411, "Missing Content-Length header.")
    check_size(length or 0)
    checks.check_object_name(req.obj)
    at = checks.delete_at(req.headers, site.cloud.clock.now())
    checks.check_metadata(req, "object")
    none = req.headers.get("if-none-match")
    if none is not None and none.strip() != "*":
        raise Refusal(400, "If-None-Match only supports *")
    return at


def check_size(size: int) -> None:
    if size > checks.LIMITS["max_file_size"]:
        raise Refusal(413, "Your request is too large.")


async def put(site: Site, req: Request) -> Response:
    account, container = site.admitted(req)
    delete_at = check_put(site, req)
    if account is None or account.deleted_at or container is None:
        raise Refusal(404)
    only_new = req.headers.get("if-none-match", "").strip() == "*"
    if only_new and site.engine.read(lambda i: i.object(container.id, req.obj)) is not None:
        raise Refusal(412)
    kind = content_type(req)
    length = req.length
    same: ObjectRow | None = req.notes.get("same_bytes")
    if same is not None and _policy_of(site, same) in (None, container.policy):
        meta = metadata_from(req)
        draft = ObjectRow(container.id, req.obj, 0, same.size, same.etag, kind, same.blob, meta, delete_at)
        return _made(await site.engine.change(lambda index: _again(site, req, index, draft)))
    name = f"{req.account}/{req.container}/{req.obj}"
    async with site.engine.upload(name, container.policy, length) as up:
        await pour(req.chunks(), req.draw if req.body is None else None, up, check_size)
        if length is not None and up.size != length:
            raise ClientLeft()
        staged = await up.finish()
        said = req.headers.get("etag", "").strip().strip('"').lower()
        if said and said != staged.md5:
            raise Refusal(422)
        footer: dict[str, Any] = req.notes.get("footer", {})
        fields = {"size": staged.size, "etag": staged.md5, **footer}
        draft = ObjectRow(container.id, req.obj, 0, fields["size"], fields["etag"], kind, 0, metadata_from(req),
                          delete_at, 0, fields.get("kind", ""), fields.get("shown", {}))  # fmt: skip
        row = await site.engine.change(lambda index: place(site, req, index, draft, staged))
    return _made(row)


def _policy_of(site: Site, row: ObjectRow) -> int | None:
    """Which policy an object's bytes follow; None where there are none."""
    blob = site.engine.read(lambda i: i.blob(row.blob)) if row.blob else None
    return blob.policy if blob is not None else None


def _made(row: ObjectRow) -> Response:
    said = {"etag": row.etag, "last-modified": http_time(row.ts), "x-timestamp": timestamp(row.ts)}
    answer = plain(201, headers=said)
    answer.row = row
    return answer


def _again(site: Site, req: Request, index: Any, draft: ObjectRow) -> ObjectRow:
    """A copy that uses the bytes of another object, if they are still there."""
    if draft.blob:
        if index.blob(draft.blob) is None:
            raise Refusal(404)
        if index.container_by_id(draft.container_id) is None:
            raise Refusal(404)
        index.share(draft.blob)
    return place(site, req, index, draft, None)


def place(site: Site, req: Request, index: Any, draft: ObjectRow, staged: Any) -> ObjectRow:
    """Inside a change: the draft becomes what its name means."""
    old: ObjectRow | None = index.object(draft.container_id, draft.name)
    if index.container_by_id(draft.container_id) is None:
        raise Refusal(404)
    if old is not None and req.headers.get("if-none-match", "").strip() == "*":
        raise Refusal(412)
    now = max(site.now(), old.ts + 1 if old is not None else 0)
    before = req.notes.get("before")
    row = msgspec.structs.replace(draft, ts=now, version=0)
    if before is not None:  # what keeps past versions looks at the old row and may change the new one
        row, old = before(index, row, old)
    row = msgspec.structs.replace(row, blob=index.keep(staged) if staged is not None else draft.blob)
    index.put_object(row, old)
    return row


async def post(site: Site, req: Request) -> Response:
    site.admitted(req)
    checks.check_metadata(req, "object")
    delete_at = checks.delete_at(req.headers, site.cloud.clock.now())
    _, container = site.container(req)
    meta = metadata_from(req)

    def work(index: Any) -> ObjectRow:
        row = _living(site, index, container, req.obj)
        kept = {k: v for k, v in row.meta.items() if k.startswith("x-object-sysmeta-") or k == "x-static-large-object"}
        now = max(site.now(), row.ts + 1)
        changed = msgspec.structs.replace(row, meta={**meta, **kept}, delete_at=delete_at, ts=now)
        if req.headers.get("content-type"):
            changed = msgspec.structs.replace(changed, type=content_type(req))
        share(index, changed)
        index.put_object(changed, row)
        return changed

    row = await site.engine.change(work)
    answer = plain(202, headers={"x-timestamp": timestamp(row.ts), "last-modified": http_time(row.ts)})
    answer.row = row
    return answer


def share(index: Any, row: ObjectRow) -> None:
    """The row goes on using its bytes when the one it replaces lets go of them."""
    if row.blob:
        index.share(row.blob)


def _living(site: Site, index: Any, container: ContainerRow, name: str) -> ObjectRow:
    row: ObjectRow | None = index.object(container.id, name)
    if row is None or (row.delete_at and row.delete_at <= site.cloud.clock.now()):
        raise Refusal(404)
    return row


async def delete(site: Site, req: Request) -> Response:
    wanted = req.headers.get("x-if-delete-at")
    if wanted is not None and count(wanted) is None:
        raise Refusal(400, "Bad X-If-Delete-At header value")
    _, container = site.container(req)

    def work(index: Any) -> None:
        row = _living(site, index, container, req.obj)
        if any(k.startswith("if-") for k in req.headers):
            failed = ranges.condition(req, [row.etag], row.ts)
            if failed:
                raise Refusal(failed)
        if wanted is not None and row.delete_at != int(wanted):
            raise Refusal(412, "X-If-Delete-At and X-Delete-At do not match")
        before = req.notes.get("before_delete")
        if before is not None and before(index, row):
            return
        index.drop_object(row)

    await site.engine.change(work)
    return plain(204, headers={"x-timestamp": timestamp(site.now())})
