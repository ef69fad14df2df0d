"""Cross-entropy of a language-model head without ever holding all logits.

Legend for shape suffixes: N tokens, D hidden size, V vocabulary, C tokens in a chunk.

The head and the loss run chunk by chunk, and the gradient is taken in the forward pass while a
chunk's logits are at hand, so memory is C x V instead of N x V. The idea is that of cut
cross-entropy (arXiv 2411.09009) and Liger's fused linear cross-entropy; this one is plain
PyTorch and runs on any device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 512
"""Tokens whose logits are held at once. 512 x 49k x 4 bytes = 100 MB."""


class _Chunks:
    """Logits of one chunk after another, in memory that is taken once.

    A chunk's logits are the largest tensors of a step. Taken anew for each chunk, their pages come
    from the system one by one, which costs a CPU as much as a product.

    Args:
        hidden_ND, weight_VD, target_N, chunk: as in `head_loss`.
    """

    def __init__(self, hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, chunk: int) -> None:
        self.hidden_ND, self.weight_VD, self.target_N = hidden_ND, weight_VD, target_N
        self.size = max(1, min(chunk, len(hidden_ND)))
        self.made_CV = hidden_ND.new_empty(self.size, len(weight_VD))
        same = hidden_ND.dtype == torch.float32
        self.logits_CV = self.made_CV if same else self.made_CV.float()

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Of each chunk: where it is, its losses [C], and its probabilities [C x V] in float32."""
        for start in range(0, len(self.hidden_ND), self.size):
            chunk = slice(start, start + self.size)
            hidden_CD, target_C1 = self.hidden_ND[chunk], self.target_N[chunk, None]
            made_CV = torch.mm(hidden_CD, self.weight_VD.T, out=self.made_CV[: len(hidden_CD)])
            logits_CV = self.logits_CV[: len(hidden_CD)]
            if logits_CV is not made_CV:
                logits_CV.copy_(made_CV)
            highest_C1 = logits_CV.amax(-1, keepdim=True)
            target_logit_C1 = logits_CV.gather(1, target_C1)
            sum_C1 = logits_CV.sub_(highest_C1).exp_().sum(-1, keepdim=True)
            losses_C1 = sum_C1.log() + highest_C1 - target_logit_C1
            yield chunk, losses_C1[:, 0], logits_CV.div_(sum_C1)

    def gradient(self, chunk: slice, probabilities_CV: Tensor) -> Tensor:
        """d loss / d logits = softmax - one_hot, [C x V] in the dtype of the model."""
        target_C1 = self.target_N[chunk, None]
        minus_one = torch.full_like(target_C1, -1, dtype=probabilities_CV.dtype)
        probabilities_CV.scatter_add_(1, target_C1, minus_one)
        if self.made_CV is self.logits_CV:
            return probabilities_CV
        return self.made_CV[: len(probabilities_CV)].copy_(probabilities_CV)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, chunk: int
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden_ND = torch.empty_like(hidden_ND) if need_hidden else None
        # Summed over chunks in float32: bfloat16 would lose the small terms.
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if need_weight else None
        added_VD = torch.empty_like(weight_VD) if need_weight else None
        chunks = _Chunks(hidden_ND, weight_VD, target_N, chunk)
        for part, losses_C, probabilities_CV in chunks:
            total += losses_C.sum()
            grad_CV = chunks.gradient(part, probabilities_CV)
            if grad_hidden_ND is not None:
                torch.mm(grad_CV, weight_VD, out=grad_hidden_ND[part])
            if grad_weight_VD is not None:
                grad_weight_VD += torch.mm(grad_CV.T, hidden_ND[part], out=added_VD)
        ctx.save_for_backward(grad_hidden_ND, grad_weight_VD)
        ctx.weight_dtype = weight_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden_ND, grad_weight_VD = ctx.saved_tensors
        if grad_hidden_ND is not None:
            grad_hidden_ND = grad_hidden_ND * grad.to(grad_hidden_ND.dtype)
        if grad_weight_VD is not None:
            grad_weight_VD = (grad_weight_VD * grad).to(ctx.weight_dtype)
        return grad_hidden_ND, grad_weight_VD, None, None


def head_loss(hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, chunk: int = CHUNK) -> Tensor:
    """Sum of the cross-entropies in nats, a float32 scalar that can be differentiated.

    Args:
        hidden_ND: last hidden states of the tokens that count.
        weight_VD: weight of the head.
        target_N: the token that follows each of them.
        chunk: tokens whose logits are held at once.
    """
    loss: Tensor = _HeadLoss.apply(hidden_ND, weight_VD, target_N, chunk)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def token_losses(
    hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor, chunk: int = CHUNK
) -> Tensor:
    """Cross-entropy of each token in nats, [N] in float32, without a gradient."""
    losses_N = hidden_ND.new_empty(len(hidden_ND), dtype=torch.float32)
    for part, losses_C, _ in _Chunks(hidden_ND, weight_VD, target_N, chunk):
        losses_N[part] = losses_C
    return losses_N
