"""Cut a data set into train, validation and test: stratified, grouped, the same every time.

This module knows records. It does not know files.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tunewright.data.duplicates import exact_groups, near_pairs, normal_text
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Hashable

_REGRESSION_BINS = 10
_LIMIT = 0.01
_SMALLEST_LIMIT = 10
"""Near copies stay together up to this share, or this number, of rows: where everything resembles
something, chains of near copies would otherwise tie the whole data set together."""


def split(dataset: Dataset, validation: float, test: float, *, seed: int = 0) -> Splits:
    """Hold out shares of the rows.

    Rows that share `meta["group"]`, whose text is the same but for case and spacing, or that are
    near copies, stay together. Within each label (for numbers: each tenth of their ranks) the
    shares are met to within one such group, and so they are over all rows. The first group of
    every label goes to train, so no held-out label is unknown there. Parts keep the order of the
    rows.

    Args:
        dataset: the rows; any order.
        validation: share of the rows in [0, 1). A share above 0 gets at least one group where
            there are enough groups.
        test: the same for the test part.
        seed: of the choice of rows.

    Returns:
        The parts. Train is empty only when `dataset` is.

    Raises:
        DataError: a share is outside [0, 1), or they leave nothing to train on.
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
    order = _stratified_order(dataset, groups, random.Random(seed))
    shares = (1 - validation - test, validation, test)
    places = _assign(dataset, groups, order, shares)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for index in range(len(dataset)):
        parts[places[index]].append(index)
    train, held_out, final = (dataset.select(part) for part in parts)
    return Splits(train, held_out, final)


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


def _stratified_order(
    dataset: Dataset, groups: Sequence[Sequence[int]], noise: random.Random
) -> list[int]:
    """Group indices, those of one stratum beside each other, shuffled within it."""
    shuffled = list(range(len(groups)))
    noise.shuffle(shuffled)
    strata = _strata(dataset, groups)
    return sorted(shuffled, key=lambda g: strata[g])


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


def _assign(
    dataset: Dataset,
    groups: Sequence[Sequence[int]],
    order: Sequence[int],
    shares: tuple[float, float, float],
) -> list[int]:
    """By row, its part: 0 train, 1 validation, 2 test.

    Walks the groups in stratified order and gives each to the part that lacks most rows, so that
    every run of neighbours, and so every stratum, is cut in the asked shares.
    """
    places = [0] * len(dataset)
    filled = [0, 0, 0]
    sizes = [0, 0, 0]
    seen = 0
    trained: set[str] = set()
    for g in order:
        group = groups[g]
        seen += len(group)
        labels = {label for index in group for label in dataset.records[index].class_names}
        part = max(range(3), key=lambda p: (shares[p] * seen - filled[p], -p))
        if labels - trained or shares[part] == 0:
            part = 0
        if part == 0:
            trained |= labels
        filled[part] += len(group)
        sizes[part] += 1
        for index in group:
            places[index] = part
    for part in (1, 2):
        if shares[part] > 0 and sizes[part] == 0:
            _lend_one(dataset, groups, order, places, sizes, part)
    return places


def _lend_one(
    dataset: Dataset,
    groups: Sequence[Sequence[int]],
    order: Sequence[int],
    places: list[int],
    sizes: list[int],
    part: int,
) -> None:
    """Move the smallest training group whose labels train keeps to an empty part, if any."""
    kept = Counter(
        label
        for g in order
        if places[groups[g][0]] == 0
        for label in {label for index in groups[g] for label in dataset.records[index].class_names}
    )
    for g in sorted(order, key=lambda g: len(groups[g])):
        labels = {label for index in groups[g] for label in dataset.records[index].class_names}
        if places[groups[g][0]] == 0 and sizes[0] > 1 and all(kept[x] > 1 for x in labels):
            for index in groups[g]:
                places[index] = part
            sizes[0] -= 1
            sizes[part] += 1
            return
