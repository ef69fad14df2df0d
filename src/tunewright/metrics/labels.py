"""Metrics of class labels and of label sets, from counts of true and false positives.

Definitions are those of scikit-learn: macro averages run over the classes that occur in the
references or the predictions, and a share of nothing counts as 0.

Legend for shape suffixes: N rows, U cells (distinct pairs of reference and prediction),
K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.sufficient import (
    Floats,
    Ints,
    Sufficient,
    as_list,
    mean_where,
    ratio,
    require_rows,
)

OfCounts = Callable[[Floats, Floats, Floats], Floats]
"""True positives, references and predictions of each class, [R x K] each, to scores [R]."""

FEW_ERRORS = 5
"""With fewer wrong rows, resamples of them understate how wrong other rows may be."""


def is_label_sets(labels: Any) -> bool:
    """Whether each row has a set of labels rather than one."""
    if isinstance(labels, np.ndarray):
        return labels.ndim == 2
    return len(labels) > 0 and isinstance(labels[0], tuple | list | set | frozenset | np.ndarray)


def label_ids(references: Any, predictions: Any) -> tuple[Ints, Ints, list[Any]]:
    """Class numbers of references and predictions [n], and the sorted classes they are of.

    Raises:
        DataError: lengths differ, a label is missing, or one side has names and the other ids.
    """
    refs, preds = as_list(references, "references"), as_list(predictions, "predictions")
    require_rows(refs, preds)
    for what, labels in (("references", refs), ("predictions", preds)):
        if any(label is None for label in labels):
            row = labels.index(None) + 1
            raise DataError(f"Row {row} of the {what} has no label. Remove or label such rows.")
    named = {isinstance(label, str) for label in (*refs, *preds)}
    if len(named) > 1:
        raise DataError(
            f"Names and ids are mixed: the first reference is {refs[0]!r}, the first prediction "
            f"{preds[0]!r}. Give class names on both sides, or ids on both."
        )
    classes = sorted({*refs, *preds})
    index = {label: i for i, label in enumerate(classes)}
    return (
        np.array([index[label] for label in refs], dtype=np.intp),
        np.array([index[label] for label in preds], dtype=np.intp),
        classes,
    )


def _from_cells(references: Any, predictions: Any, of_counts: OfCounts) -> Sufficient:
    ref_N, pred_N, classes = label_ids(references, predictions)
    k = len(classes)
    cell_N = ref_N * k + pred_N
    few_errors = k > 1 and int((ref_N != pred_N).sum()) < FEW_ERRORS
    if few_errors:
        cells_U, unit_N = np.arange(k * k), cell_N
    else:
        cells_U, unit_N = np.unique(cell_N, return_inverse=True)
    ref_UK = np.eye(k)[cells_U // k]
    pred_UK = np.eye(k)[cells_U % k]
    hit_UK = ref_UK * pred_UK

    def score(weights_RU: Floats) -> Floats:
        return of_counts(weights_RU @ hit_UK, weights_RU @ ref_UK, weights_RU @ pred_UK)

    unseen = _one_right_one_wrong(ref_N, k) if few_errors else None
    return Sufficient(unit_N, len(cells_U), score, unseen)


def _one_right_one_wrong(ref_N: Ints, k: int) -> Floats:
    """Two rows spread over all [k * k] cells by the classes' shares: one right, one wrong."""
    share_K = np.bincount(ref_N, minlength=k) / len(ref_N)
    wrong_KK = (1 - np.eye(k)) / (k - 1)
    return (share_K[:, None] * (np.eye(k) + wrong_KK)).reshape(-1)


def _label_sets(labels: Any, what: str) -> list[frozenset[Any]]:
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        return [frozenset(np.flatnonzero(row).tolist()) for row in labels]
    found = []
    for i, row in enumerate(as_list(labels, what), start=1):
        if not isinstance(row, tuple | list | set | frozenset | np.ndarray):
            raise DataError(
                f"Row {i} of the {what} is {row!r}; a set of labels, such as ('a', 'b') or (), is "
                "needed."
            )
        found.append(frozenset(row.tolist() if isinstance(row, np.ndarray) else row))
    return found


def _set_counts(references: Any, predictions: Any) -> tuple[Floats, Floats]:
    """Memberships of references and predictions, [n x k] each, in 0 and 1."""
    refs, preds = _label_sets(references, "references"), _label_sets(predictions, "predictions")
    require_rows(refs, preds)
    classes = set().union(*refs, *preds)
    if len({isinstance(label, str) for label in classes}) > 1:
        raise DataError(
            f"Names and ids are mixed: the first reference is {set(refs[0])}, the first "
            f"prediction {set(preds[0])}. Give class names on both sides, or ids on both."
        )
    index = {label: i for i, label in enumerate(sorted(classes))}
    found = []
    for rows in (refs, preds):
        members = np.zeros((len(rows), len(index)))
        for i, row in enumerate(rows):
            members[i, [index[label] for label in row]] = 1.0
        found.append(members)
    return found[0], found[1]


