"""Wiring: the services as one flat list, the request pipeline (`core/http.py`), the drivers and the loops.

Started by `nutshell up` as `python -m nutshell.app --settings FILE`; `run` blocks until SIGTERM.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nutshell.core.clock import Clock
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, Settings
from nutshell.core.housekeeping import HOUSEKEEPING
from nutshell.core.policy import COMMON, Rules
from nutshell.core.quota import Quotas
from nutshell.core.reconcile import Loop, Runner
from nutshell.core.service import Service
from nutshell.core.sqlite_schema import UnknownSchema
from nutshell.core.store import SqliteStore, Store, Tx
from nutshell.core.system import system
from nutshell.core.trace import Traces

log = logging.getLogger("nutshell")
CONNECTIONS = 4096  # at once, encrypted; further ones wait

# One module a service. Each offers:
#   service: Service                     its routes, rules, error format
#   config: type                         its table of settings
#   quotas: Mapping[str, int]            default limits by resource name
#   wire(cloud: Cloud) -> None           registers its port and drivers, before the first request
#   loops(cloud: Cloud) -> list[Loop]
#   seed(cloud: Cloud, tx: Tx) -> None   what must exist from the first start on; runs at every start
SERVICES: tuple[str, ...] = (
    "identity",
    "image",
    "placement",
    "network",
    "volume",
    "compute",
    "object_store",
    "operator",
)


@dataclass(frozen=True)
class Part:
    """A service's module, with what it may leave out filled in."""

    service: Service
    config: type
    quotas: Mapping[str, int]
    wire: Callable[[Cloud], None]
    loops: Callable[[Cloud], Sequence[Loop]]
    seed: Callable[[Cloud, Tx], None]
    more: Sequence[Service] = ()  # further mounts of the same room
    more_configs: Sequence[type] = ()  # further tables of settings


def parts() -> list[Part]:
    found = []
    for name in SERVICES:
        module = import_module(f"nutshell.{name}.wiring")
        more = (getattr(module, "more_services", ()), getattr(module, "more_configs", ()))
        found.append(Part(module.service, module.config, module.quotas, module.wire, module.loops, module.seed, *more))
    return found


def tables(of: Sequence[Part]) -> list[type]:
    """Every table of settings there is."""
    return [CloudConfig, *(table for p in of for table in (p.config, *p.more_configs))]


@dataclass(frozen=True)
class Running:
    """A cloud that is wired and seeded: give `app` to a server, start `runner`'s loops."""

    cloud: Cloud
    app: Any
    runner: Runner
    traces: Traces

    def close(self) -> None:
        self.traces.flush()
        self.runner.stop()
        self.cloud.threads.shutdown(cancel_futures=True)
        self.cloud.hashing.shutdown(cancel_futures=True)
        self.cloud.store.close()


def build(
    settings: Settings,
    clock: Clock | None = None,
    of: Sequence[Part] | None = None,
    like: Running | None = None,
    made: Mapping[type, Any] | None = None,
) -> Running:
    """A cloud from its settings: state opened, services wired, first things seeded; no socket, no loop runs yet.

    `like`: one in memory to start from: its rows are copied instead of seeded, what never changes is shared.
    `made`: ports that exist already.
    """
    from nutshell.core.http import App
    from nutshell.core.routing import Router

    of = parts() if of is None else of
    config = settings[CloudConfig]
    clock = clock or Clock()
    state = config.state
    if state is not None:
        state.mkdir(parents=True, exist_ok=True)
    store = open_store(config, clock, like)
    services = [*(s for p in of for s in (p.service, *p.more)), system]
    rules: dict[str, str] = dict(COMMON)
    for s in services:
        rules.update(s.rules)
    quotas = {f"{p.service.name}.{name}": value for p in of for name, value in p.quotas.items()}
    cloud = Cloud(
        store=store,
        clock=clock,
        settings=settings,
        services=services,
        rules=like.cloud.rules if like is not None else Rules(rules, operator_rules(state)),
        quotas=Quotas(quotas),
        ports=dict(made or {}),
    )
    traces = cloud.ports[Traces] = Traces()
    for p in of:
        p.wire(cloud)
    traces.recorder = cloud.recorder

    def seed(tx: Tx) -> None:
        for p in of:
            p.seed(cloud, tx)

    if like is None:
        cloud.write(seed)
    runner = Runner(cloud, [HOUSEKEEPING, *(loop for p in of for loop in p.loops(cloud))])
    app = App(cloud, traces, like.cloud.port(Router) if like is not None else None)
    return Running(cloud, app, runner, traces)


