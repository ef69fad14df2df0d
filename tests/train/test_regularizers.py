"""Partial tuning, gradual unfreezing, regularisers and optimizers in whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, Interrupted, ModelError
from tunewright.train.journal import read_journal


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    defaults: dict[str, Any] = {
        "max_steps": 6,
        "learning_rate": 3e-3,
        "evaluation_strategy": "steps",
        "eval_steps": 3,
    }
    return runs.recipe(base, rows, output, **(defaults | values))


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "encoder with everything": (
        "encoder",
        {
            "method": "full",
            "unfreeze_steps": 1,
            "layer_learning_rate_decay": 0.5,
            "ema_decay": 0.6,
            "neftune_noise_alpha": 5.0,
            "dropout": 0.3,
            "decay_to_start": 0.1,
            "l1_decay": 0.01,
            "focal_gamma": 2.0,
            "lr_scheduler_type": "warmup_stable_decay",
        },
    ),
    "partial decoder in bfloat16 with muon": (
        "decoder",
        {
            "method": "partial",
            "freeze_trainable_layers": 1,
            "dtype": "bfloat16",
            "optim": "muon",
            "ema_decay": 0.6,
        },
    ),
    "partial encoder with 8-bit moments": (
        "encoder",
        {"method": "partial", "optim": "adamw_8bit"},
    ),
    "pissa": ("decoder", {"method": "lora", "lora_r": 4, "init_lora_weights": "pissa"}),
    "pissa of an encoder": (
        "encoder",
        {"method": "lora", "lora_r": 4, "init_lora_weights": "pissa", "use_rslora": True},
    ),
    "lora+ with a norm": (
        "decoder",
        {
            "method": "lora",
            "lora_r": 4,
            "loraplus_lr_ratio": 16,
            "modules_to_save": ["norm"],
            "layer_learning_rate_decay": 0.5,
            "optim": "lion_8bit",
            "ema_decay": 0.6,
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stopped_run_ends_with_the_same_bytes_and_the_finished_model_scores_as_trained(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    kind, values = CASES[name]
    values = values | {"save_strategy": "steps", "save_steps": 3}
    model = request.getfixturevalue(f"tiny_{kind}")
    data = request.getfixturevalue("sentiment_file" if kind == "encoder" else "instruction_file")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(recipe(model, data, whole, **values))
    # Stopped behind a checkpoint, which is removed: steps 4 and 5 are done again.
    with pytest.raises(Interrupted):
        train(recipe(model, data, cut, **values), StopAfter(cut, 5))
    (cut / "checkpoint-5" / "hashes.json").unlink()
    pipeline.resume(cut)
    hashes = {p.name: sha256_file(p) for p in whole.glob("*.safetensors")}
    assert hashes == {p.name: sha256_file(p) for p in cut.glob("*.safetensors")}
    told = [
        [(x["event"], x["step"], x.get("loss"), x.get("layers"), x.get("metrics"))
         for x in read_journal(folder) if x["event"] in ("step", "unfrozen", "evaluation")]
        for folder in (whole, cut)
    ]  # fmt: skip
    assert told[0] == told[1]
    last = [x for x in read_journal(whole) if x["event"] == "evaluation"][-1]
    found = pipeline.evaluate_model(str(whole), with_baselines=False)
    ours = "perplexity" if kind == "decoder" else "log_loss"
    trained = last["metrics"]["perplexity" if kind == "decoder" else "loss"]
    assert found.metrics[ours]["value"] == pytest.approx(trained, rel=1e-4)


def changed(before: Path, after: Path, prefix: str = "") -> set[str]:
    """Parameters whose bytes differ between two folders; `prefix` stands before those of the
    first."""
    old, new = load_file(before / "model.safetensors"), load_file(after / "model.safetensors")
    same = {n for n in new if n.removeprefix(prefix) in old
            and torch.equal(old[n.removeprefix(prefix)], new[n])}  # fmt: skip
    return set(new) - same


def test_partial_tuning_changes_the_last_layers_and_what_stands_above(
    tiny_encoder: Path, tiny_decoder: Path, sentiment_file: Path, instruction_file: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "e", method="partial", max_steps=1))
    moved = changed(tiny_encoder, tmp_path / "e", "bert.")
    assert {n.split(".")[3] for n in moved if ".layer." in n} == {"1"}
    assert {n.partition(".")[0] for n in moved if ".layer." not in n} == {"bert", "classifier"}
    assert not any("embeddings" in n for n in moved)
    values = {"method": "partial", "freeze_trainable_layers": 1, "dtype": "float32"}
    train(recipe(tiny_decoder, instruction_file, tmp_path / "d", **values, max_steps=1))
    moved = changed(tiny_decoder, tmp_path / "d")
    assert "model.norm.weight" in moved and "model.embed_tokens.weight" not in moved
    assert {n.split(".")[2] for n in moved if ".layers." in n} == {"1"}


def test_layers_join_from_the_last_one_down(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "run", method="full", unfreeze_steps=2,
                 save_strategy="steps", save_steps=2, save_total_limit=9, max_steps=8,
                 eval_steps=8))  # fmt: skip
    at = [changed(tiny_encoder, tmp_path / "run" / f"checkpoint-{n}", "bert.") for n in (2, 4, 6)]
    assert {n.partition(".")[0] for n in at[0]} == {"bert", "classifier"}
    assert {n for n in at[0] if n.startswith("bert.")} <= {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias"}  # fmt: skip
    assert {n.split(".")[3] for n in at[1] - at[0]} == {"1"}
    assert {n.split(".")[3] for n in at[2] - at[1]} == {"0"}
    assert any("embeddings" in n for n in changed(tiny_encoder, tmp_path / "run", "bert."))
    told = [x for x in read_journal(tmp_path / "run") if x["event"] == "unfrozen"]
    assert [(x["step"], x["layers"]) for x in told] == [(1, 0), (3, 1), (5, 2), (7, 3)]


def test_a_run_too_short_for_its_unfreezing_is_refused(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", unfreeze_steps=2)
    with pytest.raises(ConfigError, match=r"join after 6 steps, but the run has 6.* at most 1"):
        pipeline.prepare(made)
    assert not (tmp_path / "run").exists()


def test_an_average_of_the_last_weights_is_not_the_last_weights(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    for name, values in (("plain", {}), ("average", {"ema_decay": 0.9})):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / name, **values))
    lines = [
        [x["loss"] for x in read_journal(tmp_path / name) if x["event"] == "step"]
        for name in ("plain", "average")
    ]
    assert lines[0] == lines[1]  # the average is never trained
    assert changed(tmp_path / "plain", tmp_path / "average")


def test_dropout_and_noise_change_training_and_not_the_scores(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    losses = {}
    for name, values in {
        "none": {"dropout": 0.0},
        "again": {"dropout": 0.0},
        "dropout": {"dropout": 0.5},
        "noise": {"dropout": 0.0, "neftune_noise_alpha": 50.0},
    }.items():
        rates = {"learning_rate": 1e-9, "head_learning_rate": 1e-9}
        values |= rates | {"max_steps": 1, "eval_steps": 1}
        made = recipe(tiny_encoder, sentiment_file, tmp_path / name, **values)
        train(made)
        lines = {x["event"]: x for x in read_journal(tmp_path / name)}
        losses[name] = (lines["step"]["loss"], lines["evaluation"]["metrics"]["loss"])
    assert losses["none"] == losses["again"]
    assert len({losses[name][0] for name in ("none", "dropout", "noise")}) == 3
    scores = [losses[name][1] for name in losses]
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-6)
    kept = json.loads((tmp_path / "dropout" / "config.json").read_text())
    assert kept["hidden_dropout_prob"] == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "full", "freeze_trainable_layers": 2}, "no effect with method 'full'"),
        ({"method": "lora", "unfreeze_steps": 2}, "use method: full or partial"),
        ({"method": "prompt_tuning", "layer_learning_rate_decay": 0.9}, "no effect with method"),
        ({"method": "qlora", "init_lora_weights": "pissa"}, "use method: lora"),
        ({"method": "full", "loraplus_lr_ratio": 16}, "use method: lora or qlora"),
        ({"method": "ia3", "modules_to_save": ["norm"]}, "use method: lora or qlora"),
        ({"method": "lora", "decay_to_start": 0.1}, "use method: full or partial"),
        ({"method": "lora", "optim": "muon"}, "optim 'muon' is for the matrices of a base"),
        ({"optim": "adam"}, "Did you mean 'adamw'"),
        ({"decay_ratio": 0.1}, "use warmup_stable_decay"),
        ({"focal_gamma": 2, "label_smoothing": 0.1}, "pull in opposite ways"),
        ({"method": "lora", "init_lora_weights": "pissa", "use_dora": True}, "use_dora does not"),
        ({"method": "lora", "init_lora_weights": "pissa", "dtype": "bfloat16"}, "would round"),
        ({"ema_decay": 1.0}, "less than 1"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_what_excludes_or_misses_something_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.check({"model": "m", "data": {"train": "x"}} | values)


@pytest.mark.parametrize(
    ("kind", "values", "error", "message"),
    [
        ("encoder", {"lora_r": 8}, ConfigError, "lora_r has no effect with method 'full'"),
        ("encoder", {"method": "partial", "freeze_trainable_layers": 3}, ModelError,
         "is 3 and .* has 2 layers"),
        ("encoder", {"method": "lora", "modules_to_save": ["norms"]}, ModelError,
         "names 'norms', which this model does not have"),
        ("decoder", {"focal_gamma": 2.0}, ConfigError, "focal_gamma has no effect with task"),
    ],
)  # fmt: skip
def test_what_does_not_fit_model_or_task_is_refused_before_anything_is_written(
    kind: str, values: dict[str, Any], error: type[Exception], message: str,
    request: pytest.FixtureRequest, tmp_path: Path,
) -> None:  # fmt: skip
    model = request.getfixturevalue(f"tiny_{kind}")
    data = request.getfixturevalue("sentiment_file" if kind == "encoder" else "instruction_file")
    with pytest.raises(error, match=message):
        pipeline.prepare(recipe(model, data, tmp_path / "run", **values))
    assert not (tmp_path / "run").exists()
