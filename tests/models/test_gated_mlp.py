"""Gated layers with a short gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.gemma.modeling_gemma import GemmaConfig, GemmaMLP
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from tunewright.models.gated_mlp import LeanMlp, shrink_gates

SIZES = LlamaConfig(hidden_size=16, intermediate_size=48, num_attention_heads=2)


@pytest.mark.parametrize("kind", [LlamaMLP, Qwen2MLP])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_in_output_and_gradients(kind: type, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = kind(SIZES).to(dtype)
    lean = copy.deepcopy(plain)
    assert shrink_gates(torch.nn.Sequential(lean)) == 1
    x, gradient = torch.randn(2, 5, 16).to(dtype), torch.randn(2, 5, 16).to(dtype)
    found = []
    for layer in (plain, lean):
        given = x.clone().requires_grad_()
        output = layer(given)
        output.backward(gradient)
        found.append([output, given.grad, *(p.grad for p in layer.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_less_is_kept_for_the_gradient() -> None:
    kept: list[int] = []
    plain = LlamaMLP(SIZES).requires_grad_(False)
    lean = copy.deepcopy(plain)
    shrink_gates(torch.nn.Sequential(lean))
    for layer in (plain, lean):
        seen = set()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, seen=seen: (seen.add((t.data_ptr(), t.shape)), t)[1], lambda t: t
        ):
            layer(torch.randn(7, 16, requires_grad=True))
        kept.append(sum(shape == (7, 48) for _, shape in seen))
    assert kept == [3, 2]


def test_other_layers_are_left_alone() -> None:
    class Scaled(LlamaMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    layers = [
        GemmaMLP(GemmaConfig(hidden_size=16, intermediate_size=48, num_attention_heads=2)),
        Scaled(SIZES),
    ]
    assert shrink_gates(torch.nn.Sequential(*layers)) == 0
    assert not any(isinstance(layer, LeanMlp) for layer in layers)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_learn_the_same(checkpointing: bool) -> None:
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    torch.manual_seed(0)
    base = LlamaForCausalLM(config)
    adapted = get_peft_model(base, LoraConfig(target_modules="all-linear", lora_dropout=0.1))
    adapted.train()
    lean = copy.deepcopy(adapted)
    assert shrink_gates(lean) == 2 and lean.training
    if checkpointing:
        for model in (adapted, lean):
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.randint(0, 40, (2, 9))
    for model in (adapted, lean):
        torch.manual_seed(1)
        model(input_ids=ids, labels=ids).loss.backward()
    pairs = zip(adapted.named_parameters(), lean.parameters(), strict=True)
    trained = [(name, one.grad, other.grad) for (name, one), other in pairs if one.requires_grad]
    assert len(trained) == 28
    for name, one, other in trained:
        assert torch.equal(one, other), name
