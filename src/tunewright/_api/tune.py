"""Fine-tuning: `FineTuner` and its functions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tunewright import pipeline
from tunewright._api.collect import enum_member
from tunewright._api.recipe_keys import RecipeKeys
from tunewright._api.rows import to_splits
from tunewright.artifacts import Artifact
from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.data.records import Splits
from tunewright.errors import ArtifactError, ConfigError
from tunewright.models.inspect import is_adapter
from tunewright.train.folder import RunResult
from tunewright.train.loop import STOP_FILE
from tunewright.train.prepare import Prepared

CONFIG_FILE = "fine_tuning_config.json"
ARGUMENTS_FILE = "training_args.json"
_RUN_FILES = ("manifest.json", "journal.jsonl", "audit.json", "trackers.json")
"""What tells of the run and not of the model."""


@dataclass
class FineTuningConfig(RecipeKeys):
    """What to tune, on what, and how.

    A setting of None is chosen from the model, the data and the machine; `FineTuner.reasons` says
    why. Everything else is obeyed as given. Every other key of a recipe is a field by its own name
    (`RecipeKeys`), to be given by keyword.

    Attributes:
        model_path: catalogue name, folder or hub id of the base; or the folder of an adapter, which
            is trained further: it decides the method and the `lora_` settings that are left alone.
        output_dir: folder of the run.
        method: `FineTuningMethod` or its name. Default: LORA.
        dataset_path: what `DataCollector.export` wrote (its prefix or metadata file), a file, a
            folder, or a catalogue name; or a list of these, as `data.train` of a recipe.
        dataset: rows in memory instead: a `datasets.Dataset` or `DatasetDict`, or a list of dicts.
        num_train_epochs: passes over the training rows.
        per_device_train_batch_size, per_device_eval_batch_size: rows in one forward pass.
        gradient_accumulation_steps: forward passes in one optimizer step.
        learning_rate: peak rate. None: about 1e-4 for small encoders, ten times the full rate for
            LoRA.
        weight_decay: of matrices.
        warmup_steps: steps of linear warmup. None: a tenth of all steps.
        max_steps: optimizer steps; -1 leaves it to the epochs.
        evaluation_strategy, save_strategy: `no`, `steps` or `epoch`. None: `epoch`, where there
            are validation rows.
        eval_steps, save_steps: used with `steps`.
        early_stopping_patience: stop after so many scores without a new best.
        lora_r, lora_alpha, lora_dropout: of LORA and QLORA; the other methods leave them aside.
        lora_target_modules: names of layers. None: all linear layers.
        quantization_bits: of the frozen weights, 4 or 8; QLORA only.
        prefix_length, prompt_length: virtual tokens of PREFIX_TUNING; of PROMPT_TUNING and
            P_TUNING.
        max_length: longest row in tokens; longer rows are cut. None: as long as the rows
            are, at most 1,024.
        logging_steps: accepted, so that existing code runs; the journal has every step.
        device: `auto`, `cpu`, `cuda` or `mps`.
        seed: of every random choice.
        metadata: kept with the run.
        allow: errors of the audit to train in spite of, by id.
        source_prefix: text before every source, such as `summarize: `; encoder-decoder models only.
    """

    model_path: str
    output_dir: str
    method: FineTuningMethod | str = FineTuningMethod.LORA
    dataset_path: str | Sequence[str | Mapping[str, Any]] | None = None
    dataset: Any = None
    num_train_epochs: float = 3
    per_device_train_batch_size: int = 4
    per_device_eval_batch_size: int = 4
    gradient_accumulation_steps: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_steps: int | None = None
    max_steps: int = -1
    evaluation_strategy: str | None = None
    eval_steps: int = 500
    save_strategy: str | None = None
    save_steps: int = 500
    early_stopping_patience: int | None = None
    lora_r: int = 8
    lora_alpha: float = 16
    lora_dropout: float = 0.05
    lora_target_modules: list[str] | str | None = None
    quantization_bits: int = 4
    prefix_length: int = 10
    prompt_length: int = 10
    max_length: int | None = None
    logging_steps: int = 100
    device: str = "auto"
    seed: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    allow: Sequence[str] = ("template.system",)
    source_prefix: str = ""

    def __post_init__(self) -> None:
        self.method = enum_member(FineTuningMethod, self.method, "fine-tuning method")
        if self.dataset is not None and self.dataset_path is not None:
            raise ConfigError("dataset and dataset_path are both given; give one of them.")

    def to_recipe(self) -> Recipe:
        """The same settings as a recipe.

        Raises:
            ConfigError: settings are wrong or contradict each other; all faults at once.
        """
        method = FineTuningMethod(self.method)
        lora = method.is_lora
        virtual = {
            FineTuningMethod.PREFIX_TUNING: self.prefix_length,
            FineTuningMethod.PROMPT_TUNING: self.prompt_length,
            FineTuningMethod.P_TUNING: self.prompt_length,
        }
        given, data = self.given()
        values: dict[str, Any] = {
            "model": self.model_path,
            "output_dir": self.output_dir,
            "method": self.method,
            # The path is read as it is: what DataCollector cut is not cut again.
            "data": {
                "train": self.dataset_path or "rows in memory",
                "validation": 0.0,
                "truncation": "cut",
                "allow": list(self.allow),
                "source_prefix": self.source_prefix,
            }
            | data,
            "num_train_epochs": None if self.max_steps > 0 else self.num_train_epochs,
            "per_device_train_batch_size": self.per_device_train_batch_size,
            "per_device_eval_batch_size": self.per_device_eval_batch_size,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "warmup_steps": self.warmup_steps,
            "max_steps": self.max_steps,
            "evaluation_strategy": self.evaluation_strategy,
            "eval_steps": self.eval_steps if self.evaluation_strategy == "steps" else None,
            "save_strategy": self.save_strategy,
            "save_steps": self.save_steps if self.save_strategy == "steps" else None,
            "early_stopping_patience": self.early_stopping_patience,
            "lora_r": self.lora_r if lora else None,
            "lora_alpha": self.lora_alpha if lora else None,
            "lora_dropout": self.lora_dropout if lora else None,
            "lora_target_modules": self.lora_target_modules if lora else None,
            "quantization_bits": self.quantization_bits
            if method is FineTuningMethod.QLORA
            else None,
            "num_virtual_tokens": virtual.get(method),
            "max_length": self.max_length,
            "device": self.device,
            "seed": self.seed,
        }
        if is_adapter(self.model_path):
            values |= self._left_to_the_adapter(values)
            if not self.source_prefix:
                del values["data"]["source_prefix"]
        return Recipe.check(values | given, "FineTuningConfig")

    def _left_to_the_adapter(self, values: Mapping[str, Any]) -> dict[str, None]:
        """Keys of the update that have the default of this class: the adapter decides them."""
        own = ("method", "lora_r", "lora_alpha", "lora_dropout", "quantization_bits")
        left = [key for key in own if values[key] == getattr(type(self), key)]
        if values["num_virtual_tokens"] == type(self).prompt_length:
            left.append("num_virtual_tokens")
        return dict.fromkeys(left)

    def to_dict(self) -> dict[str, Any]:
        """The settings as a JSON-like mapping; rows in memory are only counted."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["method"] = str(self.method)
        values |= {key: plain for part in self.given() for key, plain in part.items()}
        if self.dataset is not None:
            values["dataset"] = f"{len(self.dataset)} rows or parts in memory"
        return values


