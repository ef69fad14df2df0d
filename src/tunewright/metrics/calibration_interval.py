"""How far a calibration error can be trusted: an interval by test inversion.

The bootstrap is of no use here: an error that is a sum of absolute gaps is too large by chance, and
resampling adds chance again, so that bootstrap intervals hold the true value in 83 to 88 % of sets
of 30 to 100 rows. This module knows counts of bins. It does not know models.

Legend for shape suffixes: N rows, B bins, P points of the path, R draws.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tunewright.metrics.sufficient import Floats, Ints

_REACH = 5.0
"""Standard errors by which the gap of every bin is moved, in both directions."""
_STEPS = 41
"""Points on the path; the ends of the interval are interpolated between them."""


def error_interval(
    confidence_N: Floats,
    right_N: NDArray[np.bool_],
    bin_N: Ints,
    *,
    confidence: float,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Interval of the expected calibration error: the errors that could have given the one seen.

    A path of models goes from a calibrated one through the model as it was seen to a worse one: the
    gap between accuracy and confidence of each bin, less a multiple of its standard error (soft
    thresholding), then more. From each model on it the error of n rows is drawn many times. The
    interval holds the true errors of those models for which the error seen is in neither tail
    (inversion of a test, Davison and Hinkley 1997, section 5.5; the path takes the place of the
    unknown gaps). Chance that adds to the error is part of the draws, so nothing is corrected.

    Args:
        confidence_N: [n] probability of the predicted class.
        right_N: [n] whether that class is right.
        bin_N: [n] number of the bin of each confidence.
        confidence: share of intervals that hold the true value.
        draws: sets of n rows from each model on the path.
        seed: of the draws.

    Returns:
        low and high; low is 0 where a calibrated model could have given the error that was seen.
    """
    n = len(confidence_N)
    used, bin_N = np.unique(bin_N, return_inverse=True)
    rows_B = np.bincount(bin_N, minlength=len(used)).astype(np.float64)
    mean_B = np.bincount(bin_N, weights=confidence_N, minlength=len(used)) / rows_B
    share_B = np.bincount(bin_N, weights=right_N, minlength=len(used)) / rows_B
    gap_B = share_B - mean_B
    seen = float((rows_B * np.abs(gap_B)).sum() / n)
    # A bin without an error has no spread of its own, but that of a calibrated model.
    spread_B = np.maximum(share_B * (1 - share_B), mean_B * (1 - mean_B))
    error_B = np.sqrt(spread_B / rows_B)
    sign_B = np.where(gap_B < 0, -1.0, 1.0)
    moved_P = np.linspace(-_REACH, _REACH, _STEPS)
    size_PB = np.maximum(0.0, np.abs(gap_B) + moved_P[:, None] * error_B)
    size_PB[0] = 0.0
    accuracy_PB = np.clip(mean_B + sign_B * size_PB, 0.0, 1.0)
    true_P = np.abs(accuracy_PB - mean_B) @ rows_B / n
    rng = np.random.default_rng(seed)
    drawn_RB = rng.multinomial(n, rows_B / n, size=draws)
    above_P, below_P = np.empty(_STEPS), np.empty(_STEPS)
    for point, accuracy_B in enumerate(accuracy_PB):
        hits_RB = rng.binomial(drawn_RB, accuracy_B)
        errors_R = np.abs(hits_RB - drawn_RB * mean_B).sum(axis=1) / n
        above_P[point] = (errors_R >= seen - 1e-12).mean()
        below_P[point] = (errors_R <= seen + 1e-12).mean()
    tail = (1 - confidence) / 2
    low = _crossing(true_P, np.maximum.accumulate(above_P), tail)
    high = _crossing(true_P[::-1], np.maximum.accumulate(below_P[::-1]), tail)
    return min(low, seen), max(high, seen)


def _crossing(true_P: Floats, chance_P: Floats, tail: float) -> float:
    """The error at which a chance that rises along the path reaches the tail."""
    reached = int(np.argmax(chance_P >= tail))
    if reached == 0:
        return float(true_P[0])
    before, after = chance_P[reached - 1], chance_P[reached]
    share = (tail - before) / max(math.ulp(1.0), after - before)
    return float(true_P[reached - 1] + share * (true_P[reached] - true_P[reached - 1]))
