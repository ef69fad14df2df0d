"""Checks of pairs for embeddings: texts that belong together and cannot be told apart, or must not.

This module knows records. It does not know how pairs are learned.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from tunewright.data.duplicates import normal_text
from tunewright.data.finding import Finding, Places, row_findings
from tunewright.data.records import Splits, Task
from tunewright.data.row_groups import key_of


def check_pairs(splits: Splits) -> Iterator[Finding]:
    """What is wrong with the pairs of a data set for embeddings; nothing for other tasks."""
    if splits.task is not Task.EMBEDDING:
        return
    same, against = Places(), Places()
    together, apart, places = array("Q"), array("Q"), Places()
    for part, dataset in splits.items():
        for index, record in enumerate(dataset):
            first, second = normal_text(record.text), normal_text(record.text_pair or "")
            if record.label is None:
                if first == second and first:
                    same.add(part, index)
                together.append(key_of(f"{first}\n{second}"))
            if record.negative is not None:
                wrong = normal_text(record.negative)
                apart.append(key_of(f"{first}\n{wrong}"))
                places.add(part, index)
                if wrong == first:
                    against.add(part, index)
    both = np.isin(np.frombuffer(apart, np.uint64), np.frombuffer(together, np.uint64))
    for number in np.flatnonzero(both).tolist():
        against.add(*places[number])
    yield from row_findings(
        "pairs.same",
        "warning",
        splits,
        same,
        "{rows} {have} the same text twice (case and spacing aside), which every model knows to be "
        "near to itself.",
        "Take them out.",
    )
    yield from row_findings(
        "pairs.contradictory",
        "error",
        splits,
        against,
        "{rows} {have} a negative that is the first text itself, or that belongs to it by this row "
        "or another one.",
        "Correct the negatives, or leave them empty.",
    )
