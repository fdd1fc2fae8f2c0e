"""What every command shares: the option --state, and refusals that become messages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from nutshell.cli.places import Places, default_state
from nutshell.cli.says import Refusal

state = click.option("--state", type=click.Path(path_type=Path), help="State directory.")


@contextmanager
def refusals() -> Iterator[None]:
    """A refusal becomes a message and its exit code."""
    try:
        yield
    except Refusal as refusal:
        click.echo(f"nutshell: {refusal.why}", err=True)
        raise SystemExit(refusal.code) from None


def find_places(given: Path | None) -> Places:
    """The cloud's state directory: the one named, the environment's, or the usual one."""
    named = given or os.environ.get("NUTSHELL_CLOUD_STATE")
    return Places(Path(named).absolute() if named else default_state())
