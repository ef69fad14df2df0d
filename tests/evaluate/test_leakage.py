"""Scores on rows that training saw say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunewright import pipeline
from tunewright.config.recipe import Recipe
from tunewright.data.records import Dataset, Record, Task
from tunewright.evaluate.leakage import leaked_rows, said_of_leakage


def rows(*texts: str) -> Dataset:
    return Dataset(
        Task.CLASSIFICATION,
        tuple(Record(text=text, label="a", row=i) for i, text in enumerate(texts, 1)),
    )


TRAIN = rows(
    "The delivery came two days late and the box was open.",
    "I would buy this lamp again at once, it is bright and quiet.",
    "Nobody answered the phone for a whole week.",
)


def test_copies_of_training_rows_are_counted_by_kind() -> None:
    scored = rows(
        "the delivery came two days late  and the box was open.",
        "I would buy this lamp again at once, it is bright and so quiet!",
        "The soup was cold when it arrived.",
    )
    leaked = leaked_rows(TRAIN, scored)
    assert leaked == {"leakage.exact": 1, "leakage.near": 1}
    notes = said_of_leakage(leaked, 3)
    assert notes[0].startswith("1 of the 3 rows have the text of a training row")


def test_rows_of_their_own_leak_nothing() -> None:
    assert leaked_rows(TRAIN, rows("The soup was cold when it arrived.")) == {}


def test_evaluating_a_run_on_its_own_training_rows_is_told(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made: dict[str, Any] = {
        "model": str(tiny_encoder),
        "data": {"train": str(sentiment_file), "validation": 0.2},
        "output_dir": str(tmp_path / "run"),
        "max_steps": 1,
        "device": "cpu",
    }
    pipeline.train(pipeline.prepare(Recipe.check(made)))
    given = pipeline.evaluate_model(
        str(tmp_path / "run"), str(sentiment_file), with_baselines=False
    )
    assert any("(leakage.exact)" in note for note in given.notes)
    own = pipeline.evaluate_model(str(tmp_path / "run"), with_baselines=False)
    assert not any("leakage" in note for note in own.notes)
