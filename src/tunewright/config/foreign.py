"""Settings of another toolkit on their way into a recipe: each is taken, or named with a reason.

What the toolkits share stands here: the names of transformers' training arguments. This module
knows recipes. It does not know one toolkit from another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tunewright.config.recipe import Recipe
from tunewright.config.watching import Tracker
from tunewright.errors import ConfigError

SHARED = {
    "learning_rate": "learning_rate",
    "num_train_epochs": "num_train_epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "per_device_train_batch_size",
    "per_device_eval_batch_size": "per_device_eval_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "weight_decay": "weight_decay",
    "warmup_ratio": "warmup_ratio",
    "warmup_steps": "warmup_steps",
    "max_grad_norm": "max_grad_norm",
    "label_smoothing_factor": "label_smoothing",
    "seed": "seed",
    "output_dir": "output_dir",
    "gradient_checkpointing": "gradient_checkpointing",
    "eval_strategy": "evaluation_strategy",
    "evaluation_strategy": "evaluation_strategy",
    "eval_steps": "eval_steps",
    "save_strategy": "save_strategy",
    "save_steps": "save_steps",
    "save_total_limit": "save_total_limit",
    "load_best_model_at_end": "load_best_model_at_end",
    "metric_for_best_model": "metric_for_best_model",
    "neftune_noise_alpha": "neftune_noise_alpha",
}
"""Training arguments of transformers, and what they are called here."""
LORA = {
    "lora_r": "lora_r",
    "lora_rank": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "use_rslora": "use_rslora",
    "peft_use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "peft_use_dora": "use_dora",
    "loraplus_lr_ratio": "loraplus_lr_ratio",
    "lora_modules_to_save": "modules_to_save",
}
QUANTIZED = {
    "bnb_4bit_quant_type": "bnb_4bit_quant_type",
    "quantization_type": "bnb_4bit_quant_type",
    "use_bnb_nested_quant": "bnb_4bit_use_double_quant",
    "double_quantization": "bnb_4bit_use_double_quant",
}

_OPTIMIZERS = {
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_hf": "adamw",
    "adamw_bnb_8bit": "adamw_8bit",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "adamw_8bit",
    "lion_8bit": "lion_8bit",
    "paged_lion_8bit": "lion_8bit",
}
"""Optimizers of transformers that are the same here; pages only move what they remember."""
_SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant_with_warmup": "constant",
}
_REASONS = {
    "logging_steps": "every step is in journal.jsonl",
    "do_train": "`tunewright train` trains",
    "do_eval": "`tunewright evaluate` scores",
    "overwrite_output_dir": "a folder that holds a run is never overwritten",
    "overwrite_cache": "nothing prepared is kept between runs",
    "preprocessing_num_workers": "rows are prepared in one pass",
    "dataset_num_proc": "rows are prepared in one pass",
    "dataloader_num_workers": "batches are made in the training process",
    "trust_remote_code": "code of a model or a data set is never run",
    "template": "the tokenizer's own chat template is used",
    "chat_template": "the tokenizer's own chat template is used",
    "predict_with_generate": "generation_metrics names what scores written answers",
    "eval_causal_lm_metrics": "generation_metrics names what scores written answers",
    "run_name": "a run has the name of its folder in trackers",
    "fp16": "numbers are float32 or bfloat16",
    "model_type": "the kind of model follows from its config.json",
    "tokenizer_type": "the tokenizer follows from the model's folder",
}
_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".arrow")
_BEST = ("load_best_model_at_end", "metric_for_best_model", "early_stopping_patience")
_DEFAULT_STEPS = 500
"""Of `save_steps`, and of `eval_steps` without `logging_steps`, in transformers."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A recipe made from the settings of another toolkit.

    Attributes:
        toolkit: whose they are.
        where: the file.
        recipe: keys that were set; `Recipe` loads them.
        taken: keys there to keys here.
        left_out: keys there that have no equivalent, with the reason.
    """

    toolkit: str
    where: str
    recipe: dict[str, Any]
    taken: dict[str, str]
    left_out: dict[str, str]

    def to_yaml(self) -> str:
        """The recipe as YAML, with what was left out in comments above it."""
        lines = [
            f"# From {self.where} ({self.toolkit}). What is not set here is chosen by Tunewright, "
            f"not by {self.toolkit}'s defaults."
        ]
        if self.left_out:
            lines.append("# Not taken over:")
            lines += [f"#   {key}: {why}" for key, why in self.left_out.items()]
        written = yaml.safe_dump(self.recipe, sort_keys=False, allow_unicode=True, width=100)
        return "\n".join(lines) + "\n" + written


@dataclass
class Foreign:
    """Settings of another toolkit, and what has become of each.

    Args:
        toolkit: whose they are.
        where: the file, for messages.
        values: as in the file.
    """

    toolkit: str
    where: str
    values: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def pop(self, key: str, to: str | None = None, default: Any = None) -> Any:
        """Take a value out of the file; `to` says what it becomes here, for the list."""
        if key not in self.values:
            return default
        if to is not None:
            self.taken[key] = to
        return self.values.pop(key)

    def leave(self, key: str, why: str) -> None:
        """Name a key that has no equivalent."""
        self.values.pop(key, None)
        self.taken.pop(key, None)
        self.left_out[key] = why

    def move(self, key: str, to: str, convert: Callable[[Any], Any] | None = None) -> None:
        """Set a key of the recipe from one of the file, where it is there and not empty.

        A value that the recipe refuses is left out, with what the recipe says.
        """
        value = self.values.get(key)
        if value is None or value == "":
            return
        value = convert(value) if convert else value
        parent, _, last = to.rpartition(".")
        try:
            checked = Recipe.check(_with(parent, last, value))
        except ConfigError as error:
            self.leave(key, _flat(error))
            return
        self.values.pop(key)
        self.taken[key] = to
        target = self.data if parent else self.recipe
        target[last] = getattr(checked.data if parent else checked, last)

    def move_shared(self) -> None:
        """Set what has the name that transformers gives it."""
        if (self.values.get("max_steps") or -1) == -1:
            self.pop("max_steps", "num_train_epochs")
        elif self.values.get("num_train_epochs") is not None:
            self.leave("num_train_epochs", "max_steps decides")
        schedule = self.values.get("lr_scheduler_type")
        if schedule in _SCHEDULES:
            self.move("lr_scheduler_type", "lr_scheduler_type", _SCHEDULES.__getitem__)
        elif schedule == "constant":
            self.move("lr_scheduler_type", "lr_scheduler_type")
            self.recipe["warmup_ratio"] = 0.0
            for key in ("warmup_ratio", "warmup_steps"):
                if key in self.values:
                    self.leave(key, "the schedule `constant` has no warmup in transformers")
        elif schedule is not None:
            self.leave("lr_scheduler_type", f"{schedule!r} is none of linear, cosine, constant")
        self._optimizer()
        self._trackers()
        self._fill_steps()
        for key, to in SHARED.items():
            self.move(key, to)
        if self.values.get("bf16") is True:
            self.move("bf16", "dtype", lambda _: "bfloat16")
        elif self.values.get("bf16") == "auto":
            self.leave("bf16", "the machine decides")

    def move_pissa(self, key: str) -> None:
        """Take over PiSSA, which is for a LoRA in float32 here."""
        values = self.values
        if any(values.get(bits) for bits in ("load_in_4bit", "load_in_8bit", "quantization_bit")):
            self.leave(key, "init_lora_weights: pissa is for a base that is not quantized")
        elif values.get("bf16") is True:
            self.leave(key, "init_lora_weights: pissa is for float32, and bf16 is set")
        else:
            self.move(key, "init_lora_weights", lambda _: "pissa")

    def _optimizer(self) -> None:
        """AdamW and Lion are the same everywhere; other optimizers differ between libraries."""
        for key in ("optim", "optimizer"):
            value = self.values.get(key)
            if value in _OPTIMIZERS:
                self.move(key, "optim", _OPTIMIZERS.__getitem__)
            elif value:
                self.leave(key, f"{value!r} is not the same here; optim has what there is")

    def _trackers(self) -> None:
        """Those that are there are taken, the others named."""
        named = self.values.get("report_to")
        listed = [named] if isinstance(named, str) else list(named or [])
        known = [name for name in listed if name in set(Tracker)]
        if known:
            self.values["report_to"] = known
            self.move("report_to", "report_to")
        others = [str(name) for name in listed if name not in (*known, "none")]
        if others:
            self.left_out["report_to"] = f"{', '.join(others)} cannot be reported to"
        elif not known:
            self.pop("report_to", "report_to")

    def _fill_steps(self) -> None:
        """Strategies need steps here, and steps a strategy; transformers has defaults for both."""
        evaluation = "eval_strategy" if "eval_strategy" in self.values else "evaluation_strategy"
        if self.values.get("eval_steps") is not None and not self.values.get(evaluation):
            self.leave("eval_steps", "without eval_strategy nothing is scored in transformers")
        if self.values.get(evaluation) == "steps":
            logged = self.values.get("logging_steps")
            self.values.setdefault("eval_steps", logged or _DEFAULT_STEPS)
        if self.values.get("save_strategy") == "steps":
            self.values.setdefault("save_steps", _DEFAULT_STEPS)
        elif self.values.get("save_steps") is not None and not self.values.get("save_strategy"):
            self.values["save_strategy"] = "steps"
        for strategy, steps in ((evaluation, "eval_steps"), ("save_strategy", "save_steps")):
            count = self.values.get(steps)
            if self.values.get(strategy) != "steps" and count is not None:
                self.leave(steps, f"{strategy} is not `steps`")
            elif isinstance(count, float) and count < 1:
                self.leave(steps, "a share of all steps; give a number")
                self.leave(strategy, f"{steps} is a share of all steps")

    def set_method(self, lora: bool) -> None:
        """Choose full tuning, LoRA or QLoRA, with their keys.

        Args:
            lora: whether an adapter is trained. On a base that is loaded in 4 or 8 bits it is
                QLoRA here, however the file calls it.
        """
        bits = self._bits() if lora else None
        self.recipe["method"] = ("qlora" if bits else "lora") if lora else "full"
        if bits:
            self.recipe["quantization_bits"] = bits
        for keys, there in ((LORA, lora), (QUANTIZED, bits == 4)):
            for key, to in keys.items():
                if there:
                    self.move(key, to)
                elif self.values.get(key):
                    self.leave(key, "no adapter is trained" if not lora else "for a base in 4 bits")

    def _bits(self) -> int | None:
        for bits in (4, 8):
            if self.values.get(f"load_in_{bits}bit"):
                self.pop(f"load_in_{bits}bit", "quantization_bits")
                return bits
        if self.values.get("quantization_bit") in (4, 8):
            return int(self.pop("quantization_bit", "quantization_bits"))
        return None

    def set_sources(self, sources: list[Any], columns: Sequence[Mapping[str, str]]) -> None:
        """Set the training rows, and the columns where all sources have the same.

        Raises:
            ConfigError: there is no source.
        """
        if not sources:
            reasons = "; ".join(f"{key}: {why}" for key, why in self.left_out.items())
            raise ConfigError(f"No source of rows could be taken over. {reasons}", self.where)
        self.data["train"] = sources[0] if sources == [str(sources[0])] else sources
        if all(mapping == columns[0] for mapping in columns):
            self.data["columns"] = dict(columns[0])
        else:
            self.left_out["columns"] = (
                "the sources name their columns differently, and a recipe has one mapping; rename "
                f"them: {', '.join(map(str, columns))}"
            )

    def finish(self) -> Imported:
        """Name every key that is left, and hold the recipe to its own rules.

        Raises:
            ConfigError: the settings contradict one another.
        """
        for key, value in self.values.items():
            off = value is None or value is False or value == ""
            self.left_out.setdefault(key, "off" if off else _REASONS.get(key, "no equivalent"))
        self.data = {key: value for key, value in self.data.items() if value not in ({}, None)}
        while True:
            try:
                checked = Recipe.check(self.recipe | {"data": self.data}, self.where)
                break
            except ConfigError as error:
                named = [k for k in _BEST if k in self.recipe and any(k in f for f in error.faults)]
                if not named:
                    raise
                del self.recipe[named[0]]
                there = next((k for k, to in self.taken.items() if to == named[0]), named[0])
                self.leave(there, _flat(error))
        made = checked.model_dump(mode="json", exclude_unset=True)
        return Imported(self.toolkit, self.where, made, self.taken, self.left_out)


def share_or_none(settings: Foreign, key: str) -> None:
    """Take the share of rows that is held out; a number of rows has no equivalent."""
    value = settings.values.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1:
        settings.leave(key, f"{value:g} rows; a recipe takes a share of the rows or a source")
    else:
        settings.move(key, "data.validation")


def is_local(place: str) -> bool:
    """Whether a place is a file or a folder here, not a hub id."""
    path = Path(place).expanduser()
    named = path.suffix.lower() in _FILES or place.startswith((".", "/", "~"))
    return bool(place) and (named or path.exists())


def hub_source(name: str, config: Any = None, split: Any = None) -> str:
    """A hub id as a source here; of the split `train`, the other parts may be held out."""
    chosen = f"[{split}]" if split not in (None, "", "train") else ""
    return f"{name}{f':{config}' if config else ''}{chosen}"


def entries(settings: Foreign, key: str, value: Any) -> list[dict[str, Any]]:
    """A list of data sets, each with keys.

    Raises:
        ConfigError: it is not one.
    """
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ConfigError(
            f"{key} is {value!r}; a list of data sets with `path` is expected.", settings.where
        )
    return [dict(entry) for entry in value]


def _with(parent: str, key: str, value: Any) -> dict[str, Any]:
    """The smallest recipe with one key set."""
    base: dict[str, Any] = {"model": "x", "data": {"train": "x"}}
    if parent:
        base["data"][key] = value
    else:
        base[key] = value
    for strategy, steps in (("evaluation_strategy", "eval_steps"), ("save_strategy", "save_steps")):
        if key == strategy and value == "steps":
            base[steps] = 1
    return base


def _flat(error: ConfigError) -> str:
    return " ".join(" ".join(error.faults).split())
