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
    PositiveFloat,
    PositiveInt,
)

from tunewright.config.answer_spans import AnswerKeys
from tunewright.config.data_keys import DataConfig
from tunewright.config.generation import GenerationKeys
from tunewright.config.learning_pairs import PairKeys
from tunewright.config.optimization import Optimization, Optimizer
from tunewright.config.quantization_aware import QuantizationAwareKeys
from tunewright.config.regularization import Regularization
from tunewright.config.task import Task
from tunewright.config.trained_weights import TrainedWeights
from tunewright.config.watching import WatchingKeys


class FineTuningMethod(StrEnum):
    """Which weights are trained."""

    FULL = "full"
    """Every weight."""
    PARTIAL = "partial"
    """The last layers and what stands behind them, the head included (arXiv 1911.03090)."""
    LORA = "lora"
    """Low-rank updates beside frozen linear layers (arXiv 2106.09685)."""
    QLORA = "qlora"
    """LoRA beside linear layers that are kept in 4 or 8 bits (arXiv 2305.14314)."""
    PREFIX_TUNING = "prefix_tuning"
    """Trained keys and values before those of every attention layer (arXiv 2101.00190)."""
    PROMPT_TUNING = "prompt_tuning"
    """Trained embeddings before those of the input (arXiv 2104.08691)."""
    P_TUNING = "p_tuning"
    """The same embeddings made by a small trained network (arXiv 2103.10385)."""
    IA3 = "ia3"
    """Trained scales of keys, values and inner activations (arXiv 2205.05638)."""
    SETFIT = "setfit"
    """Every weight, by pairs of rows of one label and of two; then a logistic regression on what
    came out is the head (arXiv 2209.11055)."""

    @property
    def trains_base(self) -> bool:
        """Whether weights of the base itself are changed: the whole model is the result."""
        return self in (
            FineTuningMethod.FULL,
            FineTuningMethod.PARTIAL,
            FineTuningMethod.SETFIT,
        )

    @property
    def is_lora(self) -> bool:
        """Whether low-rank updates are trained."""
        return self in (FineTuningMethod.LORA, FineTuningMethod.QLORA)

    @property
    def has_virtual_tokens(self) -> bool:
        """Whether trained vectors stand before the input."""
        return self in (
            FineTuningMethod.PREFIX_TUNING,
            FineTuningMethod.PROMPT_TUNING,
            FineTuningMethod.P_TUNING,
        )


def _yaml_no(value: Any) -> Any:
    """YAML reads a bare `no` as false; here it means the word."""
    return "no" if value is False else value


def _auto(value: Any) -> Any:
    """`auto` is what leaving the key out means."""
    return None if _lower(value) == "auto" else _lower(value)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Share = Annotated[float, Field(ge=0, lt=1)]
Strategy = Annotated[Literal["no", "steps", "epoch"], BeforeValidator(_yaml_no)]


