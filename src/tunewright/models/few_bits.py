"""Linear layers rounded to few bits: as if in training, and for good.

Both by torchao, with the same numbers: a model in training computes what it will compute once it is
quantized. Only the matrices of the layers are rounded; heads and embeddings are not. This module
does not know the training loop.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

from tunewright.config.quantization_aware import FewBits
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.errors import ConfigError, ModelError, unknown_name
from tunewright.models.input_settings import HEADS
from tunewright.models.inspect import ModelFacts
from tunewright.models.skeleton import skeleton

GROUP_SIZE = 32
"""Weights that share a scale by default, as in torchao."""


def check_quantization_aware(facts: ModelFacts, task: Task, recipe: Recipe) -> None:
    """Refuse training for few bits that cannot work. Loads no weights.

    Raises:
        ConfigError: torchao is not installed.
        ModelError: a layer cannot be cut into groups of this size.
    """
    if recipe.quantization_aware is not None:
        require_torchao("quantization_aware")
        require_groups(skeleton(facts, task), recipe.quantization_group_size or GROUP_SIZE)


def require_torchao(what: str) -> None:
    """Refuse where torchao is not installed.

    Raises:
        ConfigError: with the command that installs it.
    """
    if importlib.util.find_spec("torchao") is None:
        raise ConfigError(
            f"{what} needs torchao, which is not installed. Install with: pip install "
            "'tunewright[qat]', or remove it."
        )


def require_groups(model: Any, group_size: int) -> None:
    """Refuse layers that cannot be cut into groups.

    Raises:
        ModelError: names a layer and a size that works.
    """
    widths = {name: module.in_features for name, module in _layers(model)}
    if not widths:
        raise ModelError(
            f"{type(model).__name__} has no linear layers that could be rounded to few bits (GPT-2 "
            "has layers of its own kind)."
        )
    uneven = {name: width for name, width in widths.items() if width % group_size}
    if uneven:
        name, width = next(iter(uneven.items()))
        fit = [size for size in (8, 16, 32, 64, 128) if all(w % size == 0 for w in widths.values())]
        advice = f"Take groups of {fit[-1]}." if fit else "No size of 8 or more fits."
        raise ModelError(
            f"Layer {name} has {width} inputs, which groups of {group_size} do not divide. {advice}"
        )


def pretend_few_bits(model: Any, kind: FewBits, group_size: int | None = None) -> None:
    """Let the linear layers round in their forward pass; their weights stay as they are.

    A gradient passes through the rounding as if it were not there (straight-through estimator).
    Under a LoRA update the sum of weight and update is rounded.

    Args:
        model: changed in place. Its weights keep their names, and are the same tensors.
        kind: what is rounded, and to what.
        group_size: inputs that share a scale. Default: 32.
    """
    with _quiet_torchao():
        from torchao.quantization import quantize_
        from torchao.quantization.qat import QATConfig

        config = QATConfig(_config(kind, group_size or GROUP_SIZE), step="prepare")
        quantize_(model, config, filter_fn=_is_rounded)
        if hasattr(model, "peft_config"):
            from tunewright.models.few_bits_lora import round_merged

            round_merged(model)


def to_few_bits(model: Any, kind: FewBits, group_size: int | None = None) -> None:
    """Quantize the linear layers for good.

    On a CPU they are kept as 8-bit integers and computed in the model's dtype, so that this shows
    what rounding costs; it saves neither time nor, against 4 bits, memory.

    Args:
        model: changed in place; it can no longer be trained or saved. An adapter that can be merged
            into its base is.
        kind: what is rounded, and to what.
        group_size: inputs that share a scale. Default: 32.

    Raises:
        ModelError: the layers cannot be cut into such groups, or the model is an adapter that
            stands before its base.
    """
    require_torchao(f"Quantizing to {kind.value}")
    if getattr(model, "is_quantized", False):
        raise ModelError("The model is quantized already; score it as it is.")
    require_groups(model, group_size or GROUP_SIZE)
    _merge(model)
    with _quiet_torchao():
        from torchao.quantization import quantize_

        quantize_(model, _config(kind, group_size or GROUP_SIZE), filter_fn=_is_rounded)


def _merge(model: Any) -> None:
    """Add an adapter to the weights of its base, where it is one that can be added.

    Raises:
        ModelError: its vectors are no weights.
    """
    adapters = getattr(model, "peft_config", {})
    before = [config.peft_type.value for config in adapters.values() if config.is_prompt_learning]
    if before:
        raise ModelError(
            f"The model is a {before[0]} adapter, whose vectors stand before the base's layers and "
            "cannot be quantized with them. Methods full, partial, lora and ia3 can be scored in "
            "few bits."
        )
    if adapters:
        model.merge_adapter()


def quantize_for_scores(model: Any, kind: str, group_size: int | None = None) -> str:
    """Quantize a model that is to be scored; returns what a reader must know.

    Args:
        model: changed in place.
        kind: a name of `FewBits`.
        group_size: inputs that share a scale. Default: 32.

    Raises:
        ConfigError: there is no such kind.
        ModelError: the model cannot be quantized so.
    """
    if kind.lower() not in list(FewBits):
        raise ConfigError(unknown_name("kind of quantization", kind, [k.value for k in FewBits]))
    to_few_bits(model, FewBits(kind.lower()), group_size)
    return (
        f"The model was scored with its linear layers quantized to {kind.lower()}, in groups of "
        f"{group_size or GROUP_SIZE}; what it is compared with was not."
    )


def _config(kind: FewBits, group_size: int) -> Any:
    """torchao's configuration."""
    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    four_bits: Any = torch.int4  # type: ignore[attr-defined]  # PyTorch's stubs lack it
    groups = PerGroup(group_size)
    if kind is FewBits.INT4_WEIGHT:
        return IntxWeightOnlyConfig(weight_dtype=four_bits, granularity=groups)
    return Int8DynamicActivationIntxWeightConfig(weight_dtype=four_bits, weight_granularity=groups)


def _is_rounded(module: Any, name: str) -> bool:
    """Whether a module is a linear layer, and neither a head nor a factor of an update."""
    from torch import nn

    kept = (*HEADS, "lora_A", "lora_B")
    return isinstance(module, nn.Linear) and not any(f".{part}." in f".{name}." for part in kept)


def _layers(model: Any) -> list[tuple[str, Any]]:
    return [(name, m) for name, m in model.named_modules() if _is_rounded(m, name)]


@contextlib.contextmanager
def _quiet_torchao() -> Iterator[None]:
    """Silence what torchao says on import about kernels that are for other machines."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
