"""Training labels that are probably wrong, as rows a person can look at, the most suspect first.

How suspects are found stands in `label_errors.py`; this module knows records and findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunewright.data.finding import EXAMPLES, Finding, counted, show_row
from tunewright.data.label_errors import FEWEST_ROWS, suspect_labels
from tunewright.data.records import Splits, Task


@dataclass(frozen=True, slots=True)
class Suspect:
    """A training row whose label is probably wrong.

    Attributes:
        index: of the record in train.
        row: where it is in its source, counted from 1.
        text: all of it.
        label: as given.
        guess: the label that fits better.
        odds: how many times likelier the guess is, to models that did not see the row.
    """

    index: int
    row: int
    text: str
    label: str
    guess: str
    odds: float

    def to_dict(self) -> dict[str, Any]:
        """The suspect as JSON-like values."""
        return {
            "part": "train",
            "row": self.row,
            "text": self.text,
            "label": self.label,
            "guess": self.guess,
            "odds": round(self.odds, 1),
        }


def find_suspects(splits: Splits) -> list[Suspect]:
    """Suspect training rows, the most suspect first; none where there is too little to tell by."""
    import math

    labels = [record.label for record in splits.train if isinstance(record.label, str)]
    enough = len(labels) >= FEWEST_ROWS and len(set(labels)) > 1
    if splits.task is not Task.CLASSIFICATION or not enough:
        return []
    found = suspect_labels([record.plain_text for record in splits.train], labels)
    records = splits.train.records
    return [
        Suspect(
            index,
            records[index].row or index + 1,
            records[index].plain_text,
            labels[index],
            found.suggested[index],
            math.exp(-found.margin[index]),
        )
        for index in found.flagged
    ]


def check_suspects(splits: Splits, suspects: Sequence[Suspect]) -> Iterator[Finding]:
    """The suspects as a finding."""
    if suspects:
        places = tuple(("train", suspect.index) for suspect in suspects)
        yield Finding(
            "label.suspect",
            "info",
            len(places),
            f"{counted(len(places), 'training row looks', 'training rows look')} wrongly labelled "
            "to models that did not see them. About half of such rows usually are.",
            "Read them, the most suspect first, and correct those that are wrong.",
            tuple(
                f"{show_row(splits, place)} is labelled {suspect.label!r}; {suspect.guess!r} fits "
                "better"
                for place, suspect in zip(places[:EXAMPLES], suspects, strict=False)
            ),
            places,
        )