class Recipe(
    TrainedWeights,
    Regularization,
    Optimization,
    QuantizationAwareKeys,
    PairKeys,
    AnswerKeys,
    GenerationKeys,
    WatchingKeys,
):
    """A training recipe. `None` means: chosen from model, data and machine, with a reason."""

    task: Annotated[Task | None, BeforeValidator(_auto)] = None
    """What to learn. `auto`, or left out, detects it from the columns."""
    model: str
    """The base: a catalogue name, a folder, or a hub id; or the folder of an adapter, which is then
    trained further."""
    method: Annotated[FineTuningMethod | None, BeforeValidator(_lower)] = None
    """Which weights are trained: `full`, `partial`, `lora`, `qlora`, `prefix_tuning`,
    `prompt_tuning`, `p_tuning`, `ia3` or `setfit`."""
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
    packing: bool = False
    """Put the rows of a pass behind one another in one sequence, so that none is padded. No row
    sees another, and the update stays the same. Decoders that learn `instruction` or `text`."""

    learning_rate: PositiveFloat | None = None
    """Peak rate of the optimizer."""
    head_learning_rate: PositiveFloat | None = None
    """Peak rate of a newly made classification head."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "warmup_stable_decay"] = "linear"
    """Shape of the rate after warmup."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps of linear warmup. Default: `warmup_ratio` of all steps."""
    warmup_ratio: Share = 0.1
    """Share of all steps spent in warmup when `warmup_steps` is not given."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay on matrices (biases and norms have none)."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Clip the global gradient norm to this; 0 turns clipping off."""
    label_smoothing: Share | None = None
    """Share of the target spread over all classes (arXiv 1906.02629). Classification only."""

    max_length: PositiveInt | None = None
    """Longest row in tokens; of an encoder-decoder model, longest source and longest target."""
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
    use_rslora: bool = False
    """Scale the update by lora_alpha / sqrt(lora_r) instead of lora_alpha / lora_r, so that high
    ranks learn as fast as low ones (arXiv 2312.03732)."""
    use_dora: bool = False
    """Train the length of each weight column apart from its direction (arXiv 2402.09353)."""

    quantization_bits: Literal[4, 8] | None = None
    """Bits of the frozen linear weights. Method `qlora` only."""
    bnb_4bit_quant_type: Literal["nf4", "fp4"] | None = None
    """Numbers of 4 bits: quantiles of a normal distribution, or floats."""
    bnb_4bit_use_double_quant: bool | None = None
    """Quantize the scales of 4-bit blocks too: 0.4 bits a weight less."""
    num_virtual_tokens: PositiveInt | None = None
    """Trained vectors before the input. Methods `prefix_tuning`, `prompt_tuning` and `p_tuning`."""

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
        faults = self.data.contradictions()
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
                    "generation_metrics",
                )
                if getattr(self, name)
            ]
        if self.load_best_model_at_end:
            faults += self._best_needs_matching_saves()
        faults += self._without_effect() + self.misplaced_regularizers(self.method)
        faults += self.misplaced_quantization(self.method)
        faults += self._excluded()
        if self.max_steps == 0:
            faults.append("max_steps is 0; use -1 to train whole epochs, or a number of steps.")
        if self.num_train_epochs is not None and self.max_steps > 0:
            faults.append(
                f"num_train_epochs is {self.num_train_epochs:g} and max_steps is "
                f"{self.max_steps}; give only one of them."
            )
        return faults

    def _without_effect(self) -> list[str]:
        """Settings of another method than the chosen one."""
        method = self.method
        if method is None:
            return []
        lora = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
        settings: tuple[tuple[tuple[str, ...], bool, str], ...] = (
            ((*lora, "use_rslora", "use_dora"), method.is_lora, "lora or qlora"),
            (
                ("quantization_bits", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"),
                method is FineTuningMethod.QLORA,
                "qlora",
            ),
            (
                ("num_virtual_tokens",),
                method.has_virtual_tokens,
                "prefix_tuning, prompt_tuning or p_tuning",
            ),
            (("pairs_per_row",), method is FineTuningMethod.SETFIT, "setfit"),
            (
                ("head_learning_rate", "label_smoothing", "focal_gamma"),
                method is not FineTuningMethod.SETFIT,
                "full",
            ),
        )
        faults = [
            f"{name} has no effect with method {method.value!r}; remove it or use method: {others}."
            for names, used, others in settings
            for name in names
            if not used and getattr(self, name) not in (None, False)
        ]
        faults += self.misplaced_weights(method)
        if self.quantization_bits == 8:
            faults += [
                f"{name} is for 4 bits and quantization_bits is 8; remove it."
                for name in ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
                if getattr(self, name) is not None
            ]
        if method is FineTuningMethod.PREFIX_TUNING and self.gradient_checkpointing:
            faults.append(
                "gradient_checkpointing does not work with method 'prefix_tuning': its keys and "
                "values would be lost in the recomputation; remove it."
            )
        return faults

    def _excluded(self) -> list[str]:
        """Settings that a setting of another kind excludes or needs."""
        cases = (
            (
                self.decay_ratio is not None and self.lr_scheduler_type != "warmup_stable_decay",
                "decay_ratio has no effect with lr_scheduler_type "
                f"{self.lr_scheduler_type!r}; remove it or use warmup_stable_decay.",
            ),
            (
                bool(self.focal_gamma and self.label_smoothing),
                "focal_gamma and label_smoothing pull in opposite ways; give only one of them.",
            ),
            (
                self.init_lora_weights == "pissa" and self.use_dora,
                "use_dora does not work with init_lora_weights 'pissa', whose result is written as "
                "a plain LoRA; remove one of them.",
            ),
            (
                self.init_lora_weights == "pissa" and self.dtype == "bfloat16",
                "init_lora_weights 'pissa' takes its directions out of the base, which bfloat16 "
                "would round; use dtype: float32 or remove it.",
            ),
            (
                bool(self.quantization_aware and (self.use_dora or self.lora_dropout)),
                "quantization_aware rounds the sum of weight and update, which use_dora and "
                "lora_dropout do not have in training; remove them.",
            ),
            (
                self.packing and self.method is not None and self.method.has_virtual_tokens,
                f"packing does not work with method {self.method}, whose virtual tokens stand "
                "before a whole sequence; remove one of them.",
            ),
            (
                self.packing and self.neftune_noise_alpha is not None,
                "neftune_noise_alpha depends on the length of a row, which packing hides; remove "
                "one of them.",
            ),
            (
                self.optim is Optimizer.MUON
                and self.method is not None
                and not self.method.trains_base,
                f"optim 'muon' is for the matrices of a base and method is {self.method}; use "
                "another optim, or method: full or partial.",
            ),
        )
        return [fault for wrong, fault in cases if wrong]

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
