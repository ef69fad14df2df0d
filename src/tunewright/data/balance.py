"""Labels of unlike frequency: rows repeated, rows left out, or weights for the loss.

This module knows labels. It does not know models; the loss takes the weights as numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tunewright.data.records import Dataset, Task
from tunewright.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Balance = Literal["none", "weights", "oversample", "undersample"]

SKEWED = 3.0
"""From this many rows of the most frequent label for each row of the rarest on, `init` says what
could be done about it."""

_SHOWN = 6


def require_fit(balance: Balance, task: Task) -> None:
    """Refuse a way to balance that a task has no use for.

    Raises:
        ConfigError: the task has no labels, or rows have several labels each and are to be drawn.
    """
    if balance == "none" or task is Task.CLASSIFICATION:
        return
    if task is not Task.MULTILABEL:
        raise ConfigError(
            f"data.balance is {balance!r}, but rows of task {task.value!r} have no class labels to "
            "balance. Remove data.balance."
        )
    if balance != "weights":
        raise ConfigError(
            f"data.balance is {balance!r}, but rows of task 'multilabel' have several labels each: "
            "drawing rows for one label changes the counts of the others. Use data.balance: "
            "weights."
        )


def balanced(dataset: Dataset, balance: Balance, seed: int = 0) -> Dataset:
    """The rows to train on, as many of each label.

    Args:
        dataset: training rows of task classification.
        balance: `oversample` repeats rows until every label has as many as the most frequent one,
            each row as often as the next but for one; `undersample` keeps as many rows of every
            label as the rarest one has. Anything else gives `dataset` back.
        seed: of the rows that are drawn.

    Returns:
        With `oversample`, all rows in their order and then the repeated ones; with `undersample`,
        the rows that are kept, in their order.

    Raises:
        ConfigError: the task has no class labels, or several a row.
    """
    require_fit(balance, dataset.task)
    if balance not in ("oversample", "undersample") or not len(dataset):
        return dataset
    rows: dict[str, list[int]] = {}
    for index, record in enumerate(dataset):
        rows.setdefault(str(record.label), []).append(index)
    sizes = [len(members) for members in rows.values()]
    chosen: list[int] = []
    for number, label in enumerate(sorted(rows)):
        random = np.random.Generator(np.random.Philox(key=[seed, number]))
        members = random.permutation(rows[label])
        if balance == "undersample":
            chosen += members[: min(sizes)].tolist()
        else:
            # Whole rounds, then a part of one: no row is drawn twice more often than another.
            chosen += np.resize(members, max(sizes) - len(members)).tolist()
    if balance == "undersample":
        return dataset.select(sorted(chosen))
    return dataset.select([*range(len(dataset)), *chosen])


def said_of_balance(before: Dataset, after: Dataset) -> str:
    """Rows by label before and after, in one line."""
    old, new = _counts(before), _counts(after)
    names = sorted(old, key=lambda label: (-old[label], label))
    changes = ", ".join(f"{name} {old[name]:,} to {new[name]:,}" for name in names[:_SHOWN])
    more = f", and {len(names) - _SHOWN} more labels" if len(names) > _SHOWN else ""
    return f"{len(before):,} training rows became {len(after):,}: {changes}{more}"


def class_weights(targets: NDArray[Any] | Sequence[int], classes: int) -> list[float]:
    """What a row of each class weighs in the loss.

    A class of n_c of the n rows weighs n / (k n_c), where k classes occur: in inverse proportion
    to its frequency (King and Zeng, "Logistic Regression in Rare Events Data", 2001; the weights
    that scikit-learn calls `balanced`). Every class then weighs as much as every other, and the
    mean over the rows is 1, so that the summed loss still divides by the number of rows.

    Args:
        targets: [n] class numbers of the training rows.
        classes: how many classes the model has. One without rows weighs 1; no row is there to tell.

    Returns:
        One weight a class.
    """
    counts = np.bincount(np.asarray(targets, dtype=np.int64), minlength=classes)
    present = counts > 0
    total = counts.sum()
    weights = np.ones(classes)
    weights[present] = total / (present.sum() * counts[present])
    return [float(weight) for weight in weights]


def label_weights(targets: NDArray[Any] | Sequence[Sequence[float]]) -> list[list[float]]:
    """What a row weighs in the loss of each label of a multilabel task.

    Each label is a question with two answers, no and yes, and is weighed by `class_weights`.

    Args:
        targets: [n x labels] of 0 and 1, of the training rows.

    Returns:
        Two lists of one weight a label: where the label is absent, and where it is present.
    """
    answers = np.asarray(targets).astype(np.int64)
    pairs = [class_weights(column, 2) for column in answers.T]
    return [[pair[0] for pair in pairs], [pair[1] for pair in pairs]]


def said_of_weights(what: str, labels: Sequence[str], weights: Sequence[float]) -> str:
    """The weights by label, the heaviest first, in one line."""
    order = sorted(range(len(labels)), key=lambda i: (-weights[i], labels[i]))
    shown = ", ".join(f"{labels[i]} {weights[i]:.3g}" for i in order[:_SHOWN])
    more = f", and {len(order) - _SHOWN} more labels" if len(order) > _SHOWN else ""
    return f"{what} weighs in the loss: {shown}{more}; the mean over the training rows is 1"


def said_of_skew(dataset: Dataset) -> str:
    """What `data.balance` could do about labels of unlike frequency; empty where they are even."""
    if dataset.task is not Task.CLASSIFICATION:
        return ""
    counts = _counts(dataset)
    if len(counts) < 2:
        return ""
    most, rarest = max(counts, key=lambda x: counts[x]), min(counts, key=lambda x: counts[x])
    ratio = counts[most] / counts[rarest]
    if ratio < SKEWED:
        return ""
    return (
        f"{most} has {ratio:.1f} times the rows of {rarest}; weights would make every label count "
        "alike"
    )


def _counts(dataset: Dataset) -> Counter[str]:
    return Counter(name for record in dataset for name in record.class_names)
