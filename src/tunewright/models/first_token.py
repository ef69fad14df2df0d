"""The last layer of an encoder for its first token alone, where the head reads nothing else.

A head on the first token (BERT's pooler) gives the last layer's other outputs no gradient, so that
their queries, their output projection and their feed-forward network are work for nothing: ten
twelfths of the products of a layer. The keys and values of all tokens are still computed. What
comes out is the same, but for rounding.

This module knows the layers of BERT and of what was made from it. Any other is left alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tunewright.models.forward import whole_model
from tunewright.models.layers import trial_ids

_OF_ALL_TOKENS = ("attention.self.key", "attention.self.value")
_TOLERANCE = 0.02
"""Largest relative difference allowed between the logits of both ways."""


class FirstTokenLayer:
    """Mixed into the class of a last layer: its output is that of the first token, [b x 1 x d]."""

    def forward(
        self: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *args: Any,
        **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        """As the layer's own."""
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        inner = self.attention.self
        shape = (*hidden_states.shape[:-1], -1, inner.attention_head_size)
        first = hidden_states[:, :1]
        query = inner.query(first).view(shape[0], 1, *shape[2:]).transpose(1, 2)
        key = inner.key(hidden_states).view(shape).transpose(1, 2)
        value = inner.value(hidden_states).view(shape).transpose(1, 2)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(inner.config._attn_implementation, None)
        seen, _ = attend(
            inner,
            query,
            key,
            value,
            None if attention_mask is None else attention_mask[:, :, :1],
            dropout=inner.dropout.p if inner.training else 0.0,
            scaling=inner.scaling,
        )
        seen = self.attention.output(seen.reshape(*first.shape[:-1], -1), first)
        output: Tensor = self.feed_forward_chunk(seen)
        return output


def read_first_token(model: Any) -> bool:
    """Let the last layer compute its first token alone, where the head reads only that.

    Args:
        model: an encoder with a head for a label or a number.

    Returns:
        Whether it does now. It does not where layers are not BERT's, where attention is not one of
        transformers' registry, or where the logits of a few tokens are not the same.
    """
    inner = whole_model(model)
    layers = getattr(getattr(inner.base_model, "encoder", None), "layer", None)
    eager = inner.config._attn_implementation == "eager"
    if eager or not isinstance(layers, nn.ModuleList) or not _is_berts(layers[-1]):
        return False
    training = model.training
    model.eval()
    before = _logits(model)
    last, own = layers[-1], type(layers[-1])
    last.__class__ = type(own.__name__, (FirstTokenLayer, own), {})
    after = _logits(model)
    model.train(training)
    same = bool((after - before).abs().max() <= _TOLERANCE * before.abs().max())
    if not same:
        last.__class__ = own
    return same


def first_token_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers that are computed for the first token of each row only."""
    return [
        linear
        for layer in model.modules()
        if isinstance(layer, FirstTokenLayer)
        for name, linear in layer.named_modules()
        if isinstance(linear, nn.Linear) and not name.startswith(_OF_ALL_TOKENS)
    ]


def _is_berts(layer: nn.Module) -> bool:
    """Whether the parts are there that the forward pass above calls, and no others."""
    attention = getattr(layer, "attention", None)
    parts = [name for name, _ in layer.named_children()]
    inside = [name for name, _ in attention.named_children()] if attention is not None else []
    inner = getattr(attention, "self", None)
    needed = ("query", "key", "value", "dropout", "scaling", "attention_head_size")
    return (
        sorted(parts) == ["attention", "intermediate", "output"]
        and sorted(inside) == ["output", "self"]
        and all(hasattr(inner, name) for name in needed)
        and hasattr(layer, "feed_forward_chunk")
        and not getattr(layer, "is_decoder", False)
    )


@torch.no_grad()
def _logits(model: Any) -> Tensor:
    ids = trial_ids(model, 16).view(2, 8)
    seen = torch.ones_like(ids)
    seen[1, 5:] = 0
    logits: Tensor = model(input_ids=ids, attention_mask=seen).logits
    return logits.float()
