"""The loop that forgets: events every consumer has seen, finished operations, and rows long deleted."""

import logging
from functools import partial

from nutshell.core.cloud import Cloud
from nutshell.core.events import prune
from nutshell.core.operations import Operation
from nutshell.core.reconcile import Loop
from nutshell.core.resource import NOUNS, Resource
from nutshell.core.store import Tx

log = logging.getLogger("nutshell.housekeeping")
DAY_S = 86400.0
OPERATIONS_KEPT_S = 7 * DAY_S
TOMBSTONES_KEPT_S = 30 * DAY_S


def sweep(cloud: Cloud) -> None:
    """One pass; each kind in a transaction of its own, so that writers wait briefly."""
    now = cloud.clock.now()
    gone = cloud.write(prune)
    gone += cloud.write(lambda tx: tx.drop_where(Operation, Operation.c("finished_at") < now - OPERATIONS_KEPT_S))
    for noun in list(NOUNS):
        if noun.tombstone:
            gone += cloud.write(partial(_forget, noun, now - TOMBSTONES_KEPT_S))
    if gone:
        log.info("forgot %d old rows", gone)


def _forget(noun: type[Resource], before: float, tx: Tx) -> int:
    return tx.drop_where(noun, noun.c("deleted_at") < before)


HOUSEKEEPING = Loop("housekeeping", sweep, every_s=600.0)
