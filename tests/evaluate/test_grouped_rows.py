"""Rows that share a source count as one draw: in intervals, and in paired tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runs import recipe, train
from tiny import sentiment_rows
from tunewright import pipeline
from tunewright.cli.app import run
from tunewright.metrics import compare_each


@pytest.fixture(scope="module")
def tuned(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grouped")
    rows = folder / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, sentiment_rows(60))))
    train(recipe(tiny_encoder, rows, folder / "run", max_steps=2))
    return folder / "run"


def test_copies_of_a_row_narrow_no_interval_of_groups(
    tuned: Path, write_rows: Any, capsys: Any
) -> None:
    once = sentiment_rows(30)
    rows = [row | {"writer": i} for i, row in enumerate(once) for _ in range(4)]
    path, plain = write_rows("copies.jsonl", rows), write_rows("once.jsonl", once)
    words = ["evaluate", str(tuned), "--no-baselines", "--against", str(tuned), "--json"]
    assert run([*words, "--data", str(path), "--column", "group=writer"]) == 0
    grouped = json.loads(capsys.readouterr().out)
    assert any("over the 30 groups of column 'group'" in note for note in grouped["notes"])
    assert run([*words, "--data", str(path)]) == 0
    loose = json.loads(capsys.readouterr().out)
    assert run([*words, "--data", str(plain)]) == 0
    single = json.loads(capsys.readouterr().out)

    def width(found: dict[str, Any]) -> float:
        score = found["metrics"]["accuracy"]
        return float(score["high"] - score["low"])

    assert width(grouped) == pytest.approx(width(single), rel=0.2)
    assert width(loose) < 0.7 * width(grouped)
    assert grouped["comparison"]["previous"]["test"] == "paired permutation"


def test_rows_of_groups_of_their_own_are_plain_rows(tuned: Path, write_rows: Any) -> None:
    rows = [row | {"group": i} for i, row in enumerate(sentiment_rows(30))]
    found = pipeline.evaluate_model(
        str(tuned), str(write_rows("own.jsonl", rows)), with_baselines=False
    )
    assert not any("groups" in note for note in found.notes)


def test_several_models_are_compared_by_groups() -> None:
    truth, groups = [1] * 40, [i // 10 for i in range(40)]
    ours, theirs = [1] * 40, [1] * 20 + [0] * 20
    (loose,) = compare_each("accuracy", truth, {"a": ours, "b": theirs}).values()
    (found,) = compare_each("accuracy", truth, {"a": ours, "b": theirs}, groups=groups).values()
    assert loose.p < 0.001 and found.p > 0.1  # two groups of four say little
