"""What moves or watches the weights after each update, beside the optimizer's gradient.

Each rule works on the float32 masters and on those alone that were updated in the step. This
module knows optimizer groups. It does not know the loop, models or files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

    from tunewright.train.optim import MasterAdamW


class WeightRule(Protocol):
    """Something done after each update."""

    def after_update(self, optimizer: MasterAdamW) -> None:
        """Change the masters, or take note of them."""


class PullToStart:
    """L2-SP (arXiv 1802.01483), decoupled: w <- w + rate x strength x (start - w).

    The start is that of the base, whatever checkpoint is loaded later. A new head has none.

    Args:
        optimizer: its masters are at their start.
        strength: of the pull.
    """

    def __init__(self, optimizer: MasterAdamW, strength: float) -> None:
        self.strength = strength
        self.starts = {
            name: master.detach().clone()
            for group, members in groups_of(optimizer)
            if not optimizer.groups[group].is_head
            for name, _, master in members
        }

    @torch.no_grad()
    def after_update(self, optimizer: MasterAdamW) -> None:
        """Pull every weight that was updated."""
        for group, members in groups_of(optimizer):
            share = optimizer.inner.param_groups[group]["lr"] * self.strength
            for name, parameter, master in members:
                if parameter.grad is not None and name in self.starts:
                    master.lerp_(self.starts[name], share)


class ShrinkToZero:
    """An L1 penalty, as its proximal step: w <- sign(w) x max(|w| - rate x strength, 0).

    The step is that of ISTA (Beck and Teboulle 2009, equation 1.5). Matrices only, as weight decay
    is.

    Args:
        strength: of the penalty.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    @torch.no_grad()
    def after_update(self, optimizer: MasterAdamW) -> None:
        """Shrink every matrix that was updated."""
        for group, members in groups_of(optimizer):
            step = optimizer.inner.param_groups[group]["lr"] * self.strength
            for _, parameter, master in members:
                if parameter.grad is not None and master.ndim > 1:
                    master.copy_(torch.nn.functional.softshrink(master, step))


class WeightAverage:
    """An exponential moving average of the trained weights, in float32.

    Update t (from 0) keeps min(decay, (1 + t) / (10 + t)) of the average, so that it forgets the
    start soon (the schedule of TensorFlow's ExponentialMovingAverage with `num_updates`).

    Args:
        optimizer: its masters are at their start.
        decay: share that is kept.
    """

    def __init__(self, optimizer: MasterAdamW, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.names = optimizer.names
        self.parameters = optimizer.parameters
        self.masters = optimizer.masters
        self.averages = [master.detach().clone() for master in self.masters]
        self._raw: list[Tensor] | None = None

    @torch.no_grad()
    def after_update(self, optimizer: MasterAdamW) -> None:
        """Take the new weights into the average."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(self.averages, self.masters, 1 - kept)

    @torch.no_grad()
    def keep(self) -> None:
        """Put the average into the model for good."""
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            parameter.copy_(average)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has the average inside, and its own weights again afterwards."""
        self._raw = [parameter.detach().clone() for parameter in self.parameters]
        try:
            self.keep()
            yield
        finally:
            with torch.no_grad():
                for parameter, raw in zip(self.parameters, self._raw, strict=True):
                    parameter.copy_(raw)
            self._raw = None

    def state_tensors(self) -> dict[str, Tensor]:
        """The averages, and the weights themselves where no master has them."""
        raw = self._raw or [parameter.detach() for parameter in self.parameters]
        tensors = {"average:updates": torch.tensor(self.updates)}
        for i, name in enumerate(self.names):
            tensors[f"{name}:average"] = self.averages[i]
            if self.masters[i] is self.parameters[i]:
                tensors[f"{name}:raw"] = raw[i]
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave; a checkpoint's model has the average inside."""
        self.updates = int(tensors["average:updates"])
        for i, name in enumerate(self.names):
            self.averages[i].copy_(tensors[f"{name}:average"])
            if self.masters[i] is self.parameters[i]:
                self.parameters[i].copy_(tensors[f"{name}:raw"])


def groups_of(
    optimizer: MasterAdamW,
) -> Iterator[tuple[int, list[tuple[str, nn.Parameter, Tensor]]]]:
    """Number of each group, and its names, parameters and masters."""
    members = zip(optimizer.names, optimizer.parameters, optimizer.masters, strict=True)
    for number, group in enumerate(optimizer.groups):
        yield number, list(islice(members, len(group.names)))
