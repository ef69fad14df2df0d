"""Diagnoses from numbers."""

from __future__ import annotations

import math

from tunewright.train.watch import at_chance, non_finite, overfitting


def test_non_finite_loss_and_gradient_are_named() -> None:
    assert non_finite(1, 0.5, 2.0) is None
    loss, gradient = non_finite(7, math.nan, 1.0), non_finite(7, 1.0, math.inf)
    assert loss is not None and "step 7 the loss is nan" in loss.message
    assert gradient is not None and "gradient norm is inf" in gradient.message


def test_overfitting_needs_two_rises_while_training_falls() -> None:
    assert overfitting([3, 2], [1, 2]) is None
    assert overfitting([3, 2, 1], [1.0, 0.9, 1.1]) is None
    assert overfitting([1, 2, 3], [1.0, 1.1, 1.2]) is None
    found = overfitting([3, 2, 1], [1.0, 1.1, 1.2])
    assert found is not None and found.name == "overfitting"


def test_chance_is_the_entropy_of_the_labels() -> None:
    assert at_chance(0.5, math.log(2)) is None
    found = at_chance(0.70, math.log(2))
    assert found is not None and "guessing by label frequency gives 0.693" in found.message
