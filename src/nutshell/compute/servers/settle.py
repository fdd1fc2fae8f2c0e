"""The loop over servers: each open operation is carried on until it is done or its deadline has passed."""

import logging
from typing import TYPE_CHECKING, Any

from nutshell.compute.capability import Disks, Hypervisor
from nutshell.compute.migrations import mark_migration
from nutshell.compute.servers.noun import Server, record
from nutshell.compute.servers.plan import plan
from nutshell.compute.servers.steps import CARRY
from nutshell.compute.servers.work import Hopeless, Later, Work
from nutshell.core.clock import iso_seconds
from nutshell.core.drivers import DriverFault
from nutshell.core.errors import Fault, StaleRow
from nutshell.core.operations import Operation, finish
from nutshell.core.store import Tx
from nutshell.image.port import Images
from nutshell.placement.port import Placement

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

log = logging.getLogger("nutshell.compute")


def settle(cloud: "Cloud", server: Server) -> None:
    """Carry on with one server's operation."""
    found = _begin(cloud, server)
    if found is None:
        return
    work = found
    for_ever = work.op.kind == "delete"
    try:
        if cloud.faults is not None and cloud.faults.on:
            cloud.faults.work(work.op.kind, work.server, work.op.id)
        for step in plan(work.server):
            CARRY[step](work)
    except Later as wait:
        if _overdue(work) and not for_ever:
            fail(work, Hopeless(f"Not done in time: {wait}."))
        else:
            seconds = wait.seconds
            if cloud.recorder is not None:
                cloud.recorder.looked("servers", work.server, cloud.clock.real(), wait)
            cloud.write(lambda tx: _look_again(work, tx, seconds))
    except Hopeless as why:
        fail(work, why)
    except DriverFault as why:
        if for_ever or not (why.final or _overdue(work)):
            raise
        fail(work, Hopeless(why.why))
    except OSError as why:
        if for_ever or not _overdue(work):
            raise
        fail(work, Hopeless(str(why)))
    except StaleRow:
        raise
    except Fault as why:
        if for_ever:
            raise
        fail(work, Hopeless(str(why), code=why.http))


def _begin(cloud: "Cloud", server: Server) -> Work | None:
    """The operation with all it needs, in one read; None when there is nothing to do any more."""

    def load(tx: Tx) -> Work | None:
        now = tx.get(Server, server.id)
        op = tx.get(Operation, now.operation_id) if now is not None and now.task else None
        if now is None or op is None:
            return None
        work = Work(cloud, now, op)
        work.read_in(tx)
        return work

    found = cloud.read(load)
    if found is None:
        cloud.write(lambda tx: _rest(tx, server.id))
    return found


def _rest(tx: Tx, server_id: str) -> None:
    now = tx.get(Server, server_id)
    if now is not None and not now.task and now.due_at is not None:
        tx.put(now, quiet=True, touch=False, due_at=None)


def _look_again(work: Work, tx: Tx, seconds: float) -> None:
    tx.put(work.fresh(tx), quiet=True, touch=False, due_at=tx.now + seconds)


def _overdue(work: Work) -> bool:
    return work.cloud.clock.now() > work.op.deadline


def fail(work: Work, why: Hopeless) -> None:
    """The operation failed for good: what it made is taken down, the server says why."""
    log.warning("server %s: %s failed: %s", work.server.id, work.op.kind, why)
    kind = work.op.kind
    down = kind in ("create", "unshelve") and (not work.server.host or _take_down(work))
    soft = why.soft or kind in ("createImage", "createBackup")

    def record_it(tx: Tx) -> None:
        s = work.fresh(tx)
        if "image_id" in work.op.args:
            work.cloud.port(Images).fail(tx, work.op.args["image_id"])
        changes: dict[str, Any] = {"task": "", "step": "", "due_at": None, "want": s.was}
        if not soft:
            changes |= {"failed": True, "fault": _fault_of(tx, why, s.host)}
        if kind in ("create", "unshelve"):
            work.cloud.port(Placement).release(tx, s.id)
            changes |= {"seen": None, **({"host": ""} if down else {})}
        if kind == "resize":
            mark_migration(tx, work.op.id, "error")
        if kind == "resize" and soft:
            grown = work.op.args.get("quota", {})
            work.cloud.quotas.give_back(tx, s.project_id, grown)
        record(tx, s, **changes)
        op = work.op
        if why.considered is not None:
            op = tx.put(op, quiet=True, notes={**op.notes, "considered": dict(why.considered)})
        finish(tx, op, why.details)

    work.cloud.write(record_it)


def _fault_of(tx: Tx, why: Hopeless, host: str) -> dict[str, Any]:
    """The message is the owner's, who is not told where the server is; the details are an administrator's."""
    message = str(why).replace(host, "(its host)") if host else str(why)
    return {"code": why.code, "message": message[:1000], "created": iso_seconds(tx.now), "details": why.details}


def _take_down(work: Work) -> bool:
    """Whether nothing is left on the host; one that does not answer is cleaned when the server is deleted."""
    try:
        work.cloud.driver(Hypervisor).destroy(work.server.id)
        work.cloud.driver(Disks).delete_disks(work.server.id)
    except DriverFault as why:
        log.warning("server %s: could not take it down: %s", work.server.id, why)
        return False
    return True
