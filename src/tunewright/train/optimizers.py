"""Optimizers by name, each from a library, behind what `MasterAdamW` needs of one.

This module knows PyTorch's and bitsandbytes' optimizers. It does not know the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tunewright.config.optimization import Optimizer
from tunewright.errors import ModelError


def make_optimizer(
    kind: Optimizer,
    groups: Sequence[dict[str, Any]],
    betas: tuple[float, float],
    eps: float,
) -> Any:
    """An optimizer with `param_groups` in the order of `groups`, `state` and `step`.

    Args:
        kind: which one.
        groups: `params`, `lr`, `weight_decay`, and `hidden`: whether they are matrices of layers.
        betas, eps: of AdamW; of Lion the betas are (0.9, 0.99) as in its paper.

    Raises:
        ModelError: bitsandbytes has no kernels for this device.
    """
    plain = [{key: group[key] for key in ("params", "lr", "weight_decay")} for group in groups]
    devices = {p.device.type for group in plain for p in group["params"]}
    if kind is Optimizer.MUON:
        return _MuonBesideAdamW(plain, [group["hidden"] for group in groups], betas, eps)
    if kind is Optimizer.ADAFACTOR:
        return torch.optim.Adafactor(plain)
    if kind is Optimizer.ADAMW:
        return torch.optim.AdamW(plain, betas=betas, eps=eps, fused=devices <= {"cpu", "cuda"})
    if "mps" in devices:
        raise ModelError(f"optim {kind.value!r} has no kernels for mps; use optim: adamw.")
    import bitsandbytes

    library: Any = bitsandbytes.optim  # it has no types
    if kind is Optimizer.LION_8BIT:
        return library.Lion8bit(plain, betas=(0.9, 0.99))
    return library.AdamW8bit(plain, betas=betas, eps=eps)


class _MuonBesideAdamW:
    """Muon for the groups of hidden matrices, AdamW for the others, with one face.

    Updates of Muon are scaled to the size of AdamW's (`match_rms_adamw`, arXiv 2502.16982), so
    that rates and decays carry over.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        hidden: Sequence[bool],
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        chosen = [group for group, inside in zip(groups, hidden, strict=True) if inside]
        rest = [group for group, inside in zip(groups, hidden, strict=True) if not inside]
        self.parts: list[torch.optim.Optimizer] = []
        if chosen:
            self.parts.append(torch.optim.Muon(chosen, adjust_lr_fn="match_rms_adamw"))
        if rest:
            self.parts.append(make_optimizer(Optimizer.ADAMW, rest, betas, eps))
        muon = iter(self.parts[0].param_groups if chosen else ())
        adamw = iter(self.parts[-1].param_groups if rest else ())
        self.param_groups = [next(muon) if inside else next(adamw) for inside in hidden]
        self._home = {
            id(p): part
            for part in self.parts
            for group in part.param_groups
            for p in group["params"]
        }

    @property
    def state(self) -> _States:
        """State of every parameter."""
        return _States(self._home)

    def step(self) -> None:
        """Take one step with both."""
        for part in self.parts:
            part.step()


class _States:
    """The states of several optimizers, each asked for its own parameters."""

    def __init__(self, home: dict[int, torch.optim.Optimizer]) -> None:
        self._home = home

    def get(self, parameter: Any, default: Any) -> Any:
        return self._home[id(parameter)].state.get(parameter, default)

    def pop(self, parameter: Any, default: Any) -> Any:
        return self._home[id(parameter)].state.pop(parameter, default)

    def __setitem__(self, parameter: Any, state: Any) -> None:
        self._home[id(parameter)].state[parameter] = state


def stored_state(kind: Optimizer, key: str, tensor: torch.Tensor, device: torch.device) -> Any:
    """An entry of an optimizer's state, from a checkpoint back to where the optimizer wants it.

    bitsandbytes counts steps in an int; a fused AdamW counts on its device; the others on the CPU.
    """
    if key != "step":
        return tensor.to(device)
    if kind in (Optimizer.ADAMW_8BIT, Optimizer.LION_8BIT):
        return int(tensor)
    fused = kind is not Optimizer.ADAFACTOR and device.type == "cuda"
    return tensor.to(device if fused else "cpu")
