"""The commands that ask a running cloud beyond OpenStack: faults, traces, explanations."""

import json
import os
from pathlib import Path
from typing import Any

import click

from nutshell.cli.options import find_places, refusals, state

NOT_SAID = (None, False, "")
as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command()
@click.argument("service")
def openapi(service: str) -> None:
    """Print a service's OpenAPI document: identity, image, placement, network, volume, compute, nutshell."""
    from nutshell import app
    from nutshell.operator.openapi.document import document

    known = {s.name: s for part in app.parts() for s in (part.service, *part.more) if s.routes}
    if service not in known:
        raise click.BadParameter(f"there is no service {service}; there are: {', '.join(known)}")
    click.echo(json.dumps(document(known[service], "http://127.0.0.1:5000"), indent=1))


@click.group()
def fault() -> None:
    """Bring about failures on purpose (docs/FAULTS.md). The cloud must allow it: NUTSHELL_FAULTS_ENABLED=1."""


@fault.command("add")
@state
@as_json
@click.option("--at", type=click.Choice(["request", "operation", "driver", "host"]), help="What is struck [request].")
@click.option("--service", help="compute, network, volume, image, placement, identity.")
@click.option("--operation", help="A policy rule, METHOD /path, an action; at operation create…; at driver its method.")
@click.option("--resource-id", metavar="ID", help="Only this resource.")
@click.option("--resource-name", metavar="NAME", help="Only resources of this name.")
@click.option("--project-id", metavar="ID", help="Only this project.")
@click.option("--host", metavar="NAME", help="The simulated host (at host).")
@click.option("--nth", type=int, help="Only the nth matching call.")
@click.option("--every", type=int, help="Every nth matching call.")
@click.option("--probability", type=float, help="So likely at each matching call.")
@click.option("--seed", type=int, help="Of the probability; the same seed strikes the same calls.")
@click.option("--count", type=int, help="At most so many strikes.")
@click.option("--effect", help="status, delay, cut, cut-body; error, hang; fail; lost, restart.")
@click.option("--status", type=int, help="The HTTP status that is answered (effect status).")
@click.option("--message", help="The words of the failure.")
@click.option("--retry-after", type=int, metavar="S", help="Seconds in a Retry-After header.")
@click.option("--after", is_flag=True, help="Do what was asked; lose only the answer.")
@click.option("--final", is_flag=True, help="At driver: trying again cannot help.")
@click.option("--delay", "delay_s", type=float, metavar="S", help="Seconds to wait before.")
def add(state: Path | None, as_json: bool, **said: Any) -> None:
    """Set a rule; prints its id. It holds until it is cleared."""
    rule = {name: value for name, value in said.items() if value not in NOT_SAID}
    if "effect" not in rule:
        rule["effect"] = "status" if "status" in rule else "delay" if "delay_s" in rule else ""
    with refusals():
        made = _ask(state, "POST", "/faults", {"fault": rule})["fault"]
        click.echo(json.dumps(made) if as_json else made["id"])


@fault.command("list")
@state
@as_json
def list_(state: Path | None, as_json: bool) -> None:
    """Show the rules, how often each was met (calls) and struck (hits)."""
    with refusals():
        rules = _ask(state, "GET", "/faults")["faults"]
        click.echo(json.dumps(rules) if as_json else "\n".join(map(_line, rules)) or "no fault rules")


def _line(rule: dict[str, Any]) -> str:
    told = ("service", "operation", "resource_id", "resource_name", "project_id", "host", "nth", "every",
            "probability", "count")  # fmt: skip
    filters = " ".join(f"{name}={rule[name]}" for name in told if rule.get(name))
    what = f"{rule['effect']} {rule['status']}" if rule["effect"] == "status" else rule["effect"]
    return f"{rule['id']}  {rule['at']} {what}  {filters}  calls={rule['calls']} hits={rule['hits']}"


@fault.command("clear")
@state
@click.argument("rule", required=False)
def clear(state: Path | None, rule: str | None) -> None:
    """Take one rule away, or all."""
    with refusals():
        _ask(state, "DELETE", f"/faults/{rule}" if rule else "/faults")


@click.command("trace-request")
@state
@as_json
@click.argument("request_id")
def trace_request(state: Path | None, as_json: bool, request_id: str) -> None:
    """Show what a request did and what followed, with times. ID: its x-openstack-request-id."""
    with refusals():
        from nutshell.cli.trees import request_tree

        found = _ask(state, "GET", f"/requests/{request_id}")["request"]
        click.echo(json.dumps(found) if as_json else "\n".join(request_tree(found)))


@click.command()
@state
@as_json
@click.argument("kind", type=click.Choice(["server", "port", "volume", "request"]))
@click.argument("id_", metavar="ID")
def explain(state: Path | None, as_json: bool, kind: str, id_: str) -> None:
    """Say why a server, port or volume is in its state, or why a request was refused."""
    with refusals():
        from nutshell.cli.trees import explanation_tree

        found = _ask(state, "GET", f"/explain/{kind}/{id_}")["explanation"]
        click.echo(json.dumps(found) if as_json else "\n".join(explanation_tree(found)))


def _ask(state: Path | None, method: str, path: str, body: Any = None) -> Any:
    from nutshell.cli.operator_client import find_client

    return find_client(find_places(state), os.environ).ask(method, "/nutshell/v1" + path, body)


COMMANDS = (openapi, explain, fault, trace_request)
