"""AdamW on a table of embeddings, most of whose rows have had no gradient yet.

A step has a gradient for the few hundred rows whose tokens it holds, and in a whole run most rows
of a table may have none. To AdamW a row without any gradient so far is one that only decays. So
moments are kept, and updates made, for the rows seen so far; what the others have lost is taken
from them when they are first looked up, or when all weights are needed (`settle`). Each of them is
multiplied with the same numbers in the same order as it would be step by step, so that no bit
differs.

This module knows one parameter. It does not know models or the loop.

Legend for shape suffixes: V rows of the table, D their size, S rows seen so far, G rows of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

MOMENTS = ("exp_avg", "exp_avg_sq")
_FEWEST_ROWS = 4096
"""Tables of fewer rows, such as those of positions, cost next to nothing as they are."""
_FIRST_ROOM = 1024
_WAITING = 256
"""Steps whose decay may wait: a row that is looked up late must not cost more than the step."""
_BLOCK = 2**17
"""Weights that decay together: they stay in the cache from one step to the next."""


class RowAdamW:
    """AdamW (arXiv 1711.05101) on the rows of one table, which gets sparse gradients.

    Args:
        parameter: [V x D].
        modules: that look rows of it up, and do nothing else with it.
        betas, eps: of AdamW.

    Attributes:
        master: [V x D] the weights in float32; the parameter itself where that is float32. Rows
            that training has not looked up yet are behind by the decay that is still to come.
        gradient: [G x D] of the rows of this step in float32, or None.
    """

    def __init__(
        self,
        parameter: nn.Parameter,
        modules: Sequence[nn.Module],
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        self.parameter = parameter
        full = parameter.dtype == torch.float32
        self.master = parameter.detach() if full else parameter.detach().float()
        self.betas, self.eps = betas, eps
        self.gradient: Tensor | None = None
        self._rows = torch.empty(0, dtype=torch.long, device=parameter.device)
        self._now = self._rows
        self._clear()
        for module in modules:
            module.register_forward_pre_hook(self._look_up)

    def _clear(self) -> None:
        """No row has been seen."""
        table = self.parameter
        self._seen = self._rows.new_empty(0)
        self._place = self._rows.new_full((table.shape[0],), -1)
        self._steps = torch.tensor(0.0, device=table.device)
        self._decays: list[float] = []
        self._weights, *self._moments, self._gradients = (
            self.master.new_zeros(0, table.shape[1]) for _ in range(4)
        )

    @torch.no_grad()
    def _look_up(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Bring rows up to date before a training pass reads them; scores come after `settle`."""
        if module.training:
            ids = inputs[0]
            self._see(torch.unique(ids[self._place[ids] < 0]))

    def take_gradient(self) -> Tensor | None:
        """Move the parameter's gradient here, summed over tokens; [G x D], rows in order."""
        found, self.parameter.grad = self.parameter.grad, None
        if found is None:
            self.gradient = None
            return None
        found = torch.sparse_coo_tensor(
            found._indices(), found._values().float(), found.shape, check_invariants=False
        ).coalesce()
        self._now, self.gradient = found.indices()[0], found.values()
        return self.gradient

    @torch.no_grad()
    def step(self, learning_rate: float, weight_decay: float, scale: float) -> None:
        """Update every row that may have moments, with the gradient times `scale`, and note what
        the others lose."""
        if self.gradient is None:
            return
        count = len(self._seen)
        weights, gradients = self._weights[:count], self._gradients[:count]
        gradients[self._place[self._now]] = self.gradient * scale
        first, second = (moment[:count] for moment in self._moments)
        adamw(
            [weights],
            [gradients],
            [first],
            [second],
            [],
            [self._steps],
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=learning_rate,
            weight_decay=weight_decay,
            eps=self.eps,
            maximize=False,
        )
        gradients[self._place[self._now]] = 0
        self.parameter.index_copy_(0, self._seen, weights.to(self.parameter.dtype))
        if weight_decay:
            self._decays.append(1 - learning_rate * weight_decay)
        if len(self._decays) >= _WAITING:
            self._catch_up()

    def _see(self, rows: Tensor) -> None:
        """Take in rows that were not looked up before."""
        if not len(rows):
            return
        before, now = len(self._seen), len(self._seen) + len(rows)
        if now > len(self._weights):
            room = min(max(_FIRST_ROOM, 2 * now), len(self._place))
            grown = []
            for old in (self._weights, *self._moments, self._gradients):
                new = old.new_zeros(room, old.shape[1])
                new[:before] = old[:before]
                grown.append(new)
            self._weights, *self._moments, self._gradients = grown
        weights = self.master[rows]
        self._decay(weights)
        self._weights[before:now] = weights
        self.parameter[rows] = weights.to(self.parameter.dtype)
        self._place[rows] = torch.arange(before, now, device=rows.device)
        self._seen = torch.cat([self._seen, rows])

    def _decay(self, weights: Tensor) -> None:
        for piece in torch.split(weights.view(-1), _BLOCK):
            for kept in self._decays:
                piece.mul_(kept)

    @property
    def updated(self) -> int:
        """Weights that an update moves, but for decay that waits."""
        return len(self._seen) * self.parameter.shape[1]

    def _catch_up(self) -> None:
        """Take from rows that were not looked up what they have lost."""
        if self._decays:
            behind = (self._place < 0).nonzero()[:, 0]
            weights = self.master[behind]
            self._decay(weights)
            self.master[behind] = weights
            self._decays.clear()

    @torch.no_grad()
    def settle(self) -> None:
        """Make `master` and the parameter what they are without any of this."""
        self._catch_up()
        self.master[self._seen] = self._weights[: len(self._seen)]
        if self.parameter.dtype != torch.float32:
            self.parameter.copy_(self.master)

    @torch.no_grad()
    def state(self) -> dict[str, Tensor]:
        """The state of PyTorch's AdamW after the same steps; empty before the first one."""
        if not self._steps:
            return {}
        found = {"step": self._steps.clone()}
        for name, moment in zip(MOMENTS, self._moments, strict=True):
            found[name] = torch.zeros_like(self.master)
            found[name][self._seen] = moment[: len(self._seen)]
        return found

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave; `master` and the parameter are those of that step."""
        self._clear()
        if not state:
            return
        moments = [state[name].to(self.master.device) for name in MOMENTS]
        # A row whose moments are zero is updated as one that was never seen.
        first, second = (moment.ne(0).any(1) for moment in moments)
        self._see((first | second).nonzero()[:, 0])
        for mine, moment in zip(self._moments, moments, strict=True):
            mine[: len(self._seen)] = moment[self._seen]
        self._steps.fill_(float(state["step"]))


def sparse_tables(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Let tables of embeddings give sparse gradients; return who reads each weight, by name.

    Those are taken that are trained, have many rows, and are nothing but embeddings: a head that
    shares their weight has a gradient for every row.
    """
    owners: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    found = {}
    for name, parameter in model.named_parameters():
        modules = owners[id(parameter)]
        plain = all(isinstance(m, nn.Embedding) and m.max_norm is None for m in modules)
        if plain and parameter.requires_grad and parameter.shape[0] >= _FEWEST_ROWS:
            for module in modules:
                module.sparse = True  # type: ignore[assignment]
            found[name] = modules
    return found
