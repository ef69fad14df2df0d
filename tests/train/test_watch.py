"""Diagnoses from numbers."""

from __future__ import annotations

import math

from tunewright.train.watch import (
    at_chance,
    non_finite,
    overfitting,
    plateau,
    slow_data,
    underfitting,
)


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
    assert "raise the learning rate" in found.action
    worse = at_chance(226.3, math.log(2))
    assert worse is not None and "lower the learning rate" in worse.action


def test_a_plateau_needs_both_losses_flat_for_three_scores() -> None:
    assert plateau([1.0, 0.5, 0.5, 0.5], [1.0, 0.5, 0.5, 0.5]) is None
    found = plateau([1.0, 0.5, 0.5, 0.499, 0.51], [1.0, 0.6, 0.6, 0.61, 0.597])
    assert found is not None and "did not fall below 0.500" in found.message
    assert plateau([1.0, 0.5, 0.4, 0.3, 0.2], [1.0, 0.6, 0.6, 0.6, 0.6]) is None


def test_a_run_that_ends_while_it_still_learns_was_too_short() -> None:
    assert underfitting([1.0]) is None
    assert underfitting([1.0, 0.5, 0.49]) is None
    found = underfitting([1.0, 0.8, 0.6])
    assert found is not None and found.evidence == {"validation": [1.0, 0.8, 0.6]}


def test_data_are_slow_from_a_second_and_three_tenths_of_the_time_on() -> None:
    assert slow_data(0.9, 1.0) is None
    assert slow_data(2.0, 10.0) is None
    found = slow_data(4.0, 10.0)
    assert found is not None and "40% of the time" in found.message
