"""Adapters: which weights of a base are trained.

This module knows PEFT. It does not know the training loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.errors import ModelError, did_you_mean
from tunewright.models.inspect import ModelFacts, linear_layers, module_names
from tunewright.models.layers import find_stack, layer_count, trial_ids
from tunewright.models.load import quiet_loading
from tunewright.models.started_adapter import start_from

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunewright.models.adapter_folder import AdapterFolder


_KINDS = {
    Task.TOKEN_CLASSIFICATION: "TOKEN_CLS",
    Task.EMBEDDING: "FEATURE_EXTRACTION",
    Task.QUESTION_ANSWERING: "QUESTION_ANS",
}
"""PEFT's names of tasks with labels or vectors; others have SEQ_CLS."""
_LABELS = ("classifier", "score")
_ANSWERS = ("qa_outputs",)
_LAST_LAYERS = {"QUESTION_ANS": _ANSWERS}
"""The last layers of heads that PEFT trains in full by itself, by its kind of task. Default:
`_LABELS`."""
_EXCLUDED = {
    Task.TOKEN_CLASSIFICATION: _LABELS,
    Task.EMBEDDING: ("pooler.dense",),
    Task.QUESTION_ANSWERING: _ANSWERS,
}
"""Linear layers that get no update: a head is trained in full, and nothing reads a pooler."""
_OR_LAYERS = ", or name layers that it fits in lora_target_modules"


def apply_method(
    model: PreTrainedModel, recipe: Recipe, task: Task, started: AdapterFolder | None = None
) -> Any:
    """Make the weights that the recipe's method trains the only trainable ones.

    Args:
        model: the loaded base.
        recipe: resolved; its method and LoRA settings are used.
        task: decides whether a new head is trained in full beside the adapter.
        started: the adapter to go on from. Default: a new one.

    Returns:
        The model for `full` and `partial`, otherwise a `PeftModel`. Adapter weights have the
        base's dtype; the optimizer keeps float32 masters.

    Raises:
        ModelError: PEFT cannot adapt the layers of this architecture.
    """
    if recipe.method is FineTuningMethod.PARTIAL:
        _freeze_below(model, recipe)
    if recipe.method is not None and recipe.method.trains_base:
        return _freeze_unread(model, task)
    from peft import get_peft_model

    from tunewright.models.adapter_dtype import give_base_dtype
    from tunewright.models.lora_linear import speed_up_lora

    if started is not None:
        adapted = start_from(model, started, recipe)
    else:
        config = _config(model, recipe, task)
        try:
            with quiet_loading():
                adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        except ValueError as error:
            raise ModelError(
                f"{recipe.method} does not fit the layers of {model.config.model_type!r} models: "
                f"{error} Use method: full{_OR_LAYERS if config.peft_type == 'LORA' else ''}."
            ) from error
    give_base_dtype(adapted, model.dtype)
    if recipe.method is not None and recipe.method.has_virtual_tokens:
        _try_virtual_tokens(adapted, recipe)
    speed_up_lora(adapted)
    return adapted


def _try_virtual_tokens(adapted: Any, recipe: Recipe) -> None:
    """Run a few tokens behind the virtual ones, which not every network takes.

    Raises:
        ModelError: this one does not.
    """
    import torch

    config = adapted.config
    ids = trial_ids(adapted.get_base_model(), 4)[None]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder:
        batch["labels"] = ids
    training = adapted.training
    adapted.eval()
    try:
        with torch.no_grad():
            adapted(**batch)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        said = str(error).rstrip(".")
        raise ModelError(
            f"{recipe.method} does not fit {config.model_type!r} models: {said}. Use method: lora "
            "or full."
        ) from error
    adapted.train(training)


def _freeze_below(model: PreTrainedModel, recipe: Recipe) -> PreTrainedModel:
    """Keep the last layers and what stands above them trainable."""
    stack = find_stack(model)
    assert recipe.freeze_trainable_layers is not None
    lowest = stack.top - recipe.freeze_trainable_layers
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(stack.depth[name] >= lowest)
    return model


def _freeze_unread(model: PreTrainedModel, task: Task) -> PreTrainedModel:
    """Keep what the vectors of texts do not depend on: the pooler of BERT and its kin."""
    pooler = getattr(model, "pooler", None) if task is Task.EMBEDDING else None
    if pooler is not None:
        pooler.requires_grad_(False)
    return model


