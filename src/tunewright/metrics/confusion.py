"""Where a classifier errs: confusion matrix, scores of each class, calibration curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import DataError
from tunewright.metrics.intervals import wilson
from tunewright.metrics.labels import label_ids
from tunewright.metrics.probabilities import ECE_BINS, class_probabilities, confidence_bins, ece
from tunewright.metrics.sufficient import ratio


def confusion_matrix(
    references: Any, predictions: Any, classes: Sequence[Any] | None = None
) -> NDArray[np.int64]:
    """Counts of rows by reference (down) and prediction (across).

    Args:
        references: [n] class names or ids.
        predictions: [n] likewise.
        classes: order of rows and columns. Default: the classes that occur, sorted.

    Returns:
        [k x k] counts.

    Raises:
        DataError: a label that occurs is not among `classes`, or the rows do not pair up.
    """
    ref_N, pred_N, occurring = label_ids(references, predictions)
    order = list(occurring if classes is None else classes)
    missing = [label for label in occurring if label not in order]
    if missing:
        raise DataError(
            f"Labels {missing[:5]!r} occur but are not among the classes {order[:10]!r}."
        )
    k = len(order)
    place = np.array([order.index(label) for label in occurring], dtype=np.intp)
    counts = np.bincount(place[ref_N] * k + place[pred_N], minlength=k * k)
    return counts.reshape(k, k).astype(np.int64)


def per_class_scores(
    references: Any, predictions: Any, classes: Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, in the order of `classes`.

    Returns:
        For each class `label`, `precision`, `recall`, `f1` (0 to 1) and `support`, the rows
        whose reference it is. A share of nothing is 0, as in scikit-learn. `intervals` has low and
        high of the three at 95 %: Wilson's, of F1 by way of the share of right rows among those
        that are or are said to be of the class, of which it is a function; None of no row.
    """
    matrix = confusion_matrix(references, predictions, classes)
    order = label_ids(references, predictions)[2] if classes is None else list(classes)
    hit = np.diag(matrix).astype(float)
    support, predicted = matrix.sum(axis=1).astype(float), matrix.sum(axis=0).astype(float)
    precision, recall = ratio(hit, predicted), ratio(hit, support)
    f1 = ratio(2 * hit, support + predicted)
    return [
        {
            "label": label,
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": int(support[i]),
            "intervals": {
                "precision": _wilson(hit[i], predicted[i]),
                "recall": _wilson(hit[i], support[i]),
                "f1": _f1_interval(hit[i], support[i] + predicted[i] - hit[i]),
            },
        }
        for i, label in enumerate(order)
    ]


def _wilson(hits: float, rows: float) -> list[float] | None:
    return list(wilson(hits, int(rows))) if rows else None


def _f1_interval(hits: float, rows: float) -> list[float] | None:
    """F1 = 2 J / (1 + J), which rises with J, the share of hits among rows of either side."""
    ends = _wilson(hits, rows)
    return None if ends is None else [2 * share / (1 + share) for share in ends]


def calibration_bins(references: Any, probabilities: Any, bins: int = ECE_BINS) -> dict[str, Any]:
    """Reliability curve of the predicted class, and the calibration error.

    Args:
        references: [n] class ids, the columns of `probabilities`.
        probabilities: [n x k]; with two classes [n] of the second is enough.
        bins: equal-width bins of confidence. The error is always of 10.

    Returns:
        `bins`, a list with `low`, `high`, `count`, and mean `confidence` and `accuracy` (0 to 1;
        None in an empty bin), and `ece`, the expected calibration error.
    """
    ref_N, p_NK = class_probabilities(references, probabilities)
    confidence_N, bin_N = confidence_bins(p_NK, bins)
    right_N = (p_NK.argmax(axis=1) == ref_N).astype(float)
    table: list[dict[str, Any]] = []
    for number in range(bins):
        inside = bin_N == number
        count = int(inside.sum())
        table.append(
            {
                "low": number / bins,
                "high": (number + 1) / bins,
                "count": count,
                "confidence": float(confidence_N[inside].mean()) if count else None,
                "accuracy": float(right_N[inside].mean()) if count else None,
            }
        )
    return {"bins": table, "ece": ece(references, probabilities).value()}
