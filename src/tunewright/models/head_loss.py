"""Cross-entropy of a language-model head without ever holding all logits.

Legend for shape suffixes: N tokens, D hidden size, V vocabulary, C tokens in a chunk.

The head and the loss run chunk by chunk, and the gradient is taken in the forward pass while a
chunk's logits are at hand, so memory is C x V instead of N x V. The idea is that of cut
cross-entropy (arXiv 2411.09009) and Liger's fused linear cross-entropy; this one is plain
PyTorch and runs on any device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 512
"""Tokens whose logits are held at once. 512 x 49k x 4 bytes = 100 MB."""


def _chunk_losses(hidden_CD: Tensor, weight_VD: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor]:
    logits_CV = (hidden_CD @ weight_VD.T).float()
    log_norm_C = torch.logsumexp(logits_CV, dim=-1)
    return log_norm_C - logits_CV.gather(1, target_C[:, None])[:, 0], logits_CV


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
        for start in range(0, hidden_ND.shape[0], chunk):
            hidden_CD = hidden_ND[start : start + chunk]
            target_C = target_N[start : start + chunk]
            losses_C, logits_CV = _chunk_losses(hidden_CD, weight_VD, target_C)
            total += losses_C.sum()
            # d loss / d logits = softmax - one_hot
            grad_CV = torch.softmax(logits_CV, dim=-1)
            grad_CV.scatter_add_(
                1, target_C[:, None], torch.full_like(target_C[:, None], -1, dtype=grad_CV.dtype)
            )
            grad_CV = grad_CV.to(hidden_ND.dtype)
            if grad_hidden_ND is not None:
                grad_hidden_ND[start : start + chunk] = grad_CV @ weight_VD
            if grad_weight_VD is not None:
                grad_weight_VD += grad_CV.T @ hidden_CD
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
    parts = [
        _chunk_losses(hidden_ND[i : i + chunk], weight_VD, target_N[i : i + chunk])[0]
        for i in range(0, hidden_ND.shape[0], chunk)
    ]
    return torch.cat(parts) if parts else hidden_ND.new_zeros(0, dtype=torch.float32)
