"""All rows of all parts in one order, and what each of them says as a key: for comparing rows.

This module does not know what is compared, or what it means that two rows are equal.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunewright.data.finding import PARTS, Place, Places, record_at, show_row
from tunewright.data.records import Record, Splits, Task
from tunewright.data.row_groups import Groups

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of all parts in one order, train first.

    Attributes:
        splits: the parts.
        starts: row at which each part begins, and the number of all rows.
        same: rows whose texts are equal.
        labels: what each row says there, as a key of 4 bytes, enough to compare the few rows of a
            text; empty where the task has no classes.
        prompts, groups: what each row says there, as a key; empty where nothing does, or where
            there is one part only.
        heads: rows that are the first of their text.
        near: rows among which near copies can be looked for at one go.
    """

    splits: Splits
    starts: Sequence[int]
    same: Groups
    labels: array[int]
    prompts: array[int]
    groups: array[int]
    heads: NDArray[np.uint32]
    near: int

    @property
    def parted(self) -> bool:
        """Whether more than one part has rows."""
        return len(set(self.starts)) > 2

    def part(self, row: int) -> str:
        """The part a row is in."""
        return PARTS[bisect_right(self.starts, row, hi=len(PARTS)) - 1]

    def place(self, row: int) -> Place:
        """A row as its part and its position there."""
        part = self.part(row)
        return part, row - self.starts[PARTS.index(part)]

    def places(self, rows: Iterable[int]) -> Places:
        """Rows as their parts and positions."""
        return Places(map(self.place, rows))

    def record(self, row: int) -> Record:
        """The record of a row."""
        return record_at(self.splits, self.place(row))

    def source(self, row: int) -> str:
        """Where a row was read."""
        return self.record(row).source

    def texts(self, rows: NDArray[np.uint32]) -> list[str]:
        """Texts of rows that are in order, as near copies are looked for in them."""
        found = []
        for number, (_, part) in enumerate(self.splits.items()):
            first, end = self.starts[number], self.starts[number + 1]
            mine = rows[(rows >= first) & (rows < end)] - first
            found += [near_text(record, part.task) for record in part.select(mine)]
        return found

    def show_pair(self, first: int, second: int) -> str:
        """Two rows for people."""
        left, right = (show_row(self.splits, self.place(row)) for row in (first, second))
        return f"{left} / {right}"


def near_text(record: Record, task: Task) -> str:
    """The text in which near copies are looked for.

    Of texts that belong together it is the first: many of them may share a second one.
    """
    return record.text if task is Task.EMBEDDING and record.label is None else record.plain_text


def first_of_their_text(texts: array[int], same: Groups) -> NDArray[np.uint32]:
    """Rows with a text that no earlier row has."""
    import numpy as np

    first = np.frombuffer(texts, dtype=np.uint64) != 0
    first[same.later] = False
    blocks = range(0, len(first), 1 << 20)
    found = [(np.flatnonzero(first[at : at + (1 << 20)]) + at).astype(np.uint32) for at in blocks]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint32)
