"""Layers are found by structure, for architectures of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from tunewright.errors import ModelError
from tunewright.models.layers import find_stack

SMALL = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3,
         "num_attention_heads": 2}  # fmt: skip


def model(name: str, head: str, **values: Any) -> torch.nn.Module:
    config = getattr(transformers, f"{name}Config")(**values)
    with torch.device("meta"):
        made: torch.nn.Module = getattr(transformers, f"{name}{head}")(config)
    return made


@pytest.mark.parametrize(
    ("name", "head", "values", "layers", "below", "above"),
    [
        ("Bert", "ForSequenceClassification", SMALL, "bert.encoder.layer",
         "bert.embeddings.LayerNorm.weight", "classifier.weight"),
        ("Llama", "ForCausalLM", SMALL | {"tie_word_embeddings": False}, "model.layers",
         "model.embed_tokens.weight", "lm_head.weight"),
        ("GPT2", "LMHeadModel", {"vocab_size": 50, "n_embd": 16, "n_layer": 3, "n_head": 2},
         "transformer.h", "transformer.wte.weight", "transformer.ln_f.weight"),
        ("OPT", "ForCausalLM", SMALL | {"ffn_dim": 16, "word_embed_proj_dim": 16},
         "model.decoder.layers", "model.decoder.embed_positions.weight",
         "model.decoder.final_layer_norm.weight"),
        ("Mixtral", "ForCausalLM", SMALL | {"num_key_value_heads": 2, "num_local_experts": 2},
         "model.layers", "model.embed_tokens.weight", "lm_head.weight"),
        ("DistilBert", "ForSequenceClassification",
         {"vocab_size": 50, "dim": 16, "hidden_dim": 16, "n_layers": 3, "n_heads": 2},
         "distilbert.transformer.layer", "distilbert.embeddings.LayerNorm.weight",
         "pre_classifier.weight"),
    ],
)  # fmt: skip
def test_the_stack_of_an_architecture(
    name: str, head: str, values: dict[str, Any], layers: str, below: str, above: str
) -> None:
    made = model(name, head, **values)
    stack = find_stack(made)
    assert stack.layers == [f"{layers}.{i}" for i in range(3)]
    assert set(stack.depth) == {n for n, _ in made.named_parameters()}
    assert (stack.depth[below], stack.depth[above], stack.top) == (0, 4, 4)
    inside = {n: d for n, d in stack.depth.items() if n.startswith(f"{layers}.")}
    assert all(d == int(n.removeprefix(f"{layers}.").split(".")[0]) + 1 for n, d in inside.items())


def test_a_decoder_stands_on_its_encoder() -> None:
    made = model("T5", "ForConditionalGeneration", vocab_size=50, d_model=16, d_kv=8, d_ff=16,
                 num_layers=2, num_decoder_layers=2, num_heads=2)  # fmt: skip
    stack = find_stack(made)
    assert stack.layers == [f"{part}.block.{i}" for part in ("encoder", "decoder") for i in (0, 1)]
    assert stack.depth["shared.weight"] == 0


def test_one_layer_used_many_times_is_no_stack() -> None:
    made = model("Albert", "ForSequenceClassification", **SMALL, embedding_size=16)
    with pytest.raises(ModelError, match=r"no list of layers.*Use method: full or lora"):
        find_stack(made)
