"""Every command and option of `nutshell`, declared; what they do is imported when they are called."""

import os
from pathlib import Path
from typing import Any

import click

import nutshell
from nutshell.cli import identity_keys, image_copies, object_devices, operating
from nutshell.cli.options import find_places as _places
from nutshell.cli.options import refusals as _refusals
from nutshell.cli.options import state as _state


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(nutshell.__version__, prog_name="nutshell")
def cli() -> None:
    """OpenStack, complete and real, from one package on one port."""


@cli.command()
@click.option("--simulate", is_flag=True, default=None, help="No root, no QEMU: everything answers, nothing runs.")
@_state
@click.option("--port", type=int, help="Port of every service [5000].")
@click.option("--host", metavar="ADDR", help="Address to listen on [127.0.0.1].")
@click.option("--admin-password", metavar="P", help="Password of the first administrator [generated].")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file [nutshell.toml in the state directory].")
@click.option("--foreground", is_flag=True, help="Stay until interrupted.")
@click.option("--database", metavar="URL", help="PostgreSQL instead of the file in the state directory.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM certificate chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM private key.")
@click.pass_obj
def up(waiting: Any, /, config: Path | None, foreground: bool, **given: Any) -> None:
    """Start the cloud, or find it running; return when every service answers."""
    with _refusals():
        from nutshell.cli.up import bring_up, read_wanted

        named = {key: value for key, value in given.items() if value is not None}
        bring_up(read_wanted(named, config, os.environ), click.echo, foreground=foreground, waiting=waiting)


@cli.command()
@_state
@click.option("--port", type=int, required=True, help="Its port.")
@click.option("--host", metavar="ADDR", default="127.0.0.1", help="Address to listen on [127.0.0.1].")
def join(state: Path | None, port: int, host: str) -> None:
    """Start one more API process of a cloud whose state is in PostgreSQL."""
    with _refusals():
        from nutshell.cli.join import join as start_another

        start_another(_places(state), port, host, click.echo)


@cli.command()
@_state
def down(state: Path | None) -> None:
    """End the cloud and its guests; what is stored stays."""
    with _refusals():
        from nutshell.cli.down import bring_down

        bring_down(_places(state), click.echo)


@cli.command()
@_state
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(state: Path | None, as_json: bool) -> None:
    """Show what runs. Exit code 0: up; 3: not, or not well."""
    with _refusals():
        import json

        from nutshell.cli.status import as_text, find_status

        found = find_status(_places(state))
        click.echo(json.dumps(found) if as_json else as_text(found))
        if found["state"] != "up":
            raise SystemExit(3)


@cli.command()
@_state
@click.option("--admin", is_flag=True, help="The administrator's, not the demo user's.")
def env(state: Path | None, admin: bool) -> None:
    """Print the variables by which clients find the cloud: eval "$(nutshell env)"."""
    with _refusals():
        import shlex

        from nutshell.cli import processes
        from nutshell.cli.places import read_json
        from nutshell.cli.says import Refusal, accounts_in, environment, state_option

        places = _places(state)
        record = processes.find(places.run / "api.json")
        account = accounts_in(read_json(places.credentials)).get("admin" if admin else "demo")
        if record is None or account is None:
            raise Refusal(f"this cloud is not up; start it: nutshell up{state_option(places)}")
        variables = environment(record.facts["endpoint"], record.facts["region"], account)
        if record.facts.get("cacert"):
            variables["OS_CACERT"] = record.facts["cacert"]
        for name, value in variables.items():
            click.echo(f"export {name}={shlex.quote(value)}")


@cli.command()
@_state
def doctor(state: Path | None) -> None:
    """Show what real servers need, whether it is here, and how to mend what is not."""
    with _refusals():
        from nutshell.cli.needs import find_needs, mending, missing

        needs = find_needs()
        for need in needs:
            word = "found  " if need.found else "absent " if need.optional else "MISSING"
            click.echo(f"{word} {need.name:<20} {need.found or 'for ' + need.wanted_by + '; ' + need.mend}")
        lacking = missing(needs)
        if lacking:
            click.echo("\nMend with:\n  " + "\n  ".join(mending(lacking)))
            raise SystemExit(1)
        click.echo("\nEverything is here: nutshell up")


