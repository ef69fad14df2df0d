"""Is training stable? Spikes and divergence, from losses and gradient norms of the steps so far.

What a run remembers for this is small, follows from its steps alone, and is kept in checkpoints: a
resumed run judges as one that was never stopped. This module sees numbers. It does not know what
is done about them.

The limits were chosen by simulation; `tests/train/test_stability.py` has a smaller one. Squared
errors of honest outliers look like spikes, so those of regressions are not asked about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

WINDOW = 64
"""Steps that a spike is measured against."""
_ENOUGH = 20
"""Steps before the first spike can be told from the noise."""
_RECENT = 16
"""Steps whose median loss stands for where the run is: half of them may be outliers."""
_FIRST = 8
"""Steps whose median loss stands for where the run began."""
_EXPLODED = 20.0
"""A gradient norm so many times the highest of the run is a spike, whatever the loss is."""
_FEW_TARGETS = 8
"""With fewer rows or tokens in a step, one mistake of a healthy model looks like a spike."""
_MANY_TARGETS = 64
"""The mean of as many is close to a normal distribution; that of a few rows has a heavy tail."""
_MAX_SPIKES_IN_A_ROW = 3
"""More are no outliers: the level of the losses has changed."""


@dataclass(frozen=True, slots=True)
class Spike:
    """A step far outside of what the steps before it were.

    Attributes:
        loss, usual_loss: of the step, and the median of the window, in nats.
        deviations: how many robust standard deviations (1.4826 MAD) the loss is above the median.
        grad_norm, usual_grad_norm: of the step, and the median of the window.
    """

    loss: float
    usual_loss: float
    deviations: float
    grad_norm: float
    usual_grad_norm: float


@dataclass(frozen=True, slots=True)
class Divergence:
    """Losses that rose and stayed there.

    Attributes:
        recent: median loss of the last 16 steps, in nats.
        start: median loss of the first 8 steps.
        lowest: lowest median of 16 steps so far.
    """

    recent: float
    start: float
    lowest: float


@dataclass(slots=True)
class Stability:
    """What a run remembers of its steps. Non-finite values never enter.

    Attributes:
        first: losses of the first steps.
        losses, grad_norms: of the last steps that were taken.
        recent: losses of the last steps, taken or not.
        highest_grad_norm: of all steps that were taken.
        lowest: lowest median of `recent`.
        spikes_in_a_row: skipped steps since the last that was taken.
    """

    first: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    highest_grad_norm: float = 0.0
    lowest: float | None = None
    spikes_in_a_row: int = 0

    @property
    def start(self) -> float | None:
        """Where the run began, once that is known: the median of the first losses. Where that is
        six times the very first, which no update has touched, they have risen already, and three
        times the first stands for it."""
        if len(self.first) < _FIRST:
            return None
        middle, untouched = median(self.first), self.first[0]
        return 3 * untouched if middle > 6 * untouched else middle

    def spike(self, loss: float, grad_norm: float, targets: int) -> Spike | None:
        """Whether a step is an outlier that must not be taken. Asked before `add`.

        The loss must be 8 robust deviations above the median, 1.5 times the loss at the start, and
        1.5 times the highest of the window (with less than 64 targets twice and four times); the
        gradient norm must be twice the highest of the window. A healthy classifier that is sure of
        itself meets some of these in a batch with one mistake, but not all. Or the gradient norm is
        20 times the highest of the run.

        Args:
            loss, grad_norm: finite.
            targets: rows or tokens that the loss is the mean of.
        """
        if len(self.losses) < _ENOUGH or targets < _FEW_TARGETS or self.start is None:
            return None
        if self.spikes_in_a_row >= _MAX_SPIKES_IN_A_ROW:
            return None
        usual = median(self.losses)
        spread = max(_deviation(self.losses), 0.02 * abs(usual), 1e-6)
        above_start, above_all = (1.5, 1.5) if targets >= _MANY_TARGETS else (2.0, 4.0)
        exploded = grad_norm > _EXPLODED * self.highest_grad_norm
        if not exploded and not (
            loss > usual + 8 * spread
            and loss > above_all * max(self.losses)
            and loss > above_start * self.start
            and grad_norm > 2 * max(self.grad_norms)
        ):
            return None
        return Spike(loss, usual, (loss - usual) / spread, grad_norm, median(self.grad_norms))

    def add(self, loss: float, grad_norm: float, *, taken: bool) -> None:
        """Remember a step with finite values.

        Args:
            loss, grad_norm: of the step.
            taken: whether the weights were updated.
        """
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise ValueError(f"loss {loss} and grad_norm {grad_norm} must be finite")
        if len(self.first) < _FIRST:
            self.first.append(loss)
        self.recent = [*self.recent, loss][-_RECENT:]
        if not taken:
            self.spikes_in_a_row += 1
            return
        if self.spikes_in_a_row >= _MAX_SPIKES_IN_A_ROW:
            self.losses, self.grad_norms = [], []  # the level is another one now
        self.spikes_in_a_row = 0
        self.losses = [*self.losses, loss][-WINDOW:]
        self.grad_norms = [*self.grad_norms, grad_norm][-WINDOW:]
        self.highest_grad_norm = max(self.highest_grad_norm, grad_norm)
        if len(self.recent) == _RECENT:
            level = median(self.recent)
            self.lowest = level if self.lowest is None else min(self.lowest, level)

    def divergence(self) -> Divergence | None:
        """Whether the run has left what it had reached, for good.

        Either the median of the last 16 steps is twice the loss at the start by more than the noise
        of such medians, or four times; or the run had learned three tenths of that loss, has given
        back nine tenths of it, and none of the 16 steps kept the half of it.
        """
        if len(self.recent) < _RECENT or self.start is None or self.lowest is None:
            return None
        recent, start = median(self.recent), self.start
        # The standard error of the median of n normal values is 1.25 deviations / sqrt(n).
        noise = 1.25 * _deviation(self.losses) / math.sqrt(_FIRST)
        rose = recent > 2 * start + min(4 * noise, 2 * start)
        learned = start - self.lowest
        given_back = recent > start - 0.1 * learned and min(self.recent) > start - 0.5 * learned
        if rose or (learned > 0.3 * start and given_back):
            return Divergence(recent, start, self.lowest)
        return None

    @property
    def calm(self) -> bool:
        """Whether the weights of this step are worth going back to.

        They are while no more than half of what was learned has been given back, in the last 16
        steps nor in the last 5.
        """
        if len(self.recent) < _RECENT or self.start is None or self.lowest is None:
            return False
        half = (self.start + self.lowest) / 2
        return median(self.recent) < half and median(self.recent[-5:]) < half

    def after_rollback(self, lowest: float | None) -> None:
        """Forget the steps that were undone.

        Args:
            lowest: what `lowest` was when the state was saved that is now restored.
        """
        self.losses, self.grad_norms, self.recent = [], [], []
        self.spikes_in_a_row = 0
        self.lowest = lowest


def _deviation(values: list[float]) -> float:
    """Standard deviation of normal values, from the median of their distances to the median."""
    if not values:
        return 0.0
    middle = median(values)
    return 1.4826 * median([abs(x - middle) for x in values])
