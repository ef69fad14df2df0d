"""Metrics of numbers: regression, correlation, and losses of language models.

Legend for shape suffixes: N rows, G groups of equal values, R resamples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.sufficient import (
    Floats,
    Ints,
    Sufficient,
    as_numbers,
    mean_of,
    ratio,
    require_rows,
)


def _pair(references: Any, predictions: Any) -> tuple[Floats, Floats]:
    ref_N = as_numbers(references, "references")
    pred_N = as_numbers(predictions, "predictions")
    require_rows(ref_N, pred_N)
    return ref_N, pred_N


def mse(references: Any, predictions: Any) -> Sufficient:
    """Mean squared error, in squared units of the target."""
    ref_N, pred_N = _pair(references, predictions)
    return mean_of((pred_N - ref_N) ** 2)


def mae(references: Any, predictions: Any) -> Sufficient:
    """Mean absolute error, in units of the target."""
    ref_N, pred_N = _pair(references, predictions)
    return mean_of(np.abs(pred_N - ref_N))


def rmse(references: Any, predictions: Any) -> Sufficient:
    """Square root of the mean squared error, in units of the target."""
    ref_N, pred_N = _pair(references, predictions)
    squares = mean_of((pred_N - ref_N) ** 2)
    return Sufficient(squares.unit, squares.units, lambda w: np.sqrt(squares.score(w)))


def r2(references: Any, predictions: Any) -> Sufficient:
    """1 minus the squared error over that of the references' mean; can be below 0.

    With references that are all equal it is 1 for perfect predictions and 0 otherwise, as in
    scikit-learn.
    """
    ref_N, pred_N = _pair(references, predictions)
    centred = ref_N - ref_N.mean()
    sums = np.stack([(pred_N - ref_N) ** 2, centred, centred**2, np.ones(len(ref_N))], axis=1)
    floor = 1e-12 * max(float((centred**2).mean()), float(np.finfo(float).tiny))

    def of_totals(totals: Floats) -> Floats:
        error, first, second, n = totals.T
        spread = second - ratio(first**2, n)
        constant = spread <= floor * n
        return np.where(
            constant,
            np.where(error == 0, 1.0, 0.0),
            1 - ratio(error, np.where(constant, 1.0, spread)),
        )

    return Sufficient.of_sums(sums, of_totals)


def standardised(values: Any) -> Floats:
    """Mean 0 and deviation 1: Pearson's correlation stays, two models become comparable."""
    numbers = as_numbers(values, "predictions")
    centred = numbers - numbers.mean()
    return ratio(centred, np.full(len(centred), centred.std()))


def ranked(values: Any) -> Floats:
    """Ranks, ties sharing their mean: Spearman's correlation stays the same."""
    from scipy.stats import rankdata

    ranks: Floats = rankdata(as_numbers(values, "predictions"))
    return ranks


def _correlation(
    weight: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats
) -> Floats:
    """Pearson's r of weighted sums; 0 where one side has no spread left but rounding."""
    covariance = xy - ratio(x * y, weight)
    spread_x, spread_y = xx - ratio(x * x, weight), yy - ratio(y * y, weight)
    constant = (spread_x <= 1e-12 * xx) | (spread_y <= 1e-12 * yy)
    product = np.sqrt(np.where(constant, 0.0, spread_x * spread_y))
    return np.clip(ratio(covariance, product), -1.0, 1.0)


def pearson(references: Any, predictions: Any) -> Sufficient:
    """Pearson's correlation; 0 where one side is constant, as for the Matthews correlation."""
    ref_N, pred_N = _pair(references, predictions)
    x, y = standardised(ref_N), standardised(pred_N)
    sums = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
    return Sufficient.of_sums(sums, lambda totals: _correlation(*totals.T))


def _ranks_under(weights_RN: Floats, order: Ints, starts_G: Ints, group_N: Ints) -> Floats:
    """Mid-ranks of every row when row i occurs weights[:, i] times. Centred on 0."""
    counts_RG = np.add.reduceat(weights_RN[:, order], starts_G, axis=1)
    before_RG = np.cumsum(counts_RG, axis=1) - counts_RG
    middle_RG: Floats = before_RG + counts_RG / 2 - counts_RG.sum(axis=1, keepdims=True) / 2
    ranks_RN: Floats = middle_RG[:, group_N]
    return ranks_RN


def spearman(references: Any, predictions: Any) -> Sufficient:
    """Spearman's rank correlation; 0 where one side is constant. Every resample is re-ranked."""
    sides = []
    for values in _pair(references, predictions):
        order = np.argsort(values, kind="stable")
        new = np.r_[True, np.diff(values[order]) != 0]
        group_N = np.empty(len(values), dtype=np.intp)
        group_N[order] = np.cumsum(new) - 1
        sides.append((order, np.flatnonzero(new), group_N))

    def score(weights_RN: Floats) -> Floats:
        x, y = (_ranks_under(weights_RN, *side) for side in sides)
        n = weights_RN.sum(axis=1)
        zero = np.zeros(len(n))
        totals = [(weights_RN * product).sum(axis=1) for product in (x * x, y * y, x * y)]
        return _correlation(n, zero, zero, *totals)

    return Sufficient.of_rows(len(group_N), score)


def _loss_rates(sizes: Any, losses: Any, what: str) -> Floats:
    size_N = as_numbers(sizes, f"{what} counts")
    loss_N = as_numbers(losses, "losses")
    require_rows(size_N, loss_N)
    if (size_N < 0).any() or size_N.sum() == 0:
        raise DataError(
            f"The {what} counts must be 0 or more, and not all 0: {size_N.sum():g} in all."
        )
    return np.stack([loss_N, size_N], axis=1)


def _exp(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        exponential: Floats = np.exp(values)
    return exponential


def mean_similarity(references: Any, predictions: Any) -> Sufficient:
    """Mean of one similarity a row, such as BERTScore's F1; the references are all 1."""
    require_rows(references, predictions)
    return mean_of(as_numbers(predictions, "similarities"))


def mean_value(references: Any, predictions: Any) -> Sufficient:
    """Mean of one number a row; the references say nothing."""
    require_rows(references, predictions)
    return mean_of(as_numbers(predictions, "values"))


def perplexity(token_counts: Any, losses: Any) -> Sufficient:
    """exp of the loss a token.

    Args:
        token_counts: [n] tokens that each row's loss is of (the references).
        losses: [n] negative log-likelihood of each row in nats, summed over its tokens (the
            predictions).
    """
    sums = _loss_rates(token_counts, losses, "token")
    return Sufficient.of_sums(sums, lambda totals: _exp(ratio(totals[:, 0], totals[:, 1], np.nan)))


def log_perplexity(token_counts: Any, losses: Any) -> Sufficient:
    """The loss a token in nats; takes what `perplexity` takes."""
    sums = _loss_rates(token_counts, losses, "token")
    return Sufficient.of_sums(sums, lambda totals: ratio(totals[:, 0], totals[:, 1], np.nan))


def bits_per_byte(byte_counts: Any, losses: Any) -> Sufficient:
    """The loss in bits for each UTF-8 byte of text, comparable between tokenizers.

    Args:
        byte_counts: [n] UTF-8 bytes of the text that each row's loss is of (the references).
        losses: [n] negative log-likelihood of each row in nats (the predictions).
    """
    sums = _loss_rates(byte_counts, losses, "byte")
    return Sufficient.of_sums(
        sums, lambda totals: ratio(totals[:, 0], totals[:, 1] * math.log(2), np.nan)
    )
