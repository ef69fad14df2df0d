"""The learning rate as a pure function of the step: nothing to store, nothing to restore."""

from __future__ import annotations

import math


def rate_factor(
    kind: str, step: int, total: int, warmup: int, decay_ratio: float | None = None
) -> float:
    """What the peak rate is multiplied with in step `step`.

    Args:
        kind: after warmup: `linear` or `cosine` decay to 0, `constant`, or `warmup_stable_decay`,
            which is constant and then falls to 0 in a line (arXiv 2404.06395).
        step: counted from 0.
        total: steps of the whole run.
        warmup: steps of linear warmup; the first one already has a rate above 0.
        decay_ratio: share of all steps in which `warmup_stable_decay` falls; no less than a step,
            no more than warmup leaves.
    """
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    if kind == "warmup_stable_decay":
        assert decay_ratio is not None
        falling = min(max(1, round(decay_ratio * total)), total - warmup)
        return min(1.0, (total - step) / falling)
    progress = (step - warmup) / max(1, total - warmup)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return max(0.0, 1.0 - progress)
