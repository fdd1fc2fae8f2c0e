"""The cloud's own routes: health, metrics and the list of what answers here."""

from typing import Any

from nutshell import __version__
from nutshell.core.service import Answer, Ask, Service
from nutshell.core.trace import Traces

system = Service(name="system", mount="")


@system.route("GET", "/healthz", public=True)
def healthz(ask: Ask[Any]) -> Answer:
    ask.tx.sql("SELECT 1").fetchone()
    return Answer(200, {"status": "ok", "version": __version__})


@system.route("GET", "/metrics", public=True)
def metrics(ask: Ask[Any]) -> Answer:
    return Answer(200, ask.cloud.port(Traces).metrics().encode(), {"Content-Type": "text/plain; version=0.0.4"})


@system.route("GET", "/", public=True)
def root(ask: Ask[Any]) -> Answer:
    mounts = {s.name: ask.base + s.mount for s in ask.cloud.services if s.mount}
    return Answer(200, {"nutshell": __version__, "services": mounts})
