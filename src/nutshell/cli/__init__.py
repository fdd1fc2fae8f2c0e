"""The `nutshell` command: starts, stops, shows and demonstrates a cloud."""


def main() -> None:
    """Run the command line; imports nothing before it is needed, for `up` is to be quick."""
    from nutshell.cli.commands import cli

    cli(prog_name="nutshell")
