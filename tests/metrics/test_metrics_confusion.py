"""Confusion, scores of each class and calibration, against scikit-learn and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from tunewright.errors import DataError
from tunewright.metrics import calibration_bins, confusion_matrix, get_metric, per_class_scores

TRUTH = ["cat", "cat", "dog", "dog", "dog"]
GUESS = ["cat", "dog", "dog", "dog", "cat"]


def test_confusion_by_hand() -> None:
    assert confusion_matrix(TRUTH, GUESS).tolist() == [[1, 1], [1, 2]]
    assert confusion_matrix(TRUTH, GUESS, ["dog", "eel", "cat"]).tolist() == [
        [2, 0, 1],
        [0, 0, 0],
        [1, 0, 1],
    ]


def test_a_label_outside_the_classes_is_named() -> None:
    with pytest.raises(DataError, match=r"Labels \['dog'\] occur but are not among"):
        confusion_matrix(TRUTH, GUESS, ["cat"])


def test_class_scores_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        n, k = int(rng.integers(1, 60)), int(rng.integers(2, 8))
        truth, guess = rng.integers(0, k, n), rng.integers(0, k, n)
        order = list(range(k))
        expected = sk.precision_recall_fscore_support(truth, guess, labels=order, zero_division=0)
        found = per_class_scores(truth, guess, order)
        columns = [[row[key] for row in found] for key in ("precision", "recall", "f1", "support")]
        assert np.allclose(columns, expected)
        assert (
            confusion_matrix(truth, guess, order) == sk.confusion_matrix(truth, guess, labels=order)
        ).all()


def test_calibration_bins_hold_every_row_and_the_error() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1.0] * 3, 500)
    truth = rng.integers(0, 3, 500)
    found = calibration_bins(truth, p)
    bins = [b for b in found["bins"] if b["count"]]
    assert sum(b["count"] for b in bins) == 500
    assert all(b["low"] < b["confidence"] <= b["high"] for b in bins)
    gap = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / 500
    assert found["ece"] == pytest.approx(gap)
    assert found["ece"] == pytest.approx(get_metric("ece").compute(truth, p))
    json.dumps(found, allow_nan=False)


def test_calibration_curve_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet([1.0] * 4, 300)
    truth = rng.integers(0, 4, 300)
    right, confidence = calibration_curve(truth == p.argmax(axis=1), p.max(axis=1), n_bins=10)
    bins = [b for b in calibration_bins(truth, p)["bins"] if b["count"]]
    assert [b["accuracy"] for b in bins] == pytest.approx(right)
    assert [b["confidence"] for b in bins] == pytest.approx(confidence)
