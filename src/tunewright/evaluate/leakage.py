"""Rows to score that the model was trained on, or nearly: their scores are too good.

This module knows rows. It does not know models.
"""

from __future__ import annotations

from tunewright.data.copies import check_copies
from tunewright.data.records import Dataset, Splits

LEAKS = {
    "leakage.exact": "the text of a training row",
    "leakage.near": "nearly the text of a training row",
    "leakage.prompt": "the prompt of a training row",
    "leakage.group": "the group of a training row",
}
"""Findings of an audit that make a score too good, and what they say of the rows."""


def leaked_rows(train: Dataset, scored: Dataset) -> dict[str, int]:
    """How many of the scored rows leak from training, by id of the finding.

    Args:
        train: rows that the model was trained on.
        scored: rows with references, of the same task.
    """
    empty = Dataset(train.task, (), train.name)
    found = check_copies(Splits(train, empty, scored))
    return {f.id: sum(part == "test" for part, _ in f.places) for f in found if f.id in LEAKS}


def said_of_leakage(leaked: dict[str, int], rows: int) -> list[str]:
    """One note for each kind of leak."""
    return [
        f"{count:,} of the {rows:,} rows have {LEAKS[name]} ({name}), so the scores are too good. "
        "Score rows that training did not see."
        for name, count in leaked.items()
        if count
    ]
