"""Gated feed-forward layers whose gradient keeps two matrices of their width, not three.

Of silu(gate) x up, PyTorch keeps silu(gate) too. Here it is made again for the gradient, in the
memory that the gradient takes anyway. Output and gradients have the same bits.

This module knows the form of Llama's layer, which most decoders share. It does not know models.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from tunewright.models.same_bits import lean_class

_LINEAR = ("gate_proj", "up_proj", "down_proj")


class _Gated(torch.autograd.Function):
    """silu(gate) x up (SwiGLU, arXiv 2002.05202, equation 6)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        g_gate = gradients[0] * up
        torch.ops.aten.silu_backward.grad_input(g_gate, gate, grad_input=g_gate)
        return g_gate, nn.functional.silu(gate).mul_(gradients[0])


class LeanMlp:
    """Mixed into the class of a layer."""

    def forward(self: Any, x: Tensor) -> Tensor:
        """As the layer's own."""
        output: Tensor = self.down_proj(_Gated.apply(self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-untyped-call]
        return output


def shrink_gates(model: nn.Module) -> int:
    """Give layers of Llama's form the gradient above; return how many.

    A class is changed where its output for a few rows has the same bits.

    Args:
        model: of transformers, with PEFT's layers or without.
    """
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    found: dict[type, type | None] = {}
    changed = 0
    for module in model.modules():
        own = type(module)
        if not (_is_silu(module) and all(_is_linear(module, name) for name in _LINEAR)):
            continue
        if own not in found:
            found[own] = _lean_class(module, dtype)
        if (lean := found[own]) is not None:
            module.__class__ = lean
            changed += 1
    return changed


def _is_silu(layer: nn.Module) -> bool:
    from transformers.activations import SiLUActivation

    return isinstance(getattr(layer, "act_fn", None), nn.SiLU | SiLUActivation)


def _is_linear(layer: nn.Module, name: str) -> bool:
    """Also where it is in few bits or has an adapter."""
    return hasattr(getattr(layer, name, None), "in_features")


def _lean_class(layer: Any, dtype: torch.dtype | None) -> type | None:
    """The class with the gradient above, or None where that is not this layer's."""
    if len(signature(type(layer).forward).parameters) != 2:
        return None
    width, device = layer.gate_proj.in_features, next(layer.parameters()).device
    rows = torch.linspace(-3, 3, 8 * width, device=device, dtype=dtype).view(8, width)
    return lean_class(layer, LeanMlp, rows)
