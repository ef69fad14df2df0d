"""The forward and backward pass of a linear layer with LoRA, in as few products as it takes.

PEFT's own layer makes four passes over activations of the layer's full width beside the matrix
products: it scales, adds, and does both again in the backward pass. On a CPU, and with rows of a
few hundred tokens, these passes cost a sixth of a step. Here they are part of the products.

This module knows PEFT's LoRA layer. It does not know models, recipes or the optimizer. Saving,
merging and switching adapters stay PEFT's: only `forward` is another.

Legend for shape suffixes: T tokens (rows times length), I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


class _LoraProduct(torch.autograd.Function):
    """x W' + b + s (x A') B', where W and b are frozen (LoRA, arXiv 2106.09685, equation 3)."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scaling: float,
    ) -> Tensor:
        xa_TR = x_TI @ a_RI.T
        y_TO = nn.functional.linear(x_TI, weight_OI, bias_O)
        ctx.save_for_backward(x_TI, weight_OI, a_RI, b_OR, xa_TR)
        ctx.scaling = scaling
        return y_TO.addmm_(xa_TR, b_OR.T, alpha=scaling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g_TO,) = gradients
        x_TI, weight_OI, a_RI, b_OR, xa_TR = ctx.saved_tensors
        g_b_OR = (g_TO.T @ xa_TR).mul_(ctx.scaling)
        g_xa_TR = (g_TO @ b_OR).mul_(ctx.scaling)
        g_a_RI = g_xa_TR.T @ x_TI
        g_x_TI = None
        if ctx.needs_input_grad[0]:
            g_x_TI = (g_TO @ weight_OI).addmm_(g_xa_TR, a_RI)
        return g_x_TI, None, None, g_a_RI, g_b_OR, None


class LoraLinear(Linear):  # type: ignore[misc]
    """PEFT's LoRA layer with the product above for one active plain adapter."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output, [..., O], for `x`, [..., I]."""
        name = None if args or kwargs else _plain_adapter(self)
        if name is None:
            theirs: Tensor = super().forward(x, *args, **kwargs)
            return theirs
        y_TO: Tensor = _LoraProduct.apply(  # type: ignore[no-untyped-call]
            x.reshape(-1, x.shape[-1]),
            self.base_layer.weight,
            self.base_layer.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
        )
        return y_TO.reshape(*x.shape[:-1], -1)


def _plain_adapter(layer: Any) -> str | None:
    """The layer's active adapter when it is one, unmerged, without DoRA, dropout or biases."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(names) != 1 or layer.disable_adapters or layer.merged or layer.lora_variant:
        return None
    name: str = names[0]
    dropout = layer.lora_dropout[name]
    if not isinstance(dropout, nn.Identity) and (dropout.p > 0 and layer.training):
        return None
    weights = (layer.base_layer.weight, layer.lora_A[name].weight, layer.lora_B[name].weight)
    if len({weight.dtype for weight in weights}) > 1 or weights[0].requires_grad:
        return None
    return name if layer.lora_B[name].bias is None else None


def speed_up_lora(model: nn.Module) -> int:
    """Let every plain LoRA layer of `model` compute in fewer passes, with the same result.

    Layers whose base is quantized, convolutional or trained too are left as they are; so are
    passes with DoRA, dropout, several active adapters or none.

    Returns:
        The number of layers changed.
    """
    changed = 0
    for layer in model.modules():
        if type(layer) is Linear and type(layer.base_layer) is nn.Linear:
            layer.__class__ = LoraLinear
            changed += 1
    return changed
