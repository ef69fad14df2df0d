"""`python -m tunewright` is `tunewright`."""

from tunewright.cli import main

main()
