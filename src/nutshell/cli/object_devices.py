"""`nutshell object-store devices`: the disks under the object store, shown, added, drained, removed."""

import os
from pathlib import Path
from typing import Any

import click

from nutshell.cli.options import find_places, refusals, state

ROOT = "/nutshell/v1/object-store"


@click.group("object-store")
def object_store() -> None:
    """Look after the object store (docs/OBJECT_STORE.md)."""


@object_store.group()
def devices() -> None:
    """The directories or disks that hold objects' bytes."""


def _ask(state: Path | None, method: str, path: str, body: Any = None) -> Any:
    from nutshell.cli.operator_client import find_client

    return find_client(find_places(state), os.environ).ask(method, ROOT + path, body)


@devices.command("list")
@state
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(state: Path | None, as_json: bool) -> None:
    """Show every device, what it holds, and how far moving is."""
    with refusals():
        said = _ask(state, "GET", "/devices")
        if as_json:
            import json

            click.echo(json.dumps(said))
            return
        click.echo(
            f"{'name':<12} {'state':<9} {'zone':<10} {'weight':>6} {'blobs':>9} {'MiB':>9} {'MiB free':>9}  path"
        )
        for d in said["devices"]:
            free = "" if d["free_bytes"] is None else str(d["free_bytes"] >> 20)
            click.echo(
                f"{d['name']:<12} {d['state']:<9} {d['zone']:<10} {d['weight']:>6g} {d['blobs']:>9}"
                f" {d['bytes'] >> 20:>9} {free:>9}  {d['path']}"
            )
        for d in said["devices"]:
            _advise(d)
        _progress(said["pass"])


def _advise(d: dict[str, Any]) -> None:
    """What the operator may do next, where there is something."""
    name, how = d["name"], f"nutshell object-store devices remove {d['name']}"
    if d["state"] == "lost" and d["alone"]:
        click.echo(f"{name}: lost, and {d['alone']} blobs have no other replica: bring {d['path']} back")
    elif d["state"] == "lost" and d["blobs"]:
        click.echo(f"{name}: lost; {d['blobs']} replicas are still to be made anew elsewhere")
    elif d["state"] == "lost":
        click.echo(f"{name}: lost; everything it held has its replicas elsewhere. Forget it: {how}")
    elif d["state"] == "draining" and d["blobs"]:
        click.echo(f"{name}: {d['blobs']} blobs are still to be moved")
    elif d["state"] == "draining":
        click.echo(f"{name}: drained. Forget it: {how}")


def _progress(done: dict[str, Any]) -> None:
    if done["running"]:
        click.echo(f"moving: looked at {done['done']} of {done['of']} blobs, {done['moved']} replicas written")
    if done["failed"]:
        click.echo(f"{done['failed']} blobs could not be moved, which is tried again; the first: {done['why']}")


@devices.command("show")
@state
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_one(state: Path | None, name: str, as_json: bool) -> None:
    """Show one device: what it holds, and what is still to be moved."""
    with refusals():
        said = _ask(state, "GET", f"/devices/{name}")
        if as_json:
            import json

            click.echo(json.dumps(said))
            return
        for key, value in said["device"].items():
            click.echo(f"{key:<11} {'' if value is None else value}")
        _advise(said["device"])
        _progress(said["pass"])


@devices.command()
@state
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--zone", default="zone1", help="What fails together; replicas go to different zones [zone1].")
@click.option("--weight", type=float, default=1.0, help="Its share, against the others' [1].")
def add(state: Path | None, name: str, path: Path, zone: str, weight: float) -> None:
    """Add a directory, usually the root of a disk of its own. Its share of what is there moves to it."""
    with refusals():
        body = {"device": {"name": name, "path": str(path.absolute()), "zone": zone, "weight": weight}}
        _ask(state, "POST", "/devices", body)
        click.echo(f"{name} takes bytes from now on")


@devices.command()
@state
@click.argument("name")
def drain(state: Path | None, name: str) -> None:
    """Move everything off a device; `list` shows how far it is."""
    with refusals():
        _ask(state, "POST", f"/devices/{name}/drain")
        click.echo(f"{name} takes nothing new; what it holds moves to the others")


@devices.command()
@state
@click.argument("name")
@click.option("--give-up", is_flag=True, help="Even if it is lost with the only replica of something.")
def remove(state: Path | None, name: str, give_up: bool) -> None:
    """Forget a device that is drained, or lost."""
    with refusals():
        _ask(state, "DELETE", f"/devices/{name}" + ("?give_up=true" if give_up else ""))
        click.echo(f"{name} is no device any more")


@object_store.command()
@state
def scrub(state: Path | None) -> None:
    """Read every byte and compare it with its checksum; mend what another replica can mend."""
    with refusals():
        said = _ask(state, "POST", "/scrub")
        click.echo(f"{said['checked']} blobs read, {len(said['damaged'])} replicas damaged, {said['repaired']} mended")
        for one in said["damaged"]:
            click.echo(f"  {one}")
        if said["lost"]:
            click.echo(f"lost: {len(said['lost'])} blobs have no whole replica")
            raise SystemExit(1)
