"""A score and how far it can be trusted: Wilson intervals for shares, bootstrap for the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunewright.errors import ConfigError, DataError
from tunewright.metrics.registry import Metric, get_metric
from tunewright.metrics.resampling import RESAMPLES, Groups, Rows, group_ids, score_chunks
from tunewright.metrics.sufficient import Floats, Sufficient

_JACKKNIFE = 1000
"""Rows left out, one at a time, for the acceleration of the bootstrap interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its interval.

    Attributes:
        value: the metric of the rows as they are.
        low, high: ends of the interval; NaN where the rows say nothing about the spread (one
            row, or one group), and for calibration errors of groups, which no method here covers.
        n: rows.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """`value`, `low`, `high` and `n` for JSON; None for what is not finite."""
        return {
            "value": finite_or_none(self.value),
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
            "n": self.n,
        }


def finite_or_none(value: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return float(value) if math.isfinite(value) else None


def normal_quantile(share: float) -> float:
    """The standard normal value below which `share` of the mass lies."""
    from scipy.special import ndtri

    return float(ndtri(share))


def require_confidence(confidence: float) -> None:
    """Refuse a confidence that is not strictly between 0 and 1.

    Raises:
        ConfigError: it is not; 95 % is 0.95.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; a share between 0 and 1 such as 0.95.")


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a share of rows (Wilson 1927; Brown, Cai and DasGupta 2001, equation 4).

    Chosen over the exact interval because its exact coverage at 95 % is 93.9 to 96.6 % at n = 30,
    100 and 1,000 with p = 0.05, 0.5 and 0.95, where that of Clopper-Pearson, Jeffreys and mid-P
    reaches 98.4 %.

    Args:
        successes: rows that are right.
        n: rows, 1 or more.
        confidence: share of intervals that hold the true value.
    """
    require_confidence(confidence)
    z = normal_quantile((1 + confidence) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def expanded_quantiles(draws: int, confidence: float = 0.95) -> tuple[float, float]:
    """Normal quantiles of the ends of a bootstrap interval, moved out for few draws.

    Resamples of m draws spread by sqrt((m - 1) / m) too little, and their spread is an estimate;
    Student's t makes up for both (Hesterberg, "What Teachers Should Know About the Bootstrap",
    The American Statistician 69 (2015), section 4.2).

    Args:
        draws: rows or groups, 2 or more.
        confidence: share of intervals that hold the true value.
    """
    from scipy.special import stdtrit

    end = math.sqrt(draws / (draws - 1)) * float(stdtrit(draws - 1, (1 + confidence) / 2))
    return -end, end


def bca(
    value: float, resampled: Floats, left_out: Floats, draws: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987), expanded for few draws.

    Args:
        value: the score of the rows as they are.
        resampled: [R] scores of the resamples; undefined ones (NaN) are left out.
        left_out: [m] scores without one row or group each, of all or of a sample of them.
        draws: rows or groups in all, 2 or more.
        confidence: share of intervals that hold the true value.

    Returns:
        low and high; NaN for both when no resample has a score.
    """
    from scipy.special import ndtr

    resampled = np.sort(resampled[~np.isnan(resampled)])
    if len(resampled) == 0:
        return math.nan, math.nan
    below = (resampled < value).mean() + (resampled == value).mean() / 2
    # Kept off 0 and 1: with every resample on one side the correction would be infinite.
    below = min(max(below, 1 / (len(resampled) + 1)), len(resampled) / (len(resampled) + 1))
    bias = normal_quantile(float(below))
    left_out = left_out[~np.isnan(left_out)]
    influence = left_out.mean() - left_out
    spread = float(np.mean(influence**2))
    skewness = float(np.mean(influence**3)) / spread**1.5 if spread > 0 else 0.0
    acceleration = skewness / (6 * math.sqrt(draws))
    ends = []
    for end in expanded_quantiles(draws, confidence):
        z = bias + end
        adjusted = bias + z / max(1e-6, 1 - acceleration * z)
        ends.append(float(np.quantile(resampled, float(ndtr(adjusted)))))
    return ends[0], ends[1]


def _smoothed_interval(
    value: float, sufficient: Sufficient, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile interval of resamples of the rows and of rows that are yet unseen.

    Thirty rows without an error do not prove that there are none, but no resample of them shows
    one. A right and a wrong row are added before drawing, in the spirit of Agresti and Coull
    (1998). Simulated coverage for macro-F1 at 30 rows and 95 % accuracy rises from 78 to 98 %.
    """
    assert sufficient.unseen is not None
    expected = sufficient.counts + sufficient.unseen
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sufficient), expected / expected.sum(), size=resamples)
    scores = sufficient.score(drawn.astype(np.float64))
    ends = np.nanquantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return min(value, float(ends[0])), max(value, float(ends[1]))


def estimate(
    metric: str | Metric,
    references: Any,
    predictions: Any,
    *,
    groups: Groups | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Score n rows and say how far the score can be trusted.

    Shares of rows (accuracy, exact match) have a Wilson interval, everything else a BCa bootstrap
    interval over rows, or over whole groups when `groups` is given. Class labels with fewer than
    five errors have a smoothed bootstrap interval, so that a perfect score keeps its doubt, and the
    calibration error has one by test inversion.

    Args:
        metric: its name, or the metric.
        references: [n] in the shape that the metric needs; token counts for perplexity.
        predictions: [n] likewise; summed losses of each row in nats for perplexity.
        groups: [n] source of each row (document, user, ...) where rows share one.
        confidence: share of intervals that hold the true value.
        seed: of the resamples; the same seed gives the same interval.
        resamples: bootstrap resamples.

    Raises:
        ConfigError: no such metric, or a confidence outside 0 to 1.
        DataError: the rows are not what the metric needs, or it is undefined for them.
    """
    chosen = get_metric(metric) if isinstance(metric, str) else metric
    require_confidence(confidence)
    sufficient = chosen.sufficient(references, predictions)
    value, n = sufficient.value(), len(sufficient)
    if math.isnan(value):
        raise DataError(f"{chosen.name} is not defined for these {n} rows.")
    members = group_ids(groups, n)
    if chosen.proportion and members is None:
        return Estimate(value, *wilson(round(value * n), n, confidence), n)
    if sufficient.unseen is not None and members is None:
        low, high = _smoothed_interval(value, sufficient, confidence, resamples, seed)
        return Estimate(value, low, high, n)
    if chosen.interval is not None and members is None:
        options = {"confidence": confidence, "draws": resamples, "seed": seed}
        return Estimate(value, *chosen.interval(references, predictions, **options), n)
    rows = Rows([sufficient.unit], sufficient.units, members)
    if rows.draws < 2 or (chosen.interval is not None and members is not None):
        return Estimate(value, math.nan, math.nan, n)

    def score(atoms: Floats) -> Floats:
        return sufficient.score(rows.unit_counts(atoms, 0))

    rng = np.random.default_rng(seed)
    resampled = score_chunks(rows.bootstrap(resamples, rng), score)
    left_out = score_chunks(rows.leave_one_out(_JACKKNIFE, rng), score)
    return Estimate(value, *bca(value, resampled, left_out, rows.draws, confidence), n)
