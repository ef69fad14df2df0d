"""Dropout on a CPU, with masks that cost an eighth of PyTorch's.

PyTorch draws each element of a mask by itself there. Here 64 random bits, from the same generator,
decide on four elements. A share is rounded to a multiple of 2^-16, and what is kept is scaled by
the share that is kept indeed, so that no expectation changes. This module knows PyTorch modules
only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 2**16


def dropout(x: Tensor, share: float) -> Tensor:
    """`x` with a share of its elements zero, and the others scaled up.

    Args:
        x: of any shape, on a CPU.
        share: above 0 and below 1.
    """
    dropped = min(round(share * _LEVELS), _LEVELS - 1)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


class CpuDropout(nn.Dropout):
    """`nn.Dropout` with the masks of `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        """The input in evaluation; in training, with a share of it dropped."""
        if self.training and 0 < self.p < 1 and input.device.type == "cpu":
            return dropout(input, self.p)
        return super().forward(input)


def speed_up_dropout(model: Any) -> int:
    """Let a model on a CPU drop cheaply; return how many modules it changed.

    Args:
        model: of transformers, with PEFT's layers or without.
    """
    changed = 0
    for module in model.modules():
        if type(module) is nn.Dropout and module.p > 0:
            module.__class__ = CpuDropout
            changed += 1
    return changed
