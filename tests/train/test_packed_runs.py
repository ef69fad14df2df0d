"""Runs with packing: the training of a run without it, and the same promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import runs
from runs import StopAfter, train
from tiny import byte_tokenizer
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, Interrupted, ModelError
from tunewright.train.journal import read_journal


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    defaults = {"packing": True, "dtype": "float32", "method": "full", "max_steps": 4}
    return runs.recipe(base, rows, output, **(defaults | values))


def steps(folder: Path) -> list[tuple[float, float, int]]:
    lines = [line for line in read_journal(folder) if line["event"] == "step"]
    return [(line["loss"], line["grad_norm"], line["tokens"]) for line in lines]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("task", ["instruction", "text"])
def test_a_packed_run_takes_the_steps_of_one_that_is_not(
    tiny_decoder: Path,
    instruction_file: Path,
    sentiment_file: Path,
    tmp_path: Path,
    method: str,
    task: str,
) -> None:
    rows = instruction_file
    values: dict[str, Any] = {"method": method, "task": task}
    if task == "text":
        rows, values["data"] = sentiment_file, {"train": str(sentiment_file), "validation": 0.2}
        values["data"]["columns"] = {"text": "text"}
    found = {}
    for packing in (True, False):
        folder = tmp_path / f"packing-{packing}"
        train(recipe(tiny_decoder, rows, folder, packing=packing, **values))
        found[packing] = steps(folder)
    assert len(found[True]) == 4
    np.testing.assert_allclose(found[True], found[False], rtol=2e-4)
    assert "sdpa_by_document" not in (tmp_path / "packing-True/tunewright.json").read_text()
    if method == "full":
        assert "by_document" not in (tmp_path / "packing-True/config.json").read_text()
        AutoModelForCausalLM.from_pretrained(tmp_path / "packing-True")


def test_packed_passes_of_any_size_are_the_same_training(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    found = []
    for size, passes, tokens in ((8, 1, 2048), (1, 8, 2048), (8, 1, 130)):
        folder = tmp_path / f"{size}x{passes}x{tokens}"
        values = {
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": passes,
            "max_tokens_per_pass": tokens,
        }
        train(recipe(tiny_decoder, instruction_file, folder, **values))
        found.append(steps(folder))
    np.testing.assert_allclose(found[0], found[1], rtol=2e-4)
    np.testing.assert_allclose(found[0], found[2], rtol=2e-4)


def test_a_stopped_packed_run_ends_with_the_same_bytes(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    values = {"save_strategy": "steps", "save_steps": 2, "max_steps": 5, "method": "lora"}
    values |= {"lora_dropout": 0.1}
    for name, observer in (("whole", None), ("stopped", StopAfter(tmp_path / "stopped", 3))):
        made = recipe(tiny_decoder, instruction_file, tmp_path / name, **values)
        if observer is None:
            train(made)
        else:
            with pytest.raises(Interrupted):
                train(made, observer)
    pipeline.resume(tmp_path / "stopped")
    whole, stopped = (
        {path.name: sha256_file(path) for path in (tmp_path / name).glob("*.safetensors")}
        for name in ("whole", "stopped")
    )
    assert whole == stopped
    assert steps(tmp_path / "whole") == steps(tmp_path / "stopped")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "prefix_tuning"}, "packing does not work with method prefix_tuning"),
        ({"method": "prompt_tuning"}, "packing does not work with method prompt_tuning"),
        ({"neftune_noise_alpha": 5}, "neftune_noise_alpha depends on the length of a row"),
    ],
)
def test_what_packing_excludes_is_said(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe(tiny_decoder, instruction_file, tmp_path / "run", **values)


@pytest.mark.parametrize("base", ["tiny_encoder", "tiny_decoder"])
def test_packing_of_rows_with_labels_is_refused(
    base: str, request: pytest.FixtureRequest, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(request.getfixturevalue(base), sentiment_file, tmp_path / "run")
    with pytest.raises(ConfigError, match="packing is for decoders that learn instruction or text"):
        pipeline.prepare(made)


def test_packing_for_an_encoder_decoder_is_refused(
    tiny_t5: Path, instruction_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="a base of kind 'encoder-decoder'"):
        pipeline.prepare(recipe(tiny_t5, instruction_file, tmp_path / "run"))


def test_a_base_that_leaks_is_refused_before_the_first_step(
    instruction_file: Path, tmp_path: Path
) -> None:
    tokenizer = byte_tokenizer()
    config = AutoConfig.for_model(
        "lfm2",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
        max_position_embeddings=256,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    run = tmp_path / "run"
    with pytest.raises(ModelError, match=r"packing does not work with this base \(lfm2\)"):
        train(recipe(tmp_path / "base", instruction_file, run))
    assert not (run / "journal.jsonl").exists()
    train(recipe(tmp_path / "base", instruction_file, run, packing=False, max_steps=1))
