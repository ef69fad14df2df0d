"""The likeliest answers of a decoder for a batch of prompts, in which finished rows are let go.

transformers' own `generate` copies the whole cache of keys and values for each new token, and goes
on with rows that are finished until the last one is. Here the cache has room to grow in, and rows
leave it. What is written is the same; `can_decode` tells models apart that need more than this.

Legend for shape suffixes: B rows, T tokens, H heads, D head size.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from tunewright.models.forward import whole_model

_ROOM = 64
"""Tokens that a cache grows by where it is full."""
_LEAVE = 8
"""Rows leave when an eighth of them is finished: fewer are not worth moving the others."""
_HARMLESS = {
    "_from_model_config", "bos_token_id", "cache_implementation", "do_sample", "eos_token_id",
    "max_length", "max_new_tokens", "pad_token_id", "temperature", "top_k", "top_p",
    "transformers_version", "trust_remote_code", "use_cache",
}  # fmt: skip
"""Settings of generation that do not change which token is the likeliest."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values of one layer, [B x H x T x D], in memory with room behind them."""

    def __init__(self) -> None:
        super().__init__()
        self._length = 0
        self._room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values behind those that are there, and give all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin, end = self._length, self._length + key_states.shape[-2]
        if self._room is None or end > self._room[0].shape[-2]:
            self._room = self._grown(key_states, end), self._grown(value_states, end, 1)
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, begin:end] = new
        self._length = end
        self.keys, self.values = (room[:, :, :end] for room in self._room)
        return self.keys, self.values

    def _grown(self, new: Tensor, end: int, which: int = 0) -> Tensor:
        room = new.new_empty((*new.shape[:2], end + _ROOM, new.shape[3]))
        if self._room is not None:
            room[:, :, : self._length] = self._room[which][:, :, : self._length]
        return room

    def keep(self, rows: Tensor) -> None:
        """Keep these rows of the batch alone."""
        if self._room is not None:
            self._room = self._room[0][rows], self._room[1][rows]
            self.keys, self.values = (room[:, :, : self._length] for room in self._room)


def can_decode(model: Any) -> bool:
    """Whether `decode_greedily` writes what `generate` would: a decoder whose layers keep all keys
    and values, without virtual tokens, and with no setting that changes its likeliest token."""
    inner = whole_model(model)
    prompted = getattr(model, "active_peft_config", None)
    if prompted is not None and prompted.is_prompt_learning:
        return False
    if inner.config.is_encoder_decoder or not hasattr(inner, "generation_config"):
        return False
    settings = set(inner.generation_config.to_diff_dict()) - _HARMLESS
    if any(not name.startswith(("output_", "return_dict")) for name in settings):
        return False
    parameters = inspect.signature(inner.forward).parameters
    if not {"position_ids", "past_key_values", "logits_to_keep"} <= parameters.keys():
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=inner.config).layers)


@torch.inference_mode()
def decode_greedily(
    model: Any,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    *,
    pad_id: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """The likeliest answer to each prompt, token by token, with its stop token.

    Args:
        model: for which `can_decode`, in evaluation mode.
        prompts: token ids.
        stop_ids: tokens that end an answer.
        pad_id: token that shorter prompts begin with, which nothing sees.
        max_new_tokens: longest answer in tokens.
    """
    device = next(model.parameters()).device
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), pad_id, device=device)
    mask_BT = torch.zeros((len(prompts), width + max_new_tokens), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids_BT[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
        mask_BT[row, width - len(prompt) :] = 1
    position_BT = (mask_BT[:, :width].cumsum(1) - 1).clamp_min(0)
    inner = whole_model(model)
    cache = DynamicCache(config=inner.config)
    cache.layers = [RoomyLayer() for _ in cache.layers]
    stops = torch.tensor(list(stop_ids), device=device)
    answers: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    finished_B = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for length in range(width, width + max_new_tokens):
        logits_BV = model(
            input_ids=ids_BT,
            attention_mask=mask_BT[:, :length],
            position_ids=position_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        next_B = logits_BV.float().argmax(-1)
        for row, token, finished in zip(rows, next_B.tolist(), finished_B.tolist(), strict=True):
            if not finished:
                answers[row].append(token)
        finished_B |= torch.isin(next_B, stops)
        left = len(rows) - int(finished_B.sum())
        if not left:
            break
        if len(rows) - left >= max(1, len(rows) // _LEAVE):
            kept = (~finished_B).nonzero()[:, 0]
            rows = [rows[i] for i in kept.tolist()]
            next_B, finished_B = next_B[kept], finished_B[kept]
            mask_BT, position_BT = mask_BT[kept], position_BT[kept]
            for layer in cache.layers:
                layer.keep(kept)
        ids_BT, position_BT = next_B[:, None], position_BT[:, -1:] + 1
    return answers
