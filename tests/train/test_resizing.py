"""A resumed run in passes of another size is the same training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.cli.app import run
from tunewright.config.load import load_recipe
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, Interrupted
from tunewright.fine_tuning import resume_fine_tuning
from tunewright.train.folder import global_batch
from tunewright.train.journal import read_journal
from tunewright.train.resizing import CHANGEABLE, differing_keys, resized


def made(**values: Any) -> Recipe:
    given = {"model": "m", "data": {"train": "rows"}, "per_device_train_batch_size": 4}
    return Recipe.check(given | {"gradient_accumulation_steps": 2} | values)


@pytest.mark.parametrize(
    ("words", "processes", "size", "passes"),
    [
        ([], 1, 4, 2),
        (["per_device_train_batch_size=2"], 1, 2, 4),
        (["gradient_accumulation_steps=8"], 1, 1, 8),
        (["per_device_train_batch_size=8", "gradient_accumulation_steps=1"], 1, 8, 1),
        ([], 2, 4, 1),  # two processes share the eight rows
        ([], 8, 1, 1),
        (["per_device_train_batch_size=1"], 2, 1, 4),
    ],
)
def test_the_rows_of_a_step_stay(words: list[str], processes: int, size: int, passes: int) -> None:
    found = resized(made(), words, 8, processes)
    sizes = found.per_device_train_batch_size, found.gradient_accumulation_steps
    assert sizes == (size, passes)
    assert global_batch(found, processes) == 8


@pytest.mark.parametrize(
    ("words", "processes", "expected"),
    [
        (["per_device_train_batch_size=3"], 1, "can be one of: 1, 2, 4, 8"),
        (["per_device_train_batch_size=16"], 1, "a step of this run has 8 rows"),
        (["per_device_train_batch_size=2", "gradient_accumulation_steps=2"], 1, "8 rows"),
        (["gradient_accumulation_steps=3"], 1, "would change the training"),
        (["learning_rate=1e-3"], 1, "learning_rate cannot be changed in a run that has begun"),
        (["data.validation=0.5"], 1, "data cannot be changed"),
        (["per_device_train_batchsize=2"], 1, "Did you mean 'per_device_train_batch_size'"),
        (["per_device_train_batch_size=two"], 1, "per_device_train_batch_size"),
        (["per_device_train_batch_size"], 1, "not of the form key=value"),
        ([], 3, "3 processes cannot share"),
    ],
)
def test_what_would_change_the_training_is_refused(
    words: list[str], processes: int, expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        resized(made(), words, 8, processes)


def test_recipes_differ_where_they_train_differently() -> None:
    one = made().model_dump(mode="json")
    other = one | {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    assert differing_keys(one, other | {"save_total_limit": 9}) == []
    assert differing_keys(one, other | {"seed": 9}) == ["seed"]
    assert differing_keys(one, one | {"per_device_train_batch_size": 8}) == [
        "per_device_train_batch_size"
    ]


def losses(folder: Path) -> list[tuple[float, float, float]]:
    lines = [line for line in read_journal(folder) if line["event"] == "step"]
    return [(line["loss"], line["grad_norm"], line["learning_rate"]) for line in lines]


def test_a_resumed_run_of_smaller_passes_ends_as_one_that_was_not_stopped(
    tiny_decoder: Path,
    instruction_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values: dict[str, Any] = {
        "data": {"train": str(instruction_file), "validation": 0.25},
        "method": "full",
        "dtype": "float32",
        "max_steps": 6,
        "learning_rate": 3e-3,
        "save_strategy": "steps",
        "save_steps": 2,
        "evaluation_strategy": "steps",
        "eval_steps": 6,
    }
    whole = train(runs.recipe(tiny_decoder, instruction_file, tmp_path / "whole", **values))
    cut = tmp_path / "cut"
    with pytest.raises(Interrupted):
        train(runs.recipe(tiny_decoder, instruction_file, cut, **values), StopAfter(cut, 3))
    with pytest.raises(ConfigError, match="can be one of: 1, 2, 4, 8"):
        resume_fine_tuning(str(cut), changes={"per_device_train_batch_size": 3})
    assert run(["resume", str(cut), "max_steps=9"]) == 2
    assert "max_steps cannot be changed" in capsys.readouterr().err
    changes = ["per_device_train_batch_size=2", "per_device_eval_batch_size=1"]
    assert run(["resume", str(cut), *changes, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-5)
    np.testing.assert_allclose(losses(cut), losses(tmp_path / "whole"), rtol=2e-4)
    (told,) = [line for line in read_journal(cut) if line["event"] == "resume"]
    assert told["changes"] == changes
    kept = load_recipe(cut / "recipe.yaml")
    assert (kept.per_device_train_batch_size, kept.gradient_accumulation_steps) == (2, 4)
    # The same recipe finds its run again, though that has other passes now.
    again = runs.recipe(tiny_decoder, instruction_file, cut, **values)
    assert pipeline.train_or_resume(pipeline.prepare(again)).metrics == metrics


def test_one_row_eight_times_is_eight_rows_once_through_the_command(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    recipe: dict[str, Any] = {
        "model": str(tiny_encoder),
        "data": {"train": str(sentiment_file), "validation": 0},
        "method": "full",
        "dropout": 0.0,
        "device": "cpu",
        "max_steps": 5,
        "learning_rate": 3e-3,
        "save_strategy": "no",
    }
    path.write_text(json.dumps(recipe))
    for size, passes in ((8, 1), (1, 8), (4, 2)):
        words = [
            f"per_device_train_batch_size={size}",
            f"gradient_accumulation_steps={passes}",
            f"output_dir={tmp_path / str(size)}",
        ]
        assert run(["train", str(path), *words, "--json"]) == 0
    for size in ("1", "4"):
        np.testing.assert_allclose(losses(tmp_path / size), losses(tmp_path / "8"), rtol=2e-4)


def test_every_size_that_may_change_is_a_key_of_a_recipe() -> None:
    assert set(CHANGEABLE) <= set(Recipe.model_fields)
