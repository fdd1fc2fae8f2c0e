"""Container sync: what is put into one container is also put into another (X-Container-Sync-To, X-Container-Sync-Key).

Source: Object Storage documentation, "Container to Container Synchronization". Only within this cloud, whose realm and
cluster /info names: `//nutshell/here/AUTH_other/container`. Both containers carry the same key. Bytes are shared.
"""

from typing import Any

import msgspec

from nutshell.core.cloud import Cloud
from nutshell.object_store.background import in_use
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.rows import ContainerRow

REALM, CLUSTER = "nutshell", "here"
TO, KEY = "x-container-sync-to", "x-container-sync-key"
PAGE = 200


def target_of(value: str) -> tuple[str, str] | None:
    """(account, container) that a header names; None for what is no place in this cloud."""
    parts = value.removeprefix("//").split("/", 3)
    if not value.startswith("//") or len(parts) != 4 or parts[:2] != [REALM, CLUSTER] or not parts[3]:
        return None
    return parts[2], parts[3]


def sync(cloud: Cloud) -> float | None:
    """One pass over every container that is synchronised and changed since the last."""
    if not in_use(cloud):
        return None
    engine: Any = cloud.port(ObjectEngine)
    for source in engine.read(lambda i: i.list_synced()):
        if _fresh(engine, source):
            _one(engine, source)
    return None


def _fresh(engine: Any, source: ContainerRow) -> bool:
    """Whether it holds something newer than what was last looked at."""
    seen: dict[int, tuple[int, int]] = engine.synced
    now = engine.read(lambda i: i.newest(source.id))
    changed = bool(seen.get(source.id) != now)
    seen[source.id] = now
    return changed


def _one(engine: Any, source: ContainerRow) -> None:
    named = target_of(source.meta[TO])
    if named is None:
        return
    _, target = engine.find(*named)
    key = source.meta.get(KEY, "")
    if target is None or not key or target.meta.get(KEY) != key or target.id == source.id:
        engine.synced.pop(source.id, None)  # it may come yet
        return
    after = ""

    def copy(index: Any) -> str:
        rows = index.list_objects(source.id, after=after, until="", prefix="", limit=PAGE, reverse=False)
        if index.container_by_id(target.id) is None:
            return ""
        for row in rows:
            there = index.object(target.id, row.name)
            if there is None or there.ts < row.ts:
                index.share(row.blob)
                index.put_object(msgspec.structs.replace(row, container_id=target.id, version=0), there)
        return rows[-1].name if len(rows) == PAGE else ""

    while True:
        after = engine.change_now(copy)
        if not after:
            return
