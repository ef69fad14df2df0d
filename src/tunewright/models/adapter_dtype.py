"""The dtype of an adapter's weights: that of its base, in training and in use.

PEFT makes them float32 beside weights in 8 bits, and turns those of a finished adapter into that.
Then a layer's input is copied into float32, and multiplied so, at a fraction of the speed and for
numbers that training did not see. The optimizer has float32 masters of what is trained.

This module knows PEFT's models. It does not know how they are made.
"""

from __future__ import annotations

from typing import Any

import torch


def give_base_dtype(adapted: Any, dtype: torch.dtype) -> None:
    """Give the weights of all adapters the base's dtype.

    Args:
        adapted: a `PeftModel`, changed in place.
        dtype: of the base, before it was quantized.
    """
    kinds = [getattr(adapted.base_model, "prefix", ""), "modules_to_save", "prompt_encoder"]
    for name, parameter in adapted.named_parameters():
        if parameter.is_floating_point() and any(
            f".{kind}" in f".{name}" for kind in kinds if kind
        ):
            parameter.data = parameter.data.to(dtype)
