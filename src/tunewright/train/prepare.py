"""Everything that is checked before a run writes its first byte.

This module knows the recipe, the data and the base. It does not know the run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.data.augment import augment, said_of_copies
from tunewright.data.balance import (
    balanced,
    class_weights,
    label_weights,
    require_fit,
    said_of_balance,
    said_of_weights,
)
from tunewright.data.draw import Mixing
from tunewright.data.example import Example, Rendered
from tunewright.data.fitted_rows import block_lengths, fitted
from tunewright.data.layout import pick_template
from tunewright.data.pair_texts import is_scored
from tunewright.data.records import Dataset, Splits
from tunewright.data.render import Renderer
from tunewright.data.sources import load_splits
from tunewright.data.tags import OUTSIDE
from tunewright.data.token_store import HeldRows, TokenStore, targets_of
from tunewright.errors import ConfigError, DataError
from tunewright.metrics import get_metric
from tunewright.models.adapter_folder import AdapterFolder, read_adapter
from tunewright.models.adapters import check_method
from tunewright.models.catalogue import model_folder
from tunewright.models.device import pick_device
from tunewright.models.few_bits import check_quantization_aware
from tunewright.models.input_settings import AnswerSettings, InputSettings, Quantization
from tunewright.models.inspect import ModelFacts, inspect_model
from tunewright.models.layers import layer_count
from tunewright.models.load import check_task, load_tokenizer, tokenizer_folder
from tunewright.models.started_adapter import require_trainable, started_labels, started_recipe
from tunewright.plan.generation import answer_metrics, asks_for_answers, choose_generation
from tunewright.plan.machine import measure_machine
from tunewright.plan.setfit import check_labels_left, check_setfit, why_setfit
from tunewright.plan.settings import Settings, choose_settings
from tunewright.train.generated_scores import (
    GeneratedScores,
    make_generated_scores,
    questions_of,
)
from tunewright.train.rates import check_unfreezing, planned_steps
from tunewright.train.token_cache import TOKENS, Progress, longest_row, tokenised
from tunewright.train.trackers import require_installed
from tunewright.train.validate import metrics_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast


@dataclass(slots=True)
class Prepared:
    """A run that has passed every check and has not written anything.

    Attributes:
        recipe: with nothing left open.
        reasons: why each open setting got its value.
        splits: the records, without the copies that `data.balance` and `data.augment` make of
            training rows: a run is resumed from these, and makes the same copies again.
        train, validation: the rows as the model sees them, those copies included.
        class_weights: what rows weigh in the loss (`LabelForward`), or None.
        generation: which answers are written and scored in training, or None.
        started: the adapter that is trained further, or None; `facts` are those of its base.
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
    class_weights: list[float] | list[list[float]] | None = None
    generation: GeneratedScores | None = None
    started: AdapterFolder | None = None

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
            self._base,
            _quantization(self.recipe),
            self.recipe.data.source_prefix,
            self.recipe.data.system,
            _answer_settings(self.recipe, self.splits.train),
        )

    @property
    def _base(self) -> str:
        """The base as it is named: by the recipe, or by the adapter that is trained further."""
        if self.started is None:
            return self.recipe.model
        settings = self.started.settings
        return settings.base if settings is not None else str(self.started.facts.base)


