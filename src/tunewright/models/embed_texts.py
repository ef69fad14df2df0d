"""Texts become vectors of length 1, and pairs of them a loss.

Legend for shape suffixes: B texts, T tokens, D hidden size, N rows, C candidates, P pairs of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunewright.data.collate import collate, length_order
from tunewright.data.example import Example
from tunewright.data.pair_texts import PairTexts


class EmbeddingForward(nn.Module):
    """The vector of a text: the mean of its tokens' last hidden states, scaled to length 1.

    Args:
        model: an encoder without a head.
        temperature: what similarities are divided by in the loss.
        contrasted: rows that are set against each other in the loss of validation rows, as many
            as in a step of training.
    """

    def __init__(self, model: Any, temperature: float = 0.05, contrasted: int = 32) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.contrasted = contrasted

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Vectors in float32, [B x D]."""
        mask_BT = batch["attention_mask"]
        hidden_BTD = self.model(**batch).last_hidden_state[:, -mask_BT.shape[1] :]
        mask_BT1 = mask_BT[:, :, None].float()  # virtual tokens stand before and do not count
        mean_BD = (hidden_BTD.float() * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)
        return nn.functional.normalize(mean_BD, dim=1)

    def loss(self, vectors_BD: Tensor, rows: PairTexts) -> Tensor:
        """Sum over the rows of their loss in nats.

        Pairs that belong together: cross-entropy of the positive among all positives and negatives
        of these rows but those that belong to the same anchor (InfoNCE, arXiv 1807.03748; with
        other rows' texts as negatives, arXiv 1705.00652). Pairs with a score: CoSENT (Su 2022),
        log(1 + the sum of exp((s_i - s_j) / temperature)) over all pairs of rows of which i should
        be less alike than j, counted once a row. It asks for the order of the scores alone, which
        is what Spearman's correlation measures, so that their scale does not matter.

        Args:
            vectors_BD: of `rows.texts`.
            rows: which text each row has.
        """
        device = vectors_BD.device
        anchor_ND = vectors_BD[torch.from_numpy(rows.anchor).to(device)]
        if rows.scores is not None:
            pair_ND = vectors_BD[torch.from_numpy(rows.positive).to(device)]
            return _cosent((anchor_ND * pair_ND).sum(1) / self.temperature, rows.scores)
        candidates = rows.candidates
        logits_NC = anchor_ND @ vectors_BD[torch.from_numpy(candidates).to(device)].T
        target_N = np.searchsorted(candidates, rows.positive)
        counts_NC = rows.wrong(candidates)
        counts_NC[np.arange(len(rows)), target_N] = True
        hidden_NC = torch.from_numpy(~counts_NC).to(device)
        logits_NC = (logits_NC / self.temperature).masked_fill(hidden_NC, -torch.inf)
        return nn.functional.cross_entropy(
            logits_NC, torch.from_numpy(target_N).to(device), reduction="sum"
        )


def _cosent(scaled_N: Tensor, scores_N: Any) -> Tensor:
    """N times log(1 + sum over pairs of exp(s_i - s_j)) where row i has the lower score."""
    less_NN = torch.from_numpy(scores_N[:, None] < scores_N[None]).to(scaled_N.device)
    gaps_P = (scaled_N[:, None] - scaled_N[None])[less_NN]
    return len(scaled_N) * torch.cat([gaps_P.new_zeros(1), gaps_P]).logsumexp(0)


@torch.inference_mode()
def embed_texts(
    forward: EmbeddingForward,
    texts: Sequence[Sequence[int]],
    *,
    pad_id: int = 0,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """The vectors of texts, in float32 on the CPU, [B x D].

    Args:
        forward: the model in its forward pass; left in the mode it was in.
        texts: token ids.
        pad_id: token to pad with.
        batch_size: texts in one pass.
        progress: called with the number of texts done so far in each pass.
    """
    device = next(forward.parameters()).device
    training = forward.training
    forward.eval()
    pieces: list[Tensor] = []
    order = length_order([len(ids) for ids in texts], batch_size)
    for chosen in order:
        batch = text_batch([texts[i] for i in chosen], pad_id, device)
        pieces.append(forward(batch).cpu())
        if progress is not None:
            progress(len(chosen))
    forward.train(training)
    places = torch.tensor([i for chosen in order for i in chosen])
    found = torch.cat(pieces)
    vectors_BD = torch.empty_like(found)
    vectors_BD[places] = found
    return vectors_BD


def text_batch(
    texts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> dict[str, Tensor]:
    """Texts padded into one batch on a device."""
    examples = [Example(list(ids), 0) for ids in texts]
    return {key: value.to(device) for key, value in collate(examples, pad_id).items()}
