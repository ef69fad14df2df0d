"""A user's function decides what passes: its rate, its test, and what is said when it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunewright.cli.app import run
from tunewright.data.records import Record
from tunewright.errors import ConfigError, DataError
from tunewright.evaluate.passes import load_passes, passed
from tunewright.fine_tuning import EvaluationConfig, ModelEvaluator
from tunewright.metrics import wilson


def test_the_function_sees_the_row_and_the_answer() -> None:
    rows = [Record(text="a", label="x", meta={"limit": 3}), Record(text="b", meta={"limit": 9})]
    found = passed(lambda row, answer: len(answer) <= row["limit"], rows, ["four", "four"])
    assert found == [False, True]


def test_a_function_that_fails_or_says_something_else_is_told_with_the_row() -> None:
    rows = [Record(text="a", row=7)]
    with pytest.raises(DataError, match="failed on row 7: KeyError: 'no'"):
        passed(lambda row, answer: row["no"], rows, ["x"])
    with pytest.raises(DataError, match="said 'yes' of row 7"):
        passed(lambda row, answer: "yes", rows, ["x"])  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("checks", "not of the form FILE.py:FUNCTION"),
        ("none.py:f", "which is not there"),
        ("CHECKS:is_shrt", "Did you mean 'is_short'"),
        ("BROKEN:f", "could not be run: ZeroDivisionError"),
    ],
)
def test_a_place_without_a_function_is_refused(place: str, said: str, tmp_path: Path) -> None:
    checks, broken = tmp_path / "checks.py", tmp_path / "broken.py"
    checks.write_text("def is_short(row, answer): return len(answer) < 9\n")
    broken.write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=said):
        load_passes(place.replace("CHECKS", str(checks)).replace("BROKEN", str(broken)))


def test_evaluate_puts_the_pass_rate_first_with_wilsons_interval(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, capsys: Any
) -> None:
    checks = tmp_path / "checks.py"
    checks.write_text("def even(row, answer): return '2' in row['messages'][0]['content']\n")
    words = ["evaluate", str(tiny_decoder), "--data", str(instruction_file), "--device", "cpu"]
    words += ["--max-new-tokens", "2"]
    assert run([*words, "--pass", f"{checks}:even", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["metrics"]) == ["pass_rate", "perplexity"]
    rate = found["metrics"]["pass_rate"]
    assert (rate["value"], rate["n"]) == (6 / 24, 24)  # 2, 12, 20, 21, 22 and 23
    assert (rate["low"], rate["high"]) == pytest.approx(wilson(6, 24))
    assert run([*words, "--metric", "pass_rate"]) == 2
    assert "--pass" in capsys.readouterr().err


def test_the_evaluator_takes_a_pass_function(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    config = EvaluationConfig(
        str(tiny_decoder), str(instruction_file), num_samples=2, max_length=64, device="cpu",
        pass_function=lambda row, answer: True, save_results=False,
        metrics=["pass_rate"],
    )  # fmt: skip
    found = ModelEvaluator(config).evaluate()
    assert found["metrics"]["pass_rate"]["value"] == 1
