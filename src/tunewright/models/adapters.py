"""Adapters: which weights of a base are trained.

This module knows PEFT. It does not know the training loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.errors import ModelError, did_you_mean
from tunewright.models.inspect import linear_layers
from tunewright.models.load import quiet_loading

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def apply_method(model: PreTrainedModel, recipe: Recipe, task: Task) -> Any:
    """Make the weights that the recipe's method trains the only trainable ones.

    Args:
        model: the loaded base.
        recipe: resolved; its method and LoRA settings are used.
        task: decides whether a new head is trained in full beside the adapter.

    Returns:
        The model for `full`, a `PeftModel` for `lora`. Adapter weights have the base's dtype;
        the optimizer keeps float32 masters.
    """
    if recipe.method is FineTuningMethod.FULL:
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=recipe.lora_target_modules,
        task_type=TaskType.CAUSAL_LM if task.is_generative else TaskType.SEQ_CLS,
    )
    with quiet_loading():
        return get_peft_model(model, config, autocast_adapter_dtype=False)


def check_targets(folder: Path, targets: str | list[str] | None) -> None:
    """Refuse a target that is no linear layer of the model in `folder`. Loads no weights.

    Raises:
        ModelError: names the missing targets and the layers there are.
    """
    if targets is None or targets == "all-linear":
        return
    linear = linear_layers(folder)
    wanted = [targets] if isinstance(targets, str) else targets
    missing = [name for name in wanted if name.rpartition(".")[2] not in linear]
    if missing:
        raise ModelError(
            f"lora_target_modules names {', '.join(map(repr, missing))}, which this model does "
            f"not have.{did_you_mean(missing[0], linear)} Its linear layers: "
            f"{', '.join(sorted(linear))}. `all-linear` takes them all."
        )
