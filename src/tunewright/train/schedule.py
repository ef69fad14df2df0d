"""The learning rate as a pure function of the step: nothing to store, nothing to restore."""

from __future__ import annotations

import math


def rate_factor(kind: str, step: int, total: int, warmup: int) -> float:
    """What the peak rate is multiplied with in step `step`.

    Args:
        kind: `linear` or `cosine` decay to 0 after warmup, or `constant`.
        step: counted from 0.
        total: steps of the whole run.
        warmup: steps of linear warmup; the first one already has a rate above 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return max(0.0, 1.0 - progress)