def prepare(
    recipe: Recipe,
    splits: Splits | None = None,
    *,
    tokens: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Load and check everything a run needs. Writes nothing but the tokens of rows on disk.

    Args:
        recipe: as the user wrote it.
        splits: records to train on, instead of `recipe.data`.
        tokens: folder for the tokens of rows on disk. Default: `.tokens` in `output_dir`.
        progress: told how many rows are tokenised.

    Raises:
        UserError: a fault in the recipe, the data or the model.
    """
    require_installed(recipe)
    facts = inspect_model(model_folder(recipe.model))
    started: AdapterFolder | None = None
    fixed: dict[str, str] = {}
    tokenizer_in = facts.folder
    if facts.is_adapter:
        started = read_adapter(recipe.model)
        require_trainable(started)
        recipe, fixed = started_recipe(recipe, started)
        tokenizer_in = tokenizer_folder(facts.folder, started.base)
        facts = started.base
    if splits is None:
        data = recipe.data
        splits = load_splits(
            data.train,
            data.validation,
            data.test,
            task=recipe.task or "auto",
            columns=data.columns,
            seed=recipe.seed,
            time_column=data.time_column,
            mixing=_mixing(recipe),
        )
    splits = _sampled(splits, recipe)
    task = splits.task
    check_task(facts, task)
    if recipe.method is FineTuningMethod.SETFIT:
        check_setfit(facts, splits.train)
    _check_data(splits)
    labels = splits.train.labels
    if started is not None:
        labels = started_labels(started, task, labels)
    trained, told = _trained_rows(splits.train, recipe)
    tokenizer = load_tokenizer(tokenizer_in)
    prefix, system = recipe.data.source_prefix, recipe.data.system
    template = pick_template(recipe.data.template, tokenizer, task, facts.kind, prefix, system)
    renderer = Renderer(tokenizer, task, facts.max_length, template, labels, prefix, system)
    tokens = tokens or Path(recipe.output_dir) / TOKENS
    train = tokenised(trained, renderer, "training", tokens, progress)
    validation = tokenised(splits.validation, renderer, "validation", tokens, progress)
    longest = int(validation.longest.max(initial=0))
    if recipe.max_length is None or not splits.test.on_disk:  # else nothing asks for it
        longest = max(longest, longest_row(splits.test, renderer, "test", progress))
    device = pick_device(recipe.device)
    chosen = choose_settings(
        recipe,
        facts,
        task,
        _training_lengths(train, task, recipe),
        measure_machine(device.type, facts.hidden_size),
        longest=longest,
        validation_rows=len(splits.validation),
        longest_answer=_longest_answer(train) if task is Task.QUESTION_ANSWERING else 0,
        setfit=why_setfit(recipe, facts, splits.train),
    )
    if started is not None and recipe.head_learning_rate is None:
        chosen = _with_trained_head(chosen)
    assert chosen.recipe.max_length is not None
    renderer.max_length = chosen.recipe.max_length
    renderer.doc_stride = chosen.recipe.doc_stride or 0
    truncation = recipe.data.truncation
    _check_metric(chosen.recipe, splits.train)
    check_method(facts, chosen.recipe, started=started is not None)
    check_quantization_aware(facts, task, chosen.recipe)
    rendered = fitted(renderer, trained, train, truncation)
    if chosen.recipe.method is FineTuningMethod.SETFIT:
        check_labels_left(rendered.examples, labels)
    if chosen.recipe.unfreeze_steps is not None:
        steps = planned_steps(chosen.recipe, len(rendered.examples))
        check_unfreezing(chosen.recipe, layer_count(facts), steps, task)
    weights = _class_weights(rendered, labels, chosen.recipe, told)
    held_out = fitted(renderer, splits.validation, validation, truncation)
    room = facts.max_length - (chosen.recipe.num_virtual_tokens or 0)
    asked = []
    if asks_for_answers(chosen.recipe, task):
        asked = questions_of(chosen.recipe, renderer, splits.validation, held_out.examples)
    lengths = [q.window for q in asked], [q.answer_tokens for q in asked]
    chosen = choose_generation(chosen, task, *lengths, room)
    return Prepared(
        chosen.recipe,
        fixed | chosen.reasons | told,
        splits,
        labels,
        facts,
        tokenizer,
        rendered,
        held_out,
        template,
        weights,
        make_generated_scores(chosen.recipe, renderer, asked, room),
        started,
    )


def _mixing(recipe: Recipe) -> Mixing | None:
    """How many rows of each source are taken, where the recipe asks for proportions."""
    data = recipe.data
    if data.mixing_limit is None and data.mixing_temperature is None:
        return None
    return Mixing(data.mixing_limit, data.mixing_temperature or 1.0)


def _with_trained_head(chosen: Settings) -> Settings:
    """Settings of a run whose head is not new: it needs no higher rate than the update."""
    if "head_learning_rate" not in chosen.reasons:
        return chosen
    rate = {"head_learning_rate": chosen.recipe.learning_rate}
    reason = {"head_learning_rate": "the head is trained already: the rate of the update"}
    return Settings(chosen.recipe.model_copy(update=rate), chosen.reasons | reason)


def _quantization(recipe: Recipe) -> Quantization | None:
    if recipe.method is not FineTuningMethod.QLORA:
        return None
    assert recipe.quantization_bits is not None
    return Quantization(
        recipe.quantization_bits,
        recipe.bnb_4bit_quant_type or "nf4",
        recipe.bnb_4bit_use_double_quant is not False,
    )


def _answer_settings(recipe: Recipe, train: Dataset) -> AnswerSettings:
    """How a model that points at answers looks for them; the defaults for other tasks."""
    if train.task is not Task.QUESTION_ANSWERING:
        return AnswerSettings()
    assert recipe.doc_stride is not None and recipe.max_answer_length is not None
    none = any(not record.answers for record in train)
    return AnswerSettings(recipe.doc_stride, recipe.max_answer_length, none)


def _sampled(splits: Splits, recipe: Recipe) -> Splits:
    """At most `data.max_samples` training rows, chosen at random with the run's seed."""
    limit = recipe.data.max_samples
    if limit is None or limit >= len(splits.train):
        return splits
    random = np.random.Generator(np.random.Philox(key=[recipe.seed, len(splits.train)]))
    chosen = np.sort(random.permutation(len(splits.train))[:limit])
    return Splits(splits.train.select(chosen), splits.validation, splits.test)


def _trained_rows(train: Dataset, recipe: Recipe) -> tuple[Dataset, dict[str, str]]:
    """The training rows with their copies, and what was done by the key that asked for it."""
    told: dict[str, str] = {}
    data = recipe.data
    require_fit(data.balance, train.task)
    drawn = balanced(train, data.balance, recipe.seed)
    if drawn is not train:
        told["data.balance"] = said_of_balance(train, drawn)
    if data.augment is None:
        return drawn, told
    changed = augment(drawn, data.augment, recipe.seed)
    told["data.augment"] = said_of_copies(drawn, changed, data.augment.copies)
    return changed, told


def _class_weights(
    rendered: Rendered, labels: Sequence[str], recipe: Recipe, told: dict[str, str]
) -> list[float] | list[list[float]] | None:
    """What the rows that are trained on weigh in the loss; noted in `told`."""
    if recipe.data.balance != "weights":
        return None
    targets = targets_of(rendered.examples)
    if recipe.task is Task.MULTILABEL:
        absent, present = label_weights(targets)
        told["data.balance"] = said_of_weights("a label that a row has", labels, present)
        return [absent, present]
    weights = class_weights(targets, len(labels))
    told["data.balance"] = said_of_weights("a row", labels, weights)
    return weights


def _longest_answer(train: Sequence[Example]) -> int:
    return max(e.window.end - e.window.start + 1 for e in train if e.window is not None)


def _training_lengths(
    train: TokenStore | HeldRows, task: Task, recipe: Recipe
) -> NDArray[np.uint32]:
    """Tokens of each training row; long plain texts count as blocks of 512."""
    if task is not Task.TEXT or isinstance(train, HeldRows):
        return train.longest
    return block_lengths(train.ids, recipe.max_length or 512, shortest=1)[1]


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
    if task is Task.TOKEN_CLASSIFICATION and splits.train.labels == [OUTSIDE]:
        raise DataError(
            "No training row has an entity: every tag is O, so there is nothing to learn. Check "
            "the column of tags (data.columns)."
        )
    if task is Task.QUESTION_ANSWERING and not any(record.answers for record in splits.train):
        raise DataError(
            "No training row has an answer, so there is nothing to learn. Check the columns "
            "(data.columns)."
        )
    if task is Task.EMBEDDING:
        parts = [(part, is_scored(part.records, part.name)) for _, part in splits.items()]
        for part, scored in parts[1:]:
            if len(part) and scored is not parts[0][1]:
                raise DataError(
                    f"The pairs of {part.name} have {'a' if scored else 'no'} score and those of "
                    f"train have {'a' if parts[0][1] else 'none'}; both must be of one kind."
                )


def _kind(train: Dataset) -> str:
    """What kind of rows a task has, where it has two."""
    if train.task is not Task.EMBEDDING:
        return ""
    return " on pairs with a score" if is_scored(train.records) else " on pairs without a score"


def _check_metric(recipe: Recipe, train: Dataset) -> None:
    name = recipe.metric_for_best_model
    if name is None or name == "loss":
        return
    measured = metrics_of(train)
    if train.task is Task.INSTRUCTION:
        measured += answer_metrics()
    if get_metric(name).name not in measured:
        raise ConfigError(
            f"metric_for_best_model is {name!r}, which is not measured during training for task "
            f"{train.task.value!r}{_kind(train)}. Measured: loss, {', '.join(measured)}."
        )
