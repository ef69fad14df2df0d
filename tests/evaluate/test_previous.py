"""An earlier model as a baseline: what was fixed, what broke, and who cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import train
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.records import Dataset, Record
from tunewright.evaluate.answers import Answers, Work
from tunewright.evaluate.previous import changes, paired, said_of_changes
from tunewright.fine_tuning import EvaluationConfig, ModelEvaluator, generate_evaluation_report


def work(labels: list[str]) -> Work:
    records = tuple(Record(text=f"text {i}", label=x, row=i) for i, x in enumerate(labels, 1))
    examples = [Example([1], i) for i in range(len(labels))]
    return Work(Dataset(Task.CLASSIFICATION, records), examples, None, 1, 1, None)  # type: ignore[arg-type]


def test_rows_fixed_and_broken_are_counted_and_shown() -> None:
    rows = work(["a", "a", "b", "b"])
    now, before = (Answers(list(x), np.zeros((4, 2)), ("a", "b")) for x in ("abba", "aaaa"))
    found = changes(rows, now, rows, before, ["macro_f1"])
    assert found == {
        "fixed": 1, "broken": 1, "both_right": 1, "both_wrong": 1,
        "broken_rows": [
            {"row": 2, "text": "text 2", "expected": "a", "before": "a", "now": "b"}
        ],
    }  # fmt: skip
    assert said_of_changes(found) == (
        "Since the previous version: 1 rows fixed, 1 broken, 1 wrong in both, 1 right in both."
    )


def test_other_references_are_not_paired() -> None:
    assert paired((["a"], ["a"]), (["a"], ["b"]))
    assert not paired(([3, 4], [1.0, 2.0]), ([3, 5], [1.0, 2.0]))
    assert not paired(([3], [1.0]), ([3, 5], [1.0, 2.0]))
    assert not paired(None, (["a"], ["a"]))


@pytest.fixture(scope="module")
def runs(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import sentiment_rows

    folder = tmp_path_factory.mktemp("versions")
    rows = folder / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(row | {"shop": "ab"[i % 2]}) for i, row in
                              enumerate(sentiment_rows())))  # fmt: skip
    for name, values in (("old", {"max_steps": 1}), ("new", {"num_train_epochs": 16})):
        made: dict[str, Any] = {
            "model": str(tiny_encoder),
            "data": {"train": str(rows), "validation": 0, "test": 0.4},
            "output_dir": str(folder / name),
            "learning_rate": 5e-3,
            "device": "cpu",
        }
        train(Recipe.check(made | values))
    return folder


def test_evaluate_against_an_earlier_run_in_every_form(
    runs: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["evaluate", str(runs / "new"), "--against", str(runs / "old"), "--slice", "shop"]
    assert run([*words, "--report", str(tmp_path / "r.md"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baselines"]["previous"]["model"] == str(runs / "old")
    assert "embedding_knn" in found["baselines"]
    assert found["comparison"]["previous"]["verdict"].startswith("this model is better by")
    counts = found["changes"]
    assert counts["fixed"] > 0
    assert sum(counts[k] for k in ("fixed", "broken", "both_right", "both_wrong")) == found["n"]
    assert [one["where"] for one in found["slices"]["slices"]] == [{"shop": "a"}, {"shop": "b"}]
    assert any(note.startswith("Since the previous version") for note in found["notes"])
    assert all("nearest" in error for error in found["errors"])
    for page in ("r.md", "r.html"):
        said = (tmp_path / page).read_text()
        assert "The previous version" in said or "Previous version" in said
        assert "Slices" in said and "What changed" in said
    assert run([*words[:4], "--slice", "shp"]) == 2
    assert "Did you mean 'shop'" in capsys.readouterr().err


def test_the_evaluator_takes_slices_and_an_earlier_model(runs: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(
        str(runs / "new"), slices=["shop"], against=str(runs / "old"), output_dir=str(tmp_path)
    )
    found = ModelEvaluator(config).evaluate()
    assert found["changes"] and found["slices"]["tested"] == 2
    path = generate_evaluation_report(found, str(tmp_path / "report.md"))
    assert "None of 2 slices" in Path(path).read_text() or "Worse where" in Path(path).read_text()


def test_an_earlier_model_of_other_labels_is_refused(
    runs: Path, tiny_encoder: Path, write_rows: Any, tmp_path: Path, capsys: Any
) -> None:
    rows = [{"text": f"the day was {w} {i}", "label": w} for i in range(8) for w in ("sad", "fine")]
    made: dict[str, Any] = {
        "model": str(tiny_encoder),
        "data": {"train": str(write_rows("r.jsonl", rows)), "validation": 0, "test": 0},
        "output_dir": str(tmp_path / "other"),
        "max_steps": 1,
        "device": "cpu",
    }
    train(Recipe.check(made))
    assert run(["evaluate", str(runs / "new"), "--against", str(tmp_path / "other")]) == 2
    assert "does not know the label 'negative'" in " ".join(capsys.readouterr().err.split())
