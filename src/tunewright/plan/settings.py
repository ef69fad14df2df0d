"""Settings that a recipe leaves open, chosen from the model, the data and the machine.

Every choice comes with its reason in one sentence; an explicit value is obeyed and gets none.
This module knows rules. It does not know how the loop works.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewright.config.optimization import Optimizer
from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.errors import ConfigError
from tunewright.models.inspect import ModelFacts
from tunewright.plan.machine import Machine
from tunewright.plan.setfit import choose_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_BY_DEFAULT = 1024
"""Tokens; longer rows need an explicit max_length, because memory grows with them."""
_MANY_ROWS = 20_000
_UPDATES, _MOST_EPOCHS = 300, 20
"""Updates that a new head gets where rows are few, and passes over the rows for them at most."""
_VIRTUAL_RATE = 1e-2
_IA3_RATE = 3e-3
"""The papers' own rates (arXiv 2104.08691 takes 0.3 with another optimizer; 2205.05638, 3e-3)."""
_BEYOND = {True: "longer ones are read in windows", False: "above {limit:,} only on request"}
"""What becomes of rows that are longer than `max_length`: of those with windows, and of others."""
_WINDOW, _STRIDE, _SHORT_ANSWER = 384, 128, 30
"""Tokens of a window, shared by two, and of an answer at most (arXiv 1810.04805's code)."""
_TEMPERATURE = 0.05
"""As in sentence-transformers (a scale of 20) and SimCSE (arXiv 2104.08821)."""
_PROMPT_ENCODER_RATE = 1e-3
"""That of PEFT's documentation of P-tuning."""
_T5 = ("t5", "mt5", "umt5", "longt5")
"""Trained at high rates; the transformers documentation of T5 gives 1e-4 to 3e-4 for AdamW."""
_NARROW, _WIDE = 256, 512
"""Widths of layers. Below the first, calls cost more than products; below the second, speed is not
worth digits where those count."""
_FINE = (Task.REGRESSION, Task.EMBEDDING, Task.QUESTION_ANSWERING)
"""Tasks whose scores follow from small differences: numbers, cosines, the best of many spans."""
_ROWS_TO_TELL_EPOCHS_APART = 400
"""With fewer, the 95 % interval of an accuracy of 0.8 is wider than 8 points, and the best of
several scores is mostly the luckiest."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A recipe with nothing left open, and why each open setting got its value."""

    recipe: Recipe
    reasons: dict[str, str]


