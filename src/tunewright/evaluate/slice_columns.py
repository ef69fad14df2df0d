"""What rows can be told apart by: length, label, language, source, and the columns they carry.

This module knows records. It does not know scores.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.data.language import SHORTEST, languages_of
from tunewright.data.records import Record
from tunewright.data.task_prompts import MIXED

MIN_ROWS = 10
"""Rows of a slice at least, and of the rest."""
_MOST_VALUES = 20
"""Values of a column up to which each is a slice, and rows of free text are not."""
_NUMBERING = frozenset({"id", "idx", "index", "row"})
"""Columns that number the rows; nobody looks for errors by them."""
_BANDS = 4
_MOST_TEXTS = 10_000
"""Rows up to which languages are told without being asked for: some seconds."""

Masks = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Column:
    """Something that differs between rows: the rows [n] of each of its values."""

    name: str
    values: Masks


def columns_of(records: Sequence[Record], wanted: Sequence[str] | None = None) -> list[Column]:
    """Everything the rows can be sliced by that takes two values or more.

    Sources of a mix of tasks are taken where they are wanted: their scores do not compare. Any
    other column of the rows is taken where it has at most 20 values, or numbers, which are cut into
    four bands of like size; a `wanted` one is taken with any number of values.

    Args:
        records: [n] the rows.
        wanted: names to take. Default: all; languages only of up to 10,000 rows.
    """
    found = [
        Column(name, values)
        for name, values in _candidates(records, wanted)
        if len(values) > 1 and (wanted is None or name in wanted)
    ]
    if wanted is not None:
        found.sort(key=lambda column: list(wanted).index(column.name))
    return found


def _candidates(
    records: Sequence[Record], wanted: Sequence[str] | None
) -> Iterator[tuple[str, Masks]]:
    own = dict.fromkeys(key for record in records for key in record.meta)
    lengths = [float(len(record.plain_text)) for record in records]
    yield "length", {f"{band} characters": rows for band, rows in _bands(lengths).items()}
    if "label" not in own:
        yield "label", _label_masks(records)
    if "language" not in own and (
        len(records) <= _MOST_TEXTS if wanted is None else "language" in wanted
    ):
        yield "language", _masks(_languages(records))
    if "source" not in own:
        yield "source", _masks([record.source or None for record in records])
    for key in own:
        if wanted is None and (key.lower() in _NUMBERING or key == MIXED):
            continue
        values = [_plain(record.meta.get(key)) for record in records]
        yield key, _column_masks(values, free=wanted is not None and key in wanted)


def _label_masks(records: Sequence[Record]) -> Masks:
    """Rows that have a label, or an entity of a type; rows of several are in several slices."""
    if any(isinstance(record.label, int | float) for record in records):
        return _column_masks([_plain(record.label) for record in records], free=False)
    found = [set(record.entity_types if record.words else record.class_names) for record in records]
    every = sorted(set().union(*found))
    return {name: np.array([name in names for names in found]) for name in every}


def _languages(records: Sequence[Record]) -> list[str | None]:
    texts = [record.plain_text for record in records]
    # Reading the model of languages takes a second.
    if not any(sum(map(str.isalpha, text)) >= SHORTEST for text in texts):
        return [None] * len(texts)
    return languages_of(texts)


def _plain(value: Any) -> Hashable | None:
    """A value that rows can share; None for nothing, and for what has parts."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool | int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def _column_masks(values: Sequence[Any], free: bool) -> Masks:
    distinct = {value for value in values if value is not None}
    if len(distinct) <= _MOST_VALUES:
        return _masks(values)
    if all(isinstance(value, int | float) for value in distinct):
        return _bands([math.nan if value is None else float(value) for value in values])
    return _masks(values) if free else {}


def _masks(values: Sequence[Any]) -> Masks:
    column = np.array(["" if value is None else str(value) for value in values])
    return {str(name): column == name for name in np.unique(column) if name}


def _bands(values: Sequence[float]) -> Masks:
    """Four bands of like size, named by their ends; equal numbers stay together."""
    numbers = np.asarray(values)
    there = np.isfinite(numbers)
    if not there.any():
        return {}
    edges = np.unique(np.quantile(numbers[there], np.arange(1, _BANDS) / _BANDS))
    band = np.searchsorted(edges, numbers, side="left")
    found: Masks = {}
    for number in range(len(edges) + 1):
        rows = there & (band == number)
        if rows.any():
            low, high = numbers[rows].min(), numbers[rows].max()
            found[f"{low:,g}" if low == high else f"{low:,g} to {high:,g}"] = rows
    return found
