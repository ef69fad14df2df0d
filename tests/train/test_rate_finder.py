"""The range test of the learning rate finds where the loss falls, and leaves the run as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunewright import pipeline
from tunewright.artifacts import hash_files
from tunewright.config.recipe import Recipe


def test_a_rate_is_suggested_below_the_explosion_and_the_run_is_untouched(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    made = Recipe.check(
        {
            "model": str(tiny_encoder),
            "data": {"train": str(sentiment_file), "validation": 0.2},
            "output_dir": str(folder),
            "learning_rate": 3e-3,
            "max_steps": 2,
            "dropout": 0.0,
            "device": "cpu",
        }
    )
    prepared = pipeline.prepare(made)
    pipeline.train(prepared)
    before = hash_files(folder)
    told: list[int] = []
    found = pipeline.find_rate(prepared, lambda what, done, total: told.append(done), steps=60)
    assert hash_files(folder) == before
    assert told == list(range(1, len(found["rates"]) + 1))
    # From a thousandth of the recipe's rate up, by a constant factor.
    assert found["rates"][0] == pytest.approx(3e-6)
    assert found["rates"][1] / found["rates"][0] == pytest.approx(1e6 ** (1 / 59))
    assert found["means"][0] == pytest.approx(found["losses"][0])
    assert found["lowest"] == found["rates"][found["means"].index(min(found["means"]))]
    assert found["suggestion"] == pytest.approx(found["lowest"] / 10)
    assert 3e-5 < found["suggestion"] < 3e-2
    rates = tmp_path / "run-rates"
    assert json.loads((rates / "rates.json").read_text()) == {
        key: value for key, value in found.items() if key != "folder"
    }
    assert (rates / "rates.png").read_bytes().startswith(b"\x89PNG")
    again = pipeline.find_rate(prepared, steps=60)
    assert again == found
