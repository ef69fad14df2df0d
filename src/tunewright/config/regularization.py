"""Keys against overfitting and forgetting.

This module knows keys and which of them exclude each other. It does not know how they work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from tunewright.config.base import Strict

if TYPE_CHECKING:
    from tunewright.config.recipe import FineTuningMethod

Part = Annotated[float, Field(ge=0, lt=1)]


class Regularization(Strict):
    """Part of the recipe: noise, averages, penalties and the shape of the loss."""

    dropout: Part | None = None
    """Share of activations set to zero in training, wherever the base has a dropout. Default: the
    base's own shares."""
    neftune_noise_alpha: PositiveFloat | None = None
    """Noise on the embeddings in training: uniform, at most alpha / sqrt(tokens x width)
    (NEFTune, arXiv 2310.05914, which takes 5 to 15). Default: none."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Score and keep a moving average of the weights: each step keeps this share of it (near the
    start less: (1 + steps) / (10 + steps)). Default: the weights themselves."""
    decay_to_start: NonNegativeFloat | None = None
    """Pull the base's weights toward where they began, in place of `weight_decay` toward zero
    (L2-SP, arXiv 1802.01483; decoupled, as the decay of AdamW is). Methods `full` and `partial`.
    Default: none."""
    l1_decay: NonNegativeFloat | None = None
    """Move matrices toward zero by rate x this in each step, and stop at zero: small weights
    become exactly zero. Default: none."""
    focal_gamma: PositiveFloat | None = None
    """Weigh the loss of a label by (1 - its probability) to this power, so that what is known
    counts less (focal loss, arXiv 1708.02002, which takes 2). Classes and label sets. Default:
    cross-entropy."""

    def misplaced_regularizers(self, method: FineTuningMethod | None) -> list[str]:
        """Keys that have no effect with the method."""
        if method is None or method.trains_base or self.decay_to_start is None:
            return []
        return [
            f"decay_to_start has no effect with method {method.value!r}, which keeps the base as "
            "it is; weight_decay pulls an adapter to its start. Remove it or use method: full or "
            "partial."
        ]