class FineTuner:
    """Fine-tunes one model.

    Args:
        config: what to tune, on what, and how.

    Attributes:
        reasons: after `prepare`, why each setting of None got its value.
    """

    def __init__(self, config: FineTuningConfig) -> None:
        self.config = config
        self.reasons: dict[str, str] = {}
        self._prepared: Prepared | None = None
        self._result: RunResult | None = None

    def prepare(self) -> None:
        """Load and check model, data and settings. Writes nothing but the tokens of rows on disk.

        Raises:
            UserError: a fault in any of them.
        """
        self._prepare()

    def train(self) -> dict[str, float]:
        """Train to the end; finishes a run of the same settings that was stopped.

        Returns:
            `train_loss` (mean of the last tenth of the steps), `train_runtime` in seconds,
            `train_steps`, `tokens_per_second`, and the validation scores as `eval_*`.

        Raises:
            DataError: the audit found an error in the data that `allow` does not accept. Nothing
                was written.
            Interrupted: stopped on request; `resume` goes on.
        """
        prepared = self._prepare()
        notes = {
            CONFIG_FILE: self.config.to_dict(),
            ARGUMENTS_FILE: prepared.recipe.model_dump(mode="json"),
        }
        self._result = pipeline.train_or_resume(prepared, notes=notes)
        return _metrics(self._result)

    def resume(
        self, checkpoint_dir: str | None = None, changes: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """Finish a run that was stopped, as if it had never been stopped.

        Args:
            checkpoint_dir: a checkpoint-N folder. Default: the newest whole one.
            changes: sizes that change nothing in the training, such as
                `{"per_device_train_batch_size": 2}`.

        Raises:
            ConfigError: a change would change the training.
        """
        self._result = _resumed(self.config.output_dir, checkpoint_dir, changes)
        return _metrics(self._result)

    def evaluate(self) -> dict[str, float]:
        """Score the finished model on its test rows, or its validation rows where it has none.

        Returns:
            Each metric's value by name. Intervals and baselines are in `evaluation/` below the
            output folder.
        """
        found = pipeline.evaluate_run(self._finished().folder)
        return {name: float(score["value"]) for name, score in found["metrics"].items()}

    def save(self, output_dir: str | None = None) -> str:
        """Copy the finished model, its tokenizer and settings; return the folder.

        Args:
            output_dir: where to. Default: the run's own folder, where they already are.

        Raises:
            ArtifactError: the run is not finished, or `output_dir` has files in it.
        """
        folder = self._finished().folder
        if output_dir is None or Path(output_dir).resolve() == folder.resolve():
            return str(folder)
        target = Path(output_dir)
        if target.exists() and any(target.iterdir()):
            raise ArtifactError(f"{target} has files in it; give a new or empty folder.")
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith(".") and file.name not in _RUN_FILES:
                shutil.copy2(file, target / file.name)
        return str(target)

    def _prepare(self) -> Prepared:
        if self._prepared is None:
            recipe = self.config.to_recipe()
            self._prepared = pipeline.prepare(recipe, self._splits())
            self.reasons = self._prepared.reasons
        return self._prepared

    def _splits(self) -> Splits | None:
        config = self.config
        if config.dataset is not None:
            return to_splits(config.dataset)
        if config.dataset_path is None:
            raise ConfigError("Neither dataset_path nor dataset is given; there is no data.")
        return None

    def _finished(self) -> RunResult:
        if self._result is None:
            from tunewright.train.folder import finished_result

            self._result = finished_result(Path(self.config.output_dir))
        return self._result


def _metrics(result: RunResult) -> dict[str, float]:
    from tunewright.train.journal import read_journal

    losses = [line["loss"] for line in read_journal(result.folder) if line["event"] == "step"]
    last = losses[-max(1, len(losses) // 10) :]
    metrics = {
        "train_loss": sum(last) / max(1, len(last)),
        "train_runtime": float(result.results["train_seconds"]),
        "train_steps": float(result.results["steps"]),
        "tokens_per_second": float(result.results["tokens_per_second"]),
    }
    return metrics | {f"eval_{name}": value for name, value in result.metrics.items()}


def fine_tune_model(config: FineTuningConfig) -> dict[str, float]:
    """`FineTuner(config).train()`."""
    return FineTuner(config).train()


def resume_fine_tuning(
    output_dir: str, checkpoint_dir: str | None = None, changes: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """Finish the run in `output_dir`; see `FineTuner.resume`."""
    return _metrics(_resumed(output_dir, checkpoint_dir, changes))


def _resumed(
    output_dir: str, checkpoint_dir: str | None, changes: Mapping[str, Any] | None
) -> RunResult:
    words = [f"{key}={json.dumps(value)}" for key, value in (changes or {}).items()]
    return pipeline.resume(output_dir, checkpoint=checkpoint_dir, changes=words)


def stop_fine_tuning(output_dir: str) -> None:
    """Ask the run in `output_dir`, in whatever process, to save and stop after its step.

    Raises:
        ArtifactError: there is no run, or it is not running.
    """
    folder = Path(output_dir)
    status = Artifact.open(folder, "run").status
    if status != "running":
        raise ArtifactError(f"The run in {folder} is {status}; there is nothing to stop.")
    (folder / STOP_FILE).touch()
