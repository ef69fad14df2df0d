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

from tunewright.models.forward import CHECK_TOLERANCE, CausalForward


class Seq2SeqForward(CausalForward):
    """Loss of an encoder-decoder model on the tokens of its targets.

    As in `CausalForward`, the head runs chunk by chunk where it is no more than a product. Models
    that add to it (the bias of Marian) are found by comparing, and then use their own logits.
    """

    def __init__(self, model: Any) -> None:
        nn.Module.__init__(self)
        self.model = model
        self._inner = [_whole(model)]  # in a list: not registered a second time
        self._head = [self._inner[0].get_output_embeddings()]
        self.chunked = self._head_is_plain()

    @torch.no_grad()
    def _head_is_plain(self) -> bool:
        head = self._head[0]
        if not isinstance(head, nn.Linear) or head.bias is not None:
            return False
        training = self.model.training
        self.model.eval()
        ids = torch.arange(1, 9, device=head.weight.device)[None] % head.weight.shape[0]
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
        ours = torch.log_softmax((self._hidden(batch) @ head.weight.T).float(), dim=-1)
        theirs = torch.log_softmax(self._logits(batch).float(), dim=-1)
        self.model.train(training)
        return bool((ours - theirs).abs().max() <= CHECK_TOLERANCE * theirs.abs().max())

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


def _whole(model: Any) -> Any:
    """The transformers model, without an adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_encoder_decoder(model: Any) -> bool:
    """Whether a model reads a source and writes a target, an adapter around it or not."""
    return bool(_whole(model).config.is_encoder_decoder)


def text_forward(model: Any) -> CausalForward:
    """The forward pass of a model that writes text."""
    return Seq2SeqForward(model) if is_encoder_decoder(model) else CausalForward(model)
