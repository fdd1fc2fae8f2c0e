"""Why a server is in its state: what is wanted and seen, its operation, and how its host was chosen."""

from collections.abc import Mapping
from typing import Any

from nutshell.compute.nodes import Node, is_up
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.status import TASKS
from nutshell.core.clock import iso_seconds
from nutshell.core.explain import Explained, Explains
from nutshell.core.operations import Operation
from nutshell.core.service import Ask

OWN_WORDS = {"create": "creation", "delete": "deletion"}


def explain(ask: Ask[Any], server: Server) -> Explained:
    ops = ask.tx.find(Operation, resource_id=server.id, order="created_at desc, id desc", limit=20)
    node = ask.tx.one(Node, name=server.host) if server.host else None
    because = [_in_short(server), *_of_operations(server, ops, ask.now)]
    if server.host and (node is None or not is_up(node)):
        because.append("Its host does not answer: nothing is known of the guest, and what is asked of it waits.")
    if node is not None and not node.enabled:
        because.append("Its host is disabled: it takes no new servers, this one stays.")
    if server.locked_by:
        because.append(f"It is locked by its {server.locked_by}: {server.locked_reason or 'no reason was given'}.")
    placed = next((op for op in ops if "considered" in op.notes), None)
    considered = placed.notes["considered"] if placed is not None else {}
    if considered:
        because.append(_choice(considered))
    facts = {
        "want": server.want,
        "seen": server.seen,
        "task": server.task or None,
        "step": server.step or None,
        "task_state": TASKS.get((server.task, server.step)) if server.task else None,
        "failed": server.failed,
        "fault": None if server.fault is None else server.fault.get("message"),
        "operations": [_operation(op) for op in ops[:5]],
        "scheduling": _for_projects(considered) or None,
    }
    hidden = {
        "host": server.host or None,
        "host_up": None if node is None else is_up(node),
        "fault_details": None if server.fault is None else server.fault.get("details"),
        "scheduling": considered or None,
    }
    return Explained(server.status, because, facts, ops[0].request_id if ops else server.request_id, hidden)


def _in_short(server: Server) -> str:
    seen = f"was last seen {server.seen}" if server.seen is not None else "has not been seen on a host"
    return f"It is {server.status}: it is wanted {server.want} and {seen}."


def _of_operations(server: Server, ops: list[Operation], now: float) -> list[str]:
    """The open operation, else what failed last."""
    op = next((o for o in ops if o.finished_at is None), None)
    if op is not None:
        step = f"has done '{op.step or server.step}'" if op.step or server.step else "has not finished a step"
        left = op.deadline - now
        return [
            f"Its {_named(op)}, asked for by {op.request_id} {now - op.created_at:.1f} s ago, {step};"
            + (f" it fails in {left:.0f} s if it is not done." if left > 0 else " its time is over.")
        ]
    failed = next((o for o in ops if o.fault), None)
    if failed is None or not (server.failed or failed is ops[0]):
        return []
    message = (server.fault or {}).get("message") or failed.fault
    return [f"Its {_named(failed)}, asked for by {failed.request_id}, failed at {_time(failed)}: {message}"]


def _named(op: Operation) -> str:
    return OWN_WORDS.get(op.kind, op.kind)


def _time(op: Operation) -> str:
    return iso_seconds(op.finished_at or op.created_at)


def _choice(considered: Mapping[str, Any]) -> str:
    hosts = considered["hosts"]
    wanted = ", ".join(f"{v} {k}" for k, v in considered["wanted"].items() if not isinstance(v, list))
    fit = len(considered.get("fit", ()))
    if considered.get("chosen"):
        return f"When its host was chosen, {fit} of {hosts} hosts had {wanted}; the emptiest was taken."
    return f"No host was chosen: of {hosts} none had {wanted} and met the rest of the request."


def _for_projects(considered: Mapping[str, Any]) -> dict[str, Any]:
    """A decision without names and without what others use."""
    if not considered:
        return {}
    counted: dict[str, int] = {}
    for one in considered["lacking"]:
        counted[one["lacked"]] = counted.get(one["lacked"], 0) + 1
    return {
        "at": considered["at"],
        "wanted": considered["wanted"],
        "hosts": considered["hosts"],
        "fit": len(considered.get("fit", ())),
        "lacking": [{"lacked": lacked, "hosts": n} for lacked, n in counted.items()],
    }


def _operation(op: Operation) -> dict[str, Any]:
    return {
        "kind": op.kind,
        "request_id": op.request_id,
        "step": op.step or None,
        "began_at": op.created_at,
        "finished_at": op.finished_at,
        "deadline": op.deadline,
        "fault": op.fault or None,
    }


EXPLAINS = {"server": Explains(Server, explain)}
