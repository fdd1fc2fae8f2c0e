"""`nutshell down` and `nutshell reset`: end every process, leave nothing of the cloud on the machine."""

from collections.abc import Callable

from nutshell.cli import clouds, hosts, processes, states
from nutshell.cli.launch import Programs
from nutshell.cli.places import Places, read_json
from nutshell.cli.says import Refusal

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
        _end(places, say, programs or Programs(), erase=True)
        states.erase(places)
        if facts.get("endpoint"):
            try:
                clouds.take_out(clouds.default_file(), facts["endpoint"])
            except (OSError, Refusal) as error:
                say(f"warning: {clouds.default_file()} keeps its clouds: {error}")
        say(f"erased {places.state}")


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