def _config(model: PreTrainedModel, recipe: Recipe, task: Task) -> Any:
    """PEFT's configuration of the recipe's method."""
    from peft import (
        IA3Config,
        LoraConfig,
        PrefixTuningConfig,
        PromptEncoderConfig,
        PromptTuningConfig,
        TaskType,
    )

    kind = _KINDS.get(task, "SEQ_CLS")
    if task.is_generative:
        pairs = model.config.is_encoder_decoder
        kind = TaskType.SEQ_2_SEQ_LM if pairs else TaskType.CAUSAL_LM
    whole = _head_parts(model, kind) if task.has_new_head else []
    excluded = [*_EXCLUDED.get(task, ()), *_linear_layers_in(model, whole)] or None
    if recipe.method is FineTuningMethod.PREFIX_TUNING:
        return PrefixTuningConfig(num_virtual_tokens=recipe.num_virtual_tokens, task_type=kind)
    if recipe.method is FineTuningMethod.PROMPT_TUNING:
        # Real words as a start: random vectors lie outside of what the network knows.
        return PromptTuningConfig(
            num_virtual_tokens=recipe.num_virtual_tokens,
            prompt_tuning_init="SAMPLE_VOCAB",
            modules_to_save=whole or None,
            task_type=kind,
            **_shape(model),
        )
    if recipe.method is FineTuningMethod.P_TUNING:
        return PromptEncoderConfig(
            num_virtual_tokens=recipe.num_virtual_tokens,
            modules_to_save=whole or None,
            task_type=kind,
            **_shape(model),
        )
    if recipe.method is FineTuningMethod.IA3:
        targets, inner = _ia3_targets(model.config.model_type)
        return IA3Config(
            target_modules=targets,
            feedforward_modules=inner,
            exclude_modules=excluded,
            modules_to_save=whole or None,
            task_type=kind,
        )
    return LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=recipe.lora_target_modules,
        exclude_modules=excluded,
        use_rslora=recipe.use_rslora,
        use_dora=recipe.use_dora,
        init_lora_weights=recipe.init_lora_weights or True,
        modules_to_save=[*(recipe.modules_to_save or ()), *whole] or None,
        task_type=kind,
    )


def _head_parts(model: PreTrainedModel, kind: str) -> list[str]:
    """The modules between the base and the last layer of a head, where a model has such.

    They belong to the head: in many bases they are new, so that they must be saved with the
    adapter, and bases whose vectors are means of tokens never used their pooler.
    """
    parts = {
        name: module
        for name, module in model.named_children()
        if module is not model.base_model and name not in _LAST_LAYERS.get(kind, _LABELS)
    }
    if kind == "SEQ_CLS":
        pooler = getattr(model.base_model, "pooler", None)
        parts |= {f"{model.base_model_prefix}.pooler": pooler} if pooler is not None else {}
    return [name for name, module in parts.items() if any(True for _ in module.parameters())]


def _linear_layers_in(model: PreTrainedModel, parts: Sequence[str]) -> list[str]:
    from torch import nn

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(f"{name}.".startswith(f"{p}.") for p in parts)
    ]


def _shape(model: PreTrainedModel) -> dict[str, int]:
    """What PEFT does not find under the names that DistilBERT and others have for it; in ALBERT the
    vectors of tokens are narrower than the layers."""
    config = model.config.get_text_config()
    return {
        "token_dim": model.get_input_embeddings().weight.shape[1],
        "num_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
    }


def _ia3_targets(architecture: str) -> tuple[list[str], list[str]]:
    """The layers IA3 scales in an architecture, and those of them that are inside the MLP.

    Raises:
        ModelError: PEFT knows none for this architecture.
    """
    from peft.utils.constants import (
        TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as INNER,
    )
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as TARGETS

    if architecture not in TARGETS:
        raise ModelError(
            f"ia3 has no list of layers for {architecture!r} models; it has one for: "
            f"{', '.join(sorted(TARGETS))}. Use lora."
        )
    return TARGETS[architecture], INNER[architecture]


def check_method(facts: ModelFacts, recipe: Recipe, *, started: bool = False) -> None:
    """Refuse a method that does not work with this model. Loads no weights.

    Args:
        facts: of the base.
        recipe: resolved.
        started: an adapter is trained further, whose layers are known to be there.

    Raises:
        ModelError: says what works instead, or names the layers there are.
    """
    virtual = recipe.method is not None and recipe.method.has_virtual_tokens
    if virtual and facts.kind == "encoder-decoder":
        raise ModelError(
            f"{recipe.method} does not work with encoder-decoder models here, and {facts.folder} "
            "is one. Use lora."
        )
    if recipe.method is FineTuningMethod.PREFIX_TUNING and facts.kind != "decoder":
        raise ModelError(
            f"prefix_tuning needs a decoder, and {facts.folder} is an {facts.kind}: its attention "
            "takes no keys and values from outside. Use prompt_tuning or lora."
        )
    if recipe.method is FineTuningMethod.IA3:
        _ia3_targets(facts.architecture)
    if not started:
        _check_targets(facts.folder, recipe.lora_target_modules)
    _check_layers(facts, recipe)
    _check_modules_to_save(facts.folder, recipe.modules_to_save)


def _check_targets(folder: Path, targets: str | list[str] | None) -> None:
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


def _check_layers(facts: ModelFacts, recipe: Recipe) -> None:
    wanted = recipe.freeze_trainable_layers
    if wanted is None and not (recipe.unfreeze_steps or recipe.layer_learning_rate_decay):
        return
    layers = layer_count(facts)
    if wanted is not None and wanted > layers:
        raise ModelError(
            f"freeze_trainable_layers is {wanted} and {facts.folder} has {layers} layers. Lower "
            "it, or train every weight with method: full."
        )


def _check_modules_to_save(folder: Path, wanted: list[str] | None) -> None:
    there = module_names(folder)
    for name in wanted or ():
        if name.rpartition(".")[2] not in there:
            raise ModelError(
                f"modules_to_save names {name!r}, which this model does not have."
                f"{did_you_mean(name, there)} Its modules: "
                f"{', '.join(sorted(n for n in there if not n.isdigit()))}."
            )
