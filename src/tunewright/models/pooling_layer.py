"""Mean pooling as one more layer, so that a plain classifier of transformers reads the mean.

Encoders of sentences are used by the mean of their tokens, but the classifiers of BERT and its kin
read the first token alone. A layer whose attention is uniform gives every token the mean over all
tokens: queries and keys of zero, values and output that copy, a feed-forward part of zero. Padding
is masked as in every layer. This module knows the layers of BERT. It does not know training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunewright.errors import ModelError
from tunewright.models.inspect import ModelFacts

if TYPE_CHECKING:
    from torch import nn

POOLED = ("bert", "roberta", "xlm-roberta", "camembert")
"""Architectures with BERT's layers, whose classifiers are dense, tanh, output."""
_WEIGHT = 256.0
"""Of the mean beside the token's own state, which stays in the sum: a 256th of it. A power of two
is exact in every float."""
_SHRINK = 0.125
"""What the dense part of a head multiplies by: tanh is nearly a line there. The mean comes out of a
norm, so that its values are about 1."""


def check_pooling(facts: ModelFacts) -> None:
    """Refuse an encoder that cannot get the layer. Loads no weights.

    Raises:
        ModelError: names those that can.
    """
    if facts.architecture not in POOLED:
        raise ModelError(
            f"{facts.folder} is a {facts.architecture} model, and method 'setfit' puts a layer of "
            f"mean pooling behind an encoder of these: {', '.join(POOLED)}. Use method: full."
        )


def make_pooling_layer(model: Any) -> None:
    """Make the last layer one that pools, and let the head hand its values on; freeze both.

    The head's last linear layer then sees tanh(norm(mean) / 8), and its weights are zero. No
    dropout is left behind the mean.

    Args:
        model: a sequence classifier of one of `POOLED`, with a layer more than the base.
    """
    import torch
    from torch import nn

    base = model.base_model
    layer = base.encoder.layer[-1]
    attention = layer.attention
    pooler = getattr(base, "pooler", None)
    diagonals = {
        attention.self.query: 0.0,
        attention.self.key: 0.0,
        attention.self.value: 1.0,
        attention.output.dense: _WEIGHT,
        layer.intermediate.dense: 0.0,
        layer.output.dense: 0.0,
        (pooler or model.classifier).dense: _SHRINK,
        output_layer(model): 0.0,
    }
    with torch.no_grad():
        for linear, diagonal in diagonals.items():
            nn.init.zeros_(linear.weight).fill_diagonal_(diagonal)
            nn.init.zeros_(linear.bias)
        for norm in (attention.output.LayerNorm, layer.output.LayerNorm):
            norm.reset_parameters()
    for part in (layer, pooler, model.classifier, getattr(model, "dropout", None)):
        if part is None:
            continue
        part.requires_grad_(False)
        for module in part.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0


def output_layer(model: Any) -> nn.Linear:
    """The linear layer of a classifier whose outputs are the logits."""
    layer: nn.Linear = getattr(model.classifier, "out_proj", model.classifier)
    return layer
