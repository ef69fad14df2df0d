"""LoRA layers that round the sum of base and update to few bits as they train.

An adapter beside a rounded base would learn to live with rounding that is another once both are
merged. Here the weight that is rounded is the merged one, as PEFT merges it.

This module knows PEFT's LoRA layer and torchao's rounding one. It does not know models or recipes.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.func import functional_call


class FewBitsLora(Linear):  # type: ignore[misc]
    """PEFT's LoRA layer over a layer of torchao that rounds in its forward pass."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output of the merged and rounded layer, [..., outputs], for `x`, [..., inputs]."""
        weight = self.base_layer.weight
        for name in () if self.disable_adapters else self.active_adapters:
            weight = weight + self.get_delta_weight(name)
        rounded: Tensor = functional_call(self.base_layer, {"weight": weight}, (x,))
        return rounded


def round_merged(model: nn.Module) -> None:
    """Let the LoRA layers whose base rounds in its forward pass round what they add to it too.

    Args:
        model: changed in place; its updates are without dropout and DoRA.
    """
    from torchao.quantization.qat.linear import FakeQuantizedLinear

    for layer in model.modules():
        if isinstance(layer, Linear) and isinstance(layer.base_layer, FakeQuantizedLinear):
            layer.__class__ = FewBitsLora
