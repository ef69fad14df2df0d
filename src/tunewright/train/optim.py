"""An optimizer on float32 master weights, in named groups.

A bfloat16 weight has 8 bits of precision: an update of one part in a thousand would vanish in it.
So the optimizer keeps a float32 copy of every lower-precision weight it trains, updates the copy,
and rounds the result into the model. Updates are made piece by piece: the gradients are never all
there in float32.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from tunewright.config.optimization import Optimizer
from tunewright.train.optimizers import make_optimizer, stored_state
from tunewright.train.row_adamw import RowAdamW
from tunewright.train.weight_rules import WeightAverage, WeightRule

_PIECE = {"cpu": 2**24, "others": 2**28}
"""Weights whose gradients are in float32 at once; more pieces would take longer."""
_OURS = ("master", "average", "raw")
"""What a checkpoint has of a parameter beside the optimizer's own state."""

_Held = tuple[nn.Parameter, Tensor, Tensor]


@dataclass(slots=True)
class Group:
    """Parameters that share a peak rate and a decay. Names are those in the model."""

    names: list[str]
    parameters: list[nn.Parameter]
    learning_rate: float
    weight_decay: float
    is_head: bool = False
    hidden: bool = False
    """Whether they are matrices of layers, which Muon takes."""


def make_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    head_learning_rate: float | None = None,
    head_prefixes: Sequence[str] = (),
    shares: Mapping[str, float] = MappingProxyType({}),
    hidden: Collection[str] = (),
) -> list[Group]:
    """Sort the trainable parameters into groups: backbone and head, decayed or not, by share.

    Vectors (biases, norms) are not decayed.

    Args:
        model: only parameters that require a gradient are taken.
        learning_rate: peak rate.
        weight_decay: of matrices.
        head_learning_rate: peak rate of the head. Default: `learning_rate`.
        head_prefixes: parts of a name that mark a parameter as the head's.
        shares: what the rate of a parameter is multiplied with, by name. Default: 1.
        hidden: names of the matrices that Muon takes.
    """
    groups: dict[tuple[bool, bool, float, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_head = any(f".{prefix}." in f".{name}" for prefix in head_prefixes)
        decayed = parameter.ndim > 1
        rate = head_learning_rate if is_head and head_learning_rate else learning_rate
        share, inside = shares.get(name, 1.0), name in hidden
        group = groups.setdefault(
            (is_head, decayed, share, inside),
            Group([], [], rate * share, weight_decay if decayed else 0.0, is_head, inside),
        )
        group.names.append(name)
        group.parameters.append(parameter)
    return list(groups.values())


class MasterAdamW:
    """AdamW (arXiv 1711.05101), or another optimizer, on float32 masters.

    Args:
        groups: from `make_groups`.
        betas, eps: of AdamW. Defaults: (0.9, 0.999) and 1e-8.
        kind: which optimizer.
        tables: parameters with sparse gradients, from `row_adamw.sparse_tables`; for AdamW without
            rules and average.

    Attributes:
        rules: what is done to the masters after each update.
        average: of the weights, where one is kept.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        kind: Optimizer = Optimizer.ADAMW,
        tables: Mapping[str, Sequence[nn.Module]] = MappingProxyType({}),
    ) -> None:
        self.kind = kind
        self.rules: list[WeightRule] = []
        self.average: WeightAverage | None = None
        self.groups = list(groups)
        self.names = [name for group in self.groups for name in group.names]
        self.parameters = [p for group in self.groups for p in group.parameters]
        named = zip(self.names, self.parameters, strict=True)
        self._tables = {
            id(p): RowAdamW(p, tables[name], betas, eps) for name, p in named if name in tables
        }
        self.masters: list[Tensor] = [self._make_master(p) for p in self.parameters]
        by_parameter = dict(zip(map(id, self.parameters), self.masters, strict=True))
        self.inner = make_optimizer(
            kind,
            [
                {
                    "params": [
                        by_parameter[id(p)] for p in group.parameters if id(p) not in self._tables
                    ],
                    "lr": group.learning_rate,
                    "weight_decay": group.weight_decay,
                    "hidden": group.hidden,
                }
                for group in self.groups
            ],
            betas,
            eps,
        )

    @property
    def updated(self) -> int:
        """Weights that an update moves: all but rows of tables that were never looked up."""
        tables = self._tables
        return sum(tables[id(p)].updated if id(p) in tables else p.numel() for p in self.parameters)

    def set_rate_factor(self, factor: float) -> None:
        """Set every group's rate to its peak times `factor`."""
        for group, inner in zip(self.groups, self.inner.param_groups, strict=True):
            inner["lr"] = group.learning_rate * factor

    def _make_master(self, parameter: nn.Parameter) -> Tensor:
        if id(parameter) in self._tables:
            return self._tables[id(parameter)].master
        if parameter.dtype == torch.float32:
            return parameter
        return parameter.detach().float().clone()

    @torch.no_grad()
    def gather_gradients(self) -> float:
        """Sum what a table's gradient has of each row; return the global L2 norm."""
        for parameter in self.parameters:
            if table := self._tables.get(id(parameter)):
                table.take_gradient()
        gradients = [gradient for gradient in self.gradients() if gradient is not None]
        if not gradients:
            return 0.0
        norms = torch.stack(torch._foreach_norm(gradients, dtype=torch.float32))
        return float(torch.linalg.vector_norm(norms.double()))

    def gradients(self) -> list[Tensor | None]:
        """The gradient of each parameter: of a table, that of rows that have any."""
        return [
            self._tables[id(parameter)].gradient
            if id(parameter) in self._tables
            else parameter.grad
            for parameter in self.parameters
        ]

    @torch.no_grad()
    def step(self, grad_norm: float, max_grad_norm: float) -> None:
        """Clip by the norm that `gather_gradients` gave, update, and round into the model."""
        scale = 1.0
        if max_grad_norm > 0 and grad_norm > max_grad_norm and math.isfinite(grad_norm):
            scale = max_grad_norm / (grad_norm + 1e-6)
        held = self._take_gradients()
        for piece in _pieces(held):
            gradients = [gradient.float() for _, _, gradient in piece]
            for (_, master, _), gradient in zip(piece, gradients, strict=True):
                master.grad = gradient
            self._inner_step(gradients, scale)
            for _, master, _ in piece:
                master.grad = None
        for group, inner in zip(self.groups, self.inner.param_groups, strict=True):
            for parameter in group.parameters:
                if table := self._tables.get(id(parameter)):
                    table.step(inner["lr"], group.weight_decay, scale)
        for parameter, _, gradient in held:
            parameter.grad = gradient
        for rule in self.rules:
            rule.after_update(self)
        for parameter, master in self._pairs():
            if master is not parameter and id(parameter) not in self._tables:
                parameter.copy_(master)

    def _take_gradients(self) -> list[_Held]:
        """Parameters that have a gradient, without it; their masters; and the gradient."""
        held = [
            (parameter, master, parameter.grad)
            for parameter, master in self._pairs()
            if parameter.grad is not None and id(parameter) not in self._tables
        ]
        for parameter, _, _ in held:
            parameter.grad = None
        return held

    def _inner_step(self, gradients: list[Tensor], scale: float) -> None:
        """Update the masters that have a gradient now, with these times `scale`."""
        if scale == 1.0:
            self.inner.step()
        elif self.kind is Optimizer.ADAMW and self.inner.defaults["fused"]:
            # Its kernel divides gradients while it reads them, as it does for a `GradScaler`.
            self.inner.grad_scale = torch.tensor(1 / scale, device=gradients[0].device)
            self.inner.step()
            self.inner.grad_scale = None
        else:
            torch._foreach_mul_(gradients, scale)
            self.inner.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter, master in self._pairs():
            parameter.grad = None
            master.grad = None
        for table in self._tables.values():
            table.gradient = None

    def settle(self) -> None:
        """Let every weight in the model be what it is; between steps some rows of tables are behind
        (`RowAdamW`)."""
        for table in self._tables.values():
            table.settle()

    def state_tensors(self) -> dict[str, Tensor]:
        """Masters, moments and step counts by parameter name, for a checkpoint."""
        self.settle()
        tensors = {}
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            table = self._tables.get(id(parameter))
            if parameter.dtype != torch.float32:
                tensors[f"{name}:master"] = master
            state = table.state() if table else self.inner.state.get(master, {})
            for key, value in state.items():
                # A table of 8-bit values is shared by all parameters; a file holds it for each.
                shared = key.startswith("qmap")
                tensors[f"{name}:{key}"] = value.clone() if shared else torch.as_tensor(value)
        return tensors | (self.average.state_tensors() if self.average else {})

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, the model has the average of its weights inside, where one is kept."""
        self.settle()
        return self.average.in_model() if self.average else nullcontext()

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        stored: dict[str, dict[str, Tensor]] = {}
        for full_name, tensor in tensors.items():
            owner, _, key = full_name.rpartition(":")
            stored.setdefault(owner, {})[key] = tensor
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            if parameter.dtype != torch.float32:
                master.copy_(tensors[f"{name}:master"])
                parameter.copy_(master)
            state = {
                key: stored_state(self.kind, key, tensor, master.device)
                for key, tensor in stored.get(name, {}).items()
                if key not in _OURS
            }
            if table := self._tables.get(id(parameter)):
                table.load(state)
            elif state:
                self.inner.state[master] = state
            else:  # saved before the first step
                self.inner.state.pop(master, None)
        if self.average:
            self.average.load_state_tensors(tensors)

    def _pairs(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        return zip(self.parameters, self.masters, strict=True)


def _pieces(held: Sequence[_Held]) -> Iterator[list[_Held]]:
    """In order, so many at once that what must become float32 has about one size."""
    piece: list[_Held] = []
    size = 0
    for parameter, master, gradient in held:
        piece.append((parameter, master, gradient))
        size += 0 if gradient.dtype == torch.float32 else gradient.numel()
        if size >= _PIECE["cpu" if gradient.device.type == "cpu" else "others"]:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
