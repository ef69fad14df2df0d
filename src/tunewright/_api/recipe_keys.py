"""Every key of a recipe that `FineTuningConfig` does not name by itself, with its type.

The meanings and the defaults are those of the recipe (`docs/recipe.md`). This module does not know
which keys exclude each other: the recipe says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from tunewright.config.optimization import Optimizer
from tunewright.config.quantization_aware import FewBits
from tunewright.config.watching import Tracker


@dataclass(kw_only=True)
class RecipeKeys:
    """Recipe keys by their own names. None leaves a key out, as a recipe may.

    Attributes:
        task: what to learn; detected where left out.
        max_tokens_per_pass: tokens in one forward pass, padding included.
        packing: rows of a pass in one sequence, without padding.
        temperature: of the loss of pairs of texts.
        pairs_per_row: of method `setfit`.
        doc_stride, max_answer_length: of answers in long texts.
        head_learning_rate: peak rate of a new head.
        lr_scheduler_type, warmup_ratio, decay_ratio: shape of the rate.
        optim: how gradients become updates.
        max_grad_norm: the gradient norm is clipped to it.
        label_smoothing, focal_gamma: shape of the loss of classes.
        dropout, neftune_noise_alpha, ema_decay, decay_to_start, l1_decay: against overfitting and
            forgetting.
        dtype, gradient_checkpointing: storage of the weights, and memory for work.
        use_rslora, use_dora, init_lora_weights, loraplus_lr_ratio, modules_to_save: of LoRA.
        bnb_4bit_quant_type, bnb_4bit_use_double_quant: of 4-bit weights.
        quantization_aware, quantization_group_size: training for use in few bits.
        num_virtual_tokens: of methods with virtual tokens, in place of `prefix_length` and
            `prompt_length`.
        freeze_trainable_layers, unfreeze_steps, layer_learning_rate_decay: which layers are
            trained, when, and how fast.
        save_total_limit, load_best_model_at_end, metric_for_best_model: which weights are kept.
        generation_metrics, generation_rows, generation_max_new_tokens: scores of written answers.
        reactions: what a run does about what it sees of itself.
        report_to: trackers.
        validation, test, mixing_limit, mixing_temperature, time_column, columns, max_samples,
            balance, augment, template, system, truncation: the recipe's keys below `data`.
    """

    task: str | None = None
    max_tokens_per_pass: int | None = None
    packing: bool | None = None
    temperature: float | None = None
    pairs_per_row: int | None = None
    doc_stride: int | None = None
    max_answer_length: int | None = None
    head_learning_rate: float | None = None
    lr_scheduler_type: Literal["linear", "cosine", "constant", "warmup_stable_decay"] | None = None
    warmup_ratio: float | None = None
    decay_ratio: float | None = None
    optim: Optimizer | str | None = None
    max_grad_norm: float | None = None
    label_smoothing: float | None = None
    focal_gamma: float | None = None
    dropout: float | None = None
    neftune_noise_alpha: float | None = None
    ema_decay: float | None = None
    decay_to_start: float | None = None
    l1_decay: float | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    gradient_checkpointing: bool | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    init_lora_weights: Literal["pissa"] | None = None
    loraplus_lr_ratio: float | None = None
    modules_to_save: Sequence[str] | None = None
    bnb_4bit_quant_type: Literal["nf4", "fp4"] | None = None
    bnb_4bit_use_double_quant: bool | None = None
    quantization_aware: FewBits | str | None = None
    quantization_group_size: int | None = None
    num_virtual_tokens: int | None = None
    freeze_trainable_layers: int | None = None
    unfreeze_steps: int | None = None
    layer_learning_rate_decay: float | None = None
    save_total_limit: int | None = None
    load_best_model_at_end: bool | None = None
    metric_for_best_model: str | None = None
    generation_metrics: Sequence[str] | str | None = None
    generation_rows: int | None = None
    generation_max_new_tokens: int | None = None
    reactions: Literal["act", "propose"] | None = None
    report_to: Sequence[Tracker | str] | str | None = None
    validation: float | str | None = None
    test: float | str | None = None
    mixing_limit: int | None = None
    mixing_temperature: float | None = None
    time_column: str | None = None
    columns: Mapping[str, str] | None = None
    max_samples: int | None = None
    balance: Literal["none", "weights", "oversample", "undersample"] | None = None
    augment: Mapping[str, Any] | None = None
    template: Literal["auto", "chat", "plain"] | None = None
    system: str | None = None
    truncation: Literal["error", "cut", "drop"] | None = None

    def given(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The keys that are set: those of the recipe itself, and those below `data`."""
        values = {f.name: getattr(self, f.name) for f in fields(RecipeKeys)}
        found = {key: _plain(value) for key, value in values.items() if value is not None}
        below = {key: found.pop(key) for key in _BELOW_DATA if key in found}
        return found, below


_BELOW_DATA = (
    "validation",
    "test",
    "mixing_limit",
    "mixing_temperature",
    "time_column",
    "columns",
    "max_samples",
    "balance",
    "augment",
    "template",
    "system",
    "truncation",
)


def _plain(value: Any) -> Any:
    """Any sequence as a list, any mapping as a dict: what a YAML file would give."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return value
