"""Rows that are equal in something, found by hashes of 8 bytes: millions fit in memory.

Two different texts of ten million have the same hash with a chance of 1 to 360,000. This module
does not know what the rows are equal in.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_NONE = bytes(8)
_BLOCK = 1 << 20
_SLICES = 32
_AT_ONCE = 1 << 14


def key_of(text: str) -> int:
    """The hash of a text, the same everywhere; 0 for an empty one, which equals nothing."""
    if not text:
        return 0
    found = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, "little") or 1


def keys_of(texts: Iterable[str]) -> bytes:
    """The hashes of texts, 8 bytes each, for an array of typecode `Q`."""
    return b"".join(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() if text else _NONE
        for text in texts
    )


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that are equal to another one, group by group.

    Attributes:
        rows: [m] of all groups, those of one beside each other and in order; the group whose first
            row comes first is the first.
        starts: [g + 1] where each group begins in `rows`.
        heads: [g] the first row of each group.
    """

    rows: NDArray[np.uint32]
    starts: NDArray[np.int64]
    heads: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.heads)

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, len(self), _AT_ONCE):
            starts = self.starts[first : first + _AT_ONCE + 1]
            rows = self.rows[starts[0] : starts[-1]].tolist()
            for start, end in pairwise((starts - starts[0]).tolist()):
                yield rows[start:end]

    def group(self, number: int) -> list[int]:
        """The rows of one group."""
        found: list[int] = self.rows[self.starts[number] : self.starts[number + 1]].tolist()
        return found

    @property
    def later(self) -> NDArray[np.uint32]:
        """[m - g] every row but the first of each group."""
        import numpy as np

        return np.delete(self.rows, self.starts[:-1])

    def with_row(self, first: int) -> list[int]:
        """The group that begins with a row, which may be alone."""
        import numpy as np

        place = int(np.searchsorted(self.heads, first))
        found = place < len(self.heads) and self.heads[place] == first
        return self.group(place) if found else [first]


def groups_of(keys: array[int]) -> Groups:
    """The groups of rows with the same key.

    Beside the keys, this takes 1 byte a row, and some 30 bytes for each row that is in a group.

    Args:
        keys: of each row, typecode `Q`; 0 equals nothing.
    """
    import numpy as np

    values = np.frombuffer(keys, dtype=np.uint64)
    repeated = _repeated(values)
    if not len(repeated):
        none = np.zeros(0, dtype=np.uint32)
        return Groups(none, np.zeros(1, dtype=np.int64), none)
    found, numbers = [], []
    for first in range(0, len(values), _BLOCK):
        part = values[first : first + _BLOCK]
        near = np.searchsorted(repeated, part).clip(max=len(repeated) - 1)
        here = np.flatnonzero(repeated[near] == part)
        found.append((here + first).astype(np.uint32))
        numbers.append(near[here].astype(np.uint32))
    rows, number = np.concatenate(found), np.concatenate(numbers)
    del found, numbers
    heads = np.empty(len(repeated), dtype=np.uint32)
    heads[number[::-1]] = rows[::-1]  # the first row of each is written last
    rank = np.empty(len(repeated), dtype=np.uint32)
    rank[np.argsort(heads)] = np.arange(len(repeated), dtype=np.uint32)
    number = rank[number]
    starts = np.append(0, np.cumsum(np.bincount(number, minlength=len(repeated))))
    return Groups(rows[np.argsort(number, kind="stable")], starts, np.sort(heads))


def _repeated(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Values other than 0 that occur more than once, sorted.

    A slice of all values is sorted at a time, so that no second copy of them is made.
    """
    import numpy as np

    slices = 1 if len(values) <= _BLOCK else _SLICES
    width = (1 << 64) // slices
    found = []
    for number in range(slices):
        low, high = np.uint64(number * width), np.uint64((number + 1) * width - 1)
        blocks = (values[at : at + _BLOCK] for at in range(0, len(values), _BLOCK))
        pieces = [part[(part >= low) & (part <= high)] for part in blocks]
        ordered = np.sort(np.concatenate([values[:0], *pieces]))
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        found.append(twice[np.diff(twice, prepend=~twice[:1]) != 0])
    every = np.concatenate(found)
    kept: NDArray[np.uint64] = every[every != 0]
    return kept
