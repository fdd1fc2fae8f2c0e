"""Dynamic large objects: a manifest names a container and a prefix; what is there is the object (X-Object-Manifest).

Source: Object Storage documentation, "Dynamic large objects".
"""

import hashlib
from urllib.parse import unquote

from nutshell.object_store.swift import checks, concatenating, ranges
from nutshell.object_store.swift.concatenating import Part
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, plain, unwire
from nutshell.object_store.swift.site import Site


def dynamic_objects(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if not req.obj:
            return await inner(req)
        if req.method == "PUT" and "x-object-manifest" in req.headers:
            check_manifest(req.headers["x-object-manifest"])
        if req.method not in ("GET", "HEAD") or req.query.get("multipart-manifest") == "get":
            return await inner(req)
        answer = await inner(req)
        if "x-object-manifest" not in answer.headers or not answer.good:
            return answer
        if answer.row is not None and answer.row.kind == "slo":  # a POST may write the header on any object
            return answer
        return await _assemble(site, handle, inner, req, answer)

    return handle


def check_manifest(value: str) -> None:
    container, slash, prefix = value.partition("/")
    if not slash or not container or not prefix or "?" in value or "&" in value or prefix.startswith("/"):
        raise Refusal(400, "X-Object-Manifest must be in the format container/prefix")


async def _assemble(site: Site, handle: Handler, inner: Handler, req: Request, manifest: Response) -> Response:
    container, _, prefix = unwire(unquote(manifest.headers["x-object-manifest"], "latin1")).partition("/")
    parts: list[Part] = []
    after, complete = "", False
    digest = hashlib.md5(usedforsecurity=False)
    came_from = {"referer": req.headers["referer"]} if "referer" in req.headers else {}
    if "," in req.headers.get("range", ""):  # several ranges of what may still grow are not served
        req.headers.pop("range")
    while not complete:
        page = await inner(
            req.sub("GET", container=container, obj="", query={"prefix": prefix, "marker": after}, headers=came_from)
        )
        if not page.good:
            return page
        entries = page.entries or []
        for e in entries:
            parts.append(Part(container, e["name"], 0, e["bytes"], e["bytes"]))
            digest.update(e["hash"].encode())
            after = e["name"]
        complete = len(entries) < checks.LIMITS["container_listing_limit"]
    size = sum(p.length for p in parts)
    headers = {k: v for k, v in manifest.headers.items() if k not in ("content-length", "content-range", "etag")}
    headers["etag"] = f'"{digest.hexdigest()}"'
    failed = ranges.condition(req, [digest.hexdigest()], manifest.row.ts)
    if failed:
        return plain(failed, headers={"etag": headers["etag"], "last-modified": headers["last-modified"]})
    first = None
    if req.method == "GET":
        asked = ranges.ranges_in(req.headers["range"], size) if "range" in req.headers else None
        first = await concatenating.check_first(handle, req, parts, asked[0] if asked else (0, size))
    answer = ranges.answer(req, headers, size, concatenating.pieces_of(handle, req, parts, first))
    answer.notes["made_up"] = True
    answer.row = manifest.row
    return answer
