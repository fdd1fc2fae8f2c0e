"""`python -m nutshell.cli` is the `nutshell` command."""

from nutshell.cli import main

main()
