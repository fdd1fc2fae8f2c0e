"""The traces of the last requests, in memory: what each passed, and what events, loops and drivers did because of it.

Implements `core.trace.Recorder`. Bounded in number and in bytes; nothing of it is ever written to the database. Told
from every thread.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, ClassVar

import msgspec

from nutshell.core.config import setting
from nutshell.core.errors import Fault, QuotaExceeded
from nutshell.core.events import Event, current_request
from nutshell.core.service import Ask

NOTES = 200  # of one request; later ones are counted
CAUSES = 20_000  # resources whose last request is known
TRACE_BYTES, NOTE_BYTES = 1000, 250  # measured, about


@dataclass(frozen=True)
class TracesConfig:
    """Traces of requests: how many are kept in memory, and where they are sent."""

    table: ClassVar[str] = "traces"

    keep: int = setting(2000, "Requests whose trace is kept; 0: none, and nothing is recorded.")
    keep_bytes: int = setting(16 * 2**20, "Bytes of traces kept, about.")
    otlp_endpoint: str = setting("", "OpenTelemetry collector to send to by OTLP/HTTP JSON, as http://localhost:4318.")
    otlp_queue: int = setting(4096, "Spans that wait to be sent at most; what comes on top is dropped and counted.")


@dataclass(slots=True)
class Note:
    """Something that happened because of a request. what: event, driver, loop."""

    what: str
    at: float
    seconds: float
    name: str
    resource_id: str = ""
    state: str = ""
    why: str = ""
    times: int = 1


@dataclass(slots=True)
class Trace:
    """One request and what followed from it. Its facts are kept packed: thousands of small objects that are let go
    long after they were made cost each request more than packing does."""

    request_id: str
    packed: bytes = b""  # the access log's entry; empty until it is answered
    marks: bytes = b""
    rule: str = ""
    roles: frozenset[str] = frozenset()
    refused: Exception | None = None
    quota: dict[str, Any] | None = None  # the limit that refused it
    parent: str = ""  # the caller's traceparent header
    noted: list[Note] | None = None
    dropped: int = 0

    @property
    def notes(self) -> Sequence[Note]:
        return self.noted or ()

    @property
    def entry(self) -> dict[str, Any]:
        """The access log's entry; empty until it is answered."""
        return ENTRY(self.packed) if self.packed else {}

    def unpacked(self) -> tuple[dict[str, Any], list[tuple[str, float]]]:
        """(the access log's entry, the marks)."""
        return self.entry, MARKS(self.marks) if self.marks else []


PACK = msgspec.msgpack.Encoder().encode
MARKS = msgspec.msgpack.Decoder(list[tuple[str, float]]).decode
ENTRY = msgspec.json.Decoder(dict[str, Any]).decode
Finished = Callable[[Trace], None]
Noted = Callable[[Trace, Note], None]


