"""The `nutshell` command: starts, stops, shows and demonstrates a cloud."""

import os
import sys


def main() -> None:
    """Run the command line; imports nothing before it is needed, for `up` is to be quick."""
    waiting = None
    starts = sys.argv[1:2] == ["fork"] or (sys.argv[1:2] == ["up"] and "--simulate" in sys.argv)
    if starts and not {"-h", "--help"} & set(sys.argv):
        from nutshell.cli.warm import warm_up

        waiting = warm_up([sys.executable, "-m", "nutshell.cli.api"])
    from nutshell.cli.commands import cli

    if waiting is None:
        cli(prog_name="nutshell")
    try:
        cli(prog_name="nutshell", obj=waiting)
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code)  # somebody waits, and the interpreter tidies up for as long as many a request takes
