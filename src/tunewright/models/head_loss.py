"""Cross-entropy of a language-model head without ever holding all logits.

Legend for shape suffixes: N tokens, D hidden size, V vocabulary, C tokens in a chunk, R in a block.

The head and the loss run chunk by chunk, and the gradient of a chunk's logits takes their place, so
memory is C x V instead of N x V; a head that is trained takes no more than V x D in float32. The
idea is that of cut cross-entropy (arXiv 2411.09009) and Liger's fused linear cross-entropy; this
one is plain PyTorch and runs on any device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 512
"""Tokens whose logits are held at once. 512 x 49k x 2 bytes = 50 MB."""
_BLOCK = {"cpu": 2**20, "others": 2**25}
"""Logits of a chunk that are in float32 at once: on a CPU, as many as stay in its cache."""
_PIECE = 1024
"""Rows of the weight's gradient that are made and added at once."""


class _Chunks:
    """Losses and gradients of one chunk of logits after another.

    Args:
        hidden_ND, weight_VD, target_N, chunk: as in `head_loss`.
    """

    def __init__(self, hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, chunk: int) -> None:
        self.hidden_ND, self.weight_VD, self.target_N = hidden_ND, weight_VD, target_N
        self.size = max(1, min(chunk, len(hidden_ND)))
        self.starts = range(0, len(hidden_ND), self.size)
        most = _BLOCK["cpu" if hidden_ND.device.type == "cpu" else "others"]
        self.rows = max(1, min(self.size, most // len(weight_VD)))
        self.room_RV = weight_VD.new_empty(self.rows, len(weight_VD), dtype=torch.float32)

    def logits(self, start: int, out_CV: Tensor) -> tuple[slice, Tensor]:
        """Which tokens the chunk from `start` has, and their logits, in memory of `out_CV`."""
        chunk = slice(start, start + self.size)
        hidden_CD = self.hidden_ND[chunk]
        return chunk, torch.mm(hidden_CD, self.weight_VD.T, out=out_CV[: len(hidden_CD)])

    def losses(self, logits_CV: Tensor, target_C: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Of each block of rows: where it is, its losses [R], and its probabilities [R x V] in
        float32, which the next block takes the memory of."""
        for start in range(0, len(logits_CV), self.rows):
            block = slice(start, start + self.rows)
            target_R1 = target_C[block, None]
            logits_RV = self.room_RV[: len(target_R1)].copy_(logits_CV[block])
            highest_R1 = logits_RV.amax(-1, keepdim=True)
            target_logit_R1 = logits_RV.gather(1, target_R1)
            sum_R1 = logits_RV.sub_(highest_R1).exp_().sum(-1, keepdim=True)
            losses_R1 = sum_R1.log() + highest_R1 - target_logit_R1
            yield block, losses_R1[:, 0], logits_RV.div_(sum_R1)

    def become_gradients(self, logits_CV: Tensor, target_C: Tensor) -> Tensor:
        """Put d loss / d logits = softmax - one_hot in place of the logits; return the loss."""
        total = torch.zeros((), dtype=torch.float32, device=logits_CV.device)
        for block, losses_R, probabilities_RV in self.losses(logits_CV, target_C):
            total += losses_R.sum()
            target_R1 = target_C[block, None]
            minus_one = torch.full_like(target_R1, -1, dtype=torch.float32)
            logits_CV[block] = probabilities_RV.scatter_add_(1, target_R1, minus_one)
        return total


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, chunk: int, adds: bool
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        count, vocabulary = len(hidden_ND), len(weight_VD)
        grad_hidden_ND = torch.empty_like(hidden_ND) if need_hidden else None
        # The gradient of the weight is made when its scale is known, from that of all logits,
        # unless they take more memory than the sum over chunks. That one is in float32, because
        # bfloat16 would lose the small terms.
        kept = need_weight and count * hidden_ND.element_size() <= 4 * weight_VD.shape[1]
        sum_VD = _zeros(weight_VD) if need_weight and not kept else None
        chunks = _Chunks(hidden_ND, weight_VD, target_N, chunk)
        room = hidden_ND.new_empty(count if kept else chunks.size, vocabulary)
        for start in chunks.starts:
            part, grad_CV = chunks.logits(start, room[start:] if kept else room)
            total += chunks.become_gradients(grad_CV, target_N[part])
            if grad_hidden_ND is not None:
                torch.mm(grad_CV, weight_VD, out=grad_hidden_ND[part])
            if sum_VD is not None:
                _add_products(sum_VD, grad_CV, hidden_ND[part], 1.0)
        saved = (room, hidden_ND.detach()) if kept else (sum_VD, None)
        ctx.save_for_backward(grad_hidden_ND, *saved)
        ctx.weight_VD, ctx.adds = weight_VD, adds
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        grad_hidden_ND, saved, hidden_ND = ctx.saved_tensors
        if grad_hidden_ND is not None:
            grad_hidden_ND = grad_hidden_ND * grad.to(grad_hidden_ND.dtype)
        if saved is None:
            return grad_hidden_ND, None, None, None, None
        weight_VD: Tensor = ctx.weight_VD
        into_VD = weight_VD.grad if ctx.adds else None
        if into_VD is None:
            into_VD = _zeros(weight_VD)
            if ctx.adds:
                weight_VD.grad = into_VD
        if hidden_ND is None:
            into_VD.add_(saved, alpha=float(grad))
        else:
            _add_products(into_VD, saved, hidden_ND, float(grad))
        found_VD = None if ctx.adds else into_VD.to(weight_VD.dtype)
        return grad_hidden_ND, found_VD, None, None, None


def _zeros(weight_VD: Tensor) -> Tensor:
    return torch.zeros_like(weight_VD, dtype=torch.float32, requires_grad=False)


def _add_products(into_VD: Tensor, grad_CV: Tensor, hidden_CD: Tensor, scale: float) -> None:
    """into += scale * grad' hidden. Pieces, because a whole product would take as much memory."""
    for start in range(0, len(into_VD), _PIECE):
        piece = slice(start, start + _PIECE)
        into_VD[piece].add_(grad_CV[:, piece].T @ hidden_CD, alpha=scale)


def head_loss(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    target_N: Tensor,
    chunk: int = CHUNK,
    adds: bool = False,
) -> Tensor:
    """Sum of the cross-entropies in nats, a float32 scalar that can be differentiated.

    Args:
        hidden_ND: last hidden states of the tokens that count.
        weight_VD: weight of the head.
        target_N: the token that follows each of them.
        chunk: tokens whose logits are held at once.
        adds: add the gradient of the weight, a parameter, to its `grad` in float32, instead of
            handing it on. Set `grad_dtype` to float32 where the weight has another dtype.
    """
    loss: Tensor = _HeadLoss.apply(hidden_ND, weight_VD, target_N, chunk, adds)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def token_losses(
    hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, chunk: int = CHUNK
) -> Tensor:
    """Cross-entropy of each token in nats, [N] in float32, without a gradient."""
    losses_N = hidden_ND.new_empty(len(hidden_ND), dtype=torch.float32)
    chunks = _Chunks(hidden_ND, weight_VD, target_N, chunk)
    room_CV = hidden_ND.new_empty(chunks.size, len(weight_VD))
    for start in chunks.starts:
        part, logits_CV = chunks.logits(start, room_CV)
        for block, losses_R, _ in chunks.losses(logits_CV, target_N[part]):
            losses_N[part][block] = losses_R
    return losses_N
