"""Runs on bases of many architectures: names of settings, attention, heads and positions differ."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from runs import recipe, train
from tiny import sentiment_rows
from tunewright import pipeline
from tunewright.errors import ModelError
from tunewright.models.inspect import inspect_model
from tunewright.train.journal import read_journal

SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64,
}  # fmt: skip
ENCODERS: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "deberta-v2": {},
    "mpnet": {"pad_token_id": 1, "max_position_embeddings": 66},
    "roberta": {"pad_token_id": 1, "max_position_embeddings": 66},
    "modernbert": {
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2,
        "sep_token_id": 3,
    },
}  # fmt: skip
DECODERS: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 8, "num_key_value_heads": 2, "sliding_window": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256},
}


def base(kind: str, values: dict[str, Any], tokens: Path, folder: Path) -> Path:
    """A random base of a kind, with the tokenizer of another folder."""
    words = json.loads((tokens / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(SHAPE | {"vocab_size": words} | values))
    auto = AutoModelForCausalLM if kind in DECODERS else AutoModel
    for path in tokens.glob("*token*"):
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder)
    shutil.copy(tokens / "chat_template.jinja", folder) if kind in DECODERS else None
    auto.from_config(config).save_pretrained(folder)
    return folder


def answers_as_trained(run: Path, metric: str) -> None:
    """The finished model, read again, has the loss that the last validation of its run had."""
    trained = [line for line in read_journal(run) if line["event"] == "evaluation"][-1]
    found = pipeline.evaluate_model(str(run), with_baselines=False).metrics[metric]["value"]
    loss = math.log(found) if metric == "perplexity" else found
    assert loss == pytest.approx(trained["metrics"]["loss"], rel=2e-3)


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_of_any_kind_learns_and_answers_again(
    kind: str, tiny_encoder: Path, tmp_path: Path
) -> None:
    rows = sentiment_rows(60)
    rows[0]["text"] = " ".join(["good film"] * 100)  # as long as the positions, and longer
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    folder = base(kind, ENCODERS[kind], tiny_encoder, tmp_path / "base")
    facts = inspect_model(folder)
    assert (facts.hidden_size, facts.layers, facts.max_length) == (32, 2, 64)
    made = recipe(
        folder, file, tmp_path / "run", method="lora", max_steps=12,
        data={"train": str(file), "validation": 0.2, "truncation": "cut",
              "allow": ["leakage.near", "leakage.exact"]},
    )  # fmt: skip
    train(made)
    answers_as_trained(tmp_path / "run", "log_loss")


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_of_any_kind_learns_and_answers_again(
    kind: str, tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    folder = base(kind, DECODERS[kind], tiny_decoder, tmp_path / "base")
    facts = inspect_model(folder)
    assert (facts.hidden_size, facts.layers) == (32, 2)
    values = {"method": "lora", "max_steps": 2, "learning_rate": 1e-3}
    train(recipe(folder, instruction_file, tmp_path / "run", **values))
    answers_as_trained(tmp_path / "run", "perplexity")


def test_layers_that_peft_cannot_adapt_are_named(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    folder = base("squeezebert", {"embedding_size": 32}, tiny_encoder, tmp_path / "base")
    with pytest.raises(ModelError, match="lora does not fit the layers of 'squeezebert'"):
        train(recipe(folder, sentiment_file, tmp_path / "run", method="lora", max_steps=1))


@pytest.mark.parametrize(
    ("kind", "method"), [("longformer", "prompt_tuning"), ("mamba", "prefix_tuning")]
)
def test_virtual_tokens_that_a_network_cannot_take_are_refused_in_words(
    kind: str, method: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    decodes = kind == "mamba"
    tiny = request.getfixturevalue("tiny_decoder" if decodes else "tiny_encoder")
    rows = request.getfixturevalue("instruction_file" if decodes else "sentiment_file")
    sizes = {} if decodes else {"attention_window": [8, 8], "max_position_embeddings": 70}
    folder = base(kind, sizes, tiny, tmp_path / "base")
    with pytest.raises(ModelError, match=f"{method} does not fit {kind!r} models: .*method: lora"):
        train(recipe(folder, rows, tmp_path / "run", method=method, max_steps=1))
