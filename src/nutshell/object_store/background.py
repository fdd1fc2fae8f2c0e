"""What goes on beside requests: expired objects go, deleted accounts are emptied, devices are kept in order."""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.events import Event
from nutshell.core.reconcile import Loop
from nutshell.object_store.engine.owning import Claim
from nutshell.object_store.port import Keeping, ObjectEngine
from nutshell.object_store.rows import AccountRow
from nutshell.object_store.settings import ObjectStoreConfig

log = logging.getLogger("nutshell.object_store")
PAGE = 200


def in_use(cloud: Cloud) -> bool:
    """Whether anything is stored, by this process. The engine is not even loaded for a cloud that stores no objects."""
    claim = cloud.ports.get(Claim)
    if claim is not None and claim.holder():
        return False
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
    for device in keeper.watch():
        _say(cloud, device)
    keeper.remove_freed()
    keeper.sweep_orphans()
    keeper.repair_noted()
    wrapped = keeper.rewrap()
    if wrapped:
        log.info("object store: the keys of %d blobs are wrapped under the root that seals now", wrapped)
        _event(cloud, "rewrap", "", blobs=wrapped)
    report = keeper.follow_table()
    if report is not None:
        _moved(cloud, keeper, report)
    keeper.compact()
    return None


def _event(cloud: Cloud, verb: str, name: str, **facts: Any) -> None:
    cloud.write(lambda tx: tx.events.append(Event(tx.now, "object_store.device", verb, name, facts=facts)))


def _say(cloud: Cloud, device: Any) -> None:
    """A device went or came back."""
    if str(device.state) == "lost":
        log.error("object store: device %s (%s) is lost: its directory is gone, or another is in its place; what it"
                  " held is made anew from the other replicas", device.name, device.path)  # fmt: skip
        _event(cloud, "lose", device.name, path=device.path)
    else:
        log.warning("object store: device %s (%s) is back", device.name, device.path)
        _event(cloud, "return", device.name, path=device.path)


def _moved(cloud: Cloud, keeper: Any, report: Any) -> None:
    """What a pass did; a device that it found drained."""
    if report.moved or report.lost or report.failed:
        log.info("object store: of %d blobs %d replicas were moved or made anew, %d could not be, %d are lost",
                 report.of, report.moved, len(report.failed), len(report.lost))  # fmt: skip
        _event(cloud, "settle", "", moved=report.moved, failed=len(report.failed), lost=len(report.lost))
        return
    held = keeper.on_devices()
    engine: Any = cloud.port(ObjectEngine)
    for device in engine.devices:
        if str(device.state) == "draining" and device.name not in held:
            log.info("object store: device %s is drained and can be removed", device.name)
            _event(cloud, "drain", device.name)


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
        Loop("objects-expire", expire, every_s=5.0, everywhere=True),
        Loop("objects-keep", keep, every_s=10.0, everywhere=True),
        Loop("objects-scrub", scrub, every_s=3600.0, everywhere=True),
        Loop("objects-reap", reap, every_s=10.0, everywhere=True),
    ]
