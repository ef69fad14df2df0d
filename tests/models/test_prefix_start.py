"""Prefix tuning starts as real tokens before the row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tunewright.models.prefix_start import start_prefix

SHAPE = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 64, "sliding_window": 16, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
BLOOM = {"vocab_size": 61, "hidden_size": 32, "n_layer": 2, "n_head": 4}
VALUES: dict[str, dict[str, Any]] = {"gpt2": GPT2, "bloom": BLOOM}
FIRST, ROW = [5, 9, 13, 7], [21, 22, 23]


def prefixed(kind: str, **values: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **values)
    model = AutoModelForCausalLM.from_config(config).eval()
    wanted = PrefixTuningConfig(num_virtual_tokens=len(FIRST), task_type="CAUSAL_LM")
    return model, get_peft_model(model, wanted).eval()


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text", "gpt2", "bloom"])
def test_a_prefix_says_what_the_tokens_before_the_row_would(kind: str) -> None:
    model, adapted = prefixed(kind, **VALUES.get(kind, SHAPE))
    assert start_prefix(adapted, [*FIRST, 33]) is None
    with torch.no_grad():
        found = adapted(input_ids=torch.tensor([ROW]), attention_mask=torch.ones(1, 3)).logits
        expected = model(input_ids=torch.tensor([[*FIRST, *ROW]])).logits[:, len(FIRST) :]
    torch.testing.assert_close(found, expected)


def test_rows_too_short_for_the_prefix_leave_it_as_it_is() -> None:
    _, adapted = prefixed("llama", **SHAPE)
    before = adapted.prompt_encoder["default"].embedding.weight.clone()
    assert start_prefix(adapted, FIRST[:-1]) == "the training rows have 3 tokens, and the prefix 4"
    assert torch.equal(adapted.prompt_encoder["default"].embedding.weight, before)


def test_layers_without_keys_leave_it_as_it_is() -> None:
    layers = ["conv", "full_attention"]
    _, adapted = prefixed("lfm2", **(SHAPE | {"layer_types": layers}))
    before = adapted.prompt_encoder["default"].embedding.weight.clone()
    assert "lfm2 keeps other things" in (start_prefix(adapted, FIRST) or "")
    assert torch.equal(adapted.prompt_encoder["default"].embedding.weight, before)
