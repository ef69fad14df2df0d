"""The training recipe: everything that decides what a run does.

Keys carry the ecosystem's own names. A key left out is chosen later from the model, the data
and the machine (`tunewright.plan.settings`), with its reason; an explicit value is obeyed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
)

from tunewright.config.base import Strict
from tunewright.config.task import Task


class FineTuningMethod(StrEnum):
    """Which weights are trained."""

    FULL = "full"
    """Every weight."""
    LORA = "lora"
    """Low-rank updates beside frozen linear layers (arXiv 2106.09685)."""


def _yaml_no(value: Any) -> Any:
    """YAML reads a bare `no` as false; here it means the word."""
    return "no" if value is False else value


def _auto(value: Any) -> Any:
    """`auto` is what leaving the key out means."""
    return None if _lower(value) == "auto" else _lower(value)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Strategy = Annotated[Literal["no", "steps", "epoch"], BeforeValidator(_yaml_no)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _share_or_source(value: Any) -> float | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
        return float(value)
    raise ValueError("it must be a share of the rows (at least 0, below 1) or a source")


Part = Annotated[float | str, PlainValidator(_share_or_source)]


class DataConfig(Strict):
    """Where the rows come from and how they are read."""

    train: str | list[str]
    """A file, a folder (with train/validation/test parts or not), a catalogue name,
    `python-docs:MODULE,...`, or a list of these."""
    validation: Part = 0.1
    """Share of the training rows held out, or a source. 0 means none."""
    test: Part = 0.0
    """Share of the training rows held out for the final score, or a source. 0 means none."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column, such as {text: tweet, label: mood}. Detected where left out."""
    max_samples: PositiveInt | None = None
    """Keep at most this many training rows, chosen at random. Default: all."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """How prompts are laid out: `chat` uses the tokenizer's chat template, `plain` joins prompt
    and answer. `auto` takes `chat` where the tokenizer has a template."""
    truncation: Literal["error", "cut", "drop"] = "error"
    """What to do with rows longer than `max_length` tokens: refuse to start, cut their ends, or
    leave them out."""


class Recipe(Strict):
    """A training recipe. `None` means: chosen from model, data and machine, with a reason."""

    task: Annotated[Task | None, BeforeValidator(_auto)] = None
    """What to learn. `auto`, or left out, detects it from the columns."""
    model: str
    """The base: a catalogue name, a folder, or a hub id."""
    method: Annotated[FineTuningMethod | None, BeforeValidator(_lower)] = None
    """Which weights are trained: `full` or `lora`."""
    data: DataConfig
    """Where the rows come from."""
    output_dir: str = "runs/model"
    """Folder for the run: manifest, journal, checkpoints and the finished model."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random choice: split, order, initial weights, dropout."""

    num_train_epochs: PositiveFloat | None = None
    """Passes over the training rows."""
    max_steps: int = Field(default=-1, ge=-1)
    """Optimizer steps; -1 leaves it to `num_train_epochs`."""
    per_device_train_batch_size: PositiveInt | None = None
    """Rows in one forward pass on one device."""
    per_device_eval_batch_size: PositiveInt | None = None
    """Rows in one forward pass on one device when evaluating."""
    gradient_accumulation_steps: PositiveInt = 1
    """Forward passes summed into one optimizer step."""

    max_tokens_per_pass: PositiveInt | None = None
    """Tokens in one forward pass on one device, padding included. A batch with more is cut into
    several passes; the update stays the same."""

    learning_rate: PositiveFloat | None = None
    """Peak rate of AdamW."""
    head_learning_rate: PositiveFloat | None = None
    """Peak rate of a newly made classification head. Full tuning and LoRA on encoders only."""
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    """Shape of the rate after warmup."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps of linear warmup. Default: `warmup_ratio` of all steps."""
    warmup_ratio: Share = 0.1
    """Share of all steps spent in warmup when `warmup_steps` is not given."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay on matrices (biases and norms have none)."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Clip the global gradient norm to this; 0 turns clipping off."""
    label_smoothing: Share = 0.0
    """Share of the target spread over all classes. Classification only."""

    max_length: PositiveInt | None = None
    """Longest row in tokens."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Storage and arithmetic of the weights. bfloat16 keeps a float32 master of what is trained."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more work."""

    lora_r: PositiveInt | None = None
    """Rank of the update."""
    lora_alpha: PositiveFloat | None = None
    """Scale of the update is lora_alpha / lora_r."""
    lora_dropout: Share | None = None
    """Dropout on the update's input."""
    lora_target_modules: str | list[str] | None = None
    """Names of the layers that get an update, or `all-linear`."""

    evaluation_strategy: Strategy | None = Field(
        default=None, validation_alias=AliasChoices("evaluation_strategy", "eval_strategy")
    )
    """When to score the validation rows."""
    eval_steps: PositiveInt | None = None
    """Steps between scores with strategy `steps`."""
    save_strategy: Strategy | None = None
    """When to write a checkpoint."""
    save_steps: PositiveInt | None = None
    """Steps between checkpoints with strategy `steps`."""
    save_total_limit: PositiveInt = 2
    """Checkpoints kept besides the best one; older ones are removed."""
    load_best_model_at_end: bool | None = None
    """Finish with the weights of the best validation score."""
    metric_for_best_model: str | None = None
    """Metric that decides what is best. Default: the task's first metric."""
    early_stopping_patience: PositiveInt | None = None
    """Stop after this many scores without a new best. Default: never."""

    def contradictions(self) -> list[str]:
        """Options that exclude or miss one another."""
        faults = []
        for what, strategy, steps in (
            ("evaluation_strategy", self.evaluation_strategy, self.eval_steps),
            ("save_strategy", self.save_strategy, self.save_steps),
        ):
            name = "eval_steps" if what.startswith("eval") else "save_steps"
            if strategy == "steps" and steps is None:
                faults.append(f"{what} is 'steps' but {name} is missing; set {name}.")
            if strategy in ("no", "epoch") and steps is not None:
                faults.append(
                    f"{name} is {steps} but {what} is {strategy!r}; use {what}: steps or "
                    f"remove {name}."
                )
        if self.evaluation_strategy == "no":
            faults += [
                f"{name} needs validation scores but evaluation_strategy is 'no'; set it to "
                f"'epoch' or 'steps', or remove {name}."
                for name in (
                    "early_stopping_patience",
                    "load_best_model_at_end",
                    "metric_for_best_model",
                )
                if getattr(self, name)
            ]
        if self.load_best_model_at_end:
            faults += self._best_needs_matching_saves()
        if self.method == FineTuningMethod.FULL:
            faults += [
                f"{name} has no effect with method 'full'; remove it or use method: lora."
                for name in ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
                if getattr(self, name) is not None
            ]
        if self.max_steps == 0:
            faults.append("max_steps is 0; use -1 to train whole epochs, or a number of steps.")
        if self.num_train_epochs is not None and self.max_steps > 0:
            faults.append(
                f"num_train_epochs is {self.num_train_epochs:g} and max_steps is "
                f"{self.max_steps}; give only one of them."
            )
        return faults

    def _best_needs_matching_saves(self) -> list[str]:
        evaluate, save = self.evaluation_strategy, self.save_strategy
        if evaluate is None or save is None:
            return []
        if evaluate != save:
            return [
                f"load_best_model_at_end needs a checkpoint at each score, but evaluation_strategy "
                f"is {evaluate!r} and save_strategy is {save!r}; make them equal."
            ]
        both = evaluate == "steps" and self.save_steps and self.eval_steps
        if both and int(self.save_steps or 0) % int(self.eval_steps or 1):
            return [
                f"load_best_model_at_end needs save_steps ({self.save_steps}) to be a multiple "
                f"of eval_steps ({self.eval_steps})."
            ]
        return []
