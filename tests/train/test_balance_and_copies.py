"""`data.balance`, `data.augment` and `data.time_column` in a run: what is trained, what is not."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runs import StopAfter
from tiny import sentiment_rows
from tunewright import pipeline
from tunewright.artifacts import Artifact, sha256_file
from tunewright.cli.screen import settings_table
from tunewright.config.load import parse_yaml
from tunewright.config.recipe import Recipe
from tunewright.data.records import Dataset
from tunewright.errors import ConfigError, DataError, Interrupted
from tunewright.train.journal import read_journal


def recipe(base: Path, rows: Path, output: Path, data: dict[str, Any], **values: Any) -> Recipe:
    defaults: dict[str, Any] = {
        "model": str(base),
        "data": {"train": str(rows), "validation": 0.2} | data,
        "output_dir": str(output),
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "device": "cpu",
    }
    return Recipe.check(defaults | values)


@pytest.fixture
def skewed_file(write_rows: Any) -> Path:
    """80 negative and 10 positive rows that differ in one word."""
    rows = [row for row in sentiment_rows(160) if row["label"] == "negative"]
    rows += [row for row in sentiment_rows(320) if row["label"] == "positive"][:160:16]
    return Path(write_rows("skewed.jsonl", rows))


def labels(dataset: Dataset) -> Counter[str]:
    return Counter(str(record.label) for record in dataset)


def targets(prepared: Any) -> Counter[str]:
    return Counter(prepared.labels[int(e.target)] for e in prepared.train.examples)


@pytest.mark.parametrize(("balance", "rows"), [("oversample", 64), ("undersample", 8)])
def test_only_training_rows_are_drawn(
    balance: str, rows: int, tiny_encoder: Path, skewed_file: Path, tmp_path: Path
) -> None:
    prepared = pipeline.prepare(
        recipe(tiny_encoder, skewed_file, tmp_path / "run", {"balance": balance})
    )
    assert targets(prepared) == {"negative": rows, "positive": rows}
    assert labels(prepared.splits.train) == {"negative": 64, "positive": 8}
    assert labels(prepared.splits.validation) == {"negative": 16, "positive": 2}
    assert len(prepared.validation.examples) == 18
    said = f"72 training rows became {2 * rows}: negative 64 to {rows}, positive 8 to {rows}"
    assert prepared.reasons["data.balance"] == said


@pytest.fixture
def unsure_file(write_rows: Any) -> Path:
    """Of the rows with a good word a third are positive; of those with a bad word none is."""
    rows = [{"text": f"the film was good {i}", "label": "negative" if i % 3 else "positive"}
            for i in range(30)]  # fmt: skip
    rows += [{"text": f"the film was bad {i}", "label": "negative"} for i in range(50)]
    return Path(write_rows("unsure.jsonl", rows))


@pytest.fixture
def calm_encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """The tiny encoder without dropout."""
    folder = tmp_path / "calm"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_weights_make_a_model_find_the_rare_label(
    calm_encoder: Path, unsure_file: Path, tmp_path: Path
) -> None:
    recall = {}
    for balance in ("none", "weights"):
        made = recipe(
            calm_encoder,
            unsure_file,
            tmp_path / balance,
            {"balance": balance, "validation": 0.0},
            learning_rate=5e-3,
            num_train_epochs=6,
        )
        prepared = pipeline.prepare(made)
        folder = pipeline.train(prepared).folder
        found = pipeline.evaluate_model(
            str(folder), str(unsure_file), metrics=["recall"], with_baselines=False
        )
        recall[balance] = found.to_dict()["metrics"]["recall"]["value"]
    assert prepared.class_weights == pytest.approx([80 / 140, 80 / 20])
    assert prepared.reasons["data.balance"] == (
        "a row weighs in the loss: positive 4, negative 0.571; the mean over the training rows is 1"
    )
    # Mean over the labels: never saying positive gives (0 + 1) / 2; saying it for every good word
    # gives (1 + 50 / 70) / 2.
    assert recall == pytest.approx({"none": 1 / 2, "weights": 6 / 7})


def test_accumulated_passes_take_the_weighted_steps_of_one_pass(
    calm_encoder: Path, skewed_file: Path, tmp_path: Path
) -> None:
    found = []
    for size, passes in ((8, 1), (2, 4)):
        folder = tmp_path / f"{size}"
        made = recipe(
            calm_encoder,
            skewed_file,
            folder,
            {"balance": "weights"},
            per_device_train_batch_size=size,
            gradient_accumulation_steps=passes,
            learning_rate=1e-3,
        )
        pipeline.train(pipeline.prepare(made))
        lines = [line for line in read_journal(folder) if line["event"] == "step"]
        found.append([value for line in lines for value in (line["loss"], line["grad_norm"])])
    assert len(found[0]) == 18
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    # The mean over the steps is near the plain chance of two labels: weights are 1 on average.
    assert 0.5 < sum(found[0][::2]) / 9 < 0.9


def test_several_labels_are_weighed(tiny_encoder: Path, write_rows: Any, tmp_path: Path) -> None:
    rows = [
        {"text": row["text"], "labels": [row["label"]] + (["late"] if i % 10 == 0 else [])}
        for i, row in enumerate(sentiment_rows(60))
    ]
    data = {"balance": "weights", "validation": 0.0}
    file = write_rows("m.jsonl", rows)
    made = recipe(tiny_encoder, file, tmp_path / "run", data, max_steps=2, num_train_epochs=None)
    prepared = pipeline.prepare(made)
    assert prepared.labels == ["late", "negative", "positive"]
    absent, present = prepared.class_weights or ([], [])
    assert (absent[0], present[0]) == pytest.approx((60 / 108, 60 / 12))
    assert "late 5, " in prepared.reasons["data.balance"]
    assert pipeline.train(prepared).results["steps"] == 2


def test_copies_are_trained_on_and_nowhere_else(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    data = {"augment": {"copies": 2, "word_dropout": 0.3}}
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", data)
    prepared = pipeline.prepare(made)
    plain = pipeline.prepare(recipe(tiny_encoder, sentiment_file, tmp_path / "run", {}))
    assert prepared.splits == plain.splits
    assert [e.input_ids for e in prepared.validation.examples] == [
        e.input_ids for e in plain.validation.examples
    ]
    made_copies = len(prepared.train.examples) - 48
    assert 60 <= made_copies <= 96
    said = f"48 training rows became {48 + made_copies}: {made_copies} changed copies"
    assert prepared.reasons["data.augment"].startswith(said)
    found = pipeline.audit_prepared(prepared)
    assert found == pipeline.audit_prepared(plain)
    folder = pipeline.train(prepared, None, found).folder
    assert len((folder / "data" / "train.jsonl").read_text().splitlines()) == 48
    assert Artifact.open(folder).results["train_rows"] == 48 + made_copies


def test_a_stopped_run_makes_the_same_copies_again(
    tiny_encoder: Path, skewed_file: Path, tmp_path: Path
) -> None:
    data = {"balance": "oversample", "augment": {"typos": 0.3, "word_dropout": 0.2},
            "max_samples": 40}  # fmt: skip
    whole = recipe(tiny_encoder, skewed_file, tmp_path / "whole", data)
    pipeline.train(pipeline.prepare(whole))
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        stopped = pipeline.prepare(recipe(tiny_encoder, skewed_file, folder, data))
        pipeline.train(stopped, StopAfter(folder, 3))
    pipeline.resume(folder)
    assert sha256_file(folder / "model.safetensors") == sha256_file(
        tmp_path / "whole" / "model.safetensors"
    )


def test_the_newest_rows_are_held_out_of_a_run(
    tiny_encoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    rows = [row | {"day": i} for i, row in enumerate(sentiment_rows(60))]
    made = recipe(
        tiny_encoder, write_rows("t.jsonl", rows), tmp_path / "run", {"time_column": "day"}
    )
    splits = pipeline.prepare(made).splits
    oldest = min(record.meta["day"] for record in splits.validation)
    assert all(record.meta["day"] < oldest for record in splits.train)
    assert 8 <= len(splits.validation) <= 16


def test_a_time_column_without_a_share_is_refused(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(
        tiny_encoder, sentiment_file, tmp_path / "run", {"time_column": "day", "validation": 0.0}
    )
    with pytest.raises(DataError, match="it would have no effect"):
        pipeline.prepare(made)
    assert not (tmp_path / "run").exists()


def test_answers_cannot_be_balanced(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    made = recipe(tiny_decoder, instruction_file, tmp_path / "run", {"balance": "oversample"})
    with pytest.raises(ConfigError, match="no class labels"):
        pipeline.prepare(made)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({}, "changes nothing"),
        ({"typo": 0.1}, r"Unknown key 'typo' in data\.augment\. Did you mean 'typos'\?"),
        ({"typos": 0.6}, "less than or equal to 0.5"),
        ({"typos": 0.1, "copies": 0}, "greater than 0"),
        ({"synonyms": {"film": ["movie"]}}, "no effect without synonym_replacement"),
        ({"synonym_replacement": 0.5, "typos": 0.1}, "no effect without synonyms"),
        ({"synonym_replacement": 0.5, "synonyms": {"a film": ["b"]}}, "it must be one word"),
        ({"synonym_replacement": 0.5, "synonyms": {"film": []}}, "at least 1 item"),
    ],
)
def test_a_wrong_augment_is_told(augment: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe(tmp_path, tmp_path, tmp_path, {"augment": augment})


def test_init_says_what_could_be_done_about_skewed_labels(
    tiny_encoder: Path, skewed_file: Path, sentiment_file: Path
) -> None:
    text, values = pipeline.propose_recipe(str(skewed_file), model=str(tiny_encoder))
    (line,) = [line for line in text.splitlines() if "balance" in line]
    assert line.startswith("  # balance: weights ")
    assert "negative has 8.0 times the rows of positive" in line
    assert values["data"]["balance"] == "none"
    turned_on = parse_yaml(text.replace("  # balance:", "  balance:"), "recipe.yaml")
    assert Recipe.check(turned_on).data.balance == "weights"
    assert "balance" not in pipeline.propose_recipe(str(sentiment_file), model=str(tiny_encoder))[0]


def test_the_screen_shows_what_was_done_to_the_rows(
    tiny_encoder: Path, skewed_file: Path, tmp_path: Path
) -> None:
    data = {"balance": "undersample", "augment": {"typos": 0.5}}
    prepared = pipeline.prepare(recipe(tiny_encoder, skewed_file, tmp_path / "run", data))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(settings_table(prepared.recipe.model_dump(mode="json"), prepared.reasons))
    shown = console.export_text()
    assert "data.balance" in shown and "72 training rows became 16" in shown
    assert "data.augment" in shown and "16 training rows became " in shown


def test_a_weighted_run_is_at_chance_where_labels_weigh_alike(
    tiny_encoder: Path, skewed_file: Path, tmp_path: Path
) -> None:
    chance = {"none": "0.349", "weights": "0.693"}  # entropy of 64 and 8 rows; log 2
    for balance, said in chance.items():
        folder = tmp_path / balance
        made = recipe(tiny_encoder, skewed_file, folder, {"balance": balance}, learning_rate=1e-9)
        found = pipeline.train(pipeline.prepare(made)).results["diagnoses"]
        assert [f"by label frequency gives {said}" in d["message"] for d in found] == [True]
