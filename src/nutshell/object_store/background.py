"""What goes on beside requests: expired objects go, deleted accounts are emptied, devices are kept in order."""

import logging
from collections.abc import Sequence
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.reconcile import Loop
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.rows import AccountRow

log = logging.getLogger("nutshell.object_store")
PAGE = 200


def expire(cloud: Cloud) -> float | None:
    """Objects whose X-Delete-At has come are deleted. Requests do not see them from that second on anyway."""
    engine = cloud.port(ObjectEngine)
    if not getattr(engine, "used", True):
        return None
    now = int(cloud.clock.now())

    def work(index: Any) -> int:
        due = index.list_due(now, PAGE)
        for container_id, name in due:
            row = index.object(container_id, name)
            if row is not None and row.delete_at and row.delete_at <= now:
                index.drop_object(row)
        return len(due)

    while engine.read(lambda i: i.list_due(now, 1)):
        if engine.change_now(work) < PAGE:
            break
    return None


def reap(cloud: Cloud) -> float | None:
    """Accounts that were deleted lose what they hold, a page at a time. (A project's end deletes no account: what it
    leaves is its administrator's to delete.)"""
    engine = cloud.port(ObjectEngine)
    if not getattr(engine, "used", True):
        return None
    after = ""
    while rows := _accounts(engine, after):
        for row in rows:
            if row.deleted_at:
                _empty(engine, row)
        after = rows[-1].name
    return None


def _accounts(engine: ObjectEngine, after: str) -> Sequence[AccountRow]:
    return engine.read(lambda i: i.list_accounts(after, PAGE))


def _empty(engine: ObjectEngine, account: AccountRow) -> None:
    """Everything in it, then the account itself. Safe to repeat."""

    def some(index: Any) -> bool:
        found = index.list_containers(account.id, after="", until="", prefix="", limit=1, reverse=False)
        if not found:
            index.drop_account(account.id)
            return False
        container = found[0][0]
        rows = index.list_objects(container.id, after="", until="", prefix="", limit=PAGE, reverse=False)
        for row in rows:
            index.drop_object(row)
        past = index.list_versions(container.id, after=("", 0), prefix="", limit=PAGE)
        for row in past:
            index.drop_version(row)
        if len(rows) < PAGE and len(past) < PAGE:
            index.drop_container(container)
        return True

    log.info("object store: account %s is gone; what it held goes", account.name)
    while engine.change_now(some):
        pass


def loops() -> list[Loop]:
    return [
        Loop("objects-expire", expire, every_s=5.0),
        Loop("objects-reap", reap, every_s=10.0),
    ]
