"""AdamW with float32 master weights, in named groups.

A bfloat16 weight has 8 bits of precision: an update of one part in a thousand would vanish in it.
So the optimizer keeps a float32 copy of every lower-precision weight it trains, updates the copy,
and rounds the result into the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class Group:
    """Parameters that share a peak rate and a decay. Names are those in the model."""

    names: list[str]
    parameters: list[nn.Parameter]
    learning_rate: float
    weight_decay: float


def make_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    head_learning_rate: float | None = None,
    head_prefixes: Sequence[str] = (),
) -> list[Group]:
    """Sort the trainable parameters into at most four groups: backbone and head, decayed or not.

    Vectors (biases, norms) are not decayed.

    Args:
        model: only parameters that require a gradient are taken.
        learning_rate: peak rate.
        weight_decay: of matrices.
        head_learning_rate: peak rate of the head. Default: `learning_rate`.
        head_prefixes: parts of a name that mark a parameter as the head's.
    """
    groups: dict[tuple[bool, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_head = any(f".{prefix}." in f".{name}" for prefix in head_prefixes)
        decayed = parameter.ndim > 1
        rate = head_learning_rate if is_head and head_learning_rate else learning_rate
        group = groups.setdefault(
            (is_head, decayed), Group([], [], rate, weight_decay if decayed else 0.0)
        )
        group.names.append(name)
        group.parameters.append(parameter)
    return list(groups.values())


class MasterAdamW:
    """AdamW (arXiv 1711.05101) on float32 masters.

    Args:
        groups: from `make_groups`.
        betas, eps: of AdamW. Defaults: (0.9, 0.999) and 1e-8.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.groups = list(groups)
        self.names = [name for group in self.groups for name in group.names]
        self.parameters = [p for group in self.groups for p in group.parameters]
        self.masters: list[Tensor] = [
            p if p.dtype == torch.float32 else p.detach().float().clone() for p in self.parameters
        ]
        by_parameter = dict(zip(map(id, self.parameters), self.masters, strict=True))
        fused = all(p.device.type in ("cpu", "cuda") for p in self.parameters)
        self.inner = torch.optim.AdamW(
            [
                {
                    "params": [by_parameter[id(p)] for p in group.parameters],
                    "lr": group.learning_rate,
                    "weight_decay": group.weight_decay,
                }
                for group in self.groups
            ],
            betas=betas,
            eps=eps,
            fused=fused,
        )

    def set_rate_factor(self, factor: float) -> None:
        """Set every group's rate to its peak times `factor`."""
        for group, inner in zip(self.groups, self.inner.param_groups, strict=True):
            inner["lr"] = group.learning_rate * factor

    @torch.no_grad()
    def gather_gradients(self) -> float:
        """Move the gradients to the masters as float32 and return their global L2 norm."""
        gradients = []
        for parameter, master in self._pairs():
            if parameter.grad is None:
                continue
            if master is not parameter:
                master.grad = parameter.grad.float()
                parameter.grad = None
            assert master.grad is not None
            gradients.append(master.grad)
        if not gradients:
            return 0.0
        norms = torch.stack(torch._foreach_norm(gradients))
        return float(torch.linalg.vector_norm(norms.double()))

    @torch.no_grad()
    def step(self, grad_norm: float, max_grad_norm: float) -> None:
        """Clip by the norm that `gather_gradients` gave, update, and round into the model."""
        if max_grad_norm > 0 and grad_norm > max_grad_norm and math.isfinite(grad_norm):
            scale = max_grad_norm / (grad_norm + 1e-6)
            torch._foreach_mul_(
                [master.grad for master in self.masters if master.grad is not None], scale
            )
        self.inner.step()
        for parameter, master in self._pairs():
            if master is not parameter:
                parameter.copy_(master)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter, master in self._pairs():
            parameter.grad = None
            master.grad = None

    def state_tensors(self) -> dict[str, Tensor]:
        """Masters, moments and step counts by parameter name, for a checkpoint."""
        tensors = {}
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            if master is not parameter:
                tensors[f"{name}:master"] = master
            for key, value in self.inner.state.get(master, {}).items():
                tensors[f"{name}:{key}"] = value
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state_tensors` gave."""
        for name, parameter, master in zip(self.names, self.parameters, self.masters, strict=True):
            if master is not parameter:
                master.copy_(tensors[f"{name}:master"])
                parameter.copy_(master)
            state = {
                key: tensors[f"{name}:{key}"].to(
                    device="cpu" if key == "step" and master.device.type == "cpu" else master.device
                )
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}:{key}" in tensors
            }
            if state:
                self.inner.state[master] = state
            else:  # saved before the first step
                self.inner.state.pop(master, None)

    def _pairs(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        return zip(self.parameters, self.masters, strict=True)
