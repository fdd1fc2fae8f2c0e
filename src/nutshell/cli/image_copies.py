"""The commands that take images out of a cloud as files for other programs."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from nutshell.cli.options import find_places, refusals, state


@click.group()
def image() -> None:
    """Take images out of a cloud."""


@image.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@state
@click.option("--disk-format", default="vmdk", help="Of the disk inside: vmdk, qcow2, raw, vhd, vdi, or same [vmdk].")
def export(name: str, file: Path, state: Path | None, disk_format: str) -> None:
    """Write an image (NAME: its name or id) as an OVA, for VirtualBox, VMware and other clouds.

    To take one in: make an image with container_format ova and import the file (glance-direct, web-download).
    """
    with refusals():
        from nutshell.cli.operator_client import find_client

        client = find_client(find_places(state), os.environ)
        image_id = _find(client, name)
        size = client.save(f"/image/v2/images/{image_id}/ova?disk_format={quote(disk_format)}", file)
        click.echo(f"{file}: {size} bytes")


def _find(client: Any, name: str) -> str:
    """The id of the one image of that name or id."""
    from nutshell.cli.says import Refusal

    found = client.ask("GET", f"/image/v2/images?name={quote(name)}")["images"]
    found = found or client.ask("GET", f"/image/v2/images?id={quote(name)}")["images"]
    if len(found) != 1:
        raise Refusal(f"{len(found)} images are called {name}; nutshell image export needs one: give its id", 2)
    return str(found[0]["id"])


COMMANDS = (image,)
