"""Intervals: their coverage, their invariants, their speed."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tunewright.errors import ConfigError, DataError
from tunewright.metrics import METRIC_NAMES, Estimate, estimate, get_metric, wilson
from tunewright.metrics.resampling import Rows, group_ids

_spec = importlib.util.spec_from_file_location(
    "metric_rows", Path(__file__).with_name("metric_rows.py")
)
assert _spec is not None and _spec.loader is not None
metric_rows = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(metric_rows)

Draw = Callable[[int, np.random.Generator], tuple[Any, Any]]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_a_resample_scores_what_its_repeated_rows_score(name: str) -> None:
    rng = np.random.default_rng(3)
    metric = get_metric(name)
    for n in (12, 40):
        refs, preds = metric_rows.random_rows(name, n, rng)
        sufficient = metric.sufficient(refs, preds)
        times = rng.multinomial(n, np.full(n, 1 / n), size=5)
        times[:, :3] += 1  # so that every class keeps a row
        for row in times:
            weights = np.bincount(sufficient.unit, weights=row, minlength=sufficient.units).astype(
                float
            )
            direct = metric.compute(
                metric_rows.repeated(refs, row), metric_rows.repeated(preds, row)
            )
            resampled = float(sufficient.score(weights[None])[0])
            if name == "hamming_loss":  # its classes are those that occur in all rows
                assert resampled <= direct + 1e-9
            else:
                assert resampled == pytest.approx(direct, abs=1e-9)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_every_metric_has_an_interval_around_its_value(name: str) -> None:
    refs, preds = metric_rows.random_rows(name, 60, np.random.default_rng(4))
    found = estimate(name, refs, preds, resamples=400)
    assert found.low < found.value < found.high
    assert found.value == get_metric(name).compute(refs, preds)
    assert found.n == 60
    assert found == estimate(name, refs, preds, resamples=400)


def test_wilson_equals_scipy() -> None:
    for k, n in ((0, 5), (5, 5), (3, 17), (95, 100)):
        expected = stats.binomtest(k, n).proportion_ci(0.9, method="wilson")
        assert wilson(k, n, 0.9) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n", [30, 100, 1000])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_exact_coverage_of_a_share_is_93_to_97_per_cent(n: int, p: float) -> None:
    ends = np.array([wilson(k, n) for k in range(n + 1)])
    chance = stats.binom.pmf(np.arange(n + 1), n, p)
    covered = chance[(ends[:, 0] <= p) & (p <= ends[:, 1])].sum()
    assert 0.93 <= covered <= 0.97


def classes(accuracy: float) -> Draw:
    def draw(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
        truth = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        wrong = (truth + rng.integers(1, 3, n)) % 3
        return truth, np.where(rng.random(n) < accuracy, truth, wrong)

    return draw


def correlated(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.normal(size=n)
    return x, 0.6 * x + 0.8 * rng.normal(size=n)


def losses(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    tokens = rng.integers(5, 100, n)
    return tokens, tokens * rng.gamma(16, 0.15, n)


def coverage(name: str, draw: Draw, n: int, sets: int, resamples: int = 1000) -> float:
    """Share of simulated sets whose interval holds the value of a very large set."""
    rng = np.random.default_rng(5)
    true = get_metric(name).compute(*draw(30_000 if name == "spearman" else 1_000_000, rng))
    found = [estimate(name, *draw(n, rng), seed=i, resamples=resamples) for i in range(sets)]
    return sum(e.low <= true <= e.high for e in found) / sets


SIMULATED: list[tuple[str, Draw]] = [
    ("accuracy", classes(0.5)),
    ("accuracy", classes(0.95)),
    ("macro_f1", classes(0.95)),
    ("macro_f1", classes(0.7)),
    ("mcc", classes(0.7)),
    ("pearson", correlated),
    ("mse", correlated),
    ("perplexity", losses),
]


@pytest.mark.parametrize(("name", "draw"), SIMULATED)
def test_simulated_coverage_is_near_95_per_cent(name: str, draw: Draw) -> None:
    # 300 sets have a standard error of 1.3 %.
    assert 0.90 <= coverage(name, draw, 50, sets=300, resamples=500) <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 1000])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_2000_simulated_accuracies_are_covered_93_to_97_per_cent(n: int, p: float) -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(2000):
        right = rng.random(n) < p
        found = estimate("accuracy", np.ones(n, dtype=int), right.astype(int))
        covered += found.low <= p <= found.high
    assert 0.93 <= covered / 2000 <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 1000])
@pytest.mark.parametrize(("name", "draw"), SIMULATED[2:])
def test_2000_simulated_scores_are_covered(name: str, draw: Draw, n: int) -> None:
    # With few errors in 30 rows no interval is exact: 95 % macro-F1 errs on the safe side.
    assert 0.915 <= coverage(name, draw, n, sets=2000) <= 0.995


@pytest.mark.slow
def test_spearman_is_covered() -> None:
    assert 0.925 <= coverage("spearman", correlated, 100, sets=1000) <= 0.975


def beliefs(overconfidence: float, *, only_above: float = 0.0) -> Draw:
    """Two classes; where confidence is high enough, accuracy is so much below it."""

    def draw(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
        confidence = 0.5 + 0.5 * rng.beta(4, 1, n)
        accuracy = confidence - overconfidence * (confidence > only_above)
        wrong = (rng.random(n) >= accuracy).astype(int)
        return wrong, np.stack([confidence, 1 - confidence], axis=1)

    return draw


CALIBRATIONS = {
    "calibrated": (beliefs(0.0), 0.95, 1.0),  # an error of 0 can be missed on one side only
    "overconfident": (beliefs(0.12), 0.93, 0.97),
    "where it is sure": (beliefs(0.15, only_above=0.9), 0.93, 0.985),
}


def calibration_coverage(draw: Draw, n: int, sets: int) -> float:
    rng = np.random.default_rng(12)
    true = 0.0 if draw is CALIBRATIONS["calibrated"][0] else get_metric("ece").compute(
        *draw(500_000, rng)
    )  # fmt: skip
    found = [estimate("ece", *draw(n, rng), seed=i, resamples=200) for i in range(sets)]
    return sum(e.low <= true <= e.high for e in found) / sets


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_simulated_coverage_of_the_calibration_error(kind: str) -> None:
    # 120 sets have a standard error of 2 %; the bootstrap held the true value in 83 to 88 %.
    draw, low, high = CALIBRATIONS[kind]
    assert low - 0.04 <= calibration_coverage(draw, 40, sets=120) <= high + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 1000])
@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_a_thousand_simulated_calibration_errors_are_covered(kind: str, n: int) -> None:
    draw, low, high = CALIBRATIONS[kind]
    # 1,000 sets have a standard error of 0.7 %.
    assert low - 0.012 <= calibration_coverage(draw, n, sets=1000) <= high + 0.012


def test_a_calibration_error_of_groups_has_no_interval() -> None:
    refs, preds = beliefs(0.1)(40, np.random.default_rng(13))
    found = estimate("ece", refs, preds, groups=np.repeat(np.arange(10), 4))
    assert found.value > 0 and math.isnan(found.low) and math.isnan(found.high)


def test_sure_and_always_right_is_a_calibration_error_of_0_with_its_doubt() -> None:
    found = estimate("ece", [0] * 30, [[1.0, 0.0]] * 30)
    assert found.value == found.low == 0
    sure = estimate("ece", [0] * 30, [[0.95, 0.05]] * 30)
    assert sure.value == pytest.approx(0.05) and sure.low == 0 and 0.05 < sure.high < 0.3


def test_bca_of_a_mean_agrees_with_scipy() -> None:
    rng = np.random.default_rng(7)
    error = rng.gamma(1.0, 1.0, 200)
    ours = estimate("mae", np.zeros(200), error, resamples=20_000)
    theirs = stats.bootstrap(
        (error,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(8)
    ).confidence_interval
    # Ours is a little wider: it is expanded for 200 draws.
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_copies_of_rows_do_not_narrow_a_clustered_interval() -> None:
    truth, guess = classes(0.8)(80, np.random.default_rng(9))
    groups = np.repeat([f"document {i}" for i in range(80)], 5)
    copied = np.repeat(truth, 5), np.repeat(guess, 5)
    for name in ("accuracy", "macro_f1"):
        single = estimate(name, truth, guess)
        naive = estimate(name, *copied)
        clustered = estimate(name, *copied, groups=groups)
        width = single.high - single.low
        assert naive.high - naive.low < 0.6 * width
        assert clustered.high - clustered.low == pytest.approx(width, rel=0.1)


def test_one_group_says_nothing_about_the_spread() -> None:
    found = estimate("mse", [1.0, 2.0], [1.5, 2.0], groups=["a", "a"])
    assert math.isnan(found.low)
    assert found.to_dict() == {"value": 0.125, "low": None, "high": None, "n": 2}
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["low"] is None


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "balanced_accuracy"])
def test_a_perfect_score_on_thirty_rows_keeps_its_doubt(name: str) -> None:
    truth = ["a", "b", "c"] * 10
    found = estimate(name, truth, truth)
    assert found.value == found.high == 1.0
    assert 0.7 < found.low < 0.95


def test_macro_f1_of_a_thousand_rows_takes_under_a_second() -> None:
    truth, guess = classes(0.8)(1000, np.random.default_rng(10))
    estimate("macro_f1", truth, guess)
    began = time.perf_counter()
    estimate("macro_f1", truth, guess, resamples=2000)
    assert time.perf_counter() - began < 1.0


def test_a_higher_confidence_is_wider() -> None:
    for name in ("accuracy", "macro_f1"):
        rows = classes(0.7)(100, np.random.default_rng(11))
        narrow, wide = (estimate(name, *rows, confidence=c) for c in (0.8, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high


def test_one_row_has_a_value_and_no_bootstrap_interval() -> None:
    assert math.isnan(estimate("mae", [1.0], [2.0]).low)
    assert estimate("accuracy", ["a"], ["a"]).low == pytest.approx(0.2065, abs=1e-4)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        estimate("accurracy", ["a"], ["a"])
    with pytest.raises(ConfigError, match="confidence is 95"):
        estimate("accuracy", ["a"], ["a"], confidence=95)
    with pytest.raises(DataError, match="1 groups for 2 rows"):
        estimate("accuracy", ["a", "b"], ["a", "b"], groups=["x"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40),
    st.sampled_from(["accuracy", "macro_f1", "precision", "balanced_accuracy"]),
)
def test_intervals_of_shares_stay_within_0_and_1(rows: list[tuple[str, str]], name: str) -> None:
    found = estimate(name, *zip(*rows, strict=True), resamples=100)
    assert isinstance(found, Estimate)
    if not math.isnan(found.low):
        assert 0 <= found.low <= found.high <= 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=30))
def test_every_resample_draws_as_many_rows_or_groups(rows: list[tuple[int, int]]) -> None:
    units = np.array([unit for unit, _ in rows])
    groups = group_ids([group for _, group in rows], len(rows))
    for members in (None, groups):
        drawn = Rows([units], 4, members)
        total = np.concatenate(list(drawn.bootstrap(20, np.random.default_rng(0))))
        counts = drawn.unit_counts(total, 0)
        assert (counts >= 0).all()
        if members is None:
            assert (counts.sum(axis=1) == len(rows)).all()
            assert set(np.flatnonzero(counts.sum(axis=0))) <= set(units)
        left = np.concatenate(list(drawn.leave_one_out(100, np.random.default_rng(0))))
        assert left.sum() == len(rows) * (drawn.draws - 1)
