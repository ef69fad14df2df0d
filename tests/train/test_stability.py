"""Spikes and divergence from numbers: found where planted, silent on healthy runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tunewright.train.stability import Stability

Run = tuple[list[float], list[float]]


def told(run: Run, targets: int) -> tuple[list[int], list[int]]:
    """Steps of spikes and steps after which the run had diverged, counted from 0."""
    state, spikes, diverged = Stability(), [], []
    for step, (loss, norm) in enumerate(zip(*run, strict=True)):
        spike = state.spike(loss, norm, targets)
        state.add(loss, norm, taken=spike is None)
        if spike is not None:
            spikes.append(step)
        if state.divergence() is not None:
            diverged.append(step)
    return spikes, diverged


def language_model(random: np.random.Generator, steps: int = 200) -> Run:
    """Falls to a level, noisy, with batches of short and of long rows."""
    t = np.arange(steps)
    level = 1.2 + random.uniform(0.2, 2) * np.exp(-t / random.uniform(10, 100))
    losses = level * np.exp(random.normal(0, 0.1, steps)) + random.choice([-0.3, 0, 0.5], steps)
    norms = np.exp(random.normal(0, 0.35, steps)) * (0.5 + 4 * np.exp(-t / 20))
    return np.abs(losses).tolist(), norms.tolist()


def classifier(random: np.random.Generator, steps: int = 200, rows: int = 16) -> Run:
    """Gets sure of itself; then up to 6 % of the rows are confident mistakes."""
    speed, share = random.uniform(10, 80), random.uniform(0, 0.06)
    losses, norms = [], []
    for step in range(steps):
        new = math.exp(-step / speed)
        mistakes = random.gamma(4, random.uniform(0.5, 1.5), rows)
        sure = np.where(random.random(rows) < share, mistakes, random.exponential(0.05, rows))
        row = new * 0.69 * np.exp(random.normal(0, 0.3, rows)) + (1 - new) * sure
        gradient = 1 - np.exp(-row)
        losses.append(float(row.mean()))
        norms.append(5 * math.sqrt(0.5 * gradient.mean() ** 2 + 0.5 * (gradient**2).mean() / rows))
    return losses, norms


def numbers(random: np.random.Generator, steps: int = 200) -> Run:
    """Squared errors with heavy tails that do not fall at all."""
    errors = random.standard_t(4, (steps, 8)) / math.sqrt(2)
    losses = (errors**2).mean(axis=1)
    return losses.tolist(), np.sqrt(losses).tolist()


# Regressions are asked with 0 targets: never about spikes (`reactions.py`).
@pytest.mark.parametrize(
    ("simulate", "targets"), [(language_model, 2000), (classifier, 16), (numbers, 0)]
)
def test_healthy_runs_are_called_stable(
    simulate: Callable[[np.random.Generator], Run], targets: int
) -> None:
    for seed in range(25):
        assert told(simulate(np.random.default_rng(seed)), targets) == ([], [])


def test_a_planted_spike_is_found_and_nothing_else() -> None:
    for seed in range(5):
        losses, norms = language_model(np.random.default_rng(seed))
        losses[120], norms[120] = 8.0, 9.0
        assert told((losses, norms), 2000) == ([120], [])


def test_a_gradient_that_explodes_is_a_spike_whatever_the_loss() -> None:
    losses, norms = language_model(np.random.default_rng(0))
    norms[150] = 21 * max(norms)
    assert told((losses, norms), 2000) == ([150], [])


def test_no_spike_is_found_before_there_is_enough_to_compare_with() -> None:
    losses, norms = [2.0] * 40, [1.0] * 40
    losses[19] = losses[30] = 50.0
    norms[19] = norms[30] = 19.0
    assert told((losses, norms), 2000)[0] == []  # the first one is in the window of the second
    losses[19] = norms[19] = 1.0
    assert told((losses, norms), 2000)[0] == [30]
    assert told((losses, norms), 4)[0] == []  # one mistake among four rows is no spike


def test_a_new_level_is_accepted_after_three_spikes() -> None:
    losses, norms = [1.0] * 60 + [3.0] * 60, [1.0] * 60 + [5.0] * 60
    assert told((losses, norms), 2000)[0] == [60, 61, 62]


def test_divergence_is_found_within_sixteen_steps_and_forgotten_after_going_back() -> None:
    losses, norms = language_model(np.random.default_rng(3))
    losses[100:] = [6.0 + step / 100 for step in range(100)]
    _, diverged = told((losses, norms), 2000)
    assert 100 < diverged[0] < 116
    state = Stability()
    for loss in losses[:120]:
        state.add(loss, 1.0, taken=True)
    assert state.divergence() is not None and not state.calm
    state.after_rollback(None)
    assert state.divergence() is None
    for loss in losses[:40]:
        state.add(loss, 1.0, taken=True)
    assert state.divergence() is None and state.calm


def test_a_model_that_gave_back_all_it_had_learned_has_diverged() -> None:
    learned = [0.7] * 8 + [0.7 - 0.01 * step for step in range(50)] + [0.2, 0.21] * 40
    collapsed = learned + [0.85] * 16
    assert told((learned, [1.0] * len(learned)), 16)[1] == []
    assert told((collapsed, [1.0] * len(collapsed)), 16)[1] != []


def test_a_value_that_is_not_finite_never_enters_the_window() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        Stability().add(math.nan, 1.0, taken=False)
