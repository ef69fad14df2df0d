"""The command line: one file a verb, each parses, calls and prints.

Nothing heavy is imported here: `tunewright --help` answers at once.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with 0 (ok), 1 (the work failed) or 2 (the call was wrong)."""
    from tunewright.cli.app import run

    sys.exit(run(sys.argv[1:]))
