"""Rows that are equal in something, found by hashes of 8 bytes: millions fit in memory.

Two different texts of ten million have the same hash with a chance of 1 to 360,000. This module
does not know what the rows are equal in.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def key_of(text: str) -> int:
    """The hash of a text, the same everywhere; 0 for an empty one, which equals nothing."""
    if not text:
        return 0
    found = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, "little") or 1


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that are equal to another one, group by group.

    Attributes:
        rows: [m] of all groups, those of one beside each other and in order; the group whose first
            row comes first is the first.
        starts: [g + 1] where each group begins in `rows`.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for group in range(len(self)):
            yield self.group(group)

    def group(self, number: int) -> list[int]:
        """The rows of one group."""
        return list(map(int, self.rows[self.starts[number] : self.starts[number + 1]]))

    @property
    def later(self) -> NDArray[np.int64]:
        """[m - g] every row but the first of each group."""
        import numpy as np

        return np.delete(self.rows, self.starts[:-1])

    def with_row(self, first: int) -> list[int]:
        """The group that begins with a row, which may be alone."""
        import numpy as np

        heads = self.rows[self.starts[:-1]]
        place = int(np.searchsorted(heads, first))
        return self.group(place) if place < len(heads) and heads[place] == first else [first]


def groups_of(keys: array[int]) -> Groups:
    """The groups of rows with the same key.

    Args:
        keys: of each row, typecode `Q`; 0 equals nothing.
    """
    import numpy as np

    values = np.frombuffer(keys, dtype=np.uint64)
    ordered = np.sort(values)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    del ordered
    repeated = twice[np.concatenate([[True], twice[1:] != twice[:-1]])] if len(twice) else twice
    repeated = repeated[repeated != 0]
    if not len(repeated):
        return Groups(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
    found = []
    for first in range(0, len(values), 1 << 20):
        part = values[first : first + (1 << 20)]
        near = np.searchsorted(repeated, part).clip(max=len(repeated) - 1)
        found.append(np.flatnonzero(repeated[near] == part) + first)
    rows = np.concatenate(found)
    number = np.searchsorted(repeated, values[rows])
    order = np.argsort(number, kind="stable")
    heads = np.flatnonzero(np.diff(number[order], prepend=-1))
    firsts = rows[order][heads]
    rank = np.empty(len(firsts), dtype=np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    order = np.argsort(rank[number], kind="stable")
    starts = np.flatnonzero(np.diff(rank[number][order], prepend=-1, append=len(rank)))
    return Groups(rows[order], starts)
