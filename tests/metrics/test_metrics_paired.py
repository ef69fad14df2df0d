"""Paired tests: hand-computed values, false alarms, and what the verdict says."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tunewright.errors import ConfigError, DataError
from tunewright.metrics import compare, correct, get_metric, mcnemar, minimum_detectable_effect
from tunewright.metrics.paired import paired_shares_interval

Draw = Callable[[int, np.random.Generator], tuple[Any, Any, Any]]


def test_mcnemar_mid_p_by_hand() -> None:
    # 5 against 0: twice half of 1/32.
    assert mcnemar(5, 0) == pytest.approx(1 / 32)
    assert mcnemar(0, 5) == pytest.approx(1 / 32)
    # 1 against 7 (Fagerland et al. 2013, airway data): 10/256.
    assert mcnemar(1, 7) == pytest.approx(10 / 256)
    assert mcnemar(0, 0) == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_test_less_half_of_what_was_seen(a: int, b: int) -> None:
    if a + b == 0:
        return
    exact = stats.binomtest(a, a + b).pvalue
    seen = stats.binom.pmf(min(a, b), a + b, 0.5)
    expected = 1.0 if a == b else exact - seen
    assert mcnemar(a, b) == pytest.approx(min(1.0, expected), abs=1e-9)


def test_interval_of_paired_shares_equals_published_values() -> None:
    # Tango's interval of the airway data (1 against 7 of 21), Fagerland et al. 2014, table IV.
    low, high = paired_shares_interval(1, 7, 21)
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    # Without a differing row it ends at z^2 / (n + z^2).
    z = stats.norm.ppf(0.975) ** 2
    assert paired_shares_interval(0, 0, 100) == pytest.approx((-z / (100 + z), z / (100 + z)))
    assert paired_shares_interval(9, 0, 9)[1] == 1.0


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100))
def test_interval_of_paired_shares_holds_the_difference(a: int, b: int, both: int) -> None:
    n = a + b + both
    if n == 0:
        return
    low, high = paired_shares_interval(a, b, n)
    assert -1 <= low <= (a - b) / n <= high <= 1
    assert paired_shares_interval(b, a, n) == pytest.approx((-high, -low), abs=1e-6)


def test_permutation_equals_all_exchanges() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=9)
    a, b = truth + rng.normal(size=9), truth + 1.8 * rng.normal(size=9)
    gaps = (a - truth) ** 2 - (b - truth) ** 2
    observed = abs(gaps.sum()) - 1e-12
    signs = itertools.product([-1, 1], repeat=9)
    exact = np.mean([abs(np.dot(s, gaps)) >= observed for s in signs])
    found = compare("mse", truth, a, b, resamples=20_000)
    assert found.test == "paired permutation"
    assert found.p == pytest.approx(exact, abs=0.015)
    assert found.difference == pytest.approx(gaps.mean())


def test_holm_by_hand() -> None:
    assert correct([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert correct([0.5, 0.9]) == [1.0, 1.0]
    assert correct([]) == []
    with pytest.raises(DataError, match="from 0 to 1"):
        correct([0.2, 1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_the_value_and_bonferroni(values: list[float]) -> None:
    for p, corrected in zip(values, correct(values), strict=True):
        assert p <= corrected <= min(1.0, p * len(values)) + 1e-12


def test_detectable_effect_is_2_8_standard_errors() -> None:
    assert minimum_detectable_effect(1.0) == pytest.approx(2.8016, abs=1e-4)
    assert minimum_detectable_effect(0.5, power=0.9) == pytest.approx(1.6208, abs=1e-4)


def classifiers(n: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Two equally good classifiers that err on the same kind of rows."""
    truth = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    right = np.where(rng.random(n) < 0.5, 0.95, 0.65)
    a, b = (
        np.where(rng.random(n) < right, truth, (truth + rng.integers(1, 3, n)) % 3)
        for _ in range(2)
    )
    return truth, a, b


