"""Opening and closing operations on a server; each is also an entry of its instance actions.

At most one is open on a server, `server.task` names it. Attaching a device is an operation of the device's own.
"""

from collections.abc import Collection, Mapping
from typing import Any

from nutshell.compute.errors import Locked, WrongState
from nutshell.compute.servers.noun import Server, record
from nutshell.compute.servers.status import Want
from nutshell.core.operations import Operation, finish
from nutshell.core.policy import Who
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.image.port import Images


def check_lock(ask: Ask[Server]) -> None:
    """409 when somebody locked the server and the caller is no administrator."""
    if ask.target.locked_by and "admin" not in ask.who.roles:
        raise Locked(id=ask.target.id)


def check_state(server: Server, action: str, states: Collection[str] | None, *, busy: bool = False) -> None:
    """409 unless the server is in one of the states and, but for `busy`, nothing else is going on."""
    if states is not None and server.vm_state not in states:
        raise WrongState(action=action, id=server.id, attr="vm_state", state=server.vm_state)
    if server.task and not busy:
        raise WrongState(action=action, id=server.id, attr="task_state", state=server.task_state or server.task)


def begin(
    ask: Ask[Any], server: Server, kind: str, want: Want, deadline_s: float, args: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Server:  # fmt: skip
    """Open an operation; the loop carries it out. `want`: what shall hold afterwards."""
    op = add_operation(ask.tx, server, kind, ask.new_id(), deadline_s, args)
    return record(
        ask.tx,
        server,
        task=kind,
        step="",
        operation_id=op.id,
        was=server.want if not server.task else server.was,
        want=want,
        request_id=ask.request_id,
        due_at=ask.now,
        **changes,
    )


def add_operation(
    tx: Tx, server: Server, kind: str, new_id: str, deadline_s: float, args: Mapping[str, Any] | None = None
) -> Operation:
    return tx.add(
        Operation(
            id=new_id,
            kind=kind,
            resource_kind=Server.event_kind,
            resource_id=server.id,
            project_id=server.project_id,
            user_id=tx.request.user_id,
            request_id=tx.request.id or f"req-{new_id}",  # of our own accord: it must be found by it
            args=dict(args or {}),
            deadline=tx.now + deadline_s,
        ),
        quiet=True,
    )


def note(tx: Tx, server: Server, kind: str, new_id: str, fault: str = "") -> None:
    """An action that is over when it is asked for (lock, reset-state)."""
    finish(tx, add_operation(tx, server, kind, new_id, 0.0), fault)


def supersede(ask: Ask[Any], server: Server, by: str) -> None:
    """Close the open operation, if there is one: another one goes first. The image it was making does not come."""
    tx, images = ask.tx, ask.cloud.port(Images)
    op = tx.get(Operation, server.operation_id) if server.operation_id else None
    if op is None or op.finished_at is not None:
        return
    finish(tx, op, f"superseded by {by}")
    image = images.facts(tx, op.args["image_id"]) if "image_id" in op.args else None
    if image is not None and image.status in ("queued", "saving"):
        owner = Who(project_id=server.project_id, roles=frozenset({"member", "reader"}))
        images.delete(tx, owner, image.image_id)
