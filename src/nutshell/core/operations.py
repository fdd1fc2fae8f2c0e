"""Operations: what is more than a state (reboot, rebuild, resize, retype): asked once, carried out in steps.

At most one is open per resource. It carries who asked and with which rights, its deadline and its result, and survives
a crash at any step.
"""

from typing import Any

from nutshell.core.errors import Conflict
from nutshell.core.resource import Resource, field
from nutshell.core.store import Tx


class Operation(
    Resource, service="core", one="operation", many="operations", table="operation", indexes=(("resource_id",),)
):
    """One open or finished operation on a resource."""

    kind: str = field()  # "reboot"
    resource_kind: str = field()  # "compute.server"
    resource_id: str = field()
    project_id: str = field(default="")
    user_id: str = field(default="")
    roles: list[str] = field(factory=list)
    request_id: str = field(default="")
    args: dict[str, Any] = field(factory=dict)
    step: str = field(default="")  # the last step finished; its meaning is the operation's own
    notes: dict[str, Any] = field(factory=dict)  # what steps need to remember
    deadline: float = field(default=0.0)
    finished_at: float | None = field(default=None)
    fault: str = field(default="")


def begin(
    tx: Tx,
    row: Resource,
    kind: str,
    args: dict[str, Any],
    *,
    new_id: str,
    deadline_s: float,
    roles: list[str] | None = None,
) -> Operation:
    """Open an operation on a row. Conflict (409) while another is open."""
    busy = open_on(tx, row.id)
    if busy is not None:
        raise Conflict(
            f"{row.one} {row.id} is busy with '{busy.kind}' since {busy.request_id or 'an earlier request'}."
        )
    return tx.add(
        Operation(
            id=new_id,
            kind=kind,
            resource_kind=row.event_kind,
            resource_id=row.id,
            args=args,
            project_id=getattr(row, "project_id", "") or "",
            user_id=tx.request.user_id,
            roles=roles or [],
            request_id=tx.request.id,
            deadline=tx.now + deadline_s,
        ),
        quiet=True,
    )


def open_on(tx: Tx, resource_id: str) -> Operation | None:
    return tx.one(Operation, resource_id=resource_id, finished_at=None)


def finish(tx: Tx, operation: Operation, fault: str = "") -> Operation:
    return tx.put(operation, finished_at=tx.now, fault=fault, quiet=True)
