"""Adapters: which weights of a base are trained.

This module knows PEFT. It does not know the training loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.errors import ModelError, did_you_mean
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

    Raises:
        ModelError: a target module is not in the model; names those that are.
    """
    if recipe.method is FineTuningMethod.FULL:
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    targets = recipe.lora_target_modules
    check_targets(model, targets)
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=targets,
        task_type=TaskType.CAUSAL_LM if task.is_generative else TaskType.SEQ_CLS,
    )
    with quiet_loading():
        return get_peft_model(model, config, autocast_adapter_dtype=False)


def check_targets(model: PreTrainedModel, targets: str | list[str] | None) -> None:
    """Refuse a target that matches no linear layer.

    Raises:
        ModelError: names the missing targets and the layers there are.
    """
    import torch

    if targets is None or targets == "all-linear":
        return
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    wanted = [targets] if isinstance(targets, str) else targets
    full_names = [name for name, _ in model.named_modules()]
    missing = [
        w for w in wanted if not any(name == w or name.endswith(f".{w}") for name in full_names)
    ]
    if missing:
        raise ModelError(
            f"lora_target_modules names {', '.join(map(repr, missing))}, which this model does "
            f"not have.{did_you_mean(missing[0], linear)} Its linear layers: "
            f"{', '.join(sorted(linear))}. `all-linear` takes them all."
        )
