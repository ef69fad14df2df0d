"""A leaner forward pass for a module, where what comes out has the same bits.

This module knows PyTorch modules only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def lean_class(module: nn.Module, mixin: type, rows: Tensor) -> type | None:
    """The class of a module with another forward pass mixed in.

    Args:
        module: left as it is.
        mixin: has the other `forward`.
        rows: what both ways are asked for, in evaluation.

    Returns:
        None where the output is not a tensor of the same type and bits.
    """
    own, training = type(module), module.training
    lean = type(own.__name__, (mixin, own), {})
    module.eval()
    before = module(rows)
    module.__class__ = lean
    after = module(rows)
    module.__class__ = own
    module.train(training)
    typed = isinstance(before, Tensor) and before.dtype == after.dtype
    return lean if typed and torch.equal(before, after) else None
