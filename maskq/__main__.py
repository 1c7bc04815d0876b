"""`python -m maskq`: the command line."""

from maskq.cli.app import main

main()
