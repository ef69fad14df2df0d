"""Root-mean-square norms whose gradient keeps one copy of the input.

transformers writes the norm as a chain of operations, and each of them keeps what its gradient
needs: of a bfloat16 input, two copies in float32 and one more in bfloat16. Here the input and one
number a row are kept, and the gradient is one formula. The output has the same bits.

This module knows the form of Llama's norm, which most decoders and T5 share. It does not know
models.

Legend for shape suffixes: N rows, D their size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tunewright.models.same_bits import lean_class


class _Norm(torch.autograd.Function):
    """y = w x r with r = 1 / sqrt(mean(x^2) + eps) (arXiv 1910.07467, equation 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.float32, copy=True)
        r = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight_D, r)
        return weight_D * wide.mul_(r).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_D, r = ctx.saved_tensors
        wide_D, size = weight_D.float(), x.shape[-1]
        n_ND = torch.mul(x, r).reshape(-1, size)
        g_ND = gradients[0].reshape(-1, size).to(torch.float32, copy=True)
        products_ND = g_ND * n_ND
        grad_D = products_ND.sum(0).to(weight_D.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, grad_D, None
        # dx = r (w g - n mean(w g n)), with n = x r.
        means_N1 = (products_ND @ wide_D).div_(size)[:, None]
        g_ND.mul_(wide_D).sub_(n_ND.mul_(means_N1)).mul_(r.reshape(-1, 1))
        return g_ND.to(x.dtype).view_as(x), grad_D, None


class LeanNorm:
    """Mixed into the class of a norm."""

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        """As the norm's own."""
        normed: Tensor = _Norm.apply(hidden_states, self.weight, _epsilon(self))  # type: ignore[no-untyped-call]
        return normed


def _epsilon(norm: Any) -> Any:
    return getattr(norm, "variance_epsilon", None)


def speed_up_norms(model: nn.Module) -> int:
    """Give norms of Llama's form the gradient above; return how many.

    A class is changed where its output for a few rows has the same bits.

    Args:
        model: of transformers, with PEFT's layers or without.
    """
    found: dict[tuple[type, torch.dtype], type | None] = {}
    changed = 0
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if _epsilon(module) is None or weight is None or weight.ndim != 1:
            continue
        own = type(module)
        key = (own, weight.dtype)
        if key not in found:
            found[key] = _lean_class(module)
        if (lean := found[key]) is not None:
            module.__class__ = lean
            changed += 1
    return changed


def _lean_class(norm: Any) -> type | None:
    """The class with the gradient above, or None where that is not this norm's."""
    weight = norm.weight
    rows = torch.linspace(-3, 3, 8 * len(weight), device=weight.device).view(8, -1)
    return lean_class(norm, LeanNorm, rows.to(weight.dtype))
