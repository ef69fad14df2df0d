"""Runs from recipe to finished model, and what becomes of them when they are stopped."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.artifacts import Artifact, sha256_file
from tunewright.config.recipe import Recipe
from tunewright.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    Interrupted,
    ModelError,
    TrainingError,
)
from tunewright.train.journal import read_journal


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    return runs.recipe(base, rows, output, **({"num_train_epochs": 2} | values))


def steps(folder: Path) -> list[tuple[float, float]]:
    return [(x["loss"], x["grad_norm"]) for x in read_journal(folder) if x["event"] == "step"]


def weights(folder: Path) -> dict[str, str]:
    return {p.name: sha256_file(p) for p in sorted(folder.glob("*.safetensors"))}


def test_a_classifier_learns_and_plain_transformers_reads_it(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(
        tiny_encoder, sentiment_file, tmp_path / "run", learning_rate=5e-3, num_train_epochs=12
    )
    result = train(made)
    assert result.metrics["macro_f1"] > 0.9
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    logits = model(**tokenizer(["the film was lovely"], return_tensors="pt")).logits
    assert model.config.id2label[int(logits.argmax())] == "positive"
    manifest = Artifact.open(tmp_path / "run", "run")
    assert manifest.status == "done"
    assert manifest.results["peak_memory_bytes"] > 1e7
    assert manifest.results["reasons"]["method"]


def test_an_adapter_is_read_by_plain_peft(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    made = recipe(tiny_decoder, instruction_file, tmp_path / "run", method="lora", lora_r=4)
    train(made)
    base = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    before = base(torch.tensor([[5, 6, 7]])).logits.detach().clone()
    tuned = PeftModel.from_pretrained(base, tmp_path / "run")
    after = tuned(torch.tensor([[5, 6, 7]])).logits
    assert not torch.allclose(before, after)


def test_stop_token_ends_generation_of_the_finished_model(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    train(recipe(tiny_decoder, instruction_file, tmp_path / "run", method="full"))
    config = json.loads((tmp_path / "run" / "generation_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert config["eos_token_id"] == tokenizer.convert_tokens_to_ids("<|im_end|>")


CASES = {
    "full encoder with dropout": ("encoder", {"method": "full"}),
    "full encoder, rows of its table": ("encoder", {"method": "full"}),
    "full encoder in bfloat16, rows of its table": (
        "encoder",
        {"method": "full", "dtype": "bfloat16"},
    ),
    "lora decoder with dropout": ("decoder", {"method": "lora", "lora_dropout": 0.1}),
    "full decoder in bfloat16": ("decoder", {"method": "full", "dtype": "bfloat16"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_run_ends_with_the_bytes_of_one_that_was_not(
    case: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "rows of its table" in case:
        monkeypatch.setattr("tunewright.train.row_adamw._FEWEST_ROWS", 1)
    kind, values = CASES[case]
    model = request.getfixturevalue(f"tiny_{kind}")
    data = request.getfixturevalue("sentiment_file" if kind == "encoder" else "instruction_file")
    values = values | {"save_strategy": "steps", "save_steps": 2, "evaluation_strategy": "epoch"}
    train(recipe(model, data, tmp_path / "whole", **values))
    stopped = recipe(model, data, tmp_path / "stopped", **values)
    with pytest.raises(Interrupted, match="Stopped after step 3"):
        train(stopped, StopAfter(tmp_path / "stopped", 3))
    assert Artifact.open(tmp_path / "stopped").status == "interrupted"
    pipeline.resume(tmp_path / "stopped")
    assert weights(tmp_path / "whole") == weights(tmp_path / "stopped")
    assert steps(tmp_path / "whole") == steps(tmp_path / "stopped")


def test_a_resumed_run_with_best_weights_ends_with_the_same_bytes(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values = {"num_train_epochs": 4, "learning_rate": 5e-3, "load_best_model_at_end": True}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    stopped = recipe(tiny_encoder, sentiment_file, tmp_path / "stopped", **values)
    with pytest.raises(Interrupted):
        train(stopped, StopAfter(tmp_path / "stopped", 14))
    pipeline.resume(tmp_path / "stopped")
    assert weights(tmp_path / "whole") == weights(tmp_path / "stopped")
    best = [x["best_step"] for x in read_journal(tmp_path / "whole") if x["event"] == "best_loaded"]
    assert best == [
        x["best_step"] for x in read_journal(tmp_path / "stopped") if x["event"] == "best_loaded"
    ]


def test_killed_process_resumes_bit_for_bit(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 20}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    path = tmp_path / "r.yaml"
    from tunewright.config.load import dump_recipe

    path.write_text(dump_recipe(recipe(tiny_encoder, sentiment_file, tmp_path / "cut", **values)))
    command = [sys.executable, "-m", "tunewright", "train", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "cut" / "journal.jsonl"
    deadline = time.time() + 90
    while time.time() < deadline and not (
        journal.exists() and len(journal.read_text().splitlines()) > 20
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Artifact.open(tmp_path / "cut").status == "running"  # it could not say goodbye
    pipeline.resume(tmp_path / "cut")
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")
    assert steps(tmp_path / "whole") == steps(tmp_path / "cut")


def test_damaged_checkpoint_is_passed_over(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values = {"save_strategy": "steps", "save_steps": 2}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    stopped = recipe(tiny_encoder, sentiment_file, tmp_path / "stopped", **values)
    with pytest.raises(Interrupted):
        train(stopped, StopAfter(tmp_path / "stopped", 5))
    newest = tmp_path / "stopped" / "checkpoint-5" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    result = pipeline.resume(tmp_path / "stopped")
    assert result.results["damaged_checkpoints"][0]["path"] == "checkpoint-5"
    assert weights(tmp_path / "whole") == weights(tmp_path / "stopped")


def test_run_without_any_checkpoint_starts_over(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values = {"save_strategy": "no"}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    stopped = recipe(tiny_encoder, sentiment_file, tmp_path / "stopped", **values)
    with pytest.raises(Interrupted):
        train(stopped, StopAfter(tmp_path / "stopped", 5))
    shutil.rmtree(tmp_path / "stopped" / "checkpoint-5")
    pipeline.resume(tmp_path / "stopped")
    assert weights(tmp_path / "whole") == weights(tmp_path / "stopped")


def test_eight_passes_of_one_row_are_one_pass_of_eight(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    found = {}
    for size, passes, tokens in ((8, 1, 2048), (1, 8, 2048), (8, 1, 70)):
        folder = tmp_path / f"{size}x{passes}x{tokens}"
        train(
            recipe(
                tiny_decoder,
                instruction_file,
                folder,
                method="full",
                dtype="float32",
                per_device_train_batch_size=size,
                gradient_accumulation_steps=passes,
                max_tokens_per_pass=tokens,
            )
        )
        found[size, tokens] = steps(folder)
    np.testing.assert_allclose(found[8, 2048], found[1, 2048], rtol=2e-4)
    np.testing.assert_allclose(found[8, 2048], found[8, 70], rtol=2e-4)


def test_early_stopping_keeps_the_best(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(
        tiny_encoder,
        sentiment_file,
        tmp_path / "run",
        num_train_epochs=60,
        learning_rate=5e-3,
        early_stopping_patience=2,
    )
    result = train(made)
    assert result.results["steps"] < result.results["planned_steps"]
    scores = [x for x in read_journal(tmp_path / "run") if x["event"] == "evaluation"]
    assert result.metrics["macro_f1"] == max(x["metrics"]["macro_f1"] for x in scores)


def test_poisoned_weights_stop_with_a_diagnosis(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny_decoder, model)
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="5 steps in a row had no finite loss"):
        train(recipe(model, instruction_file, tmp_path / "run", method="full"))
    assert Artifact.open(tmp_path / "run").status == "failed"
    names = [x["name"] for x in read_journal(tmp_path / "run") if x["event"] == "diagnosis"]
    assert names == ["non_finite"] * 5


def test_labels_drawn_by_lot_are_diagnosed(
    tiny_encoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    rows = [{"text": "the film was", "label": str(random.integers(2))} for _ in range(120)]
    path = write_rows("noise.jsonl", rows)
    data = {"train": str(path), "validation": 0, "allow": ["constant.column"]}
    result = train(recipe(tiny_encoder, path, tmp_path / "run", data=data))
    assert [d["name"] for d in result.results["diagnoses"]] == ["at_chance"]


def test_every_task_trains(
    tiny_encoder: Path, tiny_decoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    cases: dict[str, tuple[Path, list[dict[str, Any]]]] = {
        "multilabel": (
            tiny_encoder,
            [{"text": f"good book {i}", "labels": ["a", "b"][: i % 3]} for i in range(30)],
        ),
        "regression": (
            tiny_encoder,
            [
                {"sentence1": "good film", "sentence2": f"day {i}", "score": i / 7}
                for i in range(30)
            ],
        ),
        "text": (tiny_decoder, [{"text": f"the book is {i} " * 9} for i in range(12)]),
    }
    for task, (model, rows) in cases.items():
        path = write_rows(f"{task}.jsonl", rows)
        result = train(recipe(model, path, tmp_path / task, num_train_epochs=1))
        assert json.loads((tmp_path / task / "tunewright.json").read_text())["task"] == task
        assert np.isfinite(result.metrics["loss"])


def test_classification_on_a_decoder_with_lora_keeps_its_head(
    tiny_decoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(tiny_decoder, sentiment_file, tmp_path / "run", method="lora")
    train(made)
    found = pipeline.evaluate_model(str(tmp_path / "run"), with_baselines=False)
    validation = [x for x in read_journal(tmp_path / "run") if x["event"] == "evaluation"]
    best = max(x["metrics"]["macro_f1"] for x in validation)
    assert found.metrics["macro_f1"]["value"] == pytest.approx(best)


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"model": "no-such-model"}, ModelError, "The catalogue has: all-minilm-l6-v2"),
        ({"model": "all-minilm-l6-v3"}, ModelError, "Did you mean 'all-minilm-l6-v2'"),
        ({"max_length": 10_000}, ConfigError, "takes at most 64 tokens"),
        ({"task": "instruction"}, DataError, "instruction"),
        ({"metric_for_best_model": "acuracy"}, ConfigError, "Did you mean 'accuracy'"),
        ({"method": "lora", "lora_target_modules": ["qery"]}, ModelError, "Did you mean 'query'"),
        (
            {"early_stopping_patience": 1, "data": {"train": "DATA", "validation": 0}},
            ConfigError,
            "early_stopping_patience needs validation rows",
        ),
        (
            {"evaluation_strategy": "epoch", "data": {"train": "DATA", "validation": 0}},
            ConfigError,
            "there are no validation rows",
        ),
        ({"device": "cuda"}, ModelError, "this machine has only cpu"),
    ],
)
def test_a_wrong_call_writes_nothing(
    change: dict[str, Any],
    error: type[Exception],
    expected: str,
    tiny_encoder: Path,
    sentiment_file: Path,
    tmp_path: Path,
) -> None:
    if change.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    if "data" in change:
        change["data"]["train"] = str(sentiment_file)
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", **change)
    with pytest.raises(error, match=expected):
        train(made)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_run_is_refused(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(
        tiny_encoder, sentiment_file, tmp_path / "run", max_steps=1, num_train_epochs=None
    )
    first = train(made)
    with pytest.raises(ArtifactError, match="already holds a run"):
        train(made)
    assert pipeline.train_or_resume(pipeline.prepare(made)).results == first.results
    other = made.model_copy(update={"seed": 9})
    with pytest.raises(ArtifactError, match="different: seed"):
        pipeline.train_or_resume(pipeline.prepare(other))


def test_full_disk_is_refused_before_anything_is_written(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunewright.errors import SpaceError

    usage = type(shutil.disk_usage(tmp_path))(10, 9, 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(SpaceError, match="Free some room"):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
