"""LoRA layers that round the sum of base and update to few bits as they train.

An adapter beside a rounded base would learn to live with rounding that is another once both are
merged. Here the weight that is rounded is the merged one, as PEFT merges it.

This module knows PEFT's LoRA layer and torchao's fake quantizers. It does not know models or
recipes.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


class FewBitsLora(Linear):  # type: ignore[misc]
    """PEFT's LoRA layer over a layer of torchao that rounds in its forward pass."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output of the merged and rounded layer, [..., outputs], for `x`, [..., inputs]."""
        base = self.base_layer
        weight = base.weight
        for name in () if self.disable_adapters else self.active_adapters:
            weight = weight + self.get_delta_weight(name)
        if base.activation_fake_quantizer is not None:
            x = base.activation_fake_quantizer(x)
        return nn.functional.linear(x, base.weight_fake_quantizer(weight), base.bias)


def round_merged(model: nn.Module) -> int:
    """Let the LoRA layers whose base rounds in its forward pass round what they add to it too.

    Args:
        model: changed in place; its updates are without dropout and DoRA.

    Returns:
        The number of layers changed.
    """
    from torchao.quantization.qat.linear import FakeQuantizedLinear

    changed = 0
    for layer in model.modules():
        if isinstance(layer, Linear) and isinstance(layer.base_layer, FakeQuantizedLinear):
            layer.__class__ = FewBitsLora
            changed += 1
    return changed
