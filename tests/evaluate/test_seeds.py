"""Runs that differ in their seed alone are told together, and groups of them are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from runs import recipe, train
from tunewright.cli.app import run
from tunewright.evaluate.seeds import add_seed_groups, mean_interval, said_of_seeds, welch

SETTINGS = {"model": "m", "learning_rate": 0.1}


def results(scores: list[float]) -> list[dict[str, Any]]:
    return [
        {"model": f"runs/{i}", "metrics": {"accuracy": {"value": s, "better": "higher"}}}
        for i, s in enumerate(scores)
    ]


def test_interval_and_test_equal_scipys() -> None:
    ours, theirs = [0.8, 0.82, 0.85, 0.79], [0.7, 0.78, 0.74]
    found = mean_interval(ours)
    ends = ttest_1samp(ours, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high))
    assert found["spread"] == pytest.approx(np.std(ours, ddof=1)) and found["n"] == 4
    test = ttest_ind(ours, theirs, equal_var=False)
    ends = test.confidence_interval(0.95)
    tested = welch(ours, theirs)
    assert tested["p"] == pytest.approx(test.pvalue)
    assert (tested["low"], tested["high"]) == pytest.approx((ends.low, ends.high))
    assert welch([1.0, 1.0], [1.0, 1.0])["p"] == 1 and welch([1.0, 1.0], [0.0, 0.0])["p"] == 0
    assert mean_interval([0.5])["low"] is None


def test_the_difference_that_seeds_could_show_is_shown_in_four_of_five_repeats() -> None:
    random = np.random.default_rng(0)
    sure = welch(random.normal(0, 1, 500), random.normal(0, 1, 500))
    assert sure["detectable"] == pytest.approx(2.8 * np.sqrt(2 / 500), rel=0.1)


def test_runs_are_grouped_by_everything_but_seed_and_folder() -> None:
    found = results([0.8, 0.82, 0.81, 0.6, 0.62, 0.9])
    settings: list[Any] = [SETTINGS | {"seed": i, "output_dir": f"runs/{i}"} for i in range(3)]
    settings += [SETTINGS | {"learning_rate": 0.2, "seed": i} for i in range(2)]
    add_seed_groups(found, [*settings, None])
    group = found[0]["over_seeds"]
    assert group is found[2]["over_seeds"] and group["seeds"] == [0, 1, 2]
    assert group["name"] == "0 and 2 other seeds" and "over_seeds" not in found[5]
    assert group["metrics"]["accuracy"]["value"] == pytest.approx(0.81)
    test = group["comparison"]["3 and 1 other seed"]
    assert test["p"] < 0.01 and test["verdict"].startswith("0 and 2 other seeds is better by 20 po")
    said = said_of_seeds(found)
    assert len(said) == 3 and "over 3 seeds" in said[0]


def test_the_same_seed_twice_and_a_failed_run_are_no_group() -> None:
    found = [*results([0.8, 0.82]), {"model": "x", "error": "broken"}]
    add_seed_groups(found, [SETTINGS | {"seed": 1}, SETTINGS | {"seed": 1}, SETTINGS | {"seed": 2}])
    assert not any("over_seeds" in one for one in found)


def test_few_seeds_say_what_they_could_show() -> None:
    found = results([0.8, 0.9, 0.82, 0.86])
    settings = [SETTINGS | {"learning_rate": i // 2, "seed": i} for i in range(4)]
    add_seed_groups(found, settings)
    (test,) = found[0]["over_seeds"]["comparison"].values()
    assert test["verdict"].startswith("no detectable difference (95 % interval over seeds")
    assert "these seeds could show" in test["verdict"]


def test_compare_tells_seeds_cost_and_what_is_cheapest(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, capsys: Any
) -> None:
    runs = []
    for seed in (1, 2):
        made = recipe(tiny_encoder, sentiment_file, tmp_path / f"s{seed}", seed=seed, max_steps=2)
        train(made)
        runs.append(str(tmp_path / f"s{seed}"))
    page = tmp_path / "c.md"
    words = ["compare", *runs, "--data", str(sentiment_file), "--output", str(page)]
    assert run([*words, "--latency", "3", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["results"]
    assert first["over_seeds"] == second["over_seeds"] and first["over_seeds"]["seeds"] == [1, 2]
    cost = first["cost"]
    (weights,) = (tmp_path / "s1").glob("*.safetensors")
    assert cost["weight_bytes"] == weights.stat().st_size
    assert cost["parameters"] * 4 == pytest.approx(cost["weight_bytes"], rel=0.06)
    assert cost["latency_ms"]["rows"] == 3
    assert 0 < cost["latency_ms"]["median"] <= cost["latency_ms"]["p95"]
    html = page.with_suffix(".html").read_text()
    assert "over 2 seeds" in html and "One row takes" in html and "Weights" in html
    assert "against cost" in html
    assert "s1 and 1 other seed: mean macro-F1" in page.read_text()
    assert run(words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "parameters" in said and "peak memory" in said and "over 2 seeds" in said
