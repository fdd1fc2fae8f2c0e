"""What goes on beside requests: expired objects go, deleted accounts are emptied, devices are kept in order."""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop
from nutshell.object_store.port import Keeping, ObjectEngine
from nutshell.object_store.rows import AccountRow
from nutshell.object_store.settings import ObjectStoreConfig

log = logging.getLogger("nutshell.object_store")
PAGE = 200


def in_use(cloud: Cloud) -> bool:
    """Whether anything is stored. The engine is not even loaded for a cloud that stores no objects."""
    state = cloud.settings[CloudConfig].state
    made: Any = cloud.port(ObjectEngine)
    return bool(made.used) if made.loaded else state is not None and (state / "objects" / "index.db").exists()


def expire(cloud: Cloud) -> float | None:
    """Objects whose X-Delete-At has come are deleted. Requests do not see them from that second on anyway."""
    engine = cloud.port(ObjectEngine)
    if not in_use(cloud):
        return None
    now = int(cloud.clock.now())

    def work(index: Any) -> int:
        due = index.list_due(now, PAGE)
        for container_id, name in due:
            row = index.object(container_id, name)
            if row is None or not row.delete_at or row.delete_at > now:
                continue
            if row.version:  # versions are kept for good
                index.share(row.blob)
                index.put_version(msgspec.structs.replace(row, delete_at=0))
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
    if not in_use(cloud):
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


def keep(cloud: Cloud) -> float | None:
    """Space is given back, damage that readers met is mended, replicas follow the device table."""
    if not in_use(cloud):
        return None
    keeper = cloud.port(Keeping)
    keeper.remove_freed()
    keeper.sweep_orphans()
    keeper.repair_noted()
    if keeper.table_changed():
        keeper.pass_over(verify=False)
    keeper.compact()
    return None


def scrub(cloud: Cloud) -> float | None:
    """Every byte is read and compared with its checksum, as slowly as the settings say."""
    rate = cloud.settings[ObjectStoreConfig].scrub_mib_per_s
    if not rate or not in_use(cloud):
        return None
    report = cloud.port(Keeping).scrub(rate)
    if report.damaged or report.lost:
        log.warning("object store: the scrubber found %d damaged replicas, mended %d; %d blobs are lost",
                    len(report.damaged), report.repaired, len(report.lost))  # fmt: skip
    return None


def loops() -> list[Loop]:
    return [
        Loop("objects-expire", expire, every_s=5.0),
        Loop("objects-keep", keep, every_s=10.0),
        Loop("objects-scrub", scrub, every_s=3600.0),
        Loop("objects-reap", reap, every_s=10.0),
    ]
