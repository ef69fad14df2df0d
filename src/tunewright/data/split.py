"""Cut a data set into train, validation and test: stratified, grouped, or by time.

The same rows and seed give the same parts. This module knows records and which of them must stay
together. It does not know files.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tunewright.data.copies import NEAR_ROWS, prompt_of
from tunewright.data.duplicates import near_pairs, normal_text
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.data.row_groups import Groups, groups_of, key_of
from tunewright.data.row_keys import near_text
from tunewright.data.stratify import PARTS, Columns, Unit, by_stratum, by_time, iteratively
from tunewright.data.times import row_times
from tunewright.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    near copies, stay together (of more than `NEAR_ROWS` rows on disk, near copies are not looked
    for). Parts keep the order of the rows.

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
    import numpy as np

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
    rows, starts = _groups(dataset)
    shares = (1 - validation - test, validation, test)
    noise = random.Random(seed)
    places: Sequence[int] | NDArray[np.int8]
    if time_column is not None:
        units = _units(dataset, rows, starts, row_times(dataset, time_column))
        _require_two_times(units, shares, time_column)
        places = by_time(units, shares)
    elif dataset.task in (Task.MULTILABEL, Task.TOKEN_CLASSIFICATION):
        places = iteratively(_units(dataset, rows, starts), shares, noise)
    else:
        places = by_stratum(_columns(dataset, rows, starts), shares, noise)
    part_of = np.empty(len(dataset), dtype=np.int8)
    part_of[rows] = np.repeat(np.asarray(places, dtype=np.int8), np.diff(starts))
    train, held_out, final = (dataset.select(np.flatnonzero(part_of == p)) for p in range(PARTS))
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


def _groups(dataset: Dataset) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Rows that must stay together, by union of equal groups, equal texts and near copies.

    Returns:
        All rows, those of one group beside each other, and where each group begins, with the end.
    """
    import numpy as np

    parent = array("i", range(len(dataset)))
    sizes = array("i", [1]) * len(dataset)

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

    texts, others = _keys(dataset)
    same = groups_of(texts)
    for found in (same, *map(groups_of, others)):
        for group in found:
            for row in group[1:]:
                unite(group[0], row)
    for left, right in _near_copies(dataset, texts, same):
        if sizes[root(left)] + sizes[root(right)] <= max(_SMALLEST_LIMIT, len(dataset) * _LIMIT):
            unite(left, right)
    del texts, others, same  # millions of rows may still have to be sorted
    roots = np.frombuffer(parent, dtype=np.int32)
    while not np.array_equal(above := roots[roots], roots):
        roots = above
    rows = np.argsort(roots, kind="stable").astype(np.uint32)
    ordered = roots[rows]
    borders = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    return rows, np.append(borders, len(rows)).astype(np.uint32)


def _keys(dataset: Dataset) -> tuple[array[int], tuple[array[int], array[int]]]:
    """Of each row its text as a key; and its group and its prompt, as far as there are any."""
    texts, groups, prompts = array("Q"), array("Q"), array("Q")
    for row, record in enumerate(dataset):
        texts.append(key_of(normal_text(record.plain_text)))
        group = record.meta.get("group")
        prompt = prompt_of(record)
        for keys, value in ((groups, "" if group is None else str(group)), (prompts, prompt)):
            if value:
                keys.frombytes(bytes(8 * (row - len(keys))))
                keys.append(key_of(value))
    return texts, (groups, prompts)


def _near_copies(dataset: Dataset, texts: array[int], same: Groups) -> list[tuple[int, int]]:
    """Pairs of rows with nearly the same text, the most similar first; of questions, pairs with the
    same text to look in."""
    import numpy as np

    if dataset.task is Task.QUESTION_ANSWERING:
        contexts = array("Q", (key_of(normal_text(r.text_pair or "")) for r in dataset))
        return [(group[0], row) for group in groups_of(contexts) for row in group[1:]]
    first = np.frombuffer(texts, dtype=np.uint64) != 0
    first[same.later] = False
    rows = np.flatnonzero(first)
    if dataset.on_disk and len(rows) > NEAR_ROWS:
        return []
    pairs = near_pairs([near_text(record, dataset.task) for record in dataset.select(rows)])
    order = (-pairs.similarity).argsort(kind="stable")
    return [(int(rows[pairs.left[i]]), int(rows[pairs.right[i]])) for i in order]


def _units(
    dataset: Dataset,
    rows: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    times: Sequence[float] | None = None,
) -> list[Unit]:
    """The groups with what they are dealt out by."""
    names = [record.class_names for record in dataset]
    found = []
    for first, end in pairwise(starts.tolist()):
        group = rows[first:end].tolist()
        found.append(
            Unit(
                size=len(group),
                labels=Counter(label for row in group for label in set(names[row])),
                time=max(times[row] for row in group) if times is not None else 0.0,
            )
        )
    return found


def _columns(dataset: Dataset, rows: NDArray[np.uint32], starts: NDArray[np.uint32]) -> Columns:
    """The groups with what they are stratified on: the rarest label, or the tenth of the number."""
    import numpy as np

    sizes = np.diff(starts)
    strata: NDArray[Any]
    if dataset.task in (Task.REGRESSION, Task.EMBEDDING):
        values = np.array(array("d", map(_number, dataset)))[rows]
        means = np.add.reduceat(values, starts[:-1]) / sizes if len(rows) else values
        ranks = np.empty(len(sizes), dtype=np.int64)
        ranks[np.argsort(means, kind="stable")] = np.arange(len(sizes))
        strata = ranks * _REGRESSION_BINS // max(len(sizes), 1)
        return Columns(sizes, strata, np.full(len(rows), -1, dtype=np.int32), starts)
    numbers: dict[str, int] = {}
    labels = array("i")
    for record in dataset:
        name = record.label if isinstance(record.label, str) else None
        labels.append(-1 if name is None else numbers.setdefault(name, len(numbers)))
    named = list(numbers)
    counts = Counter(labels)
    order = sorted(range(len(named)), key=lambda number: (counts[number], named[number]))
    rank = np.empty(len(named) + 1, dtype=np.int32)
    rank[order] = np.arange(len(named))
    rank[-1] = len(named)
    of_rows = np.frombuffer(labels, dtype=np.int32)[rows]
    strata = np.minimum.reduceat(rank[of_rows], starts[:-1]) if len(rows) else of_rows
    strata[strata == len(named)] = -1  # groups without a label come first
    return Columns(sizes, strata, of_rows, starts)


def _number(record: Record) -> float:
    return record.label if isinstance(record.label, float) else 0.0
