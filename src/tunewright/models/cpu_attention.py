"""Attention of a model in training on a CPU, where PyTorch's own kernels are slow.

Two cases have a way of their own here; all else goes to transformers' function for `sdpa`:

- with dropout, PyTorch makes all weights and draws each element of the mask by itself;
- causal attention in bfloat16: PyTorch's kernel computes at a fifth of the rate of the processor's
  products where that has no matrix tiles (AMX). Here rows are taken in blocks, with one product
  for all query heads that share a key head, and no row looks at blocks that come after its own.

This module knows transformers' registry of attention functions. It does not know models.

Legend for shape suffixes: B rows, H heads, G key heads, R query heads of one key head, N = B x G,
Q and K tokens, D size of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tunewright.models.cpu_dropout import dropout as drop

ATTENTION = "sdpa_for_cpus"
"""The name in transformers' registry."""
_BLOCK = 64
"""Rows of a block: of 64 to 512, the fastest or close to it for 100 to 1,500 tokens."""
_KEPT = 384
"""Rows of up to as many tokens keep their weights for the gradient."""


class CausalBlocks(torch.autograd.Function):
    """softmax(s q k' + mask) v, block by block.

    The gradient is that of FlashAttention (arXiv 2205.14135, algorithm 4), with whole rows of
    weights in place of tiles. Weights of long rows are made again for it.
    """

    @staticmethod
    def forward(
        ctx: Any, q_BQGRD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, scaling: float
    ) -> Tensor:
        k_NKD, v_NKD = (k_BGKD * scaling).flatten(0, 1), v_BGKD.flatten(0, 1)
        out_BQGRD = torch.empty(q_BQGRD.shape, dtype=q_BQGRD.dtype)
        queries, kept = [], []
        for block in _blocks(q_BQGRD.shape[1]):
            queries.append(_take(q_BQGRD, block))
            weights = _block_weights(queries[-1], k_NKD, block)
            _put(out_BQGRD, block, torch.bmm(weights, v_NKD[:, : block.stop]))
            if q_BQGRD.shape[1] <= _KEPT:
                kept.append(weights)
        ctx.save_for_backward(k_NKD, v_NKD, *queries, *kept)
        ctx.scaling = scaling
        return out_BQGRD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g_BQGRD,) = gradients
        k_NKD, v_NKD, *saved = ctx.saved_tensors
        g_q = torch.empty(g_BQGRD.shape, dtype=g_BQGRD.dtype)
        g_k, g_v = torch.zeros_like(k_NKD), torch.zeros_like(v_NKD)
        blocks = _blocks(g_BQGRD.shape[1])
        queries, kept = saved[: len(blocks)], saved[len(blocks) :]
        for i, block in enumerate(blocks):
            seen = slice(0, block.stop)
            weights = kept[i] if kept else _block_weights(queries[i], k_NKD, block)
            g_block = _take(g_BQGRD, block)
            g_v[:, seen].baddbmm_(weights.transpose(1, 2), g_block)
            g_weights = torch.bmm(g_block, v_NKD[:, seen].transpose(1, 2))
            g_scores = torch._softmax_backward_data(g_weights, weights, -1, weights.dtype)
            _put(g_q, block, torch.bmm(g_scores, k_NKD[:, seen]))
            g_k[:, seen].baddbmm_(g_scores.transpose(1, 2), queries[i])
        rows = g_BQGRD.shape[0]
        g_k.mul_(ctx.scaling)
        return g_q, g_k.view(rows, -1, *g_k.shape[1:]), g_v.view(rows, -1, *g_v.shape[1:]), None


def _blocks(length: int) -> list[slice]:
    return [slice(begin, min(begin + _BLOCK, length)) for begin in range(0, length, _BLOCK)]


def _take(x_BQGRD: Tensor, block: slice) -> Tensor:
    """[n x (q r) x d]: some tokens, with all query heads of a key head below each other."""
    return x_BQGRD[:, block].transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _put(x_BQGRD: Tensor, block: slice, rows: Tensor) -> None:
    """Write what `_take` would give."""
    there = x_BQGRD[:, block].transpose(1, 2)
    there.copy_(rows.view(there.shape))