def _from_sets(references: Any, predictions: Any, of_counts: OfCounts) -> Sufficient:
    ref_NK, pred_NK = _set_counts(references, predictions)
    k = ref_NK.shape[1]

    def score(totals: Floats) -> Floats:
        return of_counts(totals[:, :k], totals[:, k : 2 * k], totals[:, 2 * k :])

    sums = np.concatenate([ref_NK * pred_NK, ref_NK, pred_NK], axis=1)
    return Sufficient.of_sums(sums, score, distinct=True)


def _counted(references: Any, predictions: Any, of_counts: OfCounts) -> Sufficient:
    make = _from_sets if is_label_sets(references) else _from_cells
    return make(references, predictions, of_counts)


def _occurs(tp: Floats, ref: Floats, pred: Floats) -> Any:
    return ref + pred > 0


def macro_f1(references: Any, predictions: Any) -> Sufficient:
    """Mean over classes of 2TP / (2TP + FP + FN)."""
    return _counted(
        references,
        predictions,
        lambda tp, ref, pred: mean_where(ratio(2 * tp, ref + pred), _occurs(tp, ref, pred)),
    )


def macro_precision(references: Any, predictions: Any) -> Sufficient:
    """Mean over classes of TP / (TP + FP)."""
    return _counted(
        references,
        predictions,
        lambda tp, ref, pred: mean_where(ratio(tp, pred), _occurs(tp, ref, pred)),
    )


def macro_recall(references: Any, predictions: Any) -> Sufficient:
    """Mean over classes of TP / (TP + FN)."""
    return _counted(
        references,
        predictions,
        lambda tp, ref, pred: mean_where(ratio(tp, ref), _occurs(tp, ref, pred)),
    )


def micro_f1(references: Any, predictions: Any) -> Sufficient:
    """2TP / (2TP + FP + FN) with counts summed over classes."""
    return _counted(
        references,
        predictions,
        lambda tp, ref, pred: ratio(2 * tp.sum(-1), ref.sum(-1) + pred.sum(-1)),
    )


def balanced_accuracy(references: Any, predictions: Any) -> Sufficient:
    """Mean recall over the classes that occur in the references."""
    return _from_cells(
        references, predictions, lambda tp, ref, pred: mean_where(ratio(tp, ref), ref > 0)
    )


def _mcc(tp: Floats, ref: Floats, pred: Floats) -> Floats:
    n, hits = ref.sum(-1), tp.sum(-1)
    covariance = hits * n - (ref * pred).sum(-1)
    spread = (n * n - (ref * ref).sum(-1)) * (n * n - (pred * pred).sum(-1))
    return ratio(covariance, np.sqrt(spread))


def mcc(references: Any, predictions: Any) -> Sufficient:
    """Matthews correlation for any number of classes; 0 where one side is constant.

    Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
    Computational Biology and Chemistry 28 (2004), equation 8.
    """
    return _from_cells(references, predictions, _mcc)


def hits(correct_N: Any) -> Sufficient:
    """The share of rows that are right, from one truth value a row."""
    sums = np.stack([np.asarray(correct_N, dtype=float), np.ones(len(correct_N))], axis=1)
    return Sufficient.of_sums(sums, lambda totals: ratio(totals[:, 0], totals[:, 1]), distinct=True)


def accuracy(references: Any, predictions: Any) -> Sufficient:
    """Share of rows whose label is right; for label sets, whose set is exactly right."""
    if is_label_sets(references):
        ref_NK, pred_NK = _set_counts(references, predictions)
        return hits((ref_NK == pred_NK).all(axis=1))
    ref_N, pred_N, _ = label_ids(references, predictions)
    return hits(ref_N == pred_N)


def hamming_loss(references: Any, predictions: Any) -> Sufficient:
    """Share of wrong decisions over all rows and all classes that occur."""
    ref_NK, pred_NK = _set_counts(references, predictions)
    wrong = (ref_NK != pred_NK).sum(axis=1).astype(float)
    sums = np.stack([wrong, np.full(len(wrong), float(ref_NK.shape[1]))], axis=1)
    return Sufficient.of_sums(sums, lambda totals: ratio(totals[:, 0], totals[:, 1]), distinct=True)
