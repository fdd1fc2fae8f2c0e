"""`nutshell status`: what of a cloud runs, and whether it answers."""

import http.client
import ssl
from collections.abc import Mapping
from typing import Any

import nutshell
from nutshell.cli import processes
from nutshell.cli.places import Places


def find_status(places: Places) -> dict[str, Any]:
    """endpoint, version, pids and drivers of the cloud; `state` is "up", "unhealthy" or "down"."""
    api = processes.find(places.run / "api.json")
    host = processes.find(places.run / "host.json")
    facts = api.facts if api else {}
    pids = {name: record.pid for name, record in (("api", api), ("host", host)) if record is not None}
    pids |= {name: record.pid for name, record in processes.joined(places.run).items()}
    said = "the API process does not run"
    if api is not None:
        said = ask_health(facts)
        if not facts.get("simulate") and host is None:
            said = "the host process does not run; nutshell up starts it"
    state = "up" if not said else "unhealthy" if pids else "down"
    return {
        "state": state,
        "why": said,
        "endpoint": facts.get("endpoint"),
        "version": facts.get("version", nutshell.__version__),
        "simulate": facts.get("simulate"),
        "pids": pids,
        "drivers": facts.get("drivers", {}),
        "machine": facts.get("machine"),
        "state_dir": str(places.state),
        "notes": facts.get("notes", []),
    }


def ask_health(facts: Mapping[str, Any]) -> str:
    """Empty when /healthz answers 200, else what it said. Asks on this machine, whatever the public endpoint is."""
    where = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(facts["host"], facts["host"])
    tls = bool(facts.get("cacert"))
    context = ssl.create_default_context() if tls else None
    if context is not None:  # our own port on this machine: whom we reach is known, the name may be another
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    kind: Any = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    wire = kind(where, facts["port"], timeout=5, **({"context": context} if tls else {}))
    try:
        wire.request("GET", "/healthz")
        answer = wire.getresponse()
        body = answer.read(2000).decode(errors="replace")
        return "" if answer.status == 200 else f"/healthz answers {answer.status}: {body}"
    except OSError as error:
        return f"/healthz does not answer: {error}"
    finally:
        wire.close()


def as_text(status: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = [f"{status['state']}{': ' + status['why'] if status['why'] else ''}"]
    if status["endpoint"]:
        lines.append(f"endpoint  {status['endpoint']}/")
    lines.append(f"version   {status['version']}")
    lines += [f"{name:<9} pid {pid}" for name, pid in status["pids"].items()]
    if status["drivers"]:
        lines.append("drivers   " + ", ".join(f"{kind} {name}" for kind, name in status["drivers"].items()))
    if status["machine"]:
        lines.append(f"guests    {status['machine']}")
    lines.append(f"state     {status['state_dir']}")
    return "\n".join([*lines, *(f"note      {note}" for note in status["notes"])])
