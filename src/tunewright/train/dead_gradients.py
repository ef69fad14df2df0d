"""Which trained tensors never get a gradient. Only some steps are looked at: it costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

LOOKS = 16
"""Looks at a tensor after which it is called dead. The first 16 steps are looked at, then every
eighth: layers that die later are found too."""


class DeadGradients:
    """Remembers which tensors had a gradient since it began to look.

    Args:
        names: of the trained tensors.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._alive: set[int] = set()
        self._idle: set[int] = set()
        self._looks = 0

    def look(
        self, step: int, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]
    ) -> list[str]:
        """Take in the gradients of a step; return the names of dead tensors after every 16 looks.

        Args:
            step: counted from 0.
            parameters: in the order of the names; those that are frozen now are left out.
            gradients: one for each, or None.
        """
        import torch

        if step >= LOOKS and step % 8:
            return []
        self._looks += 1
        waiting = [
            (i, gradient)
            for i, gradient in enumerate(gradients)
            if i not in self._alive and gradient is not None
        ]
        if waiting:
            norms = torch.stack(torch._foreach_norm([gradient for _, gradient in waiting]))
            zero = (norms == 0).tolist()  # a norm that is not finite is no zero
            self._alive |= {i for (i, _), dead in zip(waiting, zero, strict=True) if not dead}
        self._idle |= {i for i, p in enumerate(parameters) if not p.requires_grad}
        if self._looks < LOOKS:
            return []
        spared = self._alive | self._idle
        found = [name for i, name in enumerate(self.names) if i not in spared]
        self._alive, self._idle, self._looks = set(), set(), 0
        return found
