"""What clients say about files and folders beside what the store knows ("dead" properties, RFC 4918, section 4).

They lie with the object (a folder's with its mark, a container's with the container) as one piece of inner metadata, by
name in Clark's notation, and go where the object goes.
"""

import json
from typing import Any

import msgspec

from nutshell.object_store.dav.share import Failure, Found, Share
from nutshell.object_store.swift.authorize import authorize
from nutshell.object_store.swift.messages import Refusal, plain
from nutshell.object_store.swift.writes import share as share_bytes

OF_OBJECT, OF_CONTAINER = "x-object-sysmeta-dav-properties", "x-container-sysmeta-dav-properties"
MOST_BYTES = 32 << 10


def _names(found: Found) -> tuple[str, ...]:
    """The objects that may carry them."""
    name = found.place.name
    return (name + "/", name) if found.folder else (name,)


def _rows(share: Share, found: Found) -> tuple[Any, Any]:
    """(the container's row, the object's)."""
    engine, place = share.site.engine, found.place
    _, container = engine.find(share.request.account, place.container)
    if container is None or not place.name:
        return container, None
    rows = (engine.read(lambda i, n=n: i.object(container.id, n)) for n in _names(found))  # type: ignore[misc]
    return container, next((r for r in rows if r is not None), None)


def read(share: Share, found: Found) -> dict[str, str]:
    if not found.place.container:
        return {}
    container, row = _rows(share, found)
    if found.place.name:
        text = row.meta.get(OF_OBJECT, "") if row is not None else ""
    else:
        text = container.meta.get(OF_CONTAINER, "") if container is not None else ""
    known: dict[str, str] = json.loads(text) if text else {}
    return known


def kept(share: Share, found: Found) -> dict[str, str]:
    """The header that carries them over to new content of the same name."""
    known = read(share, found)
    return {OF_OBJECT: json.dumps(known)} if known else {}


def write(share: Share, found: Found, name: str, text: str | None, dry_run: bool) -> None:
    """Set one (None: take it away). Failure where the caller may not, or they become too many."""
    changed = {**read(share, found), name: text or ""}
    if text is None:
        del changed[name]
    said = json.dumps(changed)
    if len(said) > MOST_BYTES:
        raise Failure(plain(507, f"Properties of one resource take {MOST_BYTES} bytes at most."))
    site, place = share.site, found.place
    try:
        account, container = site.engine.find(share.request.account, place.container)
        authorize(site.cloud, share.asking("POST", place), account, container)
    except Refusal as why:
        raise Failure(why.response()) from None
    if dry_run:
        return
    if place.name and found.folder and _rows(share, found)[1] is None:
        share.make_folder(place)

    def work(index: Any) -> None:
        assert account is not None
        holder = index.container(account.id, place.container)
        if holder is None:
            return
        if not place.name:
            index.put_container(msgspec.structs.replace(holder, meta=_with(holder.meta, OF_CONTAINER, said)))
            return
        row = next((r for r in (index.object(holder.id, n) for n in _names(found)) if r is not None), None)
        if row is not None:
            share_bytes(index, row)
            index.put_object(msgspec.structs.replace(row, meta=_with(row.meta, OF_OBJECT, said)), row)

    site.engine.change_now(work)


def _with(meta: dict[str, str], name: str, said: str) -> dict[str, str]:
    rest = {k: v for k, v in meta.items() if k != name}
    return rest if said == "{}" else {**rest, name: said}
