"""The older ways of keeping the past: copies in another container (X-Versions-Location, X-History-Location).

Source: Object Storage documentation, "Object versioning" (stack and history mode). With the first a DELETE brings the
last copy back, with the second it leaves a marker.
"""

from typing import Any
from urllib.parse import quote, unquote

import msgspec

from nutshell.object_store.rows import ContainerRow, ObjectRow, timestamp
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, is_true, plain, unwire
from nutshell.object_store.swift.site import Site
from nutshell.object_store.swift.versions import MARKER_TYPE

STACK, HISTORY = "x-versions-location", "x-history-location"


def past_containers(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if not req.container:
            return await inner(req)
        if not req.obj:
            if req.method in ("PUT", "POST"):
                _check(site, req)
            return await inner(req)
        if req.method not in ("PUT", "DELETE"):
            return await inner(req)
        _, container = site.engine.find(req.account, req.container)
        mode = next((m for m in (STACK, HISTORY) if container is not None and container.meta.get(m)), "")
        if container is None or not mode:
            return await inner(req)
        place = unwire(unquote(container.meta[mode], "latin1"))
        if req.method == "PUT":
            kept = container

            def before(index: Any, row: ObjectRow, old: ObjectRow | None) -> tuple[ObjectRow, ObjectRow | None]:
                _copy(index, kept, place, old)
                return row, old

            req.notes["before"] = before
            return await inner(req)
        return await _delete(site, inner, req, container, place, mode)

    return handle


def _check(site: Site, req: Request) -> None:
    """The container headers that choose one of the modes."""
    said = [h for h in (STACK, HISTORY) if req.headers.get(h)]
    _, container = site.engine.find(req.account, req.container)
    meta = container.meta if container is not None else {}
    if len(said) == 2:
        raise Refusal(400, "Only one of X-Versions-Location or X-History-Location may be specified")
    if said and (is_true(req.headers.get("x-versions-enabled", "")) or "x-versions-enabled" in meta):
        site.admitted(req)
        raise Refusal(400, "Cannot enable legacy versioned writes on a container that is using object versioning.")
    for header in said:
        text = unquote(req.headers[header], "latin1")
        if "/" in text.strip("/") or not text.strip("/"):
            raise Refusal(412, "Container name cannot contain slashes")
        req.headers[header] = quote(text.strip("/"), encoding="latin1")
        other = HISTORY if header == STACK else STACK
        req.headers[f"x-remove-{other[2:]}"] = "x"


def _lead(name: str) -> str:
    return f"{len(name.encode()):03x}{name}/"


def _copy(index: Any, container: ContainerRow, place: str, old: ObjectRow | None) -> None:
    """What is there goes to the other container, under its name and time, with the same bytes."""
    target = index.container(container.account_id, place)
    if target is None:
        raise Refusal(412)
    if old is None:
        return
    name = _lead(old.name) + timestamp(old.ts)
    index.share(old.blob)
    copy = msgspec.structs.replace(old, container_id=target.id, name=name, version=0)
    index.put_object(copy, index.object(target.id, name))


async def _delete(
    site: Site, inner: Handler, req: Request, container: ContainerRow, place: str, mode: str
) -> Response:  # fmt: skip
    if mode == HISTORY:
        made: list[bool] = []

        def mark(index: Any, at: int) -> None:
            target = index.container(container.account_id, place)
            if target is None:
                raise Refusal(412)
            made[:] = [True]
            name = _lead(req.obj) + timestamp(at)
            row = ObjectRow(target.id, name, at, 0, "d41d8cd98f00b204e9800998ecf8427e", MARKER_TYPE, 0, {})
            index.put_object(row, index.object(target.id, name))

        def before(index: Any, row: ObjectRow) -> bool:
            _copy(index, container, place, row)
            mark(index, max(site.now(), row.ts + 1))
            return False

        req.notes["before_delete"] = before
        try:
            return await inner(req)
        except Refusal as why:
            if why.status != 404 or made:
                raise
            await site.engine.change(lambda index: mark(index, site.now()))
            raise
    site.container(req)
    if await site.engine.change(lambda index: _bring_back(index, container, place, req.obj)):
        return plain(204)
    return await inner(req)


def _bring_back(index: Any, container: ContainerRow, place: str, name: str) -> bool:
    """The last copy becomes the object again. False when there is none."""
    target = index.container(container.account_id, place)
    if target is None:
        return False
    lead = _lead(name)
    copies = index.list_objects(target.id, after="", until="", prefix=lead, limit=2, reverse=True)
    if not copies:
        return False
    last = copies[0]
    now: ObjectRow | None = index.object(container.id, name)
    if last.type == MARKER_TYPE:  # written in history mode
        if now is not None:  # the deletion leads back to what the marker says
            return False
        index.drop_object(last)  # the marker is undone, and what it hid comes back
        if len(copies) < 2 or copies[1].type == MARKER_TYPE:
            return True
        last = copies[1]
    index.share(last.blob)
    index.put_object(msgspec.structs.replace(last, container_id=container.id, name=name), now)
    index.drop_object(last)
    return True
