"""Metrics of class probabilities: areas under curves, log loss, calibration.

References are class ids, the columns of the probabilities. With two classes the second column
is the positive class; a [n] array is taken as its probability.

Legend for shape suffixes: N rows, K classes, G groups of equal scores, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.calibration_interval import error_interval
from tunewright.metrics.sufficient import (
    Floats,
    Ints,
    Sufficient,
    as_numbers,
    mean_of,
    mean_where,
    ratio,
    require_rows,
)

ECE_BINS = 10
"""Equal-width bins of confidence in the calibration error and the reliability curve."""


def class_scores(references: Any, predictions: Any) -> tuple[Ints, Floats]:
    """Class ids [n] and one score a class [n x k]; higher means more likely.

    Raises:
        DataError: wrong shape, a score that is not finite, or an id that has no column.
    """
    score_NK = np.asarray(predictions, dtype=np.float64)
    if score_NK.ndim == 1:
        score_NK = np.stack([1 - score_NK, score_NK], axis=1)
    if score_NK.ndim != 2 or score_NK.shape[1] < 2:
        raise DataError(
            f"The probabilities have shape {score_NK.shape}; [n x classes] with two classes or "
            "more is needed, or [n] for the probability of the second of two."
        )
    ids = as_numbers(references, "references")
    require_rows(ids, score_NK)
    k = score_NK.shape[1]
    known = np.isin(ids, np.arange(k))
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        raise DataError(
            f"Reference {ids[row]:g} in row {row + 1} is not the id of one of the {k} columns of "
            f"probabilities (0 to {k - 1})."
        )
    if not np.isfinite(score_NK).all():
        row = int(np.flatnonzero(~np.isfinite(score_NK).all(axis=1))[0])
        raise DataError(
            f"The probabilities of row {row + 1} are not finite: {score_NK[row].tolist()}."
        )
    return ids.astype(np.intp), score_NK


def class_probabilities(references: Any, predictions: Any) -> tuple[Ints, Floats]:
    """Class ids [n] and probabilities [n x k], whose rows sum to 1 exactly.

    Raises:
        DataError: as `class_scores`; or values outside 0 to 1, or sums that are off by over 0.001.
    """
    ref_N, p_NK = class_scores(references, predictions)
    total_N = p_NK.sum(axis=1)
    bad = (p_NK < 0).any(axis=1) | (p_NK > 1).any(axis=1) | (np.abs(total_N - 1) > 1e-3)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{int(bad.sum())} rows are not probabilities, the first is row {row + 1}: "
            f"{p_NK[row].tolist()}. Values from 0 to 1 that sum to 1 are needed; apply softmax to "
            "logits."
        )
    return ref_N, p_NK / total_N[:, None]


def log_loss(references: Any, predictions: Any) -> Sufficient:
    """Mean negative log-probability of the reference class, in nats a row.

    Probabilities are kept above the smallest step of a float64, as scikit-learn does.
    """
    ref_N, p_NK = class_probabilities(references, predictions)
    eps = np.finfo(np.float64).eps
    losses = -np.log(np.clip(p_NK[np.arange(len(ref_N)), ref_N], eps, 1 - eps))
    return mean_of(losses)


def confidence_bins(p_NK: Floats, bins: int = ECE_BINS) -> tuple[Floats, Ints]:
    """Confidence of each row and the number of its bin, of equal-width bins (low, high]."""
    confidence_N = p_NK.max(axis=1)
    return confidence_N, np.clip(np.ceil(confidence_N * bins).astype(np.intp) - 1, 0, bins - 1)


def ece(references: Any, predictions: Any) -> Sufficient:
    """Expected calibration error of the predicted class.

    Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3: the gap between
    accuracy and confidence in each of 10 equal-width bins, weighted by rows.
    """
    ref_N, p_NK = class_probabilities(references, predictions)
    confidence_N, bin_N = confidence_bins(p_NK)
    gap_N = (p_NK.argmax(axis=1) == ref_N) - confidence_N
    sums = np.concatenate([np.eye(ECE_BINS)[bin_N] * gap_N[:, None], np.ones((len(gap_N), 1))], 1)
    return Sufficient.of_sums(
        sums, lambda totals: ratio(np.abs(totals[:, :-1]).sum(-1), totals[:, -1])
    )


def ece_interval(references: Any, predictions: Any, **options: Any) -> tuple[float, float]:
    """The interval of `ece`; see `error_interval` for the method and the options."""
    ref_N, p_NK = class_probabilities(references, predictions)
    confidence_N, bin_N = confidence_bins(p_NK)
    return error_interval(confidence_N, p_NK.argmax(axis=1) == ref_N, bin_N, **options)


def _by_class(
    references: Any, predictions: Any, one: Callable[[Floats, Floats], Floats]
) -> Sufficient:
    """Mean of a two-class metric over classes that have rows on both sides, one against rest."""
    ref_N, score_NK = class_scores(references, predictions)
    occurring = np.unique(ref_N)
    if len(occurring) < 2:
        raise DataError(
            f"All {len(ref_N)} references are of one class, so an area under a curve does not "
            "exist. Score rows of at least two classes."
        )
    columns = [1] if score_NK.shape[1] == 2 else occurring.tolist()
    prepared = []
    for column in columns:
        order = np.argsort(-score_NK[:, column], kind="stable")
        sorted_N = score_NK[order, column]
        starts_G = np.flatnonzero(np.r_[True, sorted_N[1:] != sorted_N[:-1]])
        prepared.append((order, starts_G, (ref_N[order] == column).astype(float)))

    def score(weights_RN: Floats) -> Floats:
        scores = []
        for order, starts_G, positive_N in prepared:
            sorted_RN = weights_RN[:, order]
            pos_RG = np.add.reduceat(sorted_RN * positive_N, starts_G, axis=1)
            neg_RG = np.add.reduceat(sorted_RN * (1 - positive_N), starts_G, axis=1)
            defined = (pos_RG.sum(1) > 0) & (neg_RG.sum(1) > 0)
            scores.append(np.where(defined, one(pos_RG, neg_RG), np.nan))
        stacked = np.stack(scores, axis=1)
        return mean_where(np.nan_to_num(stacked), ~np.isnan(stacked))

    return Sufficient.of_rows(len(ref_N), score)


def _auc(pos_RG: Floats, neg_RG: Floats) -> Floats:
    below_RG = neg_RG.sum(1, keepdims=True) - np.cumsum(neg_RG, axis=1)
    pairs = (pos_RG * (below_RG + neg_RG / 2)).sum(1)
    return ratio(pairs, pos_RG.sum(1) * neg_RG.sum(1), np.nan)


def _average_precision(pos_RG: Floats, neg_RG: Floats) -> Floats:
    true_RG = np.cumsum(pos_RG, axis=1)
    precision_RG = ratio(true_RG, true_RG + np.cumsum(neg_RG, axis=1))
    return ratio((pos_RG * precision_RG).sum(1), true_RG[:, -1], np.nan)


def roc_auc(references: Any, predictions: Any) -> Sufficient:
    """Area under the ROC curve; with more than two classes the mean of one against the rest.

    Ties count half (the Mann-Whitney statistic). Classes without a row are left out.
    """
    return _by_class(references, predictions, _auc)


def pr_auc(references: Any, predictions: Any) -> Sufficient:
    """Average precision, the step-wise area under precision and recall.

    With more than two classes the mean of one against the rest over classes that have rows.
    """
    return _by_class(references, predictions, _average_precision)


def ranked_scores(predictions: Any) -> Floats:
    """Each class's scores by rank: areas under curves stay, two models become comparable."""
    from scipy.stats import rankdata

    scores = np.asarray(predictions, dtype=np.float64)
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    ranks: Floats = rankdata(scores, axis=0)
    return ranks
