"""Static large objects: a manifest lists the segments, which are checked when it is written and when it is read.

Source: Object Storage documentation, "Static large objects".
"""

import asyncio
import hashlib
import json
from typing import Any

from nutshell.object_store.numbers import count
from nutshell.object_store.swift import bulk, concatenating, ranges, slo_manifests
from nutshell.object_store.swift.checks import iso_time
from nutshell.object_store.swift.messages import (
    REASONS,
    ClientLeft,
    Handler,
    Refusal,
    Request,
    Response,
    is_true,
    one_piece,
    plain,
)
from nutshell.object_store.swift.site import Site
from nutshell.object_store.swift.writes import content_type

AT_ONCE = 4  # how many segments are looked at side by side
ETAG, SIZE = "x-object-sysmeta-slo-etag", "x-object-sysmeta-slo-size"
MANIFEST = "x-object-sysmeta-slo-manifest-size"


def static_objects(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if not req.obj:
            return await inner(req)
        manifest = req.query.get("multipart-manifest", "")
        if req.method in ("GET", "HEAD"):
            answer = await inner(req)
            if answer.row is None or answer.row.kind != "slo" or not (answer.good or answer.status == 304):
                return answer
            return await _read(handle, req, answer, manifest)
        if req.method == "PUT" and manifest == "put":
            site.admitted(req)
            return await _write(handle, inner, req)
        if req.method == "PUT" and "x-static-large-object" in req.headers and not req.notes.get("inside"):
            req.headers.pop("x-static-large-object")
        if req.method == "DELETE" and manifest == "delete":
            return await _delete_all(site, handle, inner, req)
        return await inner(req)

    return handle


async def _read(handle: Handler, req: Request, answer: Response, manifest: str) -> Response:
    row = answer.row
    headers = {k: v for k, v in answer.headers.items() if not k.startswith("x-object-sysmeta-slo-")}
    for name in ("content-range", "content-length"):
        headers.pop(name, None)
    if manifest == "get":
        if req.query.get("format") == "raw":
            kept = json.loads(await answer.read())
            body = json.dumps(slo_manifests.as_sent(kept)).encode()
            headers.update({"content-type": headers["content-type"], "content-length": str(len(body))})
            headers["etag"] = hashlib.md5(body, usedforsecurity=False).hexdigest()
            return Response(200, headers, body, row=row)
        answer.headers = {**headers, "content-type": "application/json; charset=utf-8"}
        answer.headers["content-length"] = row.meta.get(MANIFEST, str(len(answer.body)))
        return answer
    etag, size = row.meta.get(ETAG, ""), int(row.meta.get(SIZE, "0"))
    headers["etag"] = f'"{etag}"'
    headers["x-manifest-etag"] = row.etag
    failed = ranges.condition(req, [etag], row.ts)
    if failed:
        return plain(failed, headers={"etag": headers["etag"], "last-modified": headers["last-modified"]})
    part_number = req.query.get("part-number")
    if req.method == "HEAD" and part_number is None:
        done = ranges.answer(req, headers, size, lambda a, b: one_piece(b""))
        done.row = row
        return done
    kept = await _manifest(handle, req, answer)
    parts = slo_manifests.parts_of(kept)
    if part_number is not None:
        refused = _choose_part(req, headers, parts, (part_number, size))
        if refused is not None:
            return refused
        if req.method == "HEAD":
            start, end = (ranges.ranges_in(req.headers["range"], size) or [(0, 0)])[0]
            headers |= {"content-length": str(end - start), "content-range": f"bytes {start}-{end - 1}/{size}"}
            return Response(206, headers, row=row)
    asked = ranges.ranges_in(req.headers["range"], size) if "range" in req.headers else None
    first = None
    if asked != []:
        first = await concatenating.check_first(handle, req, parts, asked[0] if asked else (0, size))
    done = ranges.answer(req, headers, size, concatenating.pieces_of(handle, req, parts, first))
    done.row = row
    done.notes["made_up"] = True
    return done


async def _manifest(handle: Handler, req: Request, answer: Response) -> Any:
    """What the manifest lists; a HEAD has not brought it along."""
    if req.method == "HEAD":
        query = {**req.query, "multipart-manifest": "get"}
        query.pop("part-number", None)
        answer = await handle(req.sub("GET", query=query, notes={"row": answer.row}))
    return json.loads(await answer.read())


def _choose_part(req: Request, headers: dict[str, str], parts: Any, asked: tuple[str, int]) -> Response | None:
    """?part-number=N: that segment's bytes. A refusal where there is no such segment."""
    text, size = asked
    number = count(text)
    if not number:
        raise Refusal(400, "Part number must be an integer greater than 0")
    if "range" in req.headers:
        raise Refusal(400, "Range requests are not supported with part number queries")
    headers["x-parts-count"] = str(len(parts))
    if number > len(parts):
        said = {**headers, "content-range": f"bytes */{size}", "content-type": "text/html; charset=UTF-8"}
        return plain(416, "The requested part number is not satisfiable", said)
    start = sum(p.length for p in parts[: number - 1])
    req.headers["range"] = f"bytes={start}-{start + parts[number - 1].length - 1}"
    return None


async def _write(handle: Handler, inner: Handler, req: Request) -> Response:
    if req.headers.get("x-copy-from"):
        raise Refusal(405)
    length = req.length
    if length is None and req.headers.get("transfer-encoding", "").lower() != "chunked" and req.body is None:
        raise Refusal(411)
    most = slo_manifests.MOST_BYTES
    if length is not None and length > most:
        raise Refusal(413, f"Manifest File > {most} bytes")
    raw = await req.read(most)
    if length is not None and len(raw) != length:
        raise ClientLeft()
    said = slo_manifests.parse(raw, f"{req.container}/{req.obj}")
    kept, total, wrong = await _kept(handle, req, said)
    kind = bulk.report_type(req)
    beating = is_true(req.query.get("heartbeat", ""))
    if wrong and beating:
        return _beaten(kind, {"Response Status": bulk.line(400), "Response Body": "\n".join(REASONS[400])}, wrong)
    if wrong:
        return bulk.report(kind, {}, wrong, status=400, upload=True)
    etag = slo_manifests.etag_of(kept)
    claimed = req.headers.get("etag", "").strip('"')
    if claimed and claimed != etag:
        if beating:
            return _beaten(kind, {"Response Status": bulk.line(422), "Response Body": "\n".join(REASONS[422])}, [])
        raise Refusal(422)
    body = json.dumps(kept).encode()
    headers = {k: v for k, v in req.headers.items() if k not in ("etag", "transfer-encoding")}
    headers |= {
        "content-length": str(len(body)),
        ETAG: etag,
        SIZE: str(total),
        MANIFEST: str(len(body)),
        "x-static-large-object": "True",
    }
    headers["content-type"] = content_type(req)
    headers.pop("x-detect-content-type", None)
    footer = {"size": total, "kind": "slo", "shown": {"slo_etag": f'"{etag}"'}}
    answer = await inner(
        req.sub(
            "PUT",
            headers=headers,
            body=one_piece(body),
            query={k: v for k, v in req.query.items() if k != "multipart-manifest"},
            notes={**req.notes, "inside": True, "footer": footer},
        )
    )
    if not answer.good:
        return answer
    answer.headers["etag"] = f'"{etag}"'
    if beating:
        facts = {"Response Status": f"{answer.status} Created", "Response Body": "", "Etag": answer.headers["etag"],
                 "Last Modified": answer.headers["last-modified"]}  # fmt: skip
        return _beaten(kind, facts, [])
    return answer


def _beaten(kind: str, facts: dict[str, str], wrong: list[tuple[str, str]]) -> Response:
    """The outcome behind a heartbeat: the status inside counts."""
    told = bulk.report(kind, facts, wrong, status=202, upload=True, lead=b" \r\n\r\n")
    return Response(202, told.headers, stream=one_piece(told.body))


async def _kept(
    handle: Handler, req: Request, said: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], int, list[tuple[str, str]]]:
    """(what is kept of the manifest, the whole's bytes, what is wrong with it)."""
    heads = await _look_at(handle, req, [e["path"] for e in said if "path" in e])
    wrong: list[tuple[str, str]] = []
    kept: list[dict[str, Any]] = []
    total = 0
    for i, entry in enumerate(said):
        if "data" in entry:
            kept.append(entry)
            total += slo_manifests.parts_of([entry])[0].length
            continue
        size, one = slo_manifests.keep(entry, heads[entry["path"]], i == len(said) - 1, wrong)
        total += size
        kept.append(one)
    return kept, total, wrong


