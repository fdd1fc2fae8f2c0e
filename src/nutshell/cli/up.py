"""`nutshell up`: from nothing, or from whatever a crash left, to a cloud that answers."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nutshell
from nutshell.cli import clouds, hosts, processes, states
from nutshell.cli.launch import Programs, await_ready, check_port, free_lock, start_api
from nutshell.cli.places import Places, default_state, read_json, write_private
from nutshell.cli.says import Refusal, accounts_in, banner, base_url, state_option
from nutshell.cli.warm import Waiting
from nutshell.core.config import FILE_NAME, CloudConfig, ConfigError, dump_launch, find_file, load_settings

READY_S = 60.0  # how long the API may take; it needs well under one second

ENDING = (signal.SIGTERM, signal.SIGINT)  # what ends a cloud that stays in the foreground
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What the operator asked for: `given` is what stood on the command line."""

    cloud: CloudConfig
    places: Places
    file: Path | None
    given: Mapping[str, object]

    @property
    def launch(self) -> str:
        """What the API process is told. Its state directory is always named, for the file may lie in it."""
        world = {"world": "apart"} if self.apart else {}
        return dump_launch(self.file, {CloudConfig: {**self.given, **world, "state": str(self.places.state)}})

    @property
    def apart(self) -> bool:
        """Whether the simulated world is a process of its own: where several API processes may be."""
        return self.cloud.simulate and bool(self.cloud.database)


def read_wanted(given: Mapping[str, object], config: Path | None, env: Mapping[str, str]) -> Wanted:
    """The settings of the cloud as a whole. Raises Refusal (exit code 2) when they cannot be used."""
    try:
        early = load_settings([CloudConfig], config, env, {CloudConfig: given}, others=True)[CloudConfig]
        state = (early.state or default_state()).absolute()
        file = find_file(config, state)
        cloud = load_settings([CloudConfig], file, env, {CloudConfig: given}, others=True)[CloudConfig]
    except ConfigError as error:
        raise Refusal(str(error), 2) from error
    if (cloud.tls_cert is None) != (cloud.tls_key is None):
        raise Refusal("TLS needs both --tls-cert and --tls-key", 2)
    for file_needed in (cloud.tls_cert, cloud.tls_key):
        if file_needed is not None and not file_needed.is_file():
            raise Refusal(f"no such file: {file_needed}", 2)
    if not 0 < cloud.port < 65536:
        raise Refusal(f"{cloud.port} is no port; choose --port from 1 to 65535", 2)
    paths = {key: Path(str(given[key])).absolute() for key in ("tls_cert", "tls_key") if given.get(key)}
    return Wanted(replace(cloud, state=state), Places(state), file.absolute() if file else None, {**given, **paths})


def bring_up(
    wanted: Wanted,
    say: Say,
    programs: Programs | None = None,
    *,
    foreground: bool = False,
    waiting: Waiting | None = None,
) -> None:
    """Start what does not run, wait until every service answers, write clouds.yaml, print the banner.

    Repeating it is success. Raises Refusal when the cloud cannot be had as asked.
    """
    began = time.monotonic()
    programs = programs or Programs()
    with states.one_command_at_a_time(wanted.places):
        if any((wanted.places.state / name).exists() for name in (".restoring", ".restored")):
            from nutshell.cli.fork import finish_restore

            finish_restore(wanted.places)  # a `nutshell restore` was killed
        running = processes.find(wanted.places.run / "api.json")
        if running is not None and _answers(running.facts, began + READY_S / 4):
            _check_same(wanted, running.facts)
            if wanted.apart:
                hosts.start_world(wanted.places, programs)
            elif not running.facts.get("simulate"):
                _start_host(wanted, programs, _identity(wanted), running.facts.get("api_user"))
            _finish(wanted, running.facts, say, None)
            return
        user, notes = _api_user(wanted)
        identity = states.prepare(wanted.places, wanted.cloud.simulate, user)
        facts = {**_facts(wanted.cloud, user, notes), "cloud": next(iter(clouds.names_of(wanted.places.state)))}
        free_lock(wanted.places)
        pid = _start(wanted, programs, facts, identity, waiting)
        if foreground:  # whoever reads the banner may end it: those signals wait until they can be taken
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        _finish(wanted, facts, say, time.monotonic() - began)
    if foreground:
        _stay(wanted, pid, say)


def _api_user(wanted: Wanted) -> tuple[tuple[int, int] | None, list[str]]:
    """Who the API runs as, and notes on it. Raises Refusal when the machine or the directory cannot serve."""
    states.check(wanted.places, wanted.cloud.simulate)
    before = _overrides(read_json(wanted.places.launch)).get("database")
    if before and not wanted.cloud.database:
        raise Refusal(
            "this cloud's state is in PostgreSQL; name it again: --database URL, or put it into "
            f"{wanted.places.state / FILE_NAME} ([cloud] database)",
            2,
        )
    if wanted.cloud.simulate:
        return None, []
    from nutshell.cli.accounts import api_user
    from nutshell.cli.needs import refuse_if_missing

    refuse_if_missing()
    user, note = api_user(wanted.places.state, wanted.cloud.port)
    return user, [note] if note else []


