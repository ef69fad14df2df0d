"""`journal.jsonl`: one line a step or event, in the order they happened."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tunewright.artifacts import atomic_write

JOURNAL = "journal.jsonl"


class Journal:
    """Appends lines to a run's journal. Each line is flushed: a crash loses none.

    Args:
        folder: the run's folder.
        resume_step: drop the lines of later steps, which a resumed run will write again.
        known: how many lines there were when the state was saved that the run goes on from, where
            that is known: lines behind them are of the same step, and are written again too.

    Attributes:
        lines: written so far.
    """

    def __init__(
        self, folder: Path, resume_step: int | None = None, known: int | None = None
    ) -> None:
        self.path = folder / JOURNAL
        kept: list[dict[str, Any]] = []
        if resume_step is not None:
            kept = [
                line
                for i, line in enumerate(read_journal(folder))
                if line.get("step", 0) <= resume_step
                and (known is None or i < known or (i == known and line["event"] == "checkpoint"))
            ]
            atomic_write(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        elif self.path.exists():
            self.path.unlink()
        self.lines = len(kept)
        self._handle = self.path.open("a", encoding="utf-8")

    def write(self, event: str, step: int, **values: Any) -> None:
        """Add one line with the time of day in seconds since the epoch."""
        line = {"event": event, "step": step, "time": round(time.time(), 3), **values}
        self._handle.write(json.dumps(line) + "\n")
        self._handle.flush()
        self.lines += 1

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


class Silence:
    """The journal of a process that is not the main one of its group: it keeps nothing."""

    lines = 0

    def write(self, event: str, step: int, **values: Any) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """There is nothing to close."""


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's journal. A last line cut short by a crash is left out."""
    path = folder / JOURNAL
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
