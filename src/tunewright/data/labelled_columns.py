"""Columns with a target: labels, sets of labels, numbers.

This module knows names and values of columns. `detect.py` decides when it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunewright.config.task import Task
from tunewright.data import column_names as names
from tunewright.data.values import as_flag, as_number
from tunewright.errors import DataError

if TYPE_CHECKING:
    from tunewright.data.detect import Detection
    from tunewright.data.detect import _Search as Search

_CLASSES_AT_MOST = 10
"""A score with at most this many different whole numbers is taken for classes."""
_SEPARATORS = "|;,"
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+")


def _texts(search: Search, *taken: str | None) -> tuple[str | None, str | None]:
    """The text column, and that of its pair where there is one."""
    if "text_pair" in search.fixed or "text" not in search.fixed:
        for first, second in names.PAIRS:
            if first != "text" and "text" in search.by_name:
                break  # a plain `text` column wins over pairs of other names
            text = search.named("text", (first,), taken)
            pair = search.named("text_pair", (second,), (*taken, text))
            if text and pair and search.is_text(text) and search.is_text(pair):
                return text, pair
    for name in names.TEXT:
        text = search.named("text", (name,), taken)
        if text and ("text" in search.fixed or search.is_text(text)):
            return text, None
    return None, None


def labelled(search: Search) -> Detection | None:
    """Any of the three tasks with a target; the values of the target decide which.

    Raises:
        DataError: the numbers have commas.
    """
    if "labels" in search.fixed:
        return _multilabel(search)
    for find in (_multilabel, _fractional_label, classification, _scored):
        found = find(search)
        if found is not None:
            return found
    return None


def _multilabel(search: Search) -> Detection | None:
    fixed = search.fixed.get("labels")
    if fixed is not None:
        flags = listed_columns(fixed, search.table.columns)
        return _flagged(search, flags) if flags else _with_target(search, Task.MULTILABEL, fixed)
    target = search.fixed.get("label")
    candidates = [target] if target else [search.named("labels", (name,)) for name in names.LABELS]
    for column in candidates:
        if column is None:
            continue
        listed = search.is_list(column)
        separator = "" if listed or target else _joined_by(search.values(column))
        found = _with_target(search, Task.MULTILABEL, column) if listed or separator else None
        if found is not None:
            note = "" if listed else f" (split at {separator!r})"
            return replace(found, reason=found.reason + note)
    return None


def multilabel_asked(search: Search) -> Detection | None:
    """As `_multilabel`, and also text that lists the labels with separators."""
    found = _multilabel(search)
    column = search.named("labels", names.LABELS)
    if found is None and column is not None:
        return _with_target(search, Task.MULTILABEL, column)
    return found


def _joined_by(values: Sequence[Any]) -> str:
    """What stands between the labels of a cell; empty where a cell is one label.

    Sets of labels are more than the labels they are made of.
    """
    if not all(isinstance(value, str) for value in values):
        return ""
    cells = set(values)
    if all(_COMMA_NUMBER.fullmatch(cell.strip()) for cell in cells):
        return ""
    for separator in _SEPARATORS:
        parts = {part.strip() for cell in cells for part in cell.split(separator)}
        if len(parts) < len(cells):
            return separator
    return ""


def listed_columns(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The columns that a text lists with commas; none where that is not what it does."""
    parts = [part.strip() for part in text.split(",")]
    return tuple(parts) if len(parts) > 1 and {*parts} <= {*known} else ()


def flagged(search: Search) -> Detection | None:
    """Columns of 0 and 1, each of which is a label, and no other target.

    They are two or more, and most of the columns beside the texts: a text may have a flag or two
    among what else is said of it.
    """
    if search.fixed.keys() - {"text", "text_pair", "group"}:
        return None
    free = [c for c in search.table.columns if c not in search.fixed.values()]
    values = {column: search.values(column) for column in free}
    flags = [
        column
        for column in free
        if len(values[column]) == search.sampled
        and all(as_flag(value) is not None for value in values[column])
    ]
    found = _flagged(search, flags) if len(flags) > 1 else None
    if found is None:
        return None
    others = [column for column in free if column not in found.columns.values()]
    if 2 * len(flags) <= len(others):
        return None
    return replace(found, reason=f"{found.reason} (columns of 0 and 1; task=text ignores them)")