def choose_settings(
    recipe: Recipe,
    facts: ModelFacts,
    task: Task,
    lengths: Sequence[int] | NDArray[np.uint32],
    machine: Machine,
    *,
    longest: int = 0,
    validation_rows: int = 0,
    longest_answer: int = 0,
    setfit: str | None = None,
) -> Settings:
    """Fill every open setting of a recipe.

    Args:
        recipe: as the user wrote it.
        facts: of the base.
        task: of the data.
        lengths: tokens of each training row, special tokens included.
        machine: where it will run.
        longest: tokens of the longest row that is held out.
        validation_rows: rows that are scored during training.
        longest_answer: tokens of the longest training answer that stands in a text.
        setfit: why SetFit is the method where the recipe leaves it open (`why_setfit`).

    Raises:
        ConfigError: explicit values contradict the model, the data or the machine.
    """
    choice = Choices(recipe)
    small = facts.parameters < 500e6
    proposed = (FineTuningMethod.SETFIT, setfit) if setfit else _method(facts, recipe)
    method = choice.set("method", *proposed)
    if recipe.init_lora_weights == "pissa":
        choice.set("dtype", "float32", "bfloat16 would round what PiSSA takes out of the base")
    choice.set("dtype", *_dtype(facts, task, machine))
    if recipe.lr_scheduler_type == "warmup_stable_decay":
        choice.set("decay_ratio", 0.2, "a fifth of the steps is enough to cool down")
    _rates(choice, facts, task, method, len(lengths))
    by_pairs = method is FineTuningMethod.SETFIT
    if by_pairs:
        choose_pairs(choice, len(lengths))
    # Plain texts are split, whatever their length; `lengths` has their pieces.
    of_all = int(np.max(lengths))
    longest = of_all if task is Task.TEXT else max(longest, of_all)
    virtual = choice.values.get("num_virtual_tokens", recipe.num_virtual_tokens) or 0
    room = facts.max_length - virtual
    windows = task is Task.QUESTION_ANSWERING
    limit = min(room, _WINDOW if windows else _LONGEST_BY_DEFAULT)
    choice.set(
        "max_length",
        min(limit, longest),
        f"the longest row has {longest:,} tokens"
        + (f"; {_BEYOND[windows]}" if longest > limit else "").format(limit=limit),
    )
    if room < 2:
        choice.faults.append(
            f"num_virtual_tokens is {virtual} but the model takes at most {facts.max_length} "
            "tokens, virtual ones too; lower it."
        )
    elif recipe.max_length is not None and recipe.max_length > room:
        beside = f" beside {virtual} virtual ones" if virtual else ""
        choice.faults.append(
            f"max_length is {recipe.max_length} but the model takes at most {room} "
            f"tokens{beside}; lower it."
        )
    if task is Task.EMBEDDING or by_pairs:
        choice.set("temperature", _TEMPERATURE, "cosines of 0 to 1 become logits of 0 to 20")
    elif recipe.temperature is not None:
        choice.faults.append(
            f"temperature has no effect with task {task.value!r}; it is for embeddings and method "
            "setfit. Remove it."
        )
    _windows(choice, task, longest_answer)
    if not by_pairs:
        batch = _batch_size(len(lengths), task)
        taken = choice.set(
            "per_device_train_batch_size",
            batch,
            f"{len(lengths):,} rows give {max(1, len(lengths) // batch):,} updates an epoch",
        )
        if choice.open("num_train_epochs") and recipe.max_steps == -1:
            _epochs(choice, len(lengths), taken * recipe.gradient_accumulation_steps, task)
    if machine.device == "cpu" and (task is Task.EMBEDDING or by_pairs):
        choice.set("max_tokens_per_pass", 4096, "texts of a step that is cut are run through twice")
    elif machine.device == "cpu":
        choice.set("max_tokens_per_pass", 1024, "more would cost memory and gain no speed on a CPU")
    choice.set(
        "per_device_eval_batch_size",
        8 if task.is_generative else 64,
        "no gradients are kept" if small else "memory",
    )
    _strategies(choice, recipe, validation_rows)
    if recipe.packing and not (task.is_generative and facts.kind == "decoder"):
        choice.faults.append(
            f"packing is for decoders that learn instruction or text; this is task {task.value!r} "
            f"with a base of kind {facts.kind!r}. Remove it: batches hold rows of like length."
        )
    resolved = recipe.model_copy(update={**choice.values, "task": task})
    if recipe.method is None:  # what the chosen method has no use for was not seen before
        choice.faults += resolved.contradictions()
    if choice.faults:
        raise ConfigError(choice.faults)
    return Settings(resolved, choice.reasons)


