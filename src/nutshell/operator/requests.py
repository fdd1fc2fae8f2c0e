"""Requests: what became of each of the last ones, part by part (docs/EXPLAIN.md)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from nutshell.compute.port import Servers
from nutshell.core.clock import iso_micros_z
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.operations import Operation
from nutshell.core.service import Ask
from nutshell.operator.recorder import Note, Ring, Trace, why_refused
from nutshell.operator.service import operator
from nutshell.operator.spans import trace_id_of

operator.policy(
    {
        "nutshell:requests:list": "@",
        "nutshell:requests:show": "rule:admin_api or project_id:%(project_id)s",
        "nutshell:explain:hosts": "rule:admin_api",
    }
)
LISTED = 100
HOSTS = "nutshell:explain:hosts"


@operator.route("GET", "/requests", rule="nutshell:requests:list")
def index(ask: Ask[Any]) -> dict[str, Any]:
    """The newest first; `limit`, and filters by method, service, status, user_id, project_id, resource_id."""
    limit = ask.asked("limit", str(LISTED))
    if not limit.isdecimal():
        raise BadRequest("limit must be a whole number")
    found: list[dict[str, Any]] = []
    for trace in ask.cloud.port(Ring).newest():
        if len(found) >= int(limit):
            break
        if may_see(ask, trace) and _fits(ask, trace):
            found.append(brief(trace))
    return {"requests": found}


def _fits(ask: Ask[Any], trace: Trace) -> bool:
    entry = trace.entry
    for name in ("method", "service", "status", "user_id", "project_id"):
        if name in ask.query and str(entry.get(name)) != ask.asked(name):
            return False
    wanted = ask.asked("resource_id")
    return not wanted or wanted in entry["path"] or any(n.resource_id == wanted for n in trace.notes)


@operator.route("GET", "/requests/{id}", rule="nutshell:requests:list")
def show(ask: Ask[Any]) -> dict[str, Any]:
    return {"request": whole(ask, need_trace(ask, ask.params["id"]))}


def need_trace(ask: Ask[Any], request_id: str) -> Trace:
    """NotFound also for one that is not the caller's."""
    trace = ask.cloud.port(Ring).trace(request_id)
    if trace is None or not trace.packed or not may_see(ask, trace):
        raise NotFound(kind="Request", id=request_id)
    return trace


def may_see(ask: Ask[Any], trace: Trace) -> bool:
    """An administrator all; a project its own."""
    project_id = trace.entry.get("project_id") or None
    return ask.may("nutshell:requests:show", {"project_id": project_id})


def brief(trace: Trace) -> dict[str, Any]:
    e = trace.entry
    names = ("method", "path", "status", "ms", "service", "verb", "user_id", "project_id")
    return {"id": trace.request_id, "at": iso_micros_z(e["at"] - e["ms"] / 1000), **{n: e[n] for n in names}}


def whole(ask: Ask[Any], trace: Trace) -> dict[str, Any]:
    """A trace as it is shown; without host names for whoever may not know them."""
    e, marks = trace.unpacked()
    began = e["at"] - e["ms"] / 1000
    found = brief(trace) | {
        "bytes": e["bytes"],
        "sql": e["sql"],
        "sql_ms": e["sql_ms"],
        "rule": trace.rule,
        "roles": sorted(trace.roles),
        "trace_id": trace_id_of(trace),
        "parts": list(_parts(marks)),
        "events": [_noted(n, began) for n in trace.notes if n.what == "event"],
        "followed": [_noted(n, began) for n in sorted(trace.notes, key=lambda n: n.at) if n.what != "event"],
        "operations": [_operation(op, began) for op in ask.tx.find(Operation, request_id=trace.request_id)],
        "refused": why_refused(trace) or None,
        "dropped": trace.dropped,
    }
    shown: dict[str, Any] = nameless(ask, found)
    return shown


def _parts(marks: Sequence[tuple[str, float]]) -> Iterator[dict[str, Any]]:
    """What passed between the marks, in milliseconds."""
    for (_, before), (name, at) in pairwise(marks):
        yield {"name": name, "at_ms": _ms(before - marks[0][1]), "ms": _ms(at - before)}


def _noted(note: Note, began: float) -> dict[str, Any]:
    found: dict[str, Any] = {"what": note.what, "name": note.name, "at_ms": _ms(note.at - began)}
    if note.what != "event":
        found["ms"] = _ms(note.seconds)
    if note.times > 1:
        found["times"] = note.times
    return found | {k: v for k in ("resource_id", "state", "why") if (v := getattr(note, k))}


def _operation(op: Operation, began: float) -> dict[str, Any]:
    ended = op.finished_at
    return {
        "id": op.id,
        "kind": op.kind,
        "resource_kind": op.resource_kind,
        "resource_id": op.resource_id,
        "step": op.step,
        "done": ended is not None,
        "ms": None if ended is None else _ms(ended - op.created_at),
        "fault": op.fault,
        "at_ms": _ms(op.created_at - began),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def nameless(ask: Ask[Any], found: Any) -> Any:
    """The same without host names, unless the caller may know them."""
    if ask.may(HOSTS, {}):
        return found
    servers = ask.cloud.ports.get(Servers)
    names = sorted(servers.host_names(ask.tx), key=len, reverse=True) if servers is not None else []
    words = "|".join(map(re.escape, names))
    return _without(found, re.compile(rf"(?<![\w-])(?:{words})(?![\w-])") if words else None)


def _without(value: Any, names: "re.Pattern[str] | None") -> Any:
    if names is None:
        return value
    if isinstance(value, str):
        return names.sub("(a host)", value)
    if isinstance(value, Mapping):
        return {k: _without(v, names) for k, v in value.items()}
    return [_without(v, names) for v in value] if isinstance(value, list) else value
