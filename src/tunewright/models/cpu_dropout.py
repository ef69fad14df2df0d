"""Dropout on a CPU, with masks that cost an eighth of PyTorch's.

PyTorch draws each element of a mask by itself there. Here 64 random bits, from the same generator,
decide on four elements. A share is rounded to a multiple of 2^-16, and what is kept is scaled by
the share that is kept indeed, so that no expectation changes. This module knows PyTorch modules and
transformers' registry of attention functions.

Legend for shape suffixes: B rows, H heads, Q and K tokens, D size of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ATTENTION = "sdpa_cheap_dropout"
"""The name in transformers' registry."""
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


def attention(
    module: nn.Module,
    query_BHQD: Tensor,
    key_BHKD: Tensor,
    value_BHKD: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention whose weights are dropped as above; without dropout, transformers' own for `sdpa`.

    PyTorch's attention has no fused kernel with dropout for CPUs: it makes all weights too. The
    signature is that of transformers' attention functions.

    Args:
        module: the attention layer.
        query_BHQD, key_BHKD, value_BHKD: of all heads.
        attention_mask: [b x 1 x q x k], true where a token is seen; or what is added.
        dropout: share of the weights that is dropped.
        scaling: of the products. Default: 1 / sqrt(d).
        kwargs: passed on.

    Returns:
        The output, [b x q x h x d], and no attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    plain = (
        not 0 < dropout < 1
        or query_BHQD.device.type != "cpu"
        or getattr(module, "is_causal", False)
        or query_BHQD.shape[1] != key_BHKD.shape[1]
    )
    if plain:
        theirs: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_BHQD, key_BHKD, value_BHKD, attention_mask,
            dropout=dropout, scaling=scaling, **kwargs,
        )  # fmt: skip
        return theirs
    scale = query_BHQD.shape[-1] ** -0.5 if scaling is None else scaling
    scores_BHQK = (query_BHQD * scale) @ key_BHKD.transpose(2, 3)
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            scores_BHQK.masked_fill_(~attention_mask, torch.finfo(scores_BHQK.dtype).min)
        else:
            scores_BHQK = scores_BHQK + attention_mask
    weights_BHQK = _drop(torch.softmax(scores_BHQK, dim=-1), dropout)
    return (weights_BHQK @ value_BHKD).transpose(1, 2).contiguous(), None


_drop = dropout


def speed_up_dropout(model: Any) -> int:
    """Let a model on a CPU drop cheaply; return how many modules it changed.

    Args:
        model: of transformers, with PEFT's layers or without.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    changed = 0
    for module in model.modules():
        if type(module) is nn.Dropout and module.p > 0:
            module.__class__ = CpuDropout
            changed += 1
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if changed and inner.config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        inner.set_attn_implementation(ATTENTION)
    return changed
