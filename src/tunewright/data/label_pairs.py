"""Labelled rows as pairs: of rows of one label, and of rows of two.

Which rows meet follows from the seed and the labels alone. This module does not know losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunewright.data.example import Example
from tunewright.data.token_store import targets_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def label_pairs(examples: Sequence[Example], per_row: int, seed: int) -> list[Example]:
    """Pairs of each row with rows of its label, and as many with rows of other labels.

    The other row is drawn at random, each as likely as the others, and may be drawn again
    (arXiv 2209.11055, section 3.1). A row that is alone with its label has no pairs of the first
    kind.

    Args:
        examples: [n] rows of one text, whose target is the index of a class; two classes at least.
        per_row: pairs of either kind.
        seed: of the run.

    Returns:
        Pairs with a target of 1 where the labels are equal and 0 where they are not.
    """
    labels = targets_of(examples).astype(np.int64)
    rows = [examples[i] for i in range(len(labels))]
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    first = np.searchsorted(ordered, ordered, side="left")
    size = np.searchsorted(ordered, ordered, side="right") - first
    random = np.random.Generator(np.random.Philox(key=[seed, len(labels)]))
    place = np.arange(len(labels))
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], float]] = []
    for _ in range(per_row):
        # A place among the others of the label is shifted past the row's own.
        same = random.integers(0, np.maximum(size - 1, 1))
        same = first + same + (first + same >= place)
        meets = size > 1
        found.append((order[meets], order[same[meets]], 1.0))
        other = random.integers(0, len(labels) - size)
        other = other + size * (other >= first)
        found.append((order, order[other], 0.0))
    return [
        Example(rows[a].input_ids, int(a), others=[rows[b].input_ids], target=target)
        for left, right, target in found
        for a, b in zip(left, right, strict=True)
    ]
