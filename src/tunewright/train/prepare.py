"""Everything that is checked before a run writes its first byte.

This module knows the recipe, the data and the base. It does not know the run's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.records import Splits
from tunewright.data.render import Example, Rendered, Renderer
from tunewright.data.sources import load_splits
from tunewright.errors import ConfigError, DataError
from tunewright.metrics import get_metric
from tunewright.models.adapters import check_targets
from tunewright.models.catalogue import model_folder
from tunewright.models.inspect import ModelFacts, inspect_model
from tunewright.models.load import InputSettings, load_tokenizer, pick_device
from tunewright.plan.settings import choose_settings, measure_machine
from tunewright.train.validate import metrics_in_training

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(slots=True)
class Prepared:
    """A run that has passed every check and has not written anything.

    Attributes:
        recipe: with nothing left open.
        reasons: why each open setting got its value.
        splits: the records.
        train, validation: the rows as the model sees them.
    """

    recipe: Recipe
    reasons: dict[str, str]
    splits: Splits
    labels: list[str]
    facts: ModelFacts
    tokenizer: PreTrainedTokenizerFast
    train: Rendered
    validation: Rendered
    template: str

    @property
    def task(self) -> Task:
        """The task of the data."""
        return self.splits.task

    @property
    def settings(self) -> InputSettings:
        """What is kept beside the finished weights."""
        assert self.recipe.max_length is not None
        return InputSettings(
            self.task,
            self.recipe.max_length,
            self.template,
            tuple(self.labels),
            self.recipe.model,
        )


def prepare(recipe: Recipe, splits: Splits | None = None) -> Prepared:
    """Load and check everything a run needs. Writes nothing.

    Args:
        recipe: as the user wrote it.
        splits: records in memory, instead of `recipe.data`.

    Raises:
        UserError: a fault in the recipe, the data or the model.
    """
    facts = inspect_model(model_folder(recipe.model))
    if facts.is_adapter:
        raise ConfigError(
            f"model {recipe.model!r} is an adapter; fine-tune its base {facts.base!r} or merge it "
            "first."
        )
    if splits is None:
        data = recipe.data
        splits = load_splits(
            data.train,
            data.validation,
            data.test,
            task=recipe.task or "auto",
            columns=data.columns,
            seed=recipe.seed,
        )
    splits = _sampled(splits, recipe)
    task = splits.task
    _check_data(splits)
    labels = splits.train.labels
    tokenizer = load_tokenizer(facts.folder)
    template = recipe.data.template
    if template == "auto":
        template = "chat" if tokenizer.chat_template and task is Task.INSTRUCTION else "plain"
    renderer = Renderer(tokenizer, task, facts.max_length, template, labels)
    train = renderer.tokenise(splits.train)
    held_out = [
        len(example)
        for part in (splits.validation, splits.test)
        for example in renderer.tokenise(part)
    ]
    device = pick_device(recipe.device)
    chosen = choose_settings(
        recipe,
        facts,
        task,
        _training_lengths(train, task, recipe),
        measure_machine(device.type),
        longest=max(held_out, default=0),
        validation_rows=len(splits.validation),
    )
    assert chosen.recipe.max_length is not None
    renderer.max_length = chosen.recipe.max_length
    truncation = recipe.data.truncation
    _check_metric(chosen.recipe, task)
    check_targets(facts.folder, chosen.recipe.lora_target_modules)
    return Prepared(
        chosen.recipe,
        chosen.reasons,
        splits,
        labels,
        facts,
        tokenizer,
        renderer.fit(splits.train, train, truncation),
        renderer.render(splits.validation, truncation),
        template,
    )


def _sampled(splits: Splits, recipe: Recipe) -> Splits:
    """At most `data.max_samples` training rows, chosen at random with the run's seed."""
    limit = recipe.data.max_samples
    if limit is None or limit >= len(splits.train):
        return splits
    random = np.random.Generator(np.random.Philox(key=[recipe.seed, len(splits.train)]))
    chosen = np.sort(random.permutation(len(splits.train))[:limit]).tolist()
    return Splits(splits.train.select(chosen), splits.validation, splits.test)


def _training_lengths(train: list[Example], task: Task, recipe: Recipe) -> list[int]:
    """Tokens of each training row; long plain texts count as blocks of 512."""
    if task is not Task.TEXT:
        return [len(example) for example in train]
    block = recipe.max_length or 512
    return [
        min(block, len(example) - start)
        for example in train
        for start in range(0, len(example), block)
    ]


def _check_data(splits: Splits) -> None:
    if len(splits.train) == 0:
        raise DataError("There is no training row. Check the source and the shares of the splits.")
    splits.require_known_labels()
    task = splits.task
    if task is Task.CLASSIFICATION and len(splits.train.labels) < 2:
        raise DataError(
            f"All training rows have the label {splits.train.labels[0]!r}; classification needs at "
            "least two. Check the label column (data.columns)."
        )


def _check_metric(recipe: Recipe, task: Task) -> None:
    name = recipe.metric_for_best_model
    if name is None or name == "loss":
        return
    measured = metrics_in_training(task)
    if get_metric(name).name not in measured:
        raise ConfigError(
            f"metric_for_best_model is {name!r}, which is not measured during training for task "
            f"{task.value!r}. Measured: loss, {', '.join(measured)}."
        )