class Ring:
    """`trace(id)` and `newest()`; told by the core what happens."""

    def __init__(self, keep: int, keep_bytes: int) -> None:
        self.keep, self.keep_bytes = keep, keep_bytes
        self._traces: dict[str, Trace] = {}
        self._order: deque[str] = deque()
        self._causes: dict[str, str] = {}
        self._cause_order: deque[str] = deque()
        self._bytes, self._lock = 0, threading.Lock()
        self.finished: Finished | None = None  # somebody else who wants each trace, and each later note
        self.noted: Noted | None = None

    # -- asked

    def trace(self, request_id: str) -> Trace | None:
        return self._traces.get(request_id)

    def newest(self) -> Iterator[Trace]:
        """Answered requests, newest first."""
        for request_id in reversed(list(self._order)):
            trace = self._traces.get(request_id)
            if trace is not None and trace.packed:
                yield trace

    def cause_of(self, resource_id: str) -> str:
        return self._causes.get(resource_id, "")

    # -- told

    def request(self, request_id: str, entry: bytes, ask: Ask[Any] | None, refused: Exception | None) -> None:
        trace = self._traces.get(request_id) or self._need(request_id)
        trace.packed = entry
        if ask is not None:
            trace.marks = PACK(ask.marks)
            trace.rule, trace.roles = ask.route.rule or "", ask.who.roles
            trace.parent = ask.headers.get("traceparent", "")
        if refused is not None:
            trace.quota = _quota_of(refused)
            refused.__traceback__ = None  # it would hold the frames, and with them the request's body
            refused.__context__ = refused.__cause__ = None
            trace.refused = refused
        if self.finished is not None:
            self.finished(trace)

    def committed(self, events: Sequence[Event]) -> None:
        """After a commit, on the writer's thread."""
        now = time.time()
        for e in events:
            request_id = e.request_id or self._causes.get(e.resource_id, "")
            if not request_id:
                continue
            if e.request_id:
                self._remember(e.resource_id, request_id)
            state = "" if e.row is None else _state_of(e.row)
            self._note(request_id, Note("event", now, 0.0, f"{e.kind} {e.verb}", e.resource_id, state))

    def driver(self, service: str, method: str, given: Sequence[Any], started: float, why: Exception | None) -> None:
        if method == "wait_changes":  # the long wait for news is no work of anybody's
            return
        ids = list(_ids_in(given))
        mine = current_request().id
        known = self._causes
        causes = {mine} if mine else {known[i] for i in ids if i in known}
        first = ids[0] if ids else ""
        for request_id in causes:
            seconds, text = time.time() - started, "" if why is None else str(why)
            self._note(request_id, Note("driver", started, seconds, f"{service}.{method}", first, "", text))

    def looked(self, loop: str, row: Any, started: float, why: BaseException | None) -> None:
        request_id = current_request().id
        if request_id:
            text = "" if why is None else str(why) or type(why).__name__
            self._note(request_id, Note("loop", started, time.time() - started, loop, row.id, "", text))

    # -- kept

    def _need(self, request_id: str) -> Trace:
        trace = self._traces.get(request_id)
        if trace is not None:
            return trace
        with self._lock:
            trace = self._traces.get(request_id)
            if trace is None:
                trace = self._traces[request_id] = Trace(request_id)
                self._order.append(request_id)
                self._bytes += TRACE_BYTES
                self._make_room()
        return trace

    def _make_room(self) -> None:
        """With the lock held. The newest stays."""
        while len(self._order) > self.keep or (self._bytes > self.keep_bytes and len(self._order) > 1):
            gone = self._traces.pop(self._order.popleft())
            self._bytes -= TRACE_BYTES + NOTE_BYTES * len(gone.notes)

    def _remember(self, resource_id: str, request_id: str) -> None:
        if resource_id not in self._causes:
            self._cause_order.append(resource_id)
            if len(self._cause_order) > CAUSES:
                self._causes.pop(self._cause_order.popleft(), None)
        self._causes[resource_id] = request_id

    def _note(self, request_id: str, note: Note) -> None:
        trace = self._need(request_id)
        for before in trace.notes[-3:]:
            if note.why and _same(before, note):  # tried again, with the same result
                before.times, before.at, before.seconds = before.times + 1, note.at, note.seconds
                return
        if len(trace.notes) >= NOTES:
            trace.dropped += 1
            return
        with self._lock:
            if request_id not in self._traces:  # forgotten meanwhile
                return
            if trace.noted is None:
                trace.noted = []
            trace.noted.append(note)
            self._bytes += NOTE_BYTES
            self._make_room()
        if self.noted is not None:
            self.noted(trace, note)


def _same(one: Note, other: Note) -> bool:
    return (one.what, one.name, one.resource_id, one.why) == (other.what, other.name, other.resource_id, other.why)


def _state_of(row: Any) -> str:
    """What a row says of itself: its status and the step of what is being done to it."""
    said = [str(getattr(row, name, "") or "") for name in ("status", "task", "step")]
    return " ".join(word for word in said if word)


def _ids_in(given: Sequence[Any]) -> Iterator[str]:
    """Ids among a driver call's arguments: UUIDs, and the first field of the values that cross."""
    for value in given:
        if isinstance(value, str):
            if len(value) == 36:
                yield value
        elif is_dataclass(value):
            yield str(next(iter(vars(value).values()), ""))
        elif isinstance(value, list | tuple):
            yield from _ids_in(value[:NOTES])


def why_refused(trace: Trace) -> dict[str, Any]:
    """The facts of a refusal: the policy rule, or the quota, and its sentence."""
    fault = trace.refused
    if fault is None:
        return {}
    if not isinstance(fault, Fault):
        return {"kind": "Bug", "message": type(fault).__name__}
    found: dict[str, Any] = {"kind": type(fault).__name__, "message": str(fault)}
    rule = fault.facts.get("rule")
    if fault.http == 403 and isinstance(rule, str):
        found["rule"] = rule
    if trace.quota is not None:
        found["quota"] = trace.quota
    return found


def _quota_of(refused: BaseException) -> dict[str, Any] | None:
    """The quota behind a refusal: services say it again in their own words."""
    for fault in (refused, refused.__cause__, refused.__context__):
        if isinstance(fault, QuotaExceeded):
            name = fault.facts.get("full_name") or fault.facts.get("name")
            return {"name": name, **{n: fault.facts.get(n) for n in ("requested", "used", "limit")}}
    return None
