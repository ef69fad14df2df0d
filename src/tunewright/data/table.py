"""Rows as a reader found them, before anything is known about their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one source.

    Attributes:
        source: where they came from, for messages.
        rows: column to value, JSON-like.
        numbers: place of each row in the source, counted from 1. For files with one row a line
            this is the line.
        classes: by column, the class names that its integers stand for, where the file says so.
        task: what the rows are for, where the source says so; empty otherwise.
    """

    source: str
    rows: Sequence[Mapping[str, Any]]
    numbers: Sequence[int] = ()
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    task: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def number(self, index: int) -> int:
        """The place of row `index` in the source, counted from 1."""
        return int(self.numbers[index]) if len(self.numbers) else index + 1

    @property
    def columns(self) -> list[str]:
        """Every column that occurs, in the order of first appearance."""
        known: Sequence[str] = getattr(self.rows, "columns", ())
        found = dict.fromkeys(known)
        for row in () if known else self.rows:
            if not row.keys() <= found.keys():
                found.update(dict.fromkeys(row))
        return list(found)
