"""What SetFit takes, and how many pairs it makes of how many rows.

This module knows rules. It does not know how pairs are made or learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunewright.config.task import Task
from tunewright.errors import ConfigError, DataError
from tunewright.models.pooling_layer import POOLED, check_pooling

if TYPE_CHECKING:
    from tunewright.config.recipe import Recipe
    from tunewright.data.example import Example
    from tunewright.data.records import Dataset
    from tunewright.models.inspect import ModelFacts
    from tunewright.plan.settings import Choices

_PAIRS = 20
"""Of each row, of either kind: R of the paper."""
_PAIRS_IN_ALL = 3000
"""With 616 rows of 77 labels, 2 a row of either kind: two minutes of one core."""
_BATCH = 64
_FEW = 16
"""Rows a label up to which it was measured to be better than full tuning (docs/setfit.md)."""
_SENTENCES = "modules.json"
"""What sentence-transformers writes beside an encoder whose vectors were learned to compare."""
_REFUSED = (
    "head_learning_rate",
    "label_smoothing",
    "focal_gamma",
    "unfreeze_steps",
    "layer_learning_rate_decay",
    "quantization_aware",
)
"""Keys that speak for another method."""


def why_setfit(recipe: Recipe, facts: ModelFacts, train: Dataset) -> str | None:
    """Why SetFit is the method of a recipe that leaves it open; None where it is not.

    Args:
        recipe: as the user wrote it.
        facts: of the base.
        train: the training rows.
    """
    if recipe.method is not None or train.task is not Task.CLASSIFICATION:
        return None
    labels = len(train.labels)
    fits = facts.architecture in POOLED and (facts.folder / _SENTENCES).is_file()
    asked = any(getattr(recipe, key) is not None for key in _REFUSED)
    if len(train) > _FEW * labels or not fits or asked or _has_pairs(train):
        return None
    return (
        f"{len(train) / labels:.0f} rows a label and an encoder of sentences: pairs of rows teach "
        "more than a new head can"
    )


def check_setfit(facts: ModelFacts, train: Dataset) -> None:
    """Refuse data and bases that SetFit does not take. Loads no weights.

    Raises:
        ConfigError: the task is another one.
        DataError: rows have two texts.
        ModelError: the base is of another architecture.
    """
    if train.task is not Task.CLASSIFICATION:
        raise ConfigError(
            f"method is 'setfit' and the task is {train.task.value!r}. Its pairs are of one label "
            "or of two, which needs task: classification. Use method: full."
        )
    if _has_pairs(train):
        raise DataError(
            f"method is 'setfit' and rows of {train.name or 'the data'} have two texts "
            "(text_pair); it compares rows by one text each. Use method: full."
        )
    check_pooling(facts)


def _has_pairs(train: Dataset) -> bool:
    return any(record.text_pair is not None for record in train)


def check_labels_left(rows: Sequence[Example], labels: Sequence[str]) -> None:
    """Refuse rows among which a label is missing: the regression would know nothing of it.

    Raises:
        DataError: names the first one.
    """
    there = {example.target for example in rows}
    missing = [label for i, label in enumerate(labels) if i not in there]
    if missing:
        raise DataError(
            f"No training row with label {missing[0]!r} has at most max_length tokens, so that "
            "method 'setfit' cannot learn it. Use data.truncation: cut, or raise max_length."
        )


def choose_pairs(choice: Choices, rows: int) -> None:
    """Fill the keys of pairs: how many, how long, and in which steps.

    Args:
        choice: keys that are open are set.
        rows: of training.
    """
    pairs = max(2, min(_PAIRS, _PAIRS_IN_ALL // (2 * rows)))
    made = choice.set(
        "pairs_per_row",
        pairs,
        f"{2 * pairs * rows:,} pairs of {rows:,} rows"
        + (" (arXiv 2209.11055 takes 20)" if pairs == _PAIRS else ", about as many as fewer have"),
    )
    if choice.recipe.max_steps == -1:
        choice.set("num_train_epochs", 1.0, f"each pair once; a row is in {4 * made} on average")
    choice.set(
        "per_device_train_batch_size", _BATCH, "pairs; a text that several have is run once a step"
    )
