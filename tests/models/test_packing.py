"""Rows packed into one sequence: the losses and gradients that they have alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tunewright.data.collate import collate, pack
from tunewright.data.example import Example
from tunewright.errors import ModelError
from tunewright.models.forward import CausalForward
from tunewright.models.packing import document_lengths, let_pack, packed_inputs

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
GPT2 = {
    "vocab_size": 61,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": SHAPE,
    "qwen3": SHAPE,
    "mistral": SHAPE | {"sliding_window": 4},
    "gemma3_text": SHAPE | {"sliding_window": 4, "layer_types": ["sliding_attention"] * 2},
    "gpt2": GPT2,
}


def made(kind: str, **values: Any) -> Any:
    """A random decoder with weights as large as trained ones, so that a leak would show."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(KINDS.get(kind, {}) | values))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def rows(first: int = 5) -> list[Example]:
    """Rows of 3, 9 and 6 tokens; every token counts in the second, the first one too."""
    lengths = (3, 9, 6)
    return [
        Example(
            [(first + 7 * row + 3 * i) % 61 for i in range(length)],
            row,
            loss_mask=[row == 1 or i > 1 for i in range(length)],
        )
        for row, length in enumerate(lengths)
    ]


def loss_and_gradients(model: Any, batch: dict[str, torch.Tensor]) -> tuple[Any, dict[str, Any]]:
    model.zero_grad()
    loss, count = CausalForward(model)(batch)
    loss.backward()
    return (loss.detach(), int(count)), {n: p.grad.clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows_have_the_loss_and_gradients_of_padded_ones(kind: str) -> None:
    model = made(kind)
    (expected, count), expected_gradients = loss_and_gradients(model, collate(rows(), pad_id=2))
    let_pack(model)
    (found, found_count), gradients = loss_and_gradients(model, pack(rows()))
    assert found_count == count == sum(row.trained_tokens for row in rows())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_of_a_row_depends_on_the_rows_before_it(kind: str) -> None:
    model = made(kind).eval()
    let_pack(model)
    outputs = []
    for first in (5, 20):
        batch = pack([*rows(first)[:2], rows()[2]])
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], use_cache=False, **packed_inputs(batch))
        outputs.append(logits.logits[0])
    assert torch.equal(outputs[0][-6:], outputs[1][-6:])
    assert not torch.equal(outputs[0][:-6], outputs[1][:-6])


def test_activations_that_are_computed_again_keep_rows_apart() -> None:
    model = made("llama")
    let_pack(model)
    expected, expected_gradients = loss_and_gradients(model, pack(rows()))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    found, gradients = loss_and_gradients(model, pack(rows()))
    assert found == expected
    torch.testing.assert_close(gradients, expected_gradients)


def test_padded_batches_and_answers_stay_as_they_were() -> None:
    model = made("mistral").eval()
    prompts = {
        "input_ids": torch.tensor([[2, 2, 9, 8, 7, 6], [5, 6, 7, 8, 9, 10]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]),
    }
    loss, _ = loss_and_gradients(model, collate(rows(), pad_id=2))
    answers = model.generate(**prompts, max_new_tokens=4, do_sample=False, pad_token_id=2)
    let_pack(model)
    assert loss_and_gradients(model, collate(rows(), pad_id=2))[0] == loss
    again = model.generate(**prompts, max_new_tokens=4, do_sample=False, pad_token_id=2)
    assert torch.equal(again, answers)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("lfm2", SHAPE | {"layer_types": ["conv", "full_attention"]}),
        ("falcon", {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2,
                    "num_attention_heads": 4, "alibi": True}),
    ],
    ids=["convolution_over_tokens", "attention_of_its_own"],
)  # fmt: skip
def test_a_base_whose_rows_would_see_each_other_is_refused(
    kind: str, values: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=rf"packing does not work with this base \({kind}\)"):
        let_pack(made(kind, **values))


def test_documents_begin_where_positions_begin_again() -> None:
    assert document_lengths(torch.tensor([[0, 1, 2, 0, 0, 1]])) == [3, 1, 2]
    assert document_lengths(pack(rows())["position_ids"]) == [3, 9, 6]
