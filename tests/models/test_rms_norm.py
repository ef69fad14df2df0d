"""Norms with a short gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from tunewright.models.rms_norm import speed_up_norms


def with_weights(norm: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    torch.manual_seed(1)
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)  # type: ignore[arg-type]
    return norm.to(dtype)


@pytest.mark.parametrize("kind", [LlamaRMSNorm, T5LayerNorm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5, 48), (2, 3, 4, 48), (7, 48)])
def test_same_bits_and_the_gradient_of_the_formula(
    kind: type[torch.nn.Module], dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    plain = with_weights(kind(48), dtype)
    lean = copy.deepcopy(plain)
    assert speed_up_norms(torch.nn.Sequential(lean)) == 1
    x = torch.randn(shape).to(dtype).requires_grad_()
    gradient = torch.randn(shape).to(dtype)
    assert torch.equal(lean(x), plain(x))
    lean(x).backward(gradient)
    exact_x = x.detach().double().requires_grad_()
    exact_w = plain.weight.detach().double().requires_grad_()  # type: ignore[operator]
    r = torch.rsqrt(exact_x.pow(2).mean(-1, keepdim=True) + plain.variance_epsilon)  # type: ignore[operator]
    (exact_w * exact_x * r).backward(gradient.double())
    near = {torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    for found, exact in ((x.grad, exact_x.grad), (lean.weight.grad, exact_w.grad)):  # type: ignore[union-attr]
        assert found is not None and exact is not None and found.dtype == dtype
        assert (found.double() - exact).abs().max() <= near * exact.abs().max()


def test_other_norms_are_left_alone() -> None:
    norms = [Gemma2RMSNorm(16), Olmo2RMSNorm(16), torch.nn.LayerNorm(16)]
    model = torch.nn.Sequential(*(with_weights(norm, torch.bfloat16) for norm in norms))
    kinds = [type(norm) for norm in model]
    assert speed_up_norms(model) == 0
    assert [type(norm) for norm in model] == kinds


def test_frozen_norms_and_inputs_get_no_gradient() -> None:
    norm = with_weights(LlamaRMSNorm(16), torch.float32)
    speed_up_norms(torch.nn.Sequential(norm))
    x = torch.randn(4, 16)
    norm(x).sum().backward()
    assert norm.weight.grad is not None
    norm.weight.requires_grad_(False)
    norm.weight.grad = None
    norm(x.requires_grad_()).sum().backward()
    assert x.grad is not None and norm.weight.grad is None


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_a_decoder_stay(checkpointing: bool) -> None:
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    torch.manual_seed(0)
    plain = LlamaForCausalLM(config).train()
    lean = copy.deepcopy(plain)
    assert speed_up_norms(lean) == 5
    if checkpointing:
        lean.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.randint(0, 40, (2, 9))
    for model in (plain, lean):
        model(input_ids=ids, labels=ids).loss.backward()
    for (name, one), other in zip(plain.named_parameters(), lean.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6, msg=name)
