"""How well the text that belongs to another is found among many: scores of ranks.

One row is one text that is asked for. Its rank is 1 where no other candidate is as near.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.labels import hits
from tunewright.metrics.sufficient import Floats, Sufficient, as_numbers, mean_of, require_rows

DEPTH = 10
"""Candidates from the first on that count for recall and reciprocal rank at 10."""


def _ranks(candidates: Any, ranks: Any) -> Floats:
    """The ranks, checked.

    Raises:
        DataError: a rank is not a whole number from 1 to the number of candidates.
    """
    most_N, rank_N = as_numbers(candidates, "candidates"), as_numbers(ranks, "ranks")
    require_rows(most_N, rank_N)
    wrong = np.flatnonzero((rank_N < 1) | (rank_N > most_N) | (rank_N % 1 != 0))
    if len(wrong):
        raise DataError(
            f"Row {wrong[0] + 1} has rank {rank_N[wrong[0]]:g} among {most_N[wrong[0]]:g} "
            "candidates; a whole number from 1 to that is needed."
        )
    return rank_N


def recall_at_1(candidates: Any, ranks: Any) -> Sufficient:
    """Share of rows whose text comes first.

    Args:
        candidates: [n] how many texts each was looked for among (the references).
        ranks: [n] at which it was found, from 1 (the predictions).
    """
    return hits(_ranks(candidates, ranks) <= 1)


def recall_at_10(candidates: Any, ranks: Any) -> Sufficient:
    """Share of rows whose text is among the first ten; takes what `recall_at_1` takes."""
    return hits(_ranks(candidates, ranks) <= DEPTH)


def mrr_at_10(candidates: Any, ranks: Any) -> Sufficient:
    """Mean of 1 / rank, 0 beyond the tenth; takes what `recall_at_1` takes.

    As in MS MARCO (arXiv 1611.09268).
    """
    rank_N = _ranks(candidates, ranks)
    return mean_of(np.where(rank_N <= DEPTH, 1 / rank_N, 0.0))
