"""Symlinks: an object that stands for another (Object Storage documentation, "Symlink").

A static one (with X-Symlink-Target-Etag) is checked when it is written and when it is read.
"""

from urllib.parse import quote, unquote

from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, plain, unwire
from nutshell.object_store.swift.site import Site

DEEPEST = 2
TARGET = "x-object-sysmeta-symlink-target"
ACCOUNT = "x-object-sysmeta-symlink-target-account"
ETAG, SIZE = "x-object-sysmeta-symlink-target-etag", "x-object-sysmeta-symlink-target-bytes"


def symlinks(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if not req.obj:
            return _with_addresses(req, await inner(req)) if req.method == "GET" and req.container else await inner(req)
        itself = req.query.get("symlink", "") == "get"
        if req.method in ("GET", "HEAD"):
            answer = await inner(req)
            _compare(req, answer)
            if answer.row is None or answer.row.kind != "symlink" or "x-symlink-target" in answer.headers:
                return answer
            return _itself(answer) if itself else await _follow(handle, req, answer)
        if req.method == "PUT" and "x-symlink-target" in req.headers:
            return await _write(handle, inner, req)
        if "x-symlink-target" in req.headers and req.method == "POST":
            raise Refusal(400, "A PUT request is required to set a symlink target")
        if req.method == "POST":
            return await _post(site, inner, req)
        return await inner(req)

    return handle


def _compare(req: Request, answer: Response) -> None:
    """409 when a static link led here and this is not what it was made for."""
    wanted, row = req.notes.get("must_be"), answer.row
    if not wanted or row is None:
        return
    said = row.meta[ETAG] if row.kind == "symlink" and ETAG in row.meta else row.etag
    if said != wanted:
        why = f"Object Etag {said!r} does not match X-Symlink-Target-Etag header {wanted!r}"
        raise Refusal(409, why, {"content-location": quote(f"/{req.version}/{req.account}/{req.container}/{req.obj}")})


def _with_addresses(req: Request, answer: Response) -> Response:
    """Listings say where a link leads as a path of the API."""
    for entry in answer.entries or ():
        if "symlink_path" in entry and not entry["symlink_path"].startswith(f"/{req.version}/"):
            entry["symlink_path"] = f"/{req.version}" + entry["symlink_path"]
    return answer


def _target(req: Request) -> tuple[str, str, str]:
    """(account, container, object) that the headers name."""
    text = req.headers["x-symlink-target"]
    container, slash, obj = unquote(text, "latin1").removeprefix("/").partition("/")
    if not slash or not container or not obj:
        raise Refusal(412, "X-Symlink-Target header must be of the form <container name>/<object name>")
    account = unquote(req.headers.get("x-symlink-target-account", ""))
    if "/" in account:
        raise Refusal(412, "Account name cannot contain slashes")
    return account or req.account, unwire(container), unwire(obj)


async def _write(handle: Handler, inner: Handler, req: Request) -> Response:
    if req.length and "copy" not in req.notes:
        raise Refusal(400, "Symlink requests require a zero byte body")
    account, container, obj = _target(req)
    if (account, container, obj) == (req.account, req.container, req.obj):
        raise Refusal(400, "Symlink cannot target itself")
    headers = {k: v for k, v in req.headers.items() if not k.startswith("x-symlink-")}
    path = quote(f"{container}/{obj}")
    headers[TARGET] = path
    if account != req.account:
        headers[ACCOUNT] = account
    size = 0
    more: dict[str, object] = {}
    etag = req.headers.get("x-symlink-target-etag", "").strip('"')
    said: dict[str, str] = {}
    if etag:
        size, kind, more = await _check(handle, req, (account, container, obj), etag)
        headers |= {ETAG: etag, SIZE: str(size)}
        headers.setdefault("content-type", kind)
        said["x-symlink-target-etag"] = etag
    elif req.headers.get("x-symlink-target-bytes"):
        headers.pop("x-symlink-target-bytes", None)
    headers.setdefault("content-type", "application/symlink")
    shown: dict[str, object] = {"symlink_path": quote(f"/{account}/{container}/{obj}")}
    if etag:
        shown |= {"symlink_etag": etag, "symlink_bytes": size, **more}
    notes = {**req.notes, "inside": True, "footer": {**req.notes.get("footer", {}), "kind": "symlink", "shown": shown}}
    answer = await inner(req.sub("PUT", headers=headers, query=dict(req.query), body=req.chunks(), notes=notes))
    if answer.good:
        answer.headers["x-symlink-target"] = path
        if account != req.account:
            answer.headers["x-symlink-target-account"] = account
        answer.headers.update(said)
    return answer


async def _check(
    handle: Handler, req: Request, target: tuple[str, str, str], etag: str, depth: int = 0
) -> tuple[int, str, dict[str, object]]:
    """The target's size, type and further members of listings, if it is what the link says it is. 409."""
    if depth > DEEPEST:
        raise Refusal(409, f"Too many levels of symbolic links, maximum allowed is {DEEPEST}")
    account, container, obj = target
    try:
        found = await handle(req.sub("HEAD", account=account, container=container, obj=obj, query={"symlink": "get"}))
    except Refusal as why:
        found = why.response()
    if found.status == 404:
        raise Refusal(409, "X-Symlink-Target does not exist")
    if not found.good:
        return_status = found.status
        raise Refusal(return_status)
    row = found.row
    static = row is not None and row.kind == "symlink" and ETAG in row.meta
    said = row.meta[ETAG] if static else found.headers.get("etag", "").strip('"')
    where = {"content-location": quote(f"/{req.version}/{account}/{container}/{obj}")}
    if static and said != etag:
        raise Refusal(409, "X-Symlink-Target-Etag headers do not match", where)
    if said != etag:
        raise Refusal(409, f"Object Etag {said!r} does not match X-Symlink-Target-Etag header {etag!r}", where)
    if static:
        onward, _, name = unquote(row.meta[TARGET]).partition("/")
        return await _check(handle, req, (row.meta.get(ACCOUNT, account), onward, name), etag, depth + 1)
    size = row.size if row is not None else int(found.headers.get("content-length", "0"))
    return int(size), found.headers["content-type"], dict(row.shown) if row is not None and row.kind == "slo" else {}


def _itself(answer: Response) -> Response:
    """The link's own metadata, and where it leads."""
    row = answer.row
    answer.headers = {k: v for k, v in answer.headers.items() if not k.startswith("x-object-sysmeta-symlink")}
    answer.headers["x-symlink-target"] = row.meta[TARGET]
    if ACCOUNT in row.meta:
        answer.headers["x-symlink-target-account"] = row.meta[ACCOUNT]
    if ETAG in row.meta:
        answer.headers["x-symlink-target-etag"] = row.meta[ETAG]
        answer.headers["x-symlink-target-bytes"] = row.meta[SIZE]
    return answer


async def _follow(handle: Handler, req: Request, answer: Response) -> Response:
    row = answer.row
    depth = req.notes.get("links", 0)
    if depth >= DEEPEST:
        raise Refusal(409, f"Too many levels of symbolic links, maximum allowed is {DEEPEST}")
    container, _, obj = unquote(row.meta[TARGET]).partition("/")
    account = row.meta.get(ACCOUNT, req.account)
    allow = req.allow
    found = await _answered(
        handle,
        req.sub(
            account=account,
            container=container,
            obj=obj,
            headers=dict(req.headers),
            query={k: v for k, v in req.query.items() if k != "version-id"},
            allow=allow,
            notes={
                **{k: v for k, v in req.notes.items() if k != "row"},
                "links": depth + 1,
                "must_be": row.meta.get(ETAG),
            },
        ),
    )
    found.headers.setdefault("content-location", quote(f"/{req.version}/{account}/{container}/{obj}"))
    return found


async def _answered(handle: Handler, req: Request) -> Response:
    """A refusal of the target is the link's answer, too."""
    try:
        return await handle(req)
    except Refusal as why:
        return why.response()


async def _post(site: Site, inner: Handler, req: Request) -> Response:
    """Metadata goes to the link itself; the client is told where the target is."""
    _, container = site.admitted(req)
    row = site.engine.read(lambda i: i.object(container.id, req.obj)) if container is not None else None
    answer = await inner(req)
    if row is None or row.kind != "symlink" or not answer.good:
        return answer
    target = quote(f"/{req.version}/{row.meta.get(ACCOUNT, req.account)}/") + row.meta[TARGET]
    return plain(
        307,
        "The requested POST was applied to a symlink. POST directly to the target to apply requested metadata.",
        {"location": req.mount + target, **({"x-symlink-target-etag": row.meta[ETAG]} if ETAG in row.meta else {})},
    )
