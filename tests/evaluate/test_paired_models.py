"""Every pair of models is tested on the same rows, and corrected for the number of tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunewright.evaluate.paired_models import add_paired_tests
from tunewright.evaluate.run import Evaluation, Pair
from tunewright.metrics import compare, compare_each, correct

TRUTH = ["a", "b"] * 50


def answers(right: int) -> list[str]:
    """The first so many rows right, the others wrong."""
    return TRUTH[:right] + ["b" if label == "a" else "a" for label in TRUTH[right:]]


def evaluation(model: str, pair: Pair | None) -> Evaluation:
    return Evaluation(model, "classification", {}, 100, {}, pair=pair)


def test_p_values_of_several_models_are_corrected_together() -> None:
    models = {"good": answers(90), "fair": answers(80), "poor": answers(75)}
    found = compare_each("accuracy", TRUTH, models)
    assert list(found) == [("good", "fair"), ("good", "poor"), ("fair", "poor")]
    alone = [compare("accuracy", TRUTH, models[a], models[b]).p for a, b in found]
    assert [one.p for one in found.values()] == pytest.approx(correct(alone))
    assert found["good", "poor"].verdict.startswith("good is better by 15.0 points")
    assert found["good", "fair"].difference == pytest.approx(0.1)


def test_a_correction_can_turn_a_difference_into_none() -> None:
    base, better = answers(70), answers(75)
    assert compare("accuracy", TRUTH, better, base).p < 0.05
    models = {"better": better, "base": base} | {f"other {i}": base for i in range(3)}
    found = compare_each("accuracy", TRUTH, models)["better", "base"]
    assert "no detectable difference" in found.verdict


def test_each_pair_is_kept_once_under_the_other_models_name() -> None:
    evaluations = [
        evaluation(name, Pair("accuracy", TRUTH, answers(right)))
        for name, right in (("runs/a", 95), ("runs/b", 60), ("runs/c", 94))
    ]
    add_paired_tests(evaluations)
    assert [list(e.comparison) for e in evaluations] == [["runs/b", "runs/c"], ["runs/c"], []]
    assert evaluations[0].comparison["runs/b"]["p"] < 0.001
    assert "no detectable difference" in evaluations[0].comparison["runs/c"]["verdict"]
    assert "pair" not in evaluations[0].to_dict()


def test_models_that_count_other_tokens_are_not_paired() -> None:
    one = evaluation("one", Pair("perplexity", [3, 4, 5], [1.0, 2.0, 3.0]))
    same = evaluation("same", Pair("perplexity", [3, 4, 5], [1.1, 2.2, 2.0]))
    other = evaluation("other", Pair("perplexity", [2, 2, 2], [1.0, 1.0, 1.0]))
    failed = evaluation("failed", None)
    add_paired_tests([one, other, failed, same])
    assert list(one.comparison) == ["same"]
    assert not other.comparison and not same.comparison


def test_compare_says_which_of_two_runs_is_better(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, capsys: Any
) -> None:
    from tunewright import pipeline
    from tunewright.cli.app import run
    from tunewright.config.recipe import Recipe

    for name, values in (("good", {"num_train_epochs": 12}), ("bad", {"max_steps": 1})):
        made: dict[str, Any] = {
            "model": str(tiny_encoder),
            "data": {"train": str(sentiment_file), "validation": 0.2},
            "output_dir": str(tmp_path / name),
            "learning_rate": 5e-3,
            "device": "cpu",
        }
        pipeline.train(pipeline.prepare(Recipe.check(made | values)))
    report = tmp_path / "report.md"
    arguments = ["compare", str(tmp_path / "good"), str(tmp_path / "bad")]
    arguments += ["--data", str(sentiment_file), "--output", str(report)]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert found[0]["comparison"][str(tmp_path / "bad")]["p"] < 0.001
    assert run(arguments) == 0
    assert "good is better by" in " ".join(capsys.readouterr().err.split())
    assert "measurably better than every other" in report.read_text()
