"""Traces as OpenTelemetry spans, in the JSON of OTLP 1.x; pure.

Source: https://opentelemetry.io/docs/specs/otlp/ (OTLP/HTTP, JSON: ids in hex, 64-bit numbers as text),
https://www.w3.org/TR/trace-context/ (traceparent), OpenTelemetry's semantic conventions for HTTP.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from nutshell.operator.recorder import Note, Trace

PARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
INTERNAL, SERVER, CLIENT = 1, 2, 3  # SpanKind
ERROR = 2  # StatusCode


def parent_of(trace: Trace) -> tuple[str, str] | None:
    """(trace id, span id) the caller said it belongs to; None when it said nothing that counts."""
    said = PARENT.match(trace.parent)
    if said is None or trace.parent.startswith("ff") or not int(said[1], 16) or not int(said[2], 16):
        return None
    return said[1], said[2]


def trace_id_of(trace: Trace) -> str:
    """The caller's trace, else one of the request's own: its id without the ornaments."""
    parent = parent_of(trace)
    return parent[0] if parent is not None else trace.request_id.removeprefix("req-").replace("-", "")[:32].zfill(32)


def span_id(*words: object) -> str:
    """The same for the same words, so that what comes later finds its parent."""
    return hashlib.blake2b("\n".join(map(str, words)).encode(), digest_size=8).hexdigest()


def request_spans(trace: Trace) -> list[dict[str, Any]]:
    """The request, and a child for each of its parts."""
    e, marks = trace.unpacked()
    began = e["at"] - e["ms"] / 1000
    root = span_id(trace.request_id)
    parent = parent_of(trace)
    facts = {
        "http.request.method": e["method"],
        "url.path": e["path"],
        "http.response.status_code": e["status"],
        "openstack.service": e["service"],
        "openstack.request_id": trace.request_id,
        "openstack.project_id": e["project_id"],
        "enduser.id": e["user_id"],
        "nutshell.verb": e["verb"],
        "nutshell.sql.count": e["sql"],
        "nutshell.sql.ms": e["sql_ms"],
    }
    name = f"{e['method']} {e['verb'] or e['service'] or e['path']}"
    spans = [_span(trace, root, parent[1] if parent else "", (name, SERVER), (began, e["at"]), facts)]
    if e["status"] >= 500:
        spans[0]["status"] = {"code": ERROR, "message": str(trace.refused or "")[:500]}
    for n, ((_, before), (part, at)) in enumerate(pairwise(marks)):
        times = (began + before - marks[0][1], began + at - marks[0][1])
        spans.append(_span(trace, span_id(trace.request_id, n), root, (part, INTERNAL), times, {}))
    return spans


def note_span(trace: Trace, note: Note) -> dict[str, Any]:
    """What followed from a request, as its child."""
    own = span_id(trace.request_id, note.what, note.name, note.at, note.resource_id)
    facts = {"nutshell.what": note.what, "nutshell.resource_id": note.resource_id, "nutshell.state": note.state}
    kind = CLIENT if note.what == "driver" else INTERNAL
    times = (note.at, note.at + note.seconds)
    made = _span(trace, own, span_id(trace.request_id), (f"{note.what} {note.name}", kind), times, facts)
    if note.why:
        made["status"] = {"code": ERROR, "message": note.why[:500]}
    return made


def _span(
    trace: Trace, own: str, parent: str, what: tuple[str, int], times: tuple[float, float], facts: Mapping[str, Any]
) -> dict[str, Any]:
    found = {
        "traceId": trace_id_of(trace),
        "spanId": own,
        "name": what[0],
        "kind": what[1],
        "startTimeUnixNano": str(int(times[0] * 1e9)),
        "endTimeUnixNano": str(int(times[1] * 1e9)),
        "attributes": attributes(facts),
    }
    if parent:
        found["parentSpanId"] = parent
    return found


def attributes(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Key and value in OTLP's way; empty ones are left out."""
    made = []
    for key, value in facts.items():
        if value in ("", None):
            continue
        if isinstance(value, int):
            typed: dict[str, Any] = {"intValue": str(value)}
        else:
            typed = {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}
        made.append({"key": key, "value": typed})
    return made


def export_body(spans: Sequence[Mapping[str, Any]], resource: Mapping[str, Any]) -> dict[str, Any]:
    """An ExportTraceServiceRequest."""
    scope = {"scope": {"name": "nutshell"}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource)}, "scopeSpans": [scope]}]}
