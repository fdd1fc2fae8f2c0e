"""`python -m nutshell` is the `nutshell` command, for places where scripts are not on the path."""

from nutshell.cli import main

main()
