"""Keys that say which weights of a base are trained, when, and at what share of the rate.

This module knows the methods' properties. It does not know models or the training loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from tunewright.config.base import Strict

if TYPE_CHECKING:
    from tunewright.config.recipe import FineTuningMethod


class TrainedWeights(Strict):
    """Part of the recipe: layers, their rates, and variants of LoRA."""

    freeze_trainable_layers: PositiveInt | None = None
    """Layers that are trained, counted from the last. Method `partial` only."""
    unfreeze_steps: PositiveInt | None = None
    """Gradual unfreezing (arXiv 1801.06146): train the head alone for this many steps, then let
    one more layer join after each as many, from the last layer down. Methods `full` and
    `partial`."""
    layer_learning_rate_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Rate of each layer over that of the layer behind it; the last layer has `learning_rate`
    (discriminative rates, arXiv 1801.06146, which takes 1 / 2.6). Default: one rate for all."""
    init_lora_weights: Literal["pissa"] | None = None
    """`pissa`: the update starts as the strongest singular directions of each weight, which are
    taken out of the base (arXiv 2404.02948). Default: it starts at zero. Method `lora` in
    `float32`."""
    loraplus_lr_ratio: Annotated[float, Field(ge=1)] | None = None
    """Rate of LoRA's B matrices over that of its A matrices (LoRA+, arXiv 2402.12354, which takes
    16). Default: the same rate."""
    modules_to_save: list[str] | None = Field(default=None, min_length=1)
    """Names of modules that are trained whole beside the update and kept with the adapter, such
    as a norm."""

    def misplaced_weights(self, method: FineTuningMethod) -> list[str]:
        """Keys that have no effect with the method, and those that exclude each other."""
        setfit = method.value == "setfit"
        layered = not (method.has_virtual_tokens or setfit)
        needed = (
            ("freeze_trainable_layers", method.value == "partial", "partial"),
            ("unfreeze_steps", method.trains_base and not setfit, "full or partial"),
            ("layer_learning_rate_decay", layered, "full, partial, lora, qlora or ia3"),
            ("init_lora_weights", method.value == "lora", "lora"),
            ("loraplus_lr_ratio", method.is_lora, "lora or qlora"),
            ("modules_to_save", method.is_lora, "lora or qlora"),
        )
        return [
            f"{name} has no effect with method {method.value!r}; remove it or use method: {others}."
            for name, used, others in needed
            if not used and getattr(self, name) is not None
        ]
