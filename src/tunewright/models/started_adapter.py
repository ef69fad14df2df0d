"""A run that goes on from an adapter: what the adapter fixes in the recipe, and its weights.

The base stays as it is and the adapter is trained further: no second adapter is laid over the
first. This module knows PEFT's configuration of each method. It does not know the training loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.errors import ConfigError, ModelError
from tunewright.models.adapter_folder import WEIGHTS, AdapterFolder
from tunewright.models.load import quiet_loading

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_METHODS = {
    "LORA": FineTuningMethod.LORA,
    "IA3": FineTuningMethod.IA3,
    "PREFIX_TUNING": FineTuningMethod.PREFIX_TUNING,
    "PROMPT_TUNING": FineTuningMethod.PROMPT_TUNING,
}
_QUANTIZED = ("quantization_bits", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant")


def require_trainable(adapter: AdapterFolder) -> None:
    """Refuse an adapter that cannot be trained further.

    Raises:
        ModelError: says why, and what works instead.
    """
    if adapter.method == "P_TUNING":
        raise ModelError(
            f"{adapter.name} was trained by p_tuning. A finished adapter has the vectors and not "
            "the network that made them, so it cannot be trained further. Train its base "
            f"{adapter.facts.base!r} on the old and new rows together."
        )
    if adapter.method not in _METHODS or adapter.config.get("prefix_projection"):
        raise ModelError(
            f"{adapter.name} is a {adapter.method} adapter of PEFT that no method here trains. "
            f"Those that can be trained further: {', '.join(sorted(_METHODS))}."
        )


def started_recipe(recipe: Recipe, adapter: AdapterFolder) -> tuple[Recipe, dict[str, str]]:
    """The recipe with all that the adapter decides, and the reason for each key that was open.

    Those are the method, the shape of the update, dtype and bits of the base, and how rows become
    tokens. What is only about training (rates, dropout, epochs) stays the recipe's.

    Raises:
        ConfigError: the recipe says otherwise; all faults at once.
    """
    fixed = _fixed(recipe, adapter)
    reason = f"as in {adapter.name}, which is trained further"
    faults = [
        f"{key} is {_shown(getattr(recipe, key))} and that of the adapter {adapter.name} is "
        f"{_shown(value)}, which cannot be changed; remove {key}, or train its base "
        f"{adapter.facts.base!r}."
        for key, value in fixed.items()
        if getattr(recipe, key) not in (None, False) and not _same(getattr(recipe, key), value)
    ]
    if recipe.init_lora_weights is not None:
        faults.append(
            f"init_lora_weights is {recipe.init_lora_weights!r}, and the update goes on from "
            f"{adapter.name}; remove it."
        )
    if faults:
        raise ConfigError(faults)
    chosen = {key: value for key, value in fixed.items() if not getattr(recipe, key)}
    for key, value in _open(recipe, adapter).items():
        chosen.setdefault(key, value)
    # What is not there in the adapter is not worth a line.
    reasons = {key: reason for key, value in chosen.items() if value not in (None, False)}
    data = _data(recipe, adapter)
    reasons |= {f"data.{key}": reason for key in data}
    filled = recipe.model_copy(
        update={**chosen, "data": recipe.data.model_copy(update=data)} if data else chosen
    )
    contradictions = filled.contradictions()
    if contradictions:
        raise ConfigError(contradictions)
    return filled, reasons


def _fixed(recipe: Recipe, adapter: AdapterFolder) -> dict[str, Any]:
    """Keys whose values are built into the adapter's weights."""
    config = adapter.config
    method = _METHODS[adapter.method]
    if method is FineTuningMethod.LORA:
        kept = adapter.settings.quantization if adapter.settings is not None else None
        # An update fits the base in any number of bits; the recipe may go from one to another.
        if recipe.method is not None and recipe.method.is_lora:
            method = recipe.method
        elif kept is not None:
            method = FineTuningMethod.QLORA
        targets = config.get("target_modules")
        return {
            "method": method,
            "lora_r": config["r"],
            "lora_alpha": config["lora_alpha"],
            "lora_target_modules": sorted(targets) if isinstance(targets, list) else targets,
            "use_rslora": bool(config.get("use_rslora")),
            "use_dora": bool(config.get("use_dora")),
        }
    if method.has_virtual_tokens:
        return {"method": method, "num_virtual_tokens": config["num_virtual_tokens"]}
    return {"method": method}


