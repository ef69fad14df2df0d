"""Keys that choose the optimizer and the end of the schedule.

This module knows names. It does not know libraries.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from tunewright.config.base import Strict


class Optimizer(StrEnum):
    """How gradients become updates. All keep float32 masters of lower-precision weights."""

    ADAMW = "adamw"
    """AdamW (arXiv 1711.05101)."""
    ADAMW_8BIT = "adamw_8bit"
    """AdamW with its moments in 8 bits (arXiv 2110.02861), by bitsandbytes."""
    LION_8BIT = "lion_8bit"
    """Lion (arXiv 2302.06675): the sign of one moment, in 8 bits, by bitsandbytes."""
    ADAFACTOR = "adafactor"
    """Adafactor (arXiv 1804.04235): the second moment of a matrix as two vectors, by PyTorch."""
    MUON = "muon"
    """Muon for the matrices of the layers, AdamW for everything else, by PyTorch."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Optimization(Strict):
    """Part of the recipe: optimizer and schedule."""

    optim: Annotated[Optimizer, BeforeValidator(_lower)] = Optimizer.ADAMW
    """`adamw`, `adamw_8bit`, `lion_8bit`, `adafactor`, or `muon` (arXiv 2502.16982) for the
    matrices of the layers with AdamW for the rest."""
    decay_ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of all steps at the end in which the rate of `warmup_stable_decay` falls to 0."""
