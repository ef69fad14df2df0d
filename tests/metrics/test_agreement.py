"""Agreement of raters equals published and hand-computed values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tunewright.errors import DataError
from tunewright.metrics.agreement import cohen_kappa, krippendorff_alpha


def test_kappa_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        one = rng.choice(list("abc"), 20).tolist()
        other = [a if rng.random() < 0.5 else str(rng.choice(list("abc"))) for a in one]
        assert cohen_kappa(one, other) == pytest.approx(cohen_kappa_score(one, other))


def test_kappa_of_one_value_is_undefined_and_unequal_lists_are_refused() -> None:
    assert math.isnan(cohen_kappa(["a", "a"], ["a", "a"]))
    with pytest.raises(DataError, match="they judged 1 and 2"):
        cohen_kappa(["a"], ["a", "b"])


def test_alpha_equals_krippendorffs_example_of_four_observers() -> None:
    """Section C of his paper: 12 units, nominal alpha 0.743."""
    nothing = None
    observers: list[list[Any]] = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nothing, nothing, nothing],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nothing, 3],
        [nothing, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nothing],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nothing],
    ]
    items = [
        {str(o): row[unit] for o, row in enumerate(observers) if row[unit] is not None}
        for unit in range(12)
    ]
    assert krippendorff_alpha(items) == pytest.approx(0.743, abs=5e-4)
    # Section D has the same judgements as numbers.
    assert krippendorff_alpha(items, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(items, "interval") == pytest.approx(0.849, abs=5e-4)


def test_alpha_of_perfect_and_of_single_judgements() -> None:
    assert krippendorff_alpha([{"x": "a", "y": "a"}, {"x": "b", "y": "b"}]) == 1
    assert math.isnan(krippendorff_alpha([{"x": "a"}, {"y": "b"}]))
