"""All rows are read once, and every check looks at them then.

Reading a row from disk costs more than most checks of it, so checks share the reading: each is
shown the rows in order, some hundred at a time, keeps what it needs, and says in the end what it
found. This module does not know what is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from tunewright.data.collector import collector_paused
from tunewright.data.finding import Finding, Places
from tunewright.data.records import Record, Splits

_BATCH = 512


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a part, one behind the other.

    Attributes:
        part: name of the part.
        start: position of the first row in it.
        records: the rows.
        texts: all words of each row (`Record.plain_text`).
    """

    part: str
    start: int
    records: Sequence[Record]
    texts: Sequence[str]


class Look(Protocol):
    """A check that sees each row once: train from first to last, then validation, then test."""

    def see(self, batch: Batch) -> None:
        """Look at some rows, and keep what matters."""

    def findings(self, splits: Splits) -> Iterable[Finding]:
        """What was found, when every row was seen."""


@collector_paused()
def survey(splits: Splits, looks: Sequence[Look]) -> None:
    """Show every row to every look."""
    for name, part in splits.items():
        rows = iter(part)
        start = 0
        while records := list(islice(rows, _BATCH)):
            batch = Batch(name, start, records, [record.plain_text for record in records])
            for look in looks:
                look.see(batch)
            start += len(records)


def found_by(look: Look, splits: Splits) -> list[Finding]:
    """What one look finds by itself."""
    survey(splits, [look])
    return [*look.findings(splits)]


class Asked:
    """Questions about single rows, and the rows where the answer is yes.

    Args:
        questions: of the row and its text.
    """

    def __init__(self, *questions: Callable[[Record, str], bool]) -> None:
        self._questions = questions
        self.places = [Places() for _ in questions]

    def see(self, batch: Batch) -> None:
        """Ask every question of every row."""
        for places, question in zip(self.places, self._questions, strict=True):
            answers = map(question, batch.records, batch.texts)
            for index, yes in enumerate(answers, start=batch.start):
                if yes:
                    places.add(batch.part, index)
