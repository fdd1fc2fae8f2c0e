"""Watching guests: what the hypervisor sees is compared with what is wanted, as soon as it changes.

A guest that powers itself off, or whose process dies, is a stopped server with a note in its actions, as nova has it.
A guest that went down with its host or with the whole cloud is started again (nova does so where
`resume_guests_state_on_host_boot` is set, which is our default). At the start of the process every server is compared.
"""

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nutshell.compute.capability import Hypervisor, Power, Seen, Watchable
from nutshell.compute.config import ComputeConfig
from nutshell.compute.servers.noun import Server, record
from nutshell.compute.servers.operate import add_operation
from nutshell.compute.servers.plan import ran_before_resize
from nutshell.compute.servers.status import Want
from nutshell.core.drivers import DriverFault
from nutshell.core.operations import finish
from nutshell.core.reconcile import Loop
from nutshell.core.store import Tx

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

log = logging.getLogger("nutshell.compute")
OFF = (Power.SHUTDOWN, Power.CRASHED)
SWEEP_S = 300.0


@dataclass
class Watch:
    """The cursor, and the guests to look at again because an operation was open on them."""

    cursor: int = 0
    again: set[str] = field(default_factory=set)
    first: bool = True
    swept_at: float = 0.0

    def run(self, cloud: "Cloud") -> float | None:
        """One wait and what came of it; runs again at once, unless the hypervisor cannot be watched."""
        try:
            changed = self._changed(cloud)
            if changed:
                self.again = compare(cloud, changed)
            self.first = False
        except DriverFault as why:
            log.warning("watching guests: %s", why.why)
            return 2.0
        return 0.0 if cloud.has_driver(Watchable) else 10.0

    def _changed(self, cloud: "Cloud") -> set[str]:
        now = cloud.clock.now()
        due = self.first or now - self.swept_at > SWEEP_S or not cloud.has_driver(Watchable)
        found = set(self.again)
        if due:
            self.swept_at = now
            found |= {s for (s,) in cloud.read(_placed)}
        if cloud.has_driver(Watchable):
            patience_s = cloud.settings[ComputeConfig].watch_s
            wait_s = 0.0 if due else min(0.2, patience_s) if self.again else patience_s
            self.cursor, news = cloud.driver(Watchable).wait_changes(self.cursor, wait_s)
            found |= set(news)
        return found


def _placed(tx: Tx) -> list[tuple[str]]:
    found: list[tuple[str]] = tx.sql(
        f"SELECT id FROM {Server.table.name} WHERE host <> '' AND deleted_at IS NULL"
    ).fetchall()
    return found


def compare(cloud: "Cloud", server_ids: set[str]) -> set[str]:
    """Look at these guests and record what changed; the ids of those that are busy, to be looked at again."""
    ids = sorted(server_ids)
    rows = cloud.read(lambda tx: tx.find(Server, id=ids))
    seen = {s.server_id: s for s in cloud.driver(Hypervisor).observe(ids)}
    busy = {r.id for r in rows if r.task}
    for row in rows:
        if not row.task and row.host and _differs(row, seen.get(row.id)):
            recorded = cloud.write(lambda tx, row=row: _record(cloud, tx, row, seen.get(row.id)))  # type: ignore[misc]
            if not recorded:
                busy.add(row.id)
    return busy


def _differs(row: Server, seen: Seen | None) -> bool:
    power = seen.power if seen is not None else None
    return power is not row.seen or ((power is None or power in OFF) and (_should_run(row) or row.want is Want.PAUSED))


def _should_run(row: Server) -> bool:
    return row.want in (Want.RUNNING, Want.RESCUED) or (row.want is Want.RESIZED and ran_before_resize(row))


def _record(cloud: "Cloud", tx: Tx, before: Server, seen: Seen | None) -> bool:
    """False when the server changed after `before`, which was read before `seen`: what was seen may be of old."""
    row = tx.get(Server, before.id)
    if row is None or row.generation != before.generation:
        return row is None
    power = seen.power if seen is not None else None
    if row.failed:
        record(tx, row, touch=False, seen=power)
        return True
    lost = seen is None or seen.lost
    if lost and _should_run(row) and cloud.settings[ComputeConfig].resume_guests_state_on_host_boot:
        _start_again(cloud, tx, row, power)
    elif row.want in (Want.RUNNING, Want.PAUSED) and (lost or power in OFF):
        why = f"The guest's process ended: {seen.why}" if seen is not None and power is Power.CRASHED else ""
        op = add_operation(tx, row, "stop", cloud.clock.new_id(), 0.0, {"by": "the guest itself"})
        finish(tx, op, why)
        record(tx, row, seen=power, want=Want.STOPPED)
    else:
        record(tx, row, touch=False, seen=power)
    return True


def _start_again(cloud: "Cloud", tx: Tx, row: Server, power: Power | None) -> None:
    timeout_s = cloud.settings[ComputeConfig].operation_timeout_s
    op = add_operation(tx, row, "start", cloud.clock.new_id(), timeout_s, {"by": "the host's return"})
    record(tx, row, task="start", step="", operation_id=op.id, was=row.want, seen=power, due_at=tx.now)


def watching() -> Loop:
    return Loop("guests", Watch().run, every_s=10.0, blocks=True)
