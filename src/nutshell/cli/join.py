"""`nutshell join`: one more API process of a cloud whose state is in PostgreSQL (docs/POSTGRESQL.md)."""

import json
from collections.abc import Callable

from nutshell.cli import processes, states
from nutshell.cli.launch import Programs, await_ready, check_port, start_api
from nutshell.cli.places import Places
from nutshell.cli.says import Refusal, base_url, state_option
from nutshell.cli.status import ask_health
from nutshell.cli.up import READY_S

Say = Callable[[str], None]


def join(places: Places, port: int, host: str, say: Say, programs: Programs | None = None) -> None:
    """Start an API process on another port with the settings of the first. Repeating it is success.

    Raises Refusal when the cloud does not run, or keeps its state in SQLite.
    """
    programs = programs or Programs()
    with states.one_command_at_a_time(places):
        first = processes.find(places.run / "api.json")
        if first is None or not places.launch.exists():
            raise Refusal(f"this cloud is not up; start it: nutshell up --database URL{state_option(places)}")
        if first.facts.get("database") != "postgresql":
            raise Refusal(
                "this cloud keeps its state in SQLite, which one API process uses; for several: "
                f"nutshell down{state_option(places)}, then nutshell up --database postgresql://…",
                2,
            )
        name = f"api-{port}"
        running = processes.find(places.run / f"{name}.json")
        if running is not None and not ask_health(running.facts):
            say(f"it runs already at {running.facts['endpoint']}/")
            return
        check_port(host, port)
        launch = json.loads(places.launch.read_text())
        launch["overrides"]["cloud"] |= {"host": host, "port": port}
        launch["overrides"].setdefault("object_store", {})["s3_port"] = 0  # the first process listens there
        facts = first.facts | {
            "host": host,
            "port": port,
            "endpoint": base_url(host, port, bool(first.facts.get("cacert"))),
        }
        user = first.facts.get("api_user")
        started = start_api(places, programs.api, json.dumps(launch), tuple(user) if user else None, name=name)
        processes.remember(places.run / f"{name}.json", started.pid, facts)
        await_ready(started, places.logs / f"{name}.log", READY_S)
        say(f"one more API process answers at {facts['endpoint']}/")