def _flagged(search: Search, flags: Sequence[str]) -> Detection | None:
    text, pair = _texts(search, *flags)
    if text is None:
        return None
    roles = {"text": text, "text_pair": pair, "labels": ", ".join(flags)}
    return replace(search.found(Task.MULTILABEL, roles), flags=tuple(flags))


def _fractional_label(search: Search) -> Detection | None:
    """A column named like a label whose numbers are not all whole is a number to predict."""
    column = search.named("label", names.LABEL)
    if column is None or not _is_numeric(search, column) or not _has_fractions(search, column):
        return None
    return _with_target(search, Task.REGRESSION, column)


def classification(search: Search) -> Detection | None:
    """A text and a column named like a label."""
    column = search.named("label", names.LABEL)
    if column is None or search.is_list(column):
        return None
    return _with_target(search, Task.CLASSIFICATION, column)


def _scored(search: Search) -> Detection | None:
    """A column named like a score: few whole numbers are classes, anything else a number."""
    for name in names.NUMBER:
        column = search.named("label", (name,))
        if column is None or not _is_numeric(search, column):
            continue
        different = {as_number(value) for value in search.values(column)}
        whole = not _has_fractions(search, column)
        if whole and len(different) <= _CLASSES_AT_MOST:
            found = _with_target(search, Task.CLASSIFICATION, column)
            note = f" ({len(different)} whole numbers taken for classes; task=regression predicts "
            note += "them as numbers)"
            return found and replace(found, reason=found.reason + note)
        return _with_target(search, Task.REGRESSION, column)
    return None


def regression(search: Search) -> Detection | None:
    """A text and a column named like a number.

    Raises:
        DataError: the numbers have commas.
    """
    for name in names.NUMBER:
        column = search.named("label", (name,))
        if column is not None and _is_numeric(search, column):
            return _with_target(search, Task.REGRESSION, column)
    return None


def _with_target(search: Search, task: Task, column: str) -> Detection | None:
    text, pair = _texts(search, column)
    if text is None:
        return None
    role = "labels" if task is Task.MULTILABEL else "label"
    return search.found(task, {"text": text, "text_pair": pair, role: column})


def _is_numeric(search: Search, column: str) -> bool:
    """As `_Search.is_numeric`.

    Raises:
        DataError: the column has numbers, all written with a comma.
    """
    values = search.values(column)
    if values and all(isinstance(v, str) and _COMMA_NUMBER.fullmatch(v.strip()) for v in values):
        raise DataError(
            f"{search.table.source}: column {column!r} has numbers with a comma, such as "
            f"{values[0]!r}. Write them with a point: {values[0].strip().replace(',', '.')}."
        )
    return search.is_numeric(column)


def _has_fractions(search: Search, column: str) -> bool:
    return any((as_number(v) or 0.0) % 1 != 0 for v in search.values(column))


def by_content(search: Search) -> Detection | None:
    """One column of sentences and one of few values, whatever their names."""
    if search.fixed.keys() - {"group"}:
        return None
    sentences, classes = [], []
    for column in search.table.columns:
        values = search.values(column)
        if any(isinstance(v, list) for v in values):
            return None  # choices, turns, tokens: no plain classes
        if len(values) < 4 or any(isinstance(v, list | dict | float) for v in values):
            continue
        words = [str(value) for value in values]
        different = len(set(words))
        if sum(map(len, words)) / len(words) >= 15 and different * 2 > len(words):
            sentences.append(column)
        elif 2 <= different <= min(100, len(words) // 2):
            classes.append(column)
    if len(sentences) == 1 and len(classes) == 1:
        found = search.found(Task.CLASSIFICATION, {"text": sentences[0], "label": classes[0]})
        return replace(found, reason=f"{found.reason} (guessed from the values)")
    return None
