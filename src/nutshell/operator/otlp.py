"""Sends spans to an OpenTelemetry collector: OTLP/HTTP with JSON, POST /v1/traces (spans.py has the sources).

A thread of its own sends what waits in a bounded queue. What does not fit, or cannot be delivered, is dropped and
counted: requests never wait for it and never fail by it.
"""

import http.client
import logging
import ssl
import threading
import time
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import msgspec

from nutshell import __version__
from nutshell.operator.recorder import Note, Trace
from nutshell.operator.spans import export_body, note_span, request_spans

log = logging.getLogger("nutshell.otlp")
BATCH, PAUSE_S, TIMEOUT_S, TRIES = 512, 1.0, 10.0, 3
AGAIN = (408, 429, 502, 503, 504)  # worth another try


class Exporter:
    """Give `finished` and `noted` to a Ring. `sent` and `dropped` count spans."""

    def __init__(self, endpoint: str, limit: int, region: str) -> None:
        at = urlsplit(endpoint)
        if at.scheme not in ("http", "https") or not at.hostname:
            raise ValueError(f"otlp_endpoint must be http://host:port or https://…, not {endpoint!r}")
        self._at, self._path = at, at.path.rstrip("/").removesuffix("/v1/traces") + "/v1/traces"
        self._resource = {"service.name": "nutshell", "service.version": __version__, "cloud.region": region}
        self._waiting: deque[tuple[Trace, Note | None]] = deque()
        self._limit, self._pause_s = limit, PAUSE_S
        self._ended, self._full = threading.Event(), threading.Event()
        self.sent = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def finished(self, trace: Trace) -> None:
        self._put(trace, None)

    def noted(self, trace: Trace, note: Note) -> None:
        self._put(trace, note)

    def close(self) -> None:
        """Send what waits, once."""
        self._ended.set()
        self._full.set()
        self._thread.join(timeout=TIMEOUT_S + 1)

    def _put(self, trace: Trace, note: Note | None) -> None:
        if len(self._waiting) >= self._limit:
            self.dropped += 1
            return
        self._waiting.append((trace, note))
        if len(self._waiting) == BATCH:
            self._full.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._full.wait(self._pause_s)
            self._full.clear()
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])

    def _send(self, batch: list[tuple[Trace, Note | None]]) -> None:
        spans: list[dict[str, Any]] = []
        for trace, note in batch:
            spans += request_spans(trace) if note is None else [note_span(trace, note)]
        body = msgspec.json.encode(export_body(spans, self._resource))
        for attempt in range(TRIES):
            try:
                status = self._post(body)
            except (OSError, http.client.HTTPException) as why:
                status, said = 503, str(why)
            else:
                said = f"it answered {status}"
            if status < 300:
                self.sent += len(spans)
                return
            if status not in AGAIN or self._ended.is_set():
                break
            time.sleep(0.2 * 2**attempt)
        self.dropped += len(spans)
        log.warning("%d spans were not taken by %s: %s", len(spans), self._at.netloc, said)

    def _post(self, body: bytes) -> int:
        kind: Any = http.client.HTTPSConnection if self._at.scheme == "https" else http.client.HTTPConnection
        more = {"context": ssl.create_default_context()} if self._at.scheme == "https" else {}
        wire = kind(self._at.hostname, self._at.port or (443 if more else 80), timeout=TIMEOUT_S, **more)
        try:
            wire.request("POST", self._path, body, {"Content-Type": "application/json"})
            answer = wire.getresponse()
            answer.read()
            status: int = answer.status
            return status
        finally:
            wire.close()
