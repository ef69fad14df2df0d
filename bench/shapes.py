"""Bases of a known shape with random weights: what training costs does not depend on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from tunewright.models.catalogue import model_folder

SHAPES: dict[str, Callable[[], LlamaConfig]] = {
    "llama-3-8b": lambda: LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rope_theta=500000.0,
    )
}
_SPREAD = 0.02
_DRAWN = 2**24
"""Numbers that are drawn; longer weights repeat them, since drawing eight billion takes minutes."""


def write_base(shape: str, tokenizer: str, folder: Path) -> None:
    """Write a base in bfloat16, in transformers' layout.

    Args:
        shape: of `SHAPES`.
        tokenizer: a model whose tokenizer it gets, with no more tokens than the shape has.
        folder: where to.
    """
    words = AutoTokenizer.from_pretrained(model_folder(tokenizer))
    config = SHAPES[shape]()
    config.pad_token_id, config.eos_token_id = words.pad_token_id, words.eos_token_id
    config.bos_token_id = words.bos_token_id
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    torch.manual_seed(0)
    drawn = torch.empty(_DRAWN, dtype=torch.bfloat16).normal_(std=_SPREAD)
    weights = {
        name: torch.ones(weight.shape, dtype=torch.bfloat16)
        if weight.ndim == 1
        else _repeated(drawn, weight.shape)
        for name, weight in model.state_dict().items()
    }
    model.save_pretrained(folder, state_dict=weights)
    words.save_pretrained(folder)


def _repeated(drawn: Tensor, shape: torch.Size) -> Tensor:
    times = -(-shape.numel() // len(drawn))
    return drawn.repeat(times)[: shape.numel()].view(shape)
