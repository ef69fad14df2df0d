"""Whether memory has room for the tokens of rows that are on disk: training holds them all.

This module knows rendered rows and free memory. It does not know models.
"""

from __future__ import annotations

import sys

import numpy as np

from tunewright.data.records import Dataset
from tunewright.data.render import Example, Renderer
from tunewright.errors import DataError

_SAMPLE = 500
"""Rows, evenly drawn, from which the size of all is told."""


def require_room(dataset: Dataset, renderer: Renderer) -> None:
    """Refuse training rows whose tokens alone are more than the memory that is free.

    Rows in memory pass: their tokens take a few times their own room.

    Args:
        dataset: training rows, copies included.
        renderer: that will tokenise them.

    Raises:
        DataError: says what is needed, what is free, and how many rows would fit.
    """
    import psutil

    rows = len(dataset)
    if not dataset.on_disk or rows == 0:
        return
    drawn = np.unique(np.linspace(0, rows - 1, _SAMPLE).astype(np.int64))
    examples = renderer.tokenise(dataset.select(drawn))
    needed = sum(map(held_bytes, examples)) * rows / len(drawn)
    free = psutil.virtual_memory().available
    if needed > free:
        fitting = int(rows * free / needed)
        fitting -= fitting % 10 ** max(0, len(str(fitting)) - 2)
        raise DataError(
            f"The tokens of the {rows:,} training rows would take at least {needed / 1e9:.1f} GB "
            f"of memory, which training holds all at once, and {free / 1e9:.1f} GB are free. Train "
            f"on some of the rows, drawn at random: data.max_samples={max(1, fitting // 2)}."
        )


def held_bytes(example: Example) -> int:
    """Bytes of an example in memory: its lists, and a number for each token."""
    found = sys.getsizeof(example) + sys.getsizeof(example.input_ids)
    found += len(example) * sys.getsizeof(1 << 15)
    for flags in (example.loss_mask, example.token_type_ids, *(example.others or ())):
        found += sys.getsizeof(flags) if flags is not None else 0
    return found + (example.window.places.nbytes if example.window else 0)
