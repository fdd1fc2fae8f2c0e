"""Server-side copies: COPY with Destination, PUT with X-Copy-From (Object Storage API, "Copy object").

A whole plain object shares its bytes with its copy; everything else is read and written anew.
"""

from collections.abc import AsyncIterator
from urllib.parse import quote, unquote_to_bytes

from nutshell.object_store.swift import checks
from nutshell.object_store.swift.concatenating import PartGone
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, is_true, one_piece, plain
from nutshell.object_store.swift.site import Site

CONDITIONAL = ("x-static-large-object", "x-object-manifest", "etag", "content-type", "x-timestamp", "content-length",
               "last-modified", "accept-ranges", "content-range", "date", "x-trans-id")  # fmt: skip


def copies(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if not req.obj:
            return await inner(req)
        if req.method == "COPY":
            return await _copy(inner, _as_put(req))
        if req.method == "PUT" and req.headers.get("x-copy-from"):
            return await _copy(inner, req)
        return await inner(req)

    return handle


def _text(value: str) -> str:
    """What a header says, percent-encoded or not."""
    try:
        return unquote_to_bytes(value.encode("latin1")).decode()
    except UnicodeDecodeError:
        raise Refusal(412, "Invalid UTF8 or contains NULL") from None


def _path(text: str, name: str) -> tuple[str, str]:
    container, slash, obj = _text(text).removeprefix("/").partition("/")
    if not slash or not container or not obj:
        raise Refusal(412, f"{name} header must be of the form <container name>/<object name>")
    return container, obj


def _account(text: str) -> str:
    name = _text(text)
    if "/" in name:
        raise Refusal(412, "Account name cannot contain slashes")
    if not name:
        raise Refusal(412, "Account name cannot be empty")
    return name


def _as_put(req: Request) -> Request:
    """COPY is a PUT of the destination that names its source."""
    headers = dict(req.headers)
    destination = headers.pop("destination", "")
    if not destination:
        raise Refusal(412, "Destination header required")
    account = headers.pop("destination-account", "")
    container, obj = _path(destination, "Destination")
    headers["x-copy-from"] = quote(f"{req.container}/{req.obj}")
    if account:
        headers["x-copy-from-account"] = quote(req.account)
    headers["content-length"] = "0"
    return req.sub(
        "PUT",
        account=_account(account) if account else req.account,
        container=container,
        obj=obj,
        headers=headers,
        query=dict(req.query),
        notes=dict(req.notes),
    )


async def _copy(inner: Handler, req: Request) -> Response:
    if req.length:
        raise Refusal(400, "Copy requests require a zero byte body")
    headers = dict(req.headers)
    container, obj = _path(headers.pop("x-copy-from"), "X-Copy-From")
    from_account = headers.pop("x-copy-from-account", "")
    account = _account(from_account) if from_account else req.account
    raw = req.query.get("multipart-manifest") == "get"
    query = {**req.query, "format": "raw"} if raw else dict(req.query)
    asked = {k: v for k, v in req.headers.items() if k not in ("content-length", "transfer-encoding")}
    source = await inner(
        req.sub(
            "GET", account=account, container=container, obj=obj, headers=asked, query=query, notes={"copying": True}
        )
    )
    if source.status >= 300:
        return source
    if "content-length" not in source.headers or int(source.headers["content-length"]) > checks.LIMITS["max_file_size"]:
        return plain(413)
    sink = _sink(req, headers, source, raw)
    whole = source.status == 200 and source.row is not None and not source.row.kind and "etag" in sink.headers
    if whole and not source.notes.get("made_up"):
        sink.notes["same_bytes"] = source.row
    answer = await inner(sink)
    if answer.good:
        answer.headers.update(_said(sink, source, account, f"{container}/{obj}"))
    return answer


def _sink(req: Request, headers: dict[str, str], source: Response, raw: bool) -> Request:
    """The PUT of the copy."""
    if is_true(req.headers.get("x-fresh-metadata", "")):
        merged = {k: v for k, v in source.headers.items() if k.startswith("x-object-sysmeta-")} | headers
    else:
        merged = {k: v for k, v in source.headers.items() if k not in CONDITIONAL} | headers
    query = {k: v for k, v in req.query.items() if k != "version-id"}
    if raw:
        if "x-static-large-object" in source.headers:
            query["multipart-manifest"] = "put"
        elif "x-object-manifest" in source.headers:
            query.pop("multipart-manifest", None)
            merged["x-object-manifest"] = source.headers["x-object-manifest"]
    merged["content-length"] = source.headers["content-length"]
    large = "x-static-large-object" in source.headers or ("x-object-manifest" in source.headers and not raw)
    merged.pop("range", None)
    merged.pop("transfer-encoding", None)
    if source.status == 200 and not large and "etag" in source.headers:
        merged["etag"] = source.headers["etag"].strip('"')
    if not req.headers.get("content-type"):
        merged["content-type"] = source.headers.get("content-type", "application/octet-stream")
    body = _whole(source.stream) if source.stream is not None else one_piece(source.body)
    sink = req.sub("PUT", headers=merged, query=query, body=body, notes={**req.notes, "inside": True})
    sink.notes.pop("row", None)
    return sink


async def _whole(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What is copied; 409 for a large object that is whole no more, as it is read."""
    try:
        async for piece in stream:
            yield piece
    except PartGone as why:
        raise Refusal(409, str(why)) from None


def _said(sink: Request, source: Response, account: str, path: str) -> dict[str, str]:
    out = {"x-copied-from-account": quote(account), "x-copied-from": quote(path)}
    if "last-modified" in source.headers:
        out["x-copied-from-last-modified"] = source.headers["last-modified"]
    if "x-object-version-id" in source.headers:
        out["x-copied-from-version-id"] = source.headers["x-object-version-id"]
    out.update({k: v for k, v in sink.headers.items() if k.startswith("x-object-meta-") or k == "x-delete-at"})
    return out
