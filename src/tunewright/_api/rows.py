"""Rows in memory, in whatever container a user has them, become records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunewright.data.convert import to_records
from tunewright.data.detect import detect
from tunewright.data.records import Dataset, Splits
from tunewright.data.table import Table
from tunewright.errors import DataError

_NAMES = {"validation": ("validation", "valid", "dev", "val", "eval"), "test": ("test",)}


def to_splits(rows: Any) -> Splits:
    """Turn a `datasets.Dataset` or `DatasetDict`, records, or a list of dicts into splits.

    Raises:
        DataError: it is none of these, or has no rows.
    """
    if isinstance(rows, Splits):
        return rows
    if isinstance(rows, Dataset):
        return Splits(rows, rows.select([]), rows.select([]))
    if isinstance(rows, Mapping):
        if "train" not in rows and not any(n in rows for names in _NAMES.values() for n in names):
            raise DataError(
                f"dataset has the parts {', '.join(map(str, rows))}; one must be train."
            )
        train = records_from_rows(rows["train"], "train") if "train" in rows else None
        parts = {}
        for part, names in _NAMES.items():
            found = next((name for name in names if name in rows and len(rows[name])), None)
            parts[part] = records_from_rows(rows[found], part) if found else None
        present = [d for d in (train, *parts.values()) if d is not None]
        if not present:
            raise DataError("dataset has no rows.")
        empty = present[0].select([])
        return Splits(train or empty, parts["validation"] or empty, parts["test"] or empty)
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        found_all = records_from_rows(rows, "dataset")
        return Splits(found_all, found_all.select([]), found_all.select([]))
    raise DataError(
        f"dataset is a {type(rows).__name__}; give a datasets.Dataset, a DatasetDict or a list of "
        "dicts."
    )


def records_from_rows(rows: Iterable[Any], name: str) -> Dataset:
    """Records of rows in memory, their task detected from the columns.

    Raises:
        DataError: there are no rows, or their columns fit no task.
    """
    classes = {
        column: list(inner.names)
        for column, feature in (getattr(rows, "features", None) or {}).items()
        if hasattr(inner := getattr(feature, "feature", feature), "names")
    }
    table = Table(name, [dict(row) for row in rows], classes=classes)
    if not len(table):
        raise DataError(f"{name} has no rows.")
    found = detect(table)
    return Dataset(found.task, tuple(to_records(table, found)), name)
