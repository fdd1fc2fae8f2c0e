"""The commands that look after identity's keys."""

import json
import os
from pathlib import Path

import click

from nutshell.cli.options import find_places, refusals, state


@click.group()
def identity() -> None:
    """Look after the keys that sign tokens and seal credentials."""


@identity.command("rotate-keys")
@state
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def rotate_keys(state: Path | None, as_json: bool) -> None:
    """Make new keys. Tokens stay good until their time is over; credentials are sealed anew in the background."""
    with refusals():
        from nutshell.cli.operator_client import find_client

        said = find_client(find_places(state), os.environ).ask("POST", "/identity/keys")
        numbers = ", ".join(f"{purpose} {number}" for purpose, number in said["keys"].items())
        text = f"new keys: {numbers}; secrets that are sealed anew now: {said['waiting']}"
        click.echo(json.dumps(said) if as_json else text)


@identity.command("keys")
@state
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def keys(state: Path | None, as_json: bool) -> None:
    """Show which keys there are, and how many secrets wait to be sealed with the newest."""
    with refusals():
        from nutshell.cli.operator_client import find_client

        said = find_client(find_places(state), os.environ).ask("GET", "/identity/keys")
        lines = [f"{one['purpose']:<12} {one['number']:>4}  made {one['created_at']}" for one in said["keys"]]
        click.echo(json.dumps(said) if as_json else "\n".join([*lines, f"waiting      {said['waiting']:>4}"]))


COMMANDS = (identity,)
