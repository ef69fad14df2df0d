"""Our pass of a LoRA layer against PEFT's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from tunewright.models.lora_linear import LoraLinear, speed_up_lora


class Two(nn.Module):
    """Two linear layers, the first with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 20)
        self.second = nn.Linear(20, 7, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., 12] to [..., 7]."""
        out: Tensor = self.second(torch.tanh(self.first(x)))
        return out


def adapted(dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """The two layers with LoRA whose B is not zero, as after some training."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["first", "second"], **options)
    model = get_peft_model(Two().to(dtype), config, autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def both(model: Any, shape: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Output and gradients of `model`, PEFT's way and then ours."""
    results = []
    ours = copy.deepcopy(model)
    assert speed_up_lora(ours) == 2
    dtype = next(model.parameters()).dtype
    for one in (model, ours):
        x = torch.linspace(-1, 1, 12 * torch.Size(shape).numel(), dtype=dtype)
        x = x.reshape(*shape, 12).requires_grad_()
        y = one(x)
        (y**2).sum().backward()
        gradients = [p.grad for p in one.parameters() if p.requires_grad]
        assert x.grad is not None
        results.append([y.detach(), x.grad, *gradients])
    return results[0], results[1]


@pytest.mark.parametrize("shape", [(5,), (3, 5), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}])
def test_output_and_gradients_are_those_of_peft(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    theirs, ours = both(adapted(**options), shape)
    assert len(theirs) == 2 + 4
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_bfloat16_is_as_near_to_float32_as_peft_is() -> None:
    exact, _ = both(adapted(torch.float32), (4, 6))
    theirs, ours = both(adapted(torch.bfloat16), (4, 6))
    for a, b, c in zip(exact, theirs, ours, strict=True):
        assert (c.float() - a).norm() < 1.5 * (b.float() - a).norm() + 1e-3 * a.norm()


def test_gradients_agree_with_differences() -> None:
    model = adapted()
    speed_up_lora(model)
    layer = model.base_model.model.first
    assert type(layer) is LoraLinear
    x = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.5}])
def test_what_is_not_plain_is_left_to_peft(options: dict[str, Any]) -> None:
    model = adapted(**options)
    ours = copy.deepcopy(model)
    speed_up_lora(ours)
    x = torch.randn(6, 12, dtype=torch.float64)
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    assert torch.equal(ours(x), expected)


def test_adapters_can_still_be_switched_off_merged_and_copied() -> None:
    model = adapted()
    speed_up_lora(model)
    x = torch.randn(6, 12, dtype=torch.float64)
    tuned = model(x)
    with model.disable_adapter():
        assert not torch.allclose(model(x), tuned)
    twin = copy.deepcopy(model)
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(x), tuned)
    assert not any(isinstance(layer, LoraLinear) for layer in merged.modules())
    torch.testing.assert_close(twin(x), tuned)  # the copy computes with its own weights