async def _look_at(handle: Handler, req: Request, paths: list[str]) -> dict[str, Response]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(path: str) -> tuple[str, Response]:
        container, _, obj = path.lstrip("/").partition("/")
        async with gate:
            try:
                found = await handle(req.sub("HEAD", container=container, obj=obj))
            except Refusal as why:
                found = why.response()
        if found.row is not None:
            found.notes["iso"] = iso_time(found.row.ts)
        return path, found

    return dict(await asyncio.gather(*(look(p) for p in dict.fromkeys(paths))))


async def _delete_all(site: Site, handle: Handler, inner: Handler, req: Request) -> Response:
    """The segments, then the manifest; what cannot be deleted is told."""
    names = await _names(handle, req, f"{req.container}/{req.obj}", 0)
    if is_true(req.query.get("async", "")):
        first = await inner(req.sub("DELETE", headers=dict(req.headers)))
        if first.good:
            rest = req.sub("DELETE")
            task = asyncio.get_running_loop().create_task(bulk.delete_each(inner, rest, names[:-1]))
            site.remembered.setdefault("tasks", set()).add(task)
            task.add_done_callback(site.remembered["tasks"].discard)
        return first
    version = {"version-id": req.query["version-id"]} if "version-id" in req.query else {}
    return await bulk.delete_each(inner, req, names, last_query=version)


async def _names(handle: Handler, req: Request, path: str, depth: int) -> list[str]:
    """Every object below a manifest, itself at the end. 400 for what is no manifest."""
    container, _, obj = path.partition("/")
    query = {"multipart-manifest": "get"}
    if depth == 0 and "version-id" in req.query:
        query["version-id"] = req.query["version-id"]
    answer = await handle(req.sub("GET", container=container, obj=obj, query=query))
    if not answer.good:
        if depth == 0 and answer.status not in (404,):
            raise Refusal(answer.status)
        return [path]
    if answer.row is None or answer.row.kind != "slo":
        if depth == 0:
            raise Refusal(400, "Not an SLO manifest")
        return [path]
    found: list[str] = []
    for entry in json.loads(await answer.read()):
        if "data" in entry:
            continue
        name = entry["name"].lstrip("/")
        if entry.get("sub_slo") and depth < concatenating.DEEPEST:
            found += await _names(handle, req, name, depth + 1)
        else:
            found.append(name)
    return [*dict.fromkeys(found), path]
