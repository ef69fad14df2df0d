"""Keys of training a model for use in few bits.

This module knows names. It does not know libraries.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from tunewright.config.base import Strict

if TYPE_CHECKING:
    from tunewright.config.recipe import FineTuningMethod


class FewBits(StrEnum):
    """What a linear layer is rounded to."""

    INT4_WEIGHT = "int4_weight"
    """Weights in 4 bits, with a scale for each group of inputs."""
    INT8_DYNAMIC_INT4_WEIGHT = "int8_dynamic_int4_weight"
    """The same, and the layer's inputs in 8 bits, with a scale for each token."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class QuantizationAwareKeys(Strict):
    """Part of the recipe: training as if the linear layers were in few bits."""

    quantization_aware: Annotated[FewBits | None, BeforeValidator(_lower)] = None
    """Round the linear layers in every forward pass to what they will be rounded to in use
    (arXiv 1712.05877): `int4_weight`, or `int8_dynamic_int4_weight` for their inputs in 8 bits too.
    Heads and embeddings stay as they are. Methods `full`, `partial` and `lora`."""
    quantization_group_size: Annotated[int, Field(ge=8)] | None = None
    """Neighbouring inputs of a layer whose 4-bit weights share a scale. Default: 32."""

    def misplaced_quantization(self, method: FineTuningMethod | None) -> list[str]:
        """Keys without effect."""
        if self.quantization_aware is None:
            if self.quantization_group_size is None:
                return []
            return [
                "quantization_group_size has no effect without quantization_aware; remove it, or "
                "give both."
            ]
        if method is None or method.value in ("full", "partial", "lora"):
            return []
        return [
            "quantization_aware is for the layers that methods full, partial and lora change, and "
            f"method is {method.value!r}; remove it or use one of these."
        ]
