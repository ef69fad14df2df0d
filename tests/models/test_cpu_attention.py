"""Attention of a model that trains on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoConfig, AutoModelForCausalLM

from tunewright.models import cpu_attention
from tunewright.models.cpu_attention import (
    ATTENTION,
    attention,
    causal_attention,
    speed_up_attention,
)


def heads(rows: int, of_query: int, of_key: int, tokens: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(rows, count, tokens, 16, dtype=dtype, requires_grad=True)
        for count in (of_query, of_key, of_key)
    ]


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("of_key", [1, 2, 6])
@pytest.mark.parametrize("kept", [0, 384])
def test_blocks_give_the_output_and_gradients_of_pytorch(
    tokens: int, of_key: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_attention, "_KEPT", kept)
    inputs = heads(2, 6, of_key, tokens, torch.float64)
    wanted = torch.randn(2, 6, tokens, 16, dtype=torch.float64)
    found = causal_attention(*inputs, 0.3).transpose(1, 2)
    expected = scaled_dot_product_attention(*inputs, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, wanted),
        torch.autograd.grad(expected, inputs, wanted),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_in_bfloat16_blocks_are_as_close_to_the_truth_as_pytorchs_kernel() -> None:
    inputs = heads(2, 6, 2, 200, torch.bfloat16)
    exact = scaled_dot_product_attention(
        *(x.double() for x in inputs), is_causal=True, enable_gqa=True
    )
    theirs = scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=True)
    ours = causal_attention(*inputs, 0.25).transpose(1, 2)

    def error(x: Tensor) -> float:
        return float((x.detach().double() - exact.detach()).norm() / exact.detach().norm())

    assert error(ours) < 3 * error(theirs) < 0.02


def layer(is_causal: bool, training: bool = True) -> nn.Module:
    module = nn.Module().train(training)
    module.is_causal = is_causal  # type: ignore[assignment]
    module.num_key_value_groups = 3  # type: ignore[assignment]
    return module


@pytest.fixture
def blocks_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens of every call of the blocks, on a processor without tiles."""
    taken: list[int] = []

    def counted(query: Tensor, *others: Any) -> Tensor:
        taken.append(query.shape[2])
        return causal_attention(query, *others)

    monkeypatch.setattr(cpu_attention, "_has_tiles", lambda: False)
    monkeypatch.setattr(cpu_attention, "causal_attention", counted)
    return taken


def test_blocks_are_for_causal_bfloat16_in_training_alone(blocks_taken: list[int]) -> None:
    query, key, value = heads(1, 6, 2, 70, torch.bfloat16)
    found, _ = attention(layer(True), query, key, value, None)
    theirs = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(found, theirs.transpose(1, 2), atol=0.02, rtol=0.02)
    assert blocks_taken == [70] and found.is_contiguous()
    attention(layer(True, training=False), query, key, value, None)
    attention(layer(False), query, key, value, None)
    attention(layer(True), query.float(), key.float(), value.float(), None)
    attention(layer(True), query[:, :, :9], key, value, None)
    attention(layer(True), query, key, value, torch.ones(1, 1, 70, 70, dtype=torch.bool))
    attention(layer(True), query, key, value, None, dropout=0.1)
    assert blocks_taken == [70]


def test_tiles_leave_causal_attention_to_pytorch(
    blocks_taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_attention, "_has_tiles", lambda: True)
    attention(layer(True), *heads(1, 6, 2, 70, torch.bfloat16), None)
    assert blocks_taken == []


def test_attention_without_chance_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_attention, "drop", lambda x, share: x)
    query, key, value = (torch.randn(2, 4, 6, 8) for _ in range(3))
    seen = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    seen[1, ..., 4:] = False
    added = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    expected = scaled_dot_product_attention(query, key, value, seen).transpose(1, 2)
    for mask in (seen, added):
        found, _ = attention(nn.Module(), query, key, value, mask, dropout=0.1)
        torch.testing.assert_close(found, expected)
    whole, _ = attention(nn.Module(), query, key, value, None, dropout=0.1)
    torch.testing.assert_close(
        whole, scaled_dot_product_attention(query, key, value).transpose(1, 2)
    )


def test_a_decoder_learns_the_same_with_blocks(blocks_taken: list[int]) -> None:
    config = AutoConfig.for_model(
        "llama", vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="sdpa", dtype=torch.bfloat16
    ).train()
    ids = torch.randint(3, 61, (2, 80))

    def gradients() -> tuple[Tensor, Tensor]:
        model.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])

    loss, gradient = gradients()
    assert speed_up_attention(model) and model.config._attn_implementation == ATTENTION
    found_loss, found_gradient = gradients()
    assert blocks_taken == [80, 80]
    torch.testing.assert_close(found_loss, loss, atol=0.01, rtol=0)
    assert float((found_gradient - gradient).norm() / gradient.norm()) < 0.02


def test_other_attention_is_left_alone() -> None:
    config = AutoConfig.for_model("gpt2", vocab_size=9, n_embd=8, n_layer=1, n_head=2)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    assert not speed_up_attention(model)
    assert model.config._attn_implementation == "eager"
