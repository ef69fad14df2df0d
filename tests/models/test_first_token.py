"""The last layer for its first token alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
)

from tunewright.models.first_token import FirstTokenLayer, read_first_token

SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 40, "num_labels": 3,
}  # fmt: skip


def classifier(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").eval()


def batch() -> dict[str, torch.Tensor]:
    seen = torch.ones(3, 9, dtype=torch.long)
    seen[1, 5:] = 0
    return {"input_ids": torch.arange(3, 30).view(3, 9), "attention_mask": seen}


@pytest.mark.parametrize("kind", [BertConfig, RobertaConfig, ElectraConfig])
def test_logits_and_gradients_are_those_of_the_whole_layer(kind: Any) -> None:
    whole = classifier(kind(**SIZES))
    model = copy.deepcopy(whole)
    assert read_first_token(model)
    for each in (whole, model):
        nn.functional.cross_entropy(each(**batch()).logits, torch.tensor([0, 1, 2])).backward()
    torch.testing.assert_close(model(**batch()).logits, whole(**batch()).logits)
    for (name, ours), theirs in zip(model.named_parameters(), whole.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None, name
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)


def test_the_last_layer_makes_one_token_and_is_saved_as_it_was(tmp_path: Any) -> None:
    model = classifier(BertConfig(**SIZES))
    expected = model(**batch()).logits
    assert read_first_token(model)
    seen: list[torch.Size] = []
    last = model.bert.encoder.layer[-1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model(**batch())
    assert seen == [torch.Size([3, 1, 32])]
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**batch()).logits, expected)


def test_other_layers_and_heads_that_read_more_are_left_alone() -> None:
    other = classifier(
        DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=4, hidden_dim=64, num_labels=3)
    )
    assert not read_first_token(other)

    model = classifier(BertConfig(**SIZES))
    model.bert.pooler.forward = lambda hidden: hidden.mean(1)
    assert not read_first_token(model)
    assert not isinstance(model.bert.encoder.layer[-1], FirstTokenLayer)
