"""How alike two texts are in meaning, by the tokens of a frozen encoder (BERTScore).

This module knows an encoder and pairs of texts. It does not know where the texts come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewright.data.collate import length_order
from tunewright.errors import ModelError
from tunewright.models.baselines import load_encoder
from tunewright.models.inspect import inspect_model

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

ENCODER = "all-minilm-l6-v2"
"""The encoder that similarities are measured by when none is named."""
_LONGEST = 512


def token_similarity(
    references: Sequence[str],
    predictions: Sequence[str],
    folder: Path,
    *,
    device: str = "auto",
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """F1 of greedily matched tokens for each pair of texts.

    Zhang et al., "BERTScore: Evaluating Text Generation with BERT" (ICLR 2020), equations 1 to 3,
    without weights of words and without rescaling: each token of one text takes the most similar
    token of the other, by the cosine of their vectors in the last layer; recall is the mean over
    the tokens of the reference, precision over those of the prediction. Tokens that the encoder
    puts before and behind a text are left out.

    Args:
        references: [n] texts.
        predictions: [n] texts.
        folder: of the encoder.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: pairs in one pass.
        progress: called with the number of pairs done in each pass.

    Returns:
        [n] from -1 to 1; 1 for equal texts, and 0 where one of the two is empty and the other not.
        Texts beyond the encoder's length are compared by their beginnings.

    Raises:
        ModelError: the folder has no encoder.
    """
    import torch

    if inspect_model(folder).kind != "encoder":
        raise ModelError(
            f"{folder} is no encoder, so its tokens do not see what follows them. Similarity needs "
            f"an encoder such as {ENCODER}."
        )
    tokenizer, model = load_encoder(folder, device)
    limit = min(_LONGEST, getattr(model.config, "max_position_embeddings", None) or _LONGEST)
    options = {"truncation": True, "max_length": limit, "return_special_tokens_mask": True}
    sides = [tokenizer(list(texts), **options) for texts in (references, predictions)]
    lengths = [max(map(len, pair)) for pair in zip(*(s["input_ids"] for s in sides), strict=True)]
    found = np.zeros(len(references))
    with torch.inference_mode():
        for rows in length_order(lengths, batch_size):
            ref_BTD, ref_BT = _vectors(tokenizer, model, sides[0], rows)
            pred_BSD, pred_BS = _vectors(tokenizer, model, sides[1], rows)
            found[rows] = _greedy_f1(ref_BTD, ref_BT, pred_BSD, pred_BS).cpu().numpy()
            if progress is not None:
                progress(len(rows))
    return found


def _vectors(
    tokenizer: Any, model: Any, encoded: Any, rows: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of length 1 [b x t x d], and which of them are words [b x t]."""
    import torch

    chosen = [{key: values[i] for key, values in encoded.items()} for i in rows]
    special = [row.pop("special_tokens_mask") for row in chosen]
    batch = tokenizer.pad(chosen, return_tensors="pt").to(model.device)
    words_BT = torch.zeros(batch["input_ids"].shape, dtype=torch.bool, device=model.device)
    for line, mask in enumerate(special):
        words_BT[line, : len(mask)] = ~torch.tensor(mask, dtype=torch.bool, device=model.device)
    hidden_BTD = model(**batch).last_hidden_state.float()
    return torch.nn.functional.normalize(hidden_BTD, dim=2), words_BT


def _greedy_f1(
    ref_BTD: torch.Tensor, ref_BT: torch.Tensor, pred_BSD: torch.Tensor, pred_BS: torch.Tensor
) -> torch.Tensor:
    """Harmonic mean of recall and precision [b]."""
    import torch

    cosine_BTS = ref_BTD @ pred_BSD.transpose(1, 2)
    both_BTS = ref_BT[:, :, None] & pred_BS[:, None, :]
    cosine_BTS = cosine_BTS.masked_fill(~both_BTS, -2.0)
    refs_B, preds_B = ref_BT.sum(1), pred_BS.sum(1)
    recall_B = (cosine_BTS.amax(2) * ref_BT).sum(1) / refs_B.clamp(min=1)
    precision_B = (cosine_BTS.amax(1) * pred_BS).sum(1) / preds_B.clamp(min=1)
    total_B = recall_B + precision_B
    f1_B = 2 * recall_B * precision_B / torch.where(total_B == 0, torch.ones_like(total_B), total_B)
    empty_B = (refs_B == 0) | (preds_B == 0)
    return torch.where(empty_B, ((refs_B == 0) & (preds_B == 0)).float(), f1_B)
