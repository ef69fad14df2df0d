"""`tunewright watch`"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tunewright.cli.options import Json

_PAUSE = 0.5
"""Seconds between looks at the journal."""
_QUIET = 5.0
"""Seconds without a line after which it is asked whether the run's process is still there."""


def watch(
    folder: Annotated[str, typer.Argument(help="Folder of a run, running or finished.")],
    as_json: Json = False,
) -> None:
    """Show live curves of a run, or the last view of a finished one."""
    from tunewright.artifacts import Artifact
    from tunewright.cli.screen import make_console, print_json, typed
    from tunewright.cli.watch_screen import WatchScreen

    run = Path(folder)
    status: str = Artifact.open(run, "run").status
    journal = JournalTail(run)
    screen = WatchScreen(make_console(quiet=as_json), title=folder)
    diagnoses: list[dict[str, Any]] = []
    heard = time.monotonic()
    with screen:
        while True:
            # The status is read first: a run that is done writes no line after it says so.
            status = Artifact.open(run, "run").status
            lines = journal.new_lines()
            for line in lines:
                screen.line_written(line)
                if line["event"] == "diagnosis":
                    diagnoses.append(line)
            if lines:
                heard = time.monotonic()
                continue
            if status != "running":
                break
            if time.monotonic() - heard > _QUIET and not _in_use(run):
                status = "killed"
                break
            time.sleep(_PAUSE)
    if as_json:
        values = {"status": status, "step": screen.step, "total_steps": screen.total}
        print_json(values | {"diagnoses": diagnoses})
        return
    words = {"done": "The run is done.", "failed": "The run has failed."}
    ending = f"It can be finished with: tunewright resume {typed(folder)}"
    others = {"interrupted": "was stopped", "killed": "was killed or crashed"}
    screen.console.print(words.get(status) or f"The run {others[status]}. {ending}")


class JournalTail:
    """The lines of a journal as they come.

    Args:
        folder: of the run. Its journal may not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        from tunewright.train.journal import JOURNAL

        self.path = folder / JOURNAL
        self._file: int | None = None
        self._position = 0

    def new_lines(self) -> list[dict[str, Any]]:
        """Whole lines since the last call. A journal that a resumed run wrote anew begins again."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as handle:
            number = os.fstat(handle.fileno()).st_ino
            if number != self._file:
                self._file, self._position = number, 0
            handle.seek(self._position)
            text = handle.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def _in_use(folder: Path) -> bool:
    """Whether a process holds the run."""
    from tunewright.artifacts import locked
    from tunewright.errors import ArtifactError

    try:
        with locked(folder):
            return False
    except ArtifactError:
        return True
