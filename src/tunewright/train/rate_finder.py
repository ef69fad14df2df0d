"""A range test of the learning rate: train a few steps while it rises, and look at the loss.

The test of Smith (arXiv 1506.01186, section 3.3) with a rate that rises by a constant factor. It
works on a model of its own in memory: no run is begun, continued or changed. This module knows
the parts of a training step. It does not know files or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tunewright.data.collate import epoch_order
from tunewright.train.build import build_job
from tunewright.train.checkpoint import LoopState
from tunewright.train.loop import seed_step
from tunewright.train.passes import step_gradients
from tunewright.train.prepare import Prepared

STEPS = 100
SPAN = 1000.0
"""The test goes from the recipe's rate divided by this to the rate times this."""
_SMOOTHING = 0.9
"""Share of the mean that each new loss leaves."""
_DIVERGED = 3.0
"""Times the lowest mean loss, above which the test is over."""
_FELL = 0.97
"""A lowest mean loss above this share of the one at the start is no fall."""
_BELOW_MINIMUM = 10.0
"""The suggestion is the rate of the lowest loss divided by this: at the lowest point the loss is
about to rise."""


@dataclass(frozen=True, slots=True)
class RateTest:
    """What a range test found.

    Attributes:
        rates: peak rate of each step.
        losses: of each step, in nats.
        means: moving means of the losses.
        lowest: rate with the lowest mean.
        suggestion: a tenth of it, or None where the loss never fell.
        configured: the recipe's rate.
        diverged: whether the test ended because the loss exploded.
    """

    rates: list[float]
    losses: list[float]
    means: list[float]
    lowest: float
    suggestion: float | None
    configured: float
    diverged: bool

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON-like mapping."""
        return asdict(self)


def find_rate(
    prepared: Prepared, progress: Callable[[str, int, int], None], steps: int = STEPS
) -> RateTest:
    """Raise the rate from step to step until the loss explodes or the range is through.

    Every group of weights keeps its ratio to the others: a head that learns ten times as fast in
    the recipe does so here.

    Args:
        prepared: from `prepare`; its rows, batches, method and regularisers are used.
        progress: told what is done, how far, of how much.
        steps: of the whole range.
    """
    recipe = prepared.recipe
    assert recipe.learning_rate is not None
    job = build_job(prepared, Path(recipe.output_dir))
    job.forward.train()
    state = LoopState()
    rates: list[float] = []
    losses: list[float] = []
    means: list[float] = []
    mean, diverged = 0.0, False
    order: Iterator[list[int]] = iter(())
    for step in range(steps):
        rows = next(order, None)
        if rows is None:
            epoch = step  # any number that no other epoch of this test has
            order = iter(epoch_order(job.lengths, job.global_batch, recipe.seed, epoch))
            rows = next(order)
        rate = recipe.learning_rate / SPAN * SPAN ** (2 * step / (steps - 1))
        seed = partial(seed_step, recipe.seed, step, job.accelerator.process_index)
        loss, _ = step_gradients(job, rows, state, seed)
        norm = job.optimizer.gather_gradients()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            diverged = True
            break
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        rates.append(rate)
        losses.append(loss)
        means.append(mean / (1 - _SMOOTHING ** (step + 1)))  # without the pull of the first zero
        progress("Raising the rate", step + 1, steps)
        if means[-1] > _DIVERGED * min(means):
            diverged = True
            break
        job.optimizer.set_rate_factor(rate / recipe.learning_rate)
        job.optimizer.step(norm, recipe.max_grad_norm)
        job.optimizer.zero_grad()
    lowest, suggestion = suggest_rate(rates, means)
    return RateTest(rates, losses, means, lowest, suggestion, recipe.learning_rate, diverged)


def suggest_rate(rates: list[float], means: list[float]) -> tuple[float, float | None]:
    """The rate of the lowest mean loss, and a tenth of it where the loss fell at all.

    The first tenth of the means is of too few batches to be the lowest. What the loss fell from is
    the middle one of the first third.
    """
    at = min(range(len(means) // 10, len(means)), key=means.__getitem__)
    fell = means[at] < _FELL * median(means[: max(1, len(means) // 3)])
    return rates[at], rates[at] / _BELOW_MINIMUM if fell else None