class Choices:
    """Values for open keys, with reasons; explicit values stay."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}
        self.faults: list[str] = []

    def open(self, key: str) -> bool:
        return getattr(self.recipe, key) is None

    def set(self, key: str, value: Any, reason: str) -> Any:
        """Choose `value` when the key is open; return the value that holds."""
        if not self.open(key):
            return getattr(self.recipe, key)
        self.values[key] = value
        self.reasons[key] = reason
        return value


def _method(facts: ModelFacts, recipe: Recipe) -> tuple[FineTuningMethod, str]:
    millions = facts.parameters / 1e6
    if facts.kind == "encoder" or millions < 100:
        return FineTuningMethod.FULL, f"{millions:.0f}M parameters: every weight fits in training"
    return (
        FineTuningMethod.LORA,
        f"{millions:.0f}M parameters: an adapter needs a fraction of the memory and, on all linear "
        "layers, matches full tuning on small data",
    )


def _dtype(facts: ModelFacts, task: Task, machine: Machine) -> tuple[str, str]:
    width = facts.hidden_size
    if machine.device == "cpu" and width < _NARROW:
        return "float32", f"layers of width {width} gain nothing from bfloat16 on a CPU"
    if width < _WIDE and task in _FINE:
        return "float32", f"a small model, and {task.value} needs more than three digits"
    gain = (
        f"bfloat16 matrix products of width {width} are {machine.bfloat16_gain:.1f}x as fast as "
        "float32 ones here"
    )
    if machine.bfloat16_gain > 1.3:
        return "bfloat16", gain + "; what is trained keeps float32 masters"
    return "float32", gain


def _rates(
    choice: Choices, facts: ModelFacts, task: Task, method: FineTuningMethod, rows: int
) -> None:
    size = facts.parameters
    if task.is_generative:
        full_rate = 5e-5 if size < 500e6 else 2e-5 if size < 3e9 else 1e-5
        if facts.architecture in _T5:
            full_rate = 1e-4
    else:
        full_rate = 1e-4 if size < 50e6 else 5e-5 if size < 200e6 else 2e-5
    if method.is_lora:
        choice.set("lora_r", 16, "a middle rank; the rate matters more")
        choice.set(
            "lora_alpha", 2.0 * (choice.recipe.lora_r or choice.values["lora_r"]), "twice the rank"
        )
        choice.set("lora_dropout", 0.0, "early stopping and few weights regularise enough")
        choice.set("lora_target_modules", "all-linear", "all linear layers match full tuning")
        rate, reason = 10 * full_rate, "LoRA wants about ten times the rate of full tuning"
        if method is FineTuningMethod.QLORA:
            _quantized(choice)
    elif method.has_virtual_tokens:
        choice.set("num_virtual_tokens", 20, "more cost speed and room in the window")
        rate, reason = _VIRTUAL_RATE, "a few vectors must move far"
        if method is FineTuningMethod.P_TUNING:
            rate, reason = _PROMPT_ENCODER_RATE, "a small network makes the vectors"
    elif method is FineTuningMethod.IA3:
        rate, reason = _IA3_RATE, "a few scales must move far"
    elif method is FineTuningMethod.PARTIAL:
        choice.set(
            "freeze_trainable_layers",
            max(1, math.ceil(facts.layers / 4)),
            "a quarter of the layers reaches nine tenths of what all reach (arXiv 1911.03090)",
        )
        rate, reason = full_rate, f"the rate of full tuning of {size / 1e6:.0f}M parameters"
    else:
        rate, reason = full_rate, f"full tuning of {size / 1e6:.0f}M parameters"
    if choice.recipe.optim is Optimizer.LION_8BIT:
        rate, reason = rate / 5, f"{reason}; Lion wants a third to a tenth of AdamW's"
    rate = choice.set("learning_rate", rate, reason)
    if method is FineTuningMethod.SETFIT:
        return  # its head is no part of what the loop trains
    if task.has_new_head:
        head = max(rate, 10 * full_rate)
        choice.set("head_learning_rate", head, "the head starts from nothing")
    elif choice.recipe.head_learning_rate is not None:
        choice.faults.append(
            f"head_learning_rate has no effect with task {task.value!r}: no head is new; remove it."
        )
    if choice.recipe.focal_gamma and task not in (Task.CLASSIFICATION, Task.MULTILABEL):
        choice.faults.append(
            f"focal_gamma has no effect with task {task.value!r}; it is for classes and label "
            "sets. Remove it."
        )
    if task is not Task.CLASSIFICATION:
        if choice.recipe.label_smoothing:
            choice.faults.append("label_smoothing works with task: classification only; remove it.")
    elif choice.recipe.focal_gamma:
        choice.set("label_smoothing", 0.0, "the focal loss already keeps a model modest")
    elif rows < _MANY_ROWS:
        choice.set("label_smoothing", 0.1, "few rows make a model too sure of itself")
    else:
        choice.set("label_smoothing", 0.0, f"{rows:,} training rows keep a model modest")


def _windows(choice: Choices, task: Task, longest_answer: int) -> None:
    """How long texts are read, and how long an answer may be."""
    if task is not Task.QUESTION_ANSWERING:
        choice.faults += [
            f"{name} has no effect with task {task.value!r}; it is for question_answering. Remove "
            "it."
            for name in ("doc_stride", "max_answer_length")
            if not choice.open(name)
        ]
        return
    length = choice.values.get("max_length", choice.recipe.max_length) or 0
    shared = min(_STRIDE, length // 3)
    choice.set("doc_stride", shared, "an answer at the end of a window is whole in the next one")
    choice.set(
        "max_answer_length",
        max(_SHORT_ANSWER, longest_answer),
        f"the longest training answer has {longest_answer:,} tokens",
    )


def _quantized(choice: Choices) -> None:
    bits = choice.set("quantization_bits", 4, "a quarter of the memory of 16 bits")
    if bits == 4:
        choice.set("bnb_4bit_quant_type", "nf4", "weights are spread like a normal distribution")
        choice.set("bnb_4bit_use_double_quant", True, "0.4 bits a weight less at no measured loss")


def _epochs(choice: Choices, rows: int, batch: int, task: Task) -> None:
    """Three passes; more where a new head would see few updates (arXiv 2006.04884, section 6)."""
    if rows >= _MANY_ROWS:
        choice.set("num_train_epochs", 1.0, f"{rows:,} training rows")
        return
    an_epoch = -(-rows // batch)
    epochs = min(_MOST_EPOCHS, -(-_UPDATES // an_epoch)) if task.has_new_head else 0
    if epochs > 3:
        why = f"a new head needs {_UPDATES} updates or so, and an epoch has {an_epoch:,}"
        choice.set("num_train_epochs", float(epochs), why)
    else:
        choice.set("num_train_epochs", 3.0, f"{rows:,} training rows")


def _batch_size(rows: int, task: Task) -> int:
    if task.is_generative:
        return 8 if rows >= 1000 else 4
    if task is Task.EMBEDDING:  # the other rows of a step are what a row is told apart from
        return 64 if rows >= 2000 else 32 if rows >= 200 else 16
    return 32 if rows >= 1000 else 16 if rows >= 200 else 8


def _strategies(choice: Choices, recipe: Recipe, validation_rows: int) -> None:
    has_validation = validation_rows > 0
    if recipe.evaluation_strategy is None:
        if recipe.eval_steps is not None:
            choice.set("evaluation_strategy", "steps", "eval_steps is given")
        elif has_validation:
            choice.set("evaluation_strategy", "epoch", "a score after each pass shows overfitting")
        else:
            choice.set("evaluation_strategy", "no", "there are no validation rows")
    evaluate = choice.values.get("evaluation_strategy", recipe.evaluation_strategy)
    if evaluate != "no" and not has_validation:
        choice.faults.append(
            f"evaluation_strategy is {evaluate!r} but there are no validation rows; set "
            "data.validation, or evaluation_strategy: no."
        )
    if not has_validation:
        choice.faults += [
            f"{name} needs validation rows but there are none; hold some out, such as "
            "data.validation=0.1."
            for name in ("early_stopping_patience", "load_best_model_at_end", "generation_metrics")
            if getattr(recipe, name)
        ]
    if recipe.save_strategy is None:
        if recipe.save_steps is not None:
            choice.set("save_strategy", "steps", "save_steps is given")
        elif evaluate == "steps":
            choice.set("save_strategy", "steps", "a checkpoint at each score")
            choice.set("save_steps", recipe.eval_steps, "a checkpoint at each score")
        else:
            choice.set("save_strategy", "epoch", "a run that is stopped loses one epoch at most")
    save = choice.values.get("save_strategy", recipe.save_strategy)
    saved_at_scores = evaluate == save and (
        save == "epoch" or (save == "steps" and _save_steps(choice) % (recipe.eval_steps or 1) == 0)
    )
    if not (has_validation and saved_at_scores):
        best, reason = False, "scores have no checkpoints" if has_validation else "no scores"
    elif recipe.early_stopping_patience is not None:
        best, reason = True, "stopping early leaves the weights past their best"
    elif validation_rows < _ROWS_TO_TELL_EPOCHS_APART:
        best, reason = (
            False,
            (
                f"{validation_rows} validation rows cannot tell epochs apart; the last weights, "
                "when the rate has decayed, are the better bet"
            ),
        )
    else:
        best, reason = True, f"{validation_rows:,} validation rows can tell epochs apart"
    choice.set("load_best_model_at_end", best, reason)


def _save_steps(choice: Choices) -> int:
    return int(choice.recipe.save_steps or choice.values.get("save_steps") or 1)
