"""`nutshell down` and `nutshell reset`: end every process, leave nothing of the cloud on the machine."""

import json
import os
from collections.abc import Callable

from nutshell.cli import clouds, hosts, processes, states
from nutshell.cli.launch import Programs
from nutshell.cli.places import Places, read_json
from nutshell.cli.says import Refusal
from nutshell.core.config import CloudConfig, ConfigError, load_launch

Say = Callable[[str], None]


def bring_down(places: Places, say: Say, programs: Programs | None = None) -> None:
    """End the API, then the guests, networks and the host process. A cloud that does not run is success."""
    with states.one_command_at_a_time(places):
        _end(places, say, programs or Programs())


def reset(places: Places, say: Say, programs: Programs | None = None) -> None:
    """Bring down and erase the state directory; our entries in clouds.yaml go if they led here."""
    with states.one_command_at_a_time(places):
        if not places.state.exists():
            say(f"nothing to erase: there is no {places.state}")
            return
        if read_json(places.mark) is None and not (places.run / "api.lock").exists():
            states.check(places, True)  # refuses a directory that holds anything of others
        facts = (read_json(places.run / "api.json") or {}).get("facts", {})
        url = database_of(places)
        _end(places, say, programs or Programs(), erase=True)
        if url:
            _empty(url, say)
        states.erase(places)
        if facts.get("endpoint"):
            try:
                clouds.take_out(clouds.default_file(), facts["endpoint"])
            except (OSError, Refusal) as error:
                say(f"warning: {clouds.default_file()} keeps its clouds: {error}")
        say(f"erased {places.state}")


def _empty(url: str, say: Say) -> None:
    """Drop the cloud's tables; a server that does not answer keeps them, and is named."""
    import psycopg

    from nutshell.core.postgres import connect
    from nutshell.core.postgres_schema import drop_tables

    try:
        with connect(url) as c:
            say(f"dropped {drop_tables(c)} tables of the PostgreSQL database")
    except psycopg.Error as error:
        say(f"warning: the PostgreSQL database keeps the cloud's tables: {str(error).splitlines()[0]}")


def database_of(places: Places) -> str:
    """The URL of the PostgreSQL database that the cloud was last started with; "" for SQLite."""
    launch = read_json(places.launch)
    if launch is None:
        return ""
    try:
        settings = load_launch([CloudConfig], json.dumps(launch), os.environ, others=True)
    except ConfigError as error:
        raise Refusal(f"where this cloud's state is cannot be told: {error}", 2) from error
    return settings[CloudConfig].database


def _end(places: Places, say: Say, programs: Programs, erase: bool = False) -> None:
    record = processes.find(places.run / "api.json")
    pids = [record.pid for record in processes.joined(places.run).values()]
    pids += [record.pid] if record else []
    for lock in places.run.glob("api*.lock"):
        pids += [pid for pid in processes.find_holders(lock) if pid not in pids]
    for pid in pids:
        start = processes.start_time(pid)
        if start is None:
            continue
        try:
            processes.end(processes.Record(pid, start, {}))
        except PermissionError as error:
            raise Refusal(
                f"process {pid} belongs to another user; run this as the user who started the cloud"
            ) from error
    mark = read_json(places.mark)
    if mark is not None and mark.get("simulate"):
        hosts.stop_world(places)
    elif mark is not None:
        hosts.stop(places, programs, clear=True, erase=erase)
    say(f"the cloud in {places.state} is down" if pids else f"the cloud in {places.state} was not running")