def _start(wanted: Wanted, programs: Programs, facts: dict[str, Any], identity: str, waiting: Waiting | None) -> int:
    """Start the processes and wait until they are ready; their facts are recorded before. The API's pid."""
    places = wanted.places
    check_port(wanted.cloud.host, wanted.cloud.port)
    write_private(places.launch, wanted.launch)
    alone = processes.find(places.run / "host.json") is None
    if wanted.apart:
        hosts.start_world(places, programs)
    if not wanted.cloud.simulate:
        facts["machine"] = _start_host(wanted, programs, identity, facts["api_user"])
    started = start_api(places, programs.api, wanted.launch, facts["api_user"], waiting)
    processes.remember(places.run / "api.json", started.pid, facts)
    import yaml  # noqa: F401 - needed for clouds.yaml in a moment; loaded while the other process starts

    try:
        await_ready(started, places.logs / "api.log", READY_S)
    except Refusal:
        if alone and wanted.apart:  # what this start began, and nobody uses, ends with it
            hosts.stop_world(places)
        elif alone and not wanted.cloud.simulate:
            hosts.stop(places, programs, clear=False)
        raise
    return started.pid


def _overrides(launch: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What stood on the command line of an earlier start."""
    found: Mapping[str, Any] = (launch or {}).get("overrides", {}).get("cloud", {})
    return found


def _facts(cloud: CloudConfig, user: tuple[int, int] | None, notes: list[str]) -> dict[str, Any]:
    """What is recorded of a running cloud for `status`, `env` and the banner."""
    return {
        "version": nutshell.__version__,
        "endpoint": base_url(cloud.host, cloud.port, cloud.tls_cert is not None, cloud.endpoint),
        "host": cloud.host,
        "port": cloud.port,
        "region": cloud.region,
        "simulate": cloud.simulate,
        "database": "postgresql" if cloud.database else "sqlite",
        "cacert": str(cloud.tls_cert.absolute()) if cloud.tls_cert else None,
        "drivers": dict.fromkeys(("compute", "network", "volume"), "memory")
        if cloud.simulate
        else {"compute": "qemu", "network": "linux", "volume": "file"},
        "api_user": user,
        "notes": notes,
    }


def _start_host(wanted: Wanted, programs: Programs, identity: str, user: Any) -> str:
    cloud = wanted.cloud
    api = base_url(cloud.host, cloud.port, cloud.tls_cert is not None)
    hosts.build_tiny_once(wanted.places, lambda text: print(text, file=sys.stderr, flush=True))
    return hosts.start(wanted.places, programs, identity, tuple(user) if user else None, api)


def _identity(wanted: Wanted) -> str:
    return str((read_json(wanted.places.mark) or {}).get("id", ""))


def _answers(facts: Mapping[str, Any], deadline: float) -> bool:
    """Whether the process that runs is, or becomes, healthy; one that does not is started anew."""
    from nutshell.cli.status import ask_health

    while ask_health(facts):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _check_same(wanted: Wanted, facts: Mapping[str, Any]) -> None:
    """An `up` that asks for something else than what runs is refused; what it did not name may differ."""
    states.check(wanted.places, wanted.cloud.simulate)
    for key in ("port", "host"):
        if wanted.given.get(key) is not None and wanted.given[key] != facts.get(key):
            raise Refusal(
                f"this cloud runs already, with {key} {facts.get(key)} and not {wanted.given[key]}; first: "
                f"nutshell down{state_option(wanted.places)}; or a second cloud: --state DIR --port N"
            )


def _finish(wanted: Wanted, facts: Mapping[str, Any], say: Say, seconds: float | None) -> None:
    accounts = accounts_in(read_json(wanted.places.credentials))
    made = {
        cloud: clouds.entry(facts["endpoint"], facts["region"], accounts[name], facts.get("cacert"))
        for cloud, name in clouds.names_of(wanted.places.state).items()
        if name in accounts
    }
    file = clouds.default_file()
    try:
        clouds.put(file, made)
    except (OSError, Refusal) as error:  # the cloud runs; only the convenience is missing
        say(f"warning: {file} was not written: {error}")
    say(banner(facts, accounts, wanted.places, seconds))


def _stay(wanted: Wanted, pid: int, say: Say) -> None:
    """Blocks until the API ends or a signal comes; then ends the API. Guests and their host process stay."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in ENDING:  # a script's background jobs start with SIGINT ignored
        signal.signal(number, stop)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        raise Refusal(f"the API process ended with exit code {code}; its log: {wanted.places.logs / 'api.log'}")
    except KeyboardInterrupt:
        say("stopping")
        record = processes.find(wanted.places.run / "api.json")
        if record is not None:
            processes.end(record)