def _block_weights(queries: Tensor, k_NKD: Tensor, block: slice) -> Tensor:
    """[n x (q r) x k]: what the tokens of a block make of those up to themselves."""
    count = block.stop - block.start
    scores = torch.bmm(queries, k_NKD[:, : block.stop].transpose(1, 2))
    by_token = scores.view(len(scores), count, -1, block.stop)
    by_token[..., block.start :].add_(_later(count, scores.dtype))
    return torch.softmax(scores, dim=-1)


@cache
def _later(count: int, dtype: torch.dtype) -> Tensor:
    """[q x 1 x k]: added to scores, it hides tokens that come later."""
    return torch.full((count, count), -torch.inf, dtype=dtype).triu_(1)[:, None]


def causal_attention(q_BHQD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, scaling: float) -> Tensor:
    """Attention of each token on itself and those before it, as many tokens as queries.

    Args:
        q_BHQD: queries; `h` is a multiple of `g`.
        k_BGKD, v_BGKD: keys and values, each for `h / g` heads that follow one another.
        scaling: of the products.

    Returns:
        [b x q x h x d].
    """
    rows, heads, length, size = q_BHQD.shape
    keys = k_BGKD.shape[1]
    q_BQGRD = q_BHQD.transpose(1, 2).view(rows, length, keys, heads // keys, size)
    found: Tensor = CausalBlocks.apply(q_BQGRD, k_BGKD, v_BGKD, scaling)  # type: ignore[no-untyped-call]
    return found.flatten(2, 3)


def attention(
    module: nn.Module,
    query_BHQD: Tensor,
    key_BGKD: Tensor,
    value_BGKD: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The signature is that of transformers' attention functions.

    Args:
        module: the attention layer.
        query_BHQD: of all heads.
        key_BGKD, value_BGKD: of all heads, or of those that are shared.
        attention_mask: [b x 1 x q x k], true where a token is seen; or what is added.
        dropout: share of the weights that is dropped.
        scaling: of the products. Default: 1 / sqrt(d).
        kwargs: passed on.

    Returns:
        The output, [b x q x h x d], and no attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    scale = query_BHQD.shape[-1] ** -0.5 if scaling is None else scaling
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", False) if causal is None else causal
    on_cpu = query_BHQD.device.type == "cpu" and kwargs.get("position_bias") is None
    if on_cpu and 0 < dropout < 1 and not causal and query_BHQD.shape[1] == key_BGKD.shape[1]:
        scores_BHQK = (query_BHQD * scale) @ key_BGKD.transpose(2, 3)
        if attention_mask is not None:
            if attention_mask.dtype == torch.bool:
                scores_BHQK.masked_fill_(~attention_mask, torch.finfo(scores_BHQK.dtype).min)
            else:
                scores_BHQK = scores_BHQK + attention_mask
        weights_BHQK = drop(torch.softmax(scores_BHQK, dim=-1), dropout)
        return (weights_BHQK @ value_BGKD).transpose(1, 2).contiguous(), None
    if (
        on_cpu
        and causal
        and module.training
        and not dropout
        and attention_mask is None
        and query_BHQD.dtype is torch.bfloat16
        and query_BHQD.shape[2] == key_BGKD.shape[2]
        and not _has_tiles()
    ):
        return causal_attention(query_BHQD, key_BGKD, value_BGKD, scale), None
    theirs: tuple[Tensor, None] = sdpa_attention_forward(
        module, query_BHQD, key_BGKD, value_BGKD, attention_mask,
        dropout=dropout, scaling=scaling, **kwargs,
    )  # fmt: skip
    return theirs


@cache
def _has_tiles() -> bool:
    """Whether the processor has matrix tiles, which PyTorch's own kernel uses."""
    return bool(torch.cpu.get_capabilities().get("amx_tile", False))


def speed_up_attention(model: Any) -> bool:
    """Let a model that trains on a CPU attend as above; return whether it does.

    Args:
        model: of transformers, without an adapter around it.
    """
    if model.config._attn_implementation != "sdpa":
        return False
    use_attention(model, ATTENTION, attention)
    return True


def use_attention(model: Any, name: str, function: Callable[..., tuple[Tensor, None]]) -> None:
    """Let a model attend by a function that takes the masks of `sdpa`.

    Args:
        model: of transformers, without an adapter around it.
        name: of the function in transformers' registry.
        function: with the signature of transformers' attention functions.

    Raises:
        TypeError, ValueError: from transformers, where the model has an attention of its own.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)
    model.set_attn_implementation(name)
