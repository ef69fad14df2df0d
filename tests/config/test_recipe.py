"""Recipes: strict keys, all faults at once, contradictions found before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunewright.config.load import dump_recipe, load_recipe, merge, parse_overrides
from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.errors import ConfigError


def recipe(**values: Any) -> Recipe:
    return Recipe.check({"model": "m", "data": {"train": "d.jsonl"}} | values)


def faults(**values: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        recipe(**values)
    return caught.value.faults


def test_the_recipe_of_the_design_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "task: classification\nmodel: all-minilm-l6-v2\nmethod: full\n"
        "data:\n  train: tweets.jsonl\n  validation: 0.1\n  test: test.jsonl\n"
        "  columns: {text: tweet, label: mood}\n"
        "output_dir: runs/tweets\nseed: 5\nnum_train_epochs: 2\n"
        "per_device_train_batch_size: 16\nlearning_rate: 5e-5\n"
        "save_strategy: steps\nsave_steps: 10\n"
    )
    found = load_recipe(path, ["seed=7", "data.validation=0.2"])
    assert found.task is Task.CLASSIFICATION
    assert found.method is FineTuningMethod.FULL
    assert (found.learning_rate, found.seed, found.data.validation) == (5e-5, 7, 0.2)
    assert found.data.columns == {"text": "tweet", "label": "mood"}


def test_a_dumped_recipe_is_read_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    original = recipe(task="regression", method="lora", lora_r=4, evaluation_strategy="no")
    path.write_text(dump_recipe(original))
    assert load_recipe(path) == original


def test_all_faults_are_reported_at_once_with_close_matches() -> None:
    found = faults(
        taks="x",
        task="clasification",
        method="lara",
        learning_rate="fast",
        data={"train": "d", "validatoin": 0.1, "test": 1.5},
    )
    text = "\n".join(found)
    assert len(found) == 6
    for expected in (
        "Unknown key 'taks'. Did you mean 'task'?",
        "Did you mean 'classification'?",
        "Did you mean 'lora'?",
        "learning_rate is 'fast'",
        "Unknown key 'validatoin' in data. Did you mean 'validation'?",
        "data.test is 1.5: it must be a share of the rows (at least 0, below 1) or a source",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"evaluation_strategy": "steps"}, "eval_steps is missing"),
        ({"save_strategy": "epoch", "save_steps": 5}, "remove save_steps"),
        ({"evaluation_strategy": "no", "early_stopping_patience": 2}, "needs validation scores"),
        ({"evaluation_strategy": "no", "load_best_model_at_end": True}, "needs validation scores"),
        (
            {"evaluation_strategy": "epoch", "save_strategy": "no", "load_best_model_at_end": True},
            "make them equal",
        ),
        (
            {
                "evaluation_strategy": "steps",
                "eval_steps": 4,
                "save_strategy": "steps",
                "save_steps": 6,
                "load_best_model_at_end": True,
            },
            "multiple of eval_steps",
        ),
        ({"method": "full", "lora_r": 8}, "no effect with method 'full'"),
        ({"max_steps": 0}, "use -1"),
        ({"max_steps": 5, "num_train_epochs": 2}, "only one of them"),
    ],
)
def test_contradictions_are_found_at_once(values: dict[str, Any], expected: str) -> None:
    assert expected in " ".join(faults(**values))


def test_yaml_no_means_the_word() -> None:
    assert recipe(evaluation_strategy=False).evaluation_strategy == "no"
    assert recipe(eval_strategy="no").evaluation_strategy == "no"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: [", "Not valid YAML at line 1"),
        ("- a\n- b\n", "found a list"),
        ("", "found nothing"),
        ("seed: 1\nmodel: m\nseed: 2\n", "Key 'seed' is given twice (line 3)"),
    ],
)
def test_a_broken_recipe_file_says_where(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert expected in str(caught.value)


def test_a_missing_recipe_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tunewright init"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"model: \xe9\xe9\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_recipe(tmp_path / "latin.yaml")


def test_a_recipe_may_be_said_in_words_alone(tmp_path: Path) -> None:
    found = load_recipe("model=base", ["data.train=rows.jsonl", "seed=7"])
    assert (found.model, found.data.train, found.seed) == ("base", "rows.jsonl", 7)
    with pytest.raises(ConfigError, match=r"(?s)2 faults in the command.*data.*'sed'"):
        load_recipe("model=base", ["sed=7"])
    path = tmp_path / "a=b.yaml"
    path.write_text("model: other\ndata: {train: rows.jsonl}\n")
    assert load_recipe(path).model == "other"


def test_overrides_nest_and_merge() -> None:
    assert parse_overrides(["a.b=1", "a.c=[x, y]", "d=1e-4"]) == {
        "a": {"b": 1, "c": ["x", "y"]},
        "d": "1e-4",
    }
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    for word in ("novalue", "=x"):
        with pytest.raises(ConfigError, match="key=value"):
            parse_overrides([word])
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_overrides(["a=[1"])
    with pytest.raises(ConfigError, match="has a value"):
        parse_overrides(["a=1", "a.b=2"])