def regressors(n: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Two equally good regressors on different scales."""
    truth, shared = rng.normal(size=(2, n))
    a, b = (truth + 0.5 * shared + 0.5 * rng.normal(size=n) for _ in range(2))
    return truth, a, 3 + 2 * b


def language_models(n: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    tokens = rng.integers(5, 100, n)
    hard = tokens * rng.gamma(9, 0.25, n)
    a, b = (hard * np.exp(rng.normal(0, 0.1, n)) for _ in range(2))
    return tokens, a, b


EQUAL: list[tuple[str, Draw]] = [
    ("accuracy", classifiers),
    ("macro_f1", classifiers),
    ("mcc", classifiers),
    ("pearson", regressors),
    ("spearman", regressors),
    ("perplexity", language_models),
]


def alarms(name: str, draw: Draw, n: int, sets: int) -> tuple[float, float]:
    """Share of sets with p < 0.05, and share whose interval holds 0, between equal models."""
    rng = np.random.default_rng(2)
    found = [compare(name, *draw(n, rng), seed=i, resamples=500) for i in range(sets)]
    return (
        sum(c.p < 0.05 for c in found) / sets,
        sum(c.low <= 0 <= c.high for c in found) / sets,
    )


@pytest.mark.parametrize(("name", "draw"), EQUAL)
def test_equal_models_raise_few_false_alarms(name: str, draw: Draw) -> None:
    # 200 sets have a standard error of 1.5 %.
    false, holding = alarms(name, draw, 40, sets=200)
    assert false <= 0.095
    assert holding >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize(("name", "draw"), EQUAL)
def test_2000_equal_models_raise_5_per_cent_false_alarms(name: str, draw: Draw, n: int) -> None:
    false, holding = alarms(name, draw, n, sets=2000)
    # Two standard errors of a simulation of 2,000 sets are 1 %.
    assert false <= 0.06
    # Rank correlations of 30 rows are spread less than their bootstrap: that interval is wide.
    assert 0.93 <= holding <= 0.998


@pytest.mark.slow
def test_a_detectable_difference_is_found_in_80_per_cent_of_repeats() -> None:
    rng = np.random.default_rng(3)
    trials = [language_models(100, rng) for _ in range(20)]
    shift = np.mean([compare("perplexity", *rows).detectable for rows in trials])
    found = 0
    for i in range(1000):
        tokens, a, b = language_models(100, rng)
        found += compare("perplexity", tokens, a + shift * tokens, b, seed=i).p < 0.05
    assert 0.75 <= found / 1000 <= 0.85


def test_a_clear_difference_is_told_in_points() -> None:
    truth = ["a", "b"] * 100
    worse = ["a", "b"] * 60 + ["a", "a"] * 40
    found = compare("accuracy", truth, truth, worse, name_a="tuned", name_b="base")
    assert found.difference == pytest.approx(0.2)
    assert found.test == "McNemar (mid-P)"
    assert found.p < 1e-9
    assert found.verdict.startswith("tuned is better by 20.0 points (95 % interval 15.")
    assert found.verdict.endswith(", p < 0.001)")
    turned = compare("accuracy", truth, worse, truth, name_a="base", name_b="tuned")
    assert turned.verdict == found.verdict
    assert (turned.difference, turned.low, turned.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )


def test_a_small_difference_is_not_called_one() -> None:
    truth = ["a", "b"] * 50
    worse = ["b", *truth[1:]]
    found = compare("accuracy", truth, truth, worse)
    assert found.p > 0.05
    assert found.verdict == (
        "no detectable difference (95 % interval -2.7 to 5.4 points; this test set could show "
        f"{found.detectable * 100:.1f} points)"
    )


def test_the_same_predictions_do_not_differ() -> None:
    truth, guess = ["a", "b", "b"] * 20, ["a", "b", "a"] * 20
    found = compare("macro_f1", truth, guess, guess)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert found.verdict == "no difference: both score the same on every row"


def test_perplexity_is_compared_as_a_ratio() -> None:
    rng = np.random.default_rng(4)
    tokens, before, _ = language_models(300, rng)
    after = before - tokens * (0.5 + 0.1 * rng.normal(size=300))
    found = compare("perplexity", tokens, after, before, name_a="tuned", name_b="base")
    assert found.metric == "log_perplexity"
    values = [get_metric("perplexity").compute(tokens, losses) for losses in (after, before)]
    assert math.exp(found.difference) == pytest.approx(values[0] / values[1])
    assert found.low < found.difference < found.high < 0
    lower = 100 * (1 - values[0] / values[1])
    assert found.verdict.startswith(f"tuned is better: its perplexity is {lower:.1f} % lower (95 %")


def test_where_lower_is_better_the_lower_one_wins() -> None:
    rng = np.random.default_rng(5)
    truth = rng.normal(size=100)
    close, far = truth + 0.1 * rng.normal(size=100), truth + rng.normal(size=100)
    found = compare("mae", truth, far, close)
    assert found.difference > 0
    assert found.verdict.startswith("B is better by 0.")


def test_copies_of_rows_make_no_difference_significant_when_clustered() -> None:
    rng = np.random.default_rng(6)
    truth, a, b = (np.repeat(side, 10) for side in classifiers(30, rng))
    groups = np.repeat(np.arange(30), 10)
    for name in ("accuracy", "macro_f1"):
        naive, clustered = compare(name, truth, a, b), compare(name, truth, a, b, groups=groups)
        assert naive.p < 0.05 < clustered.p
        assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_scale_and_shift_of_predictions_change_nothing(name: str) -> None:
    truth, a, b = regressors(80, np.random.default_rng(7))
    first, second = compare(name, truth, a, b), compare(name, truth, a, 100 * b - 7)
    assert first.p == pytest.approx(second.p, abs=1e-6)
    assert first.difference == pytest.approx(second.difference)


def test_areas_are_compared_by_rank() -> None:
    rng = np.random.default_rng(8)
    truth = np.r_[0, 1, rng.integers(0, 2, 98)]
    signal = truth + rng.normal(size=100)
    p = 1 / (1 + np.exp(-signal))
    found = compare("roc_auc", truth, p, p**3)
    assert found.difference == 0
    assert found.p == 1
    three = rng.dirichlet([1.0] * 3, 90), rng.integers(0, 3, 90)
    better = 0.3 * three[0] + 0.7 * np.eye(3)[three[1]]
    assert "A is better" in compare("roc_auc", three[1], better, three[0]).verdict


def test_comparison_is_json() -> None:
    found = compare("mse", [1.0, 2.0], [1.5, 2.0], [1.0, 2.5], groups=["a", "a"]).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["low"] is None
    assert {"metric", "difference", "low", "high", "p", "test", "n", "verdict"} <= set(found)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'macro_f1'"):
        compare("macro_ff1", ["a"], ["a"], ["a"])
    with pytest.raises(DataError, match="2 references and 1 predictions"):
        compare("accuracy", ["a", "b"], ["a", "b"], ["a"])
    with pytest.raises(DataError, match="of one class"):
        compare("roc_auc", [1, 1], [0.1, 0.2], [0.3, 0.1])