def _open(recipe: Recipe, adapter: AdapterFolder) -> dict[str, Any]:
    """Keys that the adapter answers where the recipe leaves them open."""
    values: dict[str, Any] = {}
    if recipe.dtype is None and adapter.dtype is not None:
        values["dtype"] = adapter.dtype
    if adapter.method != "LORA":
        return values
    if recipe.lora_dropout is None:
        values["lora_dropout"] = float(adapter.config.get("lora_dropout") or 0.0)
    kept = adapter.settings.quantization if adapter.settings is not None else None
    if kept is not None and recipe.method is not FineTuningMethod.LORA:
        answers = (kept.bits, kept.quant_type, kept.double)
        if kept.bits == 8:
            answers = (8, None, None)  # type: ignore[assignment]
        if recipe.quantization_bits in (None, kept.bits):
            pairs = zip(_QUANTIZED, answers, strict=True)
            values |= {key: value for key, value in pairs if getattr(recipe, key) is None}
    return values


def _data(recipe: Recipe, adapter: AdapterFolder) -> dict[str, Any]:
    """How rows become tokens, where the recipe does not say it."""
    settings = adapter.settings
    if settings is None:
        return {}
    values: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("system", "source_prefix")
        if name not in recipe.data.model_fields_set and getattr(settings, name)
    }
    if recipe.data.template == "auto" and settings.template in ("chat", "plain"):
        values["template"] = settings.template
    return values


def _same(ours: Any, theirs: Any) -> bool:
    """Whether two values of a key mean the same; lists of layers have no order."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return set(ours) == set(theirs)
    return bool(ours == theirs)


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def started_labels(adapter: AdapterFolder, task: Task, labels: Sequence[str]) -> list[str]:
    """The labels of the run, in the order of the adapter's outputs.

    Args:
        adapter: that is trained further.
        task: of the data.
        labels: of the training rows.

    Raises:
        ModelError: the adapter was trained for another task, or does not have one of the labels.
    """
    settings = adapter.settings
    if settings is None:
        if task.has_new_head:
            raise ModelError(
                f"{adapter.name} has no tunewright.json beside its weights, so the labels of its "
                "head are not known and it cannot be trained further on labels."
            )
        return list(labels)
    both_write = settings.task.is_generative and task.is_generative
    if settings.task is not task and not both_write:
        raise ModelError(
            f"{adapter.name} was trained for {settings.task.value!r} and the data is for "
            f"{task.value!r}. Give rows of its own task, or train its base {adapter.facts.base!r}."
        )
    new = [label for label in labels if label not in settings.labels]
    if new:
        raise ModelError(
            f"The data has labels that {adapter.name} does not have: "
            f"{', '.join(map(repr, new[:5]))}. It has {', '.join(map(repr, settings.labels))}, and "
            f"its head cannot grow. Train its base {adapter.facts.base!r} on the old and new rows "
            "together."
        )
    return list(settings.labels)


def start_from(model: PreTrainedModel, adapter: AdapterFolder, recipe: Recipe) -> Any:
    """Lay the adapter over its base, to be trained.

    Args:
        model: the loaded base.
        adapter: whose weights are the start.
        recipe: resolved; only its `lora_dropout` counts here.

    Returns:
        A `PeftModel` whose adapter has the base's dtype.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = PeftConfig.from_pretrained(adapter.folder)
    config.inference_mode = False
    if adapter.method == "LORA":
        # The weights are read from the file: nothing may be taken out of the base for a start.
        config.init_lora_weights, config.lora_dropout = True, recipe.lora_dropout
    elif adapter.method == "PROMPT_TUNING":
        config.prompt_tuning_init = "RANDOM"
    with quiet_loading():
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        set_peft_model_state_dict(adapted, load_file(adapter.folder / WEIGHTS))
    return adapted
