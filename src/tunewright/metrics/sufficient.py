"""Rows reduced to what a metric needs of them, so that thousands of resamples cost one product.

A metric of n rows becomes U distinct *units* (cells of a confusion matrix, sums of a ratio, or
the rows themselves) and a function of how often each unit occurs. A bootstrap or permutation
resample is then a row of counts. This module knows counts. It does not know metrics.

Legend for shape suffixes: N rows, U units, S sums, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sufficient:
    """What a metric needs of n rows.

    Attributes:
        unit: [n] which of the U units each row is.
        units: U.
        score: weights [R x U], how often each unit occurs in each resample, to scores [R]. A
            resample in which the metric is undefined scores NaN.
        unseen: [U] rows to add to resamples because the rows show too few errors to draw from;
            None where they show enough.
    """

    unit: Ints
    units: int
    score: Callable[[Floats], Floats]
    unseen: Floats | None = None

    def __len__(self) -> int:
        return len(self.unit)

    @property
    def counts(self) -> Floats:
        """[U] how often each unit occurs in the rows as they are."""
        return np.bincount(self.unit, minlength=self.units).astype(np.float64)

    def value(self) -> float:
        """The metric of the rows as they are; NaN where it is undefined."""
        return float(self.score(self.counts[None])[0])

    @classmethod
    def of_rows(cls, n: int, score: Callable[[Floats], Floats]) -> Sufficient:
        """Every row is its own unit; for metrics of ranks and sorted scores."""
        return cls(np.arange(n), n, score)

    @classmethod
    def of_sums(
        cls, sums_NS: Floats, of_totals: Callable[[Floats], Floats], *, distinct: bool = False
    ) -> Sufficient:
        """A metric that is a function of sums over rows.

        Args:
            sums_NS: [n x s] what each row adds.
            of_totals: totals [R x s] to scores [R].
            distinct: join equal rows into one unit; pays where few rows differ.
        """
        if distinct:
            sums_US, unit_N = np.unique(sums_NS, axis=0, return_inverse=True)
        else:
            sums_US, unit_N = sums_NS, np.arange(len(sums_NS))
        return cls(unit_N.reshape(-1), len(sums_US), lambda weights: of_totals(weights @ sums_US))


def ratio(numerator: Floats, denominator: Floats, otherwise: float = 0.0) -> Floats:
    """Elementwise quotient; `otherwise` where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    quotient = np.full(shape, otherwise)
    np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) != 0)
    return quotient


def mean_of(values_N: Floats) -> Sufficient:
    """The mean of one number a row."""
    sums = np.stack([values_N, np.ones(len(values_N))], axis=1)
    return Sufficient.of_sums(sums, lambda totals: ratio(totals[:, 0], totals[:, 1]))


def mean_where(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Mean over the last axis of the values that are chosen; NaN where none is."""
    return ratio(np.where(chosen, values, 0.0).sum(-1), chosen.sum(-1).astype(float), np.nan)


def as_list(values: Any, what: str) -> list[Any]:
    """Any sequence or array as a list of plain Python values.

    Raises:
        DataError: it is a single string or has no length.
    """
    if isinstance(values, np.ndarray):
        return list(values.tolist())
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise DataError(
            f"The {what} are one {type(values).__name__}; a list with one entry a row is needed."
        )
    return [v.item() if isinstance(v, np.generic) else v for v in values]


def require_rows(references: Sequence[Any] | Floats, predictions: Sequence[Any] | Floats) -> int:
    """The number of rows.

    Raises:
        DataError: there is none, or references and predictions differ in length.
    """
    if len(references) != len(predictions):
        raise DataError(
            f"{len(references)} references and {len(predictions)} predictions: each row needs one "
            "of both, in the same order."
        )
    if len(references) == 0:
        raise DataError("There is no row to score. Check the source and its splits.")
    return len(references)


def as_numbers(values: Any, what: str) -> Floats:
    """One finite number a row, as [n] in float64.

    Raises:
        DataError: not numbers, not one a row, or not finite (the first such row is named).
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"The {what} are not numbers: {error}.") from error
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.ndim != 1:
        raise DataError(
            f"The {what} have shape {numbers.shape}; one number a row, shape [n], is needed."
        )
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(numbers)} {what} are not finite, the first in row "
            f"{bad[0] + 1}: {numbers[bad[0]]}. Remove or repair those rows."
        )
    return numbers
