"""The `nutshell` command: starts, stops, shows and demonstrates a cloud."""

import sys


def main() -> None:
    """Run the command line; imports nothing before it is needed, for `up` is to be quick."""
    waiting = None
    starts = sys.argv[1:2] == ["fork"] or (sys.argv[1:2] == ["up"] and "--simulate" in sys.argv)
    if starts and not {"-h", "--help"} & set(sys.argv):
        from nutshell.cli.warm import warm_up

        waiting = warm_up([sys.executable, "-m", "nutshell.cli.api"])
    from nutshell.cli.commands import cli

    cli(prog_name="nutshell", obj=waiting)
