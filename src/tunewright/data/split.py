"""Cut a data set into train, validation and test: stratified, grouped, or by time.

The same rows and seed give the same parts. This module knows records and which of them must stay
together. It does not know files.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tunewright.data.copies import prompt_of
from tunewright.data.duplicates import exact_groups, near_pairs, normal_text
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.data.stratify import Unit, by_stratum, by_time, iteratively
from tunewright.data.times import row_times
from tunewright.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Hashable

_REGRESSION_BINS = 10
_LIMIT = 0.01
_SMALLEST_LIMIT = 10
"""Near copies stay together up to this share, or this number, of rows: where everything resembles
something, chains of near copies would otherwise tie the whole data set together."""


def split(
    dataset: Dataset,
    validation: float,
    test: float,
    *,
    seed: int = 0,
    time_column: str | None = None,
) -> Splits:
    """Hold out shares of the rows.

    Rows that share `meta["group"]`, whose text is the same but for case and spacing, or that are
    near copies, stay together. Parts keep the order of the rows.

    Without `time_column` rows are drawn by chance. Within each label (for numbers: each tenth of
    their ranks) the shares are met to within one such group, and so they are over all rows; where
    rows have several labels, every label is dealt out in the shares as far as that is possible at
    once (iterative stratification). The first group of every label goes to train, so no held-out
    label is unknown there.

    With `time_column` the newest rows are the test part and those before them the validation
    part. Rows of the same time stay together, and a group goes by its newest row: no training row
    is newer than the newest row of any group that is held out. Labels are not stratified.

    Args:
        dataset: the rows; any order.
        validation: share of the rows in [0, 1). A share above 0 gets at least one group where
            there are enough groups.
        test: the same for the test part.
        seed: of the choice of rows; without effect with `time_column`.
        time_column: column with the time of each row; see `times.row_times` for what it may hold.

    Returns:
        The parts. Train is empty only when `dataset` is.

    Raises:
        DataError: a share is outside [0, 1), they leave nothing to train on, or times cannot be
            read or are all the same.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise DataError(
                f"The {name} share is {share}; it must be at least 0 and below 1 (0.1 holds out "
                "every tenth row)."
            )
    if validation + test >= 1:
        raise DataError(
            f"Validation {validation} and test {test} together leave no row to train on. Lower "
            "them to below 1 in all."
        )
    groups = _groups(dataset)
    times = row_times(dataset, time_column) if time_column is not None else None
    units = _units(dataset, groups, times)
    shares = (1 - validation - test, validation, test)
    noise = random.Random(seed)
    if times is not None:
        _require_two_times(units, shares, str(time_column))
        places = by_time(units, shares)
    elif any(isinstance(record.label, tuple) for record in dataset):
        places = iteratively(units, shares, noise)
    else:
        places = by_stratum(units, shares, noise)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for group, place in zip(groups, places, strict=True):
        parts[place].extend(group)
    train, held_out, final = (dataset.select(sorted(part)) for part in parts)
    return Splits(train, held_out, final)


def _require_two_times(
    units: Sequence[Unit], shares: tuple[float, float, float], column: str
) -> None:
    """Refuse times that cannot tell which rows are newer."""
    wanted = 1 + sum(share > 0 for share in shares[1:])
    found = len({unit.time for unit in units})
    if units and found < wanted:
        raise DataError(
            f"Column {column!r} (data.time_column) has {found} different times once copies and "
            f"groups are kept together, and {wanted} parts are asked for. Leave data.time_column "
            "out, or set data.validation or data.test to 0."
        )


def _groups(dataset: Dataset) -> list[list[int]]:
    """Rows that must stay together, by union of equal groups, equal texts and near copies."""
    parent = list(range(len(dataset)))
    sizes = [1] * len(dataset)

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def unite(left: int, right: int) -> None:
        low, high = sorted((root(left), root(right)))
        if low != high:
            parent[high] = low
            sizes[low] += sizes[high]

    first: dict[Hashable, int] = {}
    for index, record in enumerate(dataset):
        for key in _keys(record):
            unite(first.setdefault(key, index), index)
    for left, right in _near_copies(dataset):
        if sizes[root(left)] + sizes[root(right)] <= max(_SMALLEST_LIMIT, len(dataset) * _LIMIT):
            unite(left, right)
    members: dict[int, list[int]] = {}
    for index in range(len(dataset)):
        members.setdefault(root(index), []).append(index)
    return list(members.values())


def _near_copies(dataset: Dataset) -> list[tuple[int, int]]:
    """Pairs of rows with nearly the same text, the most similar first."""
    groups = exact_groups([record.plain_text for record in dataset])
    rows = [group[0] for group in groups.values()]
    pairs = near_pairs([dataset.records[row].plain_text for row in rows])
    order = (-pairs.similarity).argsort(kind="stable")
    return [(rows[pairs.left[i]], rows[pairs.right[i]]) for i in order]


def _keys(record: Record) -> Iterable[Hashable]:
    group = record.meta.get("group")
    if group is not None and group != "":
        yield "group", str(group)
    text = normal_text(record.plain_text)
    if text:
        yield "text", text
    if prompt := prompt_of(record):
        yield "prompt", prompt


def _units(
    dataset: Dataset, groups: Sequence[Sequence[int]], times: Sequence[float] | None
) -> list[Unit]:
    """The groups with what they are dealt out by."""
    strata = _strata(dataset, groups)
    return [
        Unit(
            size=len(group),
            labels=Counter(
                label for row in group for label in set(dataset.records[row].class_names)
            ),
            stratum=stratum,
            time=max(times[row] for row in group) if times is not None else 0.0,
        )
        for group, stratum in zip(groups, strata, strict=True)
    ]


def _strata(dataset: Dataset, groups: Sequence[Sequence[int]]) -> list[tuple[int, str]]:
    """By group, what it is stratified on: the rarest label in it, or the tenth of its number."""
    if dataset.task is Task.REGRESSION:
        values = [_mean(dataset, group) for group in groups]
        ranks = sorted(range(len(groups)), key=lambda g: values[g])
        tenth = {g: rank * _REGRESSION_BINS // len(groups) for rank, g in enumerate(ranks)}
        return [(tenth[g], "") for g in range(len(groups))]
    counts = Counter(label for record in dataset for label in record.class_names)
    strata = []
    for group in groups:
        found = {label for index in group for label in dataset.records[index].class_names}
        rarest = min(found, key=lambda label: (counts[label], label), default="")
        strata.append((counts[rarest], rarest))
    return strata


def _mean(dataset: Dataset, group: Sequence[int]) -> float:
    labels = [dataset.records[index].label for index in group]
    return sum(label for label in labels if isinstance(label, float)) / len(labels)
