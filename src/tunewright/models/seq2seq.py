"""The forward pass of encoder-decoder models.

Legend for shape suffixes: B rows, U tokens of the target, D hidden size, V vocabulary.

The decoder's start and the shift of the target to the right are the model's own. This module does
not know how sources and targets were made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tunewright.models.forward import CausalForward, whole_model


class Seq2SeqForward(CausalForward):
    """Loss of an encoder-decoder model on the tokens of its targets.

    As in `CausalForward`, the head runs chunk by chunk where it is no more than a product. Models
    that add to it (the bias of Marian) are found by comparing, and then use their own logits.
    """

    def __init__(self, model: Any) -> None:
        nn.Module.__init__(self)
        self.model = model
        self._inner = [whole_model(model)]  # in a list: not registered a second time
        self._head = [self._inner[0].get_output_embeddings()]
        self.chunked = self._head_is_plain()

    def _both_outputs(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
        return self._hidden(batch), self._logits(batch)

    def _targets(self, batch: dict[str, Tensor]) -> Tensor:
        """Every token of the target, the first one too: the decoder has a start of its own."""
        return batch["labels"]

    def _logits(self, batch: dict[str, Tensor]) -> Tensor:
        start_BU = self._inner[0].prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        logits: Tensor = self.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=start_BU,
            use_cache=False,
        ).logits
        return logits

    def _hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """What the head is given, scaled as the model does it; the head itself sees no token."""
        with _empty_head(self._head[0]) as seen:
            self._logits(batch)
        return seen[0]


@contextmanager
def _empty_head(head: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a head is given, and give it nothing: logits are made chunk by chunk instead."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(given[0])
        return (given[0][:, :0], *given[1:])

    hook = head.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()


def is_encoder_decoder(model: Any) -> bool:
    """Whether a model reads a source and writes a target, an adapter around it or not."""
    return bool(whole_model(model).config.is_encoder_decoder)


def text_forward(model: Any) -> CausalForward:
    """The forward pass of a model that writes text."""
    return Seq2SeqForward(model) if is_encoder_decoder(model) else CausalForward(model)
