"""Which of several models are really different: every pair tested on the same rows.

This module knows finished evaluations. It does not know how models answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunewright.evaluate.names import distinct_names
from tunewright.evaluate.run import Evaluation, Pair
from tunewright.metrics import compare_each


def add_paired_tests(evaluations: Sequence[Evaluation]) -> None:
    """Test every pair of models on their first metric, and keep the result with the earlier one.

    p-values are corrected for the number of tests. Models that were not asked the same (perplexity
    over tokens of another tokenizer) cannot be paired; they stay without a test.

    Args:
        evaluations: of the same rows. `comparison` gets an entry for each later model, by name.
    """
    pairs = [(e, e.pair) for e in evaluations if e.pair is not None]
    if not pairs:
        return
    first = pairs[0][1]
    alike = [(e, pair) for e, pair in pairs if _same_rows(first, pair)]
    names = distinct_names([e.model for e, _ in alike])
    tests = compare_each(
        first.metric,
        first.references,
        {name: pair.predictions for name, (_, pair) in zip(names, alike, strict=True)},
        groups=first.groups,
    )
    models = {name: e for name, (e, _) in zip(names, alike, strict=True)}
    for (one, other), found in tests.items():
        models[one].comparison[models[other].model] = found.to_dict()


def _same_rows(one: Pair, other: Pair) -> bool:
    return one.metric == other.metric and np.array_equal(
        np.asarray(one.references, dtype=object), np.asarray(other.references, dtype=object)
    )
