"""`python -m lethe` is `lethe`."""

from lethe.cli import main

main()