@cli.command()
@_state
@click.option("--yes", is_flag=True, help="Really erase.")
def reset(state: Path | None, yes: bool) -> None:
    """End the cloud and erase everything it stored."""
    with _refusals():
        from nutshell.cli.down import reset as erase
        from nutshell.cli.says import Refusal

        places = _places(state)
        if not yes:
            raise Refusal(
                f"this erases {places.state} with all that is stored in it; to do so: nutshell reset --yes", 2
            )
        erase(places, click.echo)


@cli.command()
@click.argument("name")
@_state
@click.option("--replace", is_flag=True, help="In place of one of this name.")
@click.option("--note", default="", help="Shown by nutshell saves.")
def save(name: str, state: Path | None, replace: bool, note: str) -> None:
    """Save the whole cloud under a name; a simulated one while it runs, a real one after nutshell down."""
    with _refusals():
        from nutshell.cli.save import save as keep

        keep(_places(state), name, click.echo, replace=replace, note=note)


@cli.command()
@click.argument("name", required=False, default="")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the fork [a free one].")
@click.option("--host", metavar="ADDR", default="127.0.0.1", help="Address to listen on [127.0.0.1].")
@_state
@click.option("--into", type=click.Path(path_type=Path), help="The fork's state directory [beside the cloud's].")
@click.pass_obj
def fork(waiting: Any, /, name: str, port: int | None, host: str, state: Path | None, into: Path | None) -> None:
    """Start a copy of a saved cloud on another port; without NAME, of the cloud as it is now. The two are independent:
    same ids, users, passwords; tokens of the one are taken by the other until they expire."""
    with _refusals():
        from nutshell.cli.fork import make_fork
        from nutshell.cli.up import bring_up, read_wanted

        given = make_fork(_places(state), name, host, port, into, click.echo)
        bring_up(read_wanted(given, None, {}), click.echo, waiting=waiting)


@cli.command()
@click.argument("name")
@_state
@click.option("--yes", is_flag=True, help="Really replace what is there.")
def restore(name: str, state: Path | None, yes: bool) -> None:
    """Put a saved cloud in the place of the one that is there, which must be down."""
    with _refusals():
        from nutshell.cli.fork import restore as put_back

        put_back(_places(state), name, click.echo, yes=yes)


@cli.group(invoke_without_command=True)
@_state
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def saves(context: click.Context, state: Path | None, as_json: bool) -> None:
    """List the saved clouds."""
    if context.invoked_subcommand is not None:
        return
    with _refusals():
        from nutshell.cli.saves import as_json as for_programs
        from nutshell.cli.saves import as_text, every

        found = every(_places(state))
        click.echo(for_programs(found) if as_json else as_text(found))


@saves.command("delete")
@click.argument("name")
@_state
@click.pass_context
def delete_saved(context: click.Context, name: str, state: Path | None) -> None:
    """Delete a saved cloud; its forks stay."""
    with _refusals():
        from nutshell.cli.saves import delete

        delete(_places(state or (context.parent.params["state"] if context.parent else None)), name)
        click.echo(f"deleted {name}")


@cli.command()
@_state
def demo(state: Path | None) -> None:
    """Show the main job: a server on a network with a volume, reached over a floating IP. It is left running."""
    with _refusals():
        from nutshell.cli.demo import run_demo

        run_demo(_places(state))


@cli.command(hidden=True, context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def host(arguments: tuple[str, ...]) -> None:
    """The process with the rights to touch this machine; `up` starts it."""
    from nutshell.host.main import main as run_host

    run_host(list(arguments))


@cli.group()
def image() -> None:
    """Make disk images."""


@image.command("build-tiny")
@click.argument("target", type=click.Path(path_type=Path), default=Path("tiny.qcow2"))
def build_tiny(target: Path) -> None:
    """Build the tiny image from Debian's kernel and busybox packages: a qcow2 that boots in seconds."""
    with _refusals():
        from nutshell.cli.hosts import build_tiny as build

        build(target)
        click.echo(f"wrote {target}")


for _command in (
    *operating.COMMANDS,
    *identity_keys.COMMANDS,
    *image_copies.COMMANDS,
    object_devices.object_store,
):
    cli.add_command(_command)
