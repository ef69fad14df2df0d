"""Several rows in one sequence, none of which sees another: attention that stays inside documents.

Rows of a pass stand behind one another in one sequence [1 x t], with positions that begin at 0 in
each row, so that no layer computes padding. Attention is then taken document by document, with the
causal kernel that a row alone has, instead of with a mask over all pairs of tokens: a document
costs what it costs alone, and nothing of another can reach it.

This module knows transformers' registry of attention functions. It does not know which rows stand
together (`data.collate`), nor the loss.

Legend for shape suffixes: H heads, T tokens, D size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunewright.errors import ModelError
from tunewright.models.cpu_attention import attention, use_attention
from tunewright.models.layers import trial_ids
from tunewright.models.load import quiet_loading

ATTENTION = "sdpa_by_document"
"""The name in transformers' registry."""
DOCUMENTS = "packed_lengths"
"""Keyword that carries the lengths of the documents through the layers to their attention."""
_CHECK_LENGTHS = (7, 9)
"""Tokens of the two rows that are packed to see whether they stay apart."""


def document_lengths(position_ids: Tensor) -> list[int]:
    """Tokens of each document of a packed sequence [1 x t]; a document begins at position 0."""
    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    ends = [*starts[1:], position_ids.shape[1]]
    return [end - start for start, end in zip(starts, ends, strict=True)]


def attention_by_document(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1HTD: Tensor,
    value_1HTD: Tensor,
    attention_mask: Tensor | None,
    packed_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each document; without documents, that of `cpu_attention`,
    which is transformers' own for `sdpa` but for models that train on a CPU.

    The signature is that of transformers' attention functions.

    Args:
        module: the attention layer.
        query_1HTD, key_1HTD, value_1HTD: of all documents behind one another.
        attention_mask: used where nothing is packed.
        packed_lengths: tokens of each document. Default: nothing is packed.
        sliding_window: how many tokens a token sees, itself included. Default: all before it.
        kwargs: passed on.

    Returns:
        The output, [1 x t x h x d], and no attention weights.
    """
    if packed_lengths is None:
        return attention(module, query_1HTD, key_1HTD, value_1HTD, attention_mask, **kwargs)
    outputs = []
    pieces = (torch.split(x, list(packed_lengths), 2) for x in (query_1HTD, key_1HTD, value_1HTD))
    for query, key, value in zip(*pieces, strict=True):
        mask = _window(query.shape[2], sliding_window, query.device)
        outputs.append(attention(module, query, key, value, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None


def _window(length: int, width: int | None, device: torch.device) -> Tensor | None:
    """The mask [t x t] of a document that is longer than the window: each token sees the last
    `width` tokens, itself included. None where causal attention is all there is."""
    if width is None or length <= width:
        return None
    at = torch.arange(length, device=device)
    back = at[:, None] - at[None, :]
    return ((back >= 0) & (back < width))[None, None]


def packed_inputs(batch: dict[str, Tensor]) -> dict[str, Any]:
    """What a decoder is given beside the token ids of a packed batch; nothing of another one."""
    if "position_ids" not in batch:
        return {}
    positions = batch["position_ids"]
    return {
        "position_ids": positions,
        # Without it transformers would build a mask over all pairs of tokens, which is not read.
        "attention_mask": torch.ones_like(positions),
        DOCUMENTS: document_lengths(positions),
    }


def let_pack(model: Any) -> None:
    """Give a decoder attention by document, and see on a few tokens that rows stay apart.

    Args:
        model: of transformers, without an adapter around it.

    Raises:
        ModelError: a row is not the same behind another as alone, as in models that carry a state
            from token to token, or whose attention is their own.
    """
    training = model.training
    model.eval()
    first, second = _check_rows(model)
    alone = _logits(model, [second])
    # How far a token moves what follows it in its own row is the measure for what it may elsewhere.
    changed = _logits(model, [torch.cat([first[:1], second[1:]])])
    moved = float((alone - changed)[1:].abs().max())
    try:
        with quiet_loading():
            use_attention(model, ATTENTION, attention_by_document)
        packed = _logits(model, [first, second])
        other = _logits(model, [first.flip(0), second])
    except (TypeError, ValueError) as error:
        raise ModelError(f"{_refusal(model)} transformers said: {error}") from error
    model.train(training)
    leak = 1e-4 if packed.dtype == torch.float32 else 1e-2
    away = float((packed - alone).abs().max())  # rounds more: its matrix products are smaller
    if float((packed - other).abs().max()) > leak * moved or away > 10 * leak * moved:
        raise ModelError(_refusal(model))


def _check_rows(model: Any) -> list[Tensor]:
    """Two rows of different tokens, on the device of the model."""
    return list(torch.split(trial_ids(model, sum(_CHECK_LENGTHS)), list(_CHECK_LENGTHS)))


@torch.no_grad()
def _logits(model: Any, rows: list[Tensor]) -> Tensor:
    """Logits of the last of the rows, [t x v]; of several, packed behind one another."""
    batch = {"input_ids": torch.cat(rows)[None]}
    if len(rows) > 1:
        positions = [torch.arange(len(row), device=row.device) for row in rows]
        batch["position_ids"] = torch.cat(positions)[None]
    logits: Tensor = model(
        input_ids=batch["input_ids"], use_cache=False, **packed_inputs(batch)
    ).logits
    return logits[0, -len(rows[-1]) :]


def _refusal(model: Any) -> str:
    return (
        f"packing does not work with this base ({model.config.model_type}): a row is not the same "
        "behind another row as it is alone. Remove packing; batches hold rows of like length "
        "without it."
    )
