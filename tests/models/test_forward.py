"""The chunked loss is the model's own loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tunewright.data.collate import collate
from tunewright.data.example import Example
from tunewright.models import head_loss as module
from tunewright.models.forward import CausalForward
from tunewright.models.head_loss import head_loss, token_losses


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_head_loss_and_its_gradients_equal_plain_cross_entropy(chunk: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(7, 8, requires_grad=True)
    weight = torch.randn(11, 8, requires_grad=True)
    target = torch.randint(0, 11, (7,))
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, target, reduction="sum")
    expected_grads = torch.autograd.grad(expected * 0.3, (hidden, weight))
    found = head_loss(hidden, weight, target, chunk)
    grads = torch.autograd.grad(found * 0.3, (hidden, weight))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(grads, expected_grads)
    torch.testing.assert_close(token_losses(hidden, weight, target, chunk).sum(), expected)


@pytest.mark.parametrize("tokens", [5, 40])  # logits kept for the gradient, and a sum of it
def test_head_loss_in_pieces_has_the_gradients_of_plain_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    monkeypatch.setattr(module, "_PIECE", 4)
    monkeypatch.setattr(module, "_BLOCK", {"cpu": 35, "others": 35})  # three rows
    torch.manual_seed(0)
    hidden = torch.randn(tokens, 8, requires_grad=True)
    weight = torch.randn(11, 8, requires_grad=True)
    target = torch.randint(0, 11, (tokens,))
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, target, reduction="sum")
    expected_grads = torch.autograd.grad(expected * 0.3, (hidden, weight))
    found = head_loss(hidden, weight, target, chunk=16)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found * 0.3, (hidden, weight)), expected_grads)
    for _ in range(2):
        (head_loss(hidden, weight, target, chunk=16, adds=True) * 0.3).backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 2 * expected_grads[1])
    torch.testing.assert_close(token_losses(hidden, weight, target, chunk=16).sum(), expected)


def test_head_loss_of_a_frozen_head_gives_it_no_gradient() -> None:
    hidden = torch.randn(4, 8, requires_grad=True)
    weight = torch.randn(11, 8)
    head_loss(hidden, weight, torch.tensor([1, 2, 3, 4])).backward()
    assert hidden.grad is not None and weight.grad is None


def rows() -> list[Example]:
    return [
        Example([5, 6, 7, 8, 9], 0, loss_mask=[False, False, True, True, True]),
        Example([5, 9, 4], 1, loss_mask=[False, True, True]),
    ]


def test_loss_of_a_decoder_equals_the_one_of_transformers(tiny_decoder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    batch = collate(rows(), pad_id=2)
    forward = CausalForward(model)
    assert forward.chunked
    loss_sum, count = forward(batch)
    theirs = model(**batch).loss
    assert int(count) == 5
    torch.testing.assert_close(loss_sum / count, theirs)
    sums, counts = forward.row_losses(batch)
    assert counts.tolist() == [3, 2]
    torch.testing.assert_close(sums.sum().float(), loss_sum.detach())


def test_padding_does_not_change_a_row(tiny_decoder: Path) -> None:
    forward = CausalForward(AutoModelForCausalLM.from_pretrained(tiny_decoder))
    together, _ = forward.row_losses(collate(rows(), pad_id=2))
    alone = torch.cat([forward.row_losses(collate([row], pad_id=2))[0] for row in rows()])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_head_that_does_more_than_a_product_uses_the_models_own_logits(tiny_decoder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    plain = model.forward

    def capped(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        output.logits = 2 * torch.tanh(output.logits * 3)
        return output

    model.forward = capped
    forward = CausalForward(model)
    assert not forward.chunked
    batch = collate(rows(), pad_id=2)
    loss_sum, count = forward(batch)
    logits = model(input_ids=batch["input_ids"]).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    torch.testing.assert_close(loss_sum, expected)
    assert int(count) == 5


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_summed_head_gradient_is_that_of_several_passes_in_float32(
    tied: bool, dtype: torch.dtype
) -> None:
    def gradients(summed: bool, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=tied,
        )  # fmt: skip
        model = LlamaForCausalLM(config).to(dtype)
        forward = CausalForward(model)
        if summed:
            forward.sum_head_gradient()
        for part in (rows(), rows()[:1], rows()[1:]):
            loss, _ = forward(collate(part, pad_id=2))
            (loss / 3).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    expected, found = gradients(False, torch.float32), gradients(True, dtype)
    assert found.keys() == expected.keys()
    head = "model.embed_tokens.weight" if tied else "lm_head.weight"
    assert found[head].dtype == torch.float32 and found[head].layout == torch.strided
    scale = {torch.float32: 1e-6, torch.bfloat16: 0.02}[dtype]
    for name, gradient in expected.items():
        off = (found[name].float() - gradient).abs().max()
        assert off <= scale * gradient.abs().max(), name


def test_head_gradient_is_not_summed_where_the_head_is_frozen_or_no_plain_product(
    tiny_decoder: Path,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    forward = CausalForward(model)
    model.get_output_embeddings().weight.requires_grad_(False)
    forward.sum_head_gradient()
    assert not model.get_input_embeddings().sparse
    model.get_output_embeddings().weight.requires_grad_(True)
    forward.chunked = False
    forward.sum_head_gradient()
    assert not model.get_input_embeddings().sparse
