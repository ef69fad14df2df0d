"""Dropout with cheap masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tunewright.models.cpu_attention import speed_up_attention
from tunewright.models.cpu_dropout import CpuDropout, dropout, speed_up_dropout


def encoder(share: float) -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=32, hidden_dropout_prob=share,
        attention_probs_dropout_prob=share, num_labels=3, attn_implementation="sdpa",
    )  # fmt: skip
    return BertForSequenceClassification(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_is_dropped_and_the_rest_scaled_so_that_the_mean_stays(
    dtype: torch.dtype, share: float
) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999, dtype=dtype)
    found = dropout(x, share)
    zero = (found == 0).float().mean()
    assert float(zero) == pytest.approx(share, abs=0.002)
    assert float(found[found != 0].float().unique()) == pytest.approx(1 / (1 - share), rel=4e-3)
    assert float((found[:-1] == 0).float().mul((found[1:] == 0).float()).mean()) == pytest.approx(
        share**2, abs=0.002
    )


def test_the_gradient_goes_where_the_values_went_and_the_seed_decides() -> None:
    module = CpuDropout(0.3)
    x = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    found = module(x)
    found.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(found, x * x.grad)
    torch.manual_seed(3)
    assert torch.equal(module(x), found)
    assert torch.equal(module.eval()(x), x)
    assert torch.equal(CpuDropout(0.0)(x), x) and not CpuDropout(1.0)(x).any()


def test_a_model_in_evaluation_is_the_same_and_in_training_drops() -> None:
    model, ids = encoder(0.1), torch.arange(1, 21).view(2, 10)
    expected = model.eval()(input_ids=ids).logits
    assert speed_up_dropout(model) == 8  # embeddings, three in each layer, head
    assert speed_up_attention(model)
    torch.testing.assert_close(model(input_ids=ids).logits, expected)
    torch.manual_seed(1)
    first = model.train()(input_ids=ids).logits
    assert not torch.allclose(first, expected)
    torch.manual_seed(1)
    assert torch.equal(model(input_ids=ids).logits, first)
    assert "sdpa_for_cpus" not in model.config.to_json_string()


def test_a_model_without_dropout_is_left_alone() -> None:
    model = encoder(0.0)
    assert speed_up_dropout(model) == 0