def open_store(config: CloudConfig, clock: Clock, like: Running | None = None) -> Store:
    """SQLite in the state directory, or the database that was named; in memory a copy of another's. A database of an
    earlier release is upgraded first."""
    try:
        return _open_store(config, clock, like)
    except UnknownSchema:
        from nutshell.upgrade.run import upgrade_at_start

        upgrade_at_start(config.database, config.state)
        return _open_store(config, clock, like)


def _open_store(config: CloudConfig, clock: Clock, like: Running | None) -> Store:
    if config.database.startswith(("postgresql://", "postgres://")):
        from nutshell.core.postgres import PostgresStore

        return PostgresStore(config.database, clock)
    if config.database:
        raise ValueError("database must be a postgresql:// URL; empty means SQLite in the state directory")
    if like is not None:
        assert config.state is None
        assert isinstance(like.cloud.store, SqliteStore)
        return SqliteStore(None, clock, like=like.cloud.store)
    return SqliteStore(config.state / "cloud.db" if config.state else None, clock, durable=not config.simulate)


def operator_rules(state: Path | None) -> dict[str, str]:
    """The operator's policy.yaml in the state directory: rule name → text."""
    if state is None or not (state / "policy.yaml").exists():
        return {}
    import yaml

    found = yaml.safe_load((state / "policy.yaml").read_text()) or {}
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ValueError("policy.yaml must map rule names to rule texts")
    return {str(k): v for k, v in found.items()}


def run(settings: Settings, ready_fd: int | None = None, made: Mapping[type, Any] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Writes b"ready\\n" to `ready_fd` once every service answers.

    `made`: as for `build`.
    """
    import uvloop

    sys.setswitchinterval(0.001)  # the writer's thread must not wait 5 ms for its turn
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 2 * CONNECTIONS, most))
    running = build(settings, made=made)
    gc.collect()
    gc.freeze()  # what start-up made stays: the collector need not look at it again
    gc.set_threshold(100_000, 50, 100)  # a page of 1,000 rows is many small objects and no garbage cycles
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(running, settings[CloudConfig], ready_fd))
    finally:
        running.close()


async def _serve(running: Running, config: CloudConfig, ready_fd: int | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    applications = {config.port: running.app, **running.cloud.listeners}
    if config.tls_cert is not None:
        await _serve_tls(running, applications, config, ended, ready_fd)
        return
    from nutshell.server.listening import Server
    from nutshell.server.passing import Passing

    passing = running.cloud.ports.get(Passing)
    servers = [
        Server(application, config.host, port, passing if port == config.port else None)
        for port, application in applications.items()
    ]
    for server in servers:
        await server.start()
    _say_ready(ready_fd)
    running.runner.start()  # after whoever waits was told: their first rounds take the interpreter from it
    await ended.wait()
    await asyncio.gather(*(server.stop() for server in servers))


def _say_ready(ready_fd: int | None) -> None:
    if ready_fd is not None:
        os.write(ready_fd, b"ready\n")
        os.close(ready_fd)


async def _serve_tls(
    running: Running, applications: Mapping[int, Any], config: CloudConfig, ended: asyncio.Event, ready_fd: int | None
) -> None:
    """Encrypted connections, HTTP/2 among them, are granian's."""
    from granian.constants import Interfaces
    from granian.server.embed import Server

    def server_of(application: Any, port: int) -> Server:
        return Server(
            application,
            address=config.host,
            port=port,
            interface=Interfaces.ASGI,
            log_enabled=False,
            backlog=1024,
            backpressure=CONNECTIONS,
            ssl_cert=config.tls_cert,
            ssl_key=config.tls_key,
        )

    servers = {port: server_of(application, port) for port, application in applications.items()}
    tasks = {port: asyncio.create_task(server.serve()) for port, server in servers.items()}
    running.runner.start()
    for port, task in tasks.items():
        await _listening(config, port, task)
    _say_ready(ready_fd)
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({*tasks.values(), waiting}, return_when=asyncio.FIRST_COMPLETED)
    for port, task in tasks.items():
        if not task.done():
            servers[port].stop()  # type: ignore[no-untyped-call]
        await task


async def _listening(config: CloudConfig, port: int, serving: "asyncio.Task[Any]") -> None:
    """Return once the port takes connections, or raise what kept the server from it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)
    while True:
        if serving.done():
            serving.result()
            raise RuntimeError("the server ended before it listened")
        try:
            with socket.create_connection((host, port), timeout=1):
                return
        except OSError:
            await asyncio.sleep(0.005)
