"""Rows that stay on disk: their places are kept, and each is read when it is asked for.

A row costs 4.25 bytes of memory, 4 more where there are blank lines, and 4 more in each selection.
The file is not copied, so it must not change while it is in use; that is noticed. This module does
not know what rows mean.
"""

from __future__ import annotations

import json
import os
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from tunewright.data.records import LazyRecords, Record
from tunewright.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH = 512
_ANCHORED = 32
"""Rows of which one has its place kept, the others the way to it."""
_WASTE = 16
"""Rows that lie apart are read at one go while the bytes between are at most so many times them."""

Make = Callable[[Mapping[str, Any], int], Record]
"""Turns a row and its number into a record."""


class RowPlaces:
    """Where the rows of a file begin: the way from each to the next, and every 32nd place."""

    def __init__(self) -> None:
        self._steps = array("I")
        self._anchors = array("Q")
        self._numbers: array[int] | None = None
        self._last = (0, 0)

    def add(self, start: int, length: int, number: int) -> None:
        """One more row: byte it starts at, bytes, number of its line."""
        rows = len(self)
        if rows:
            self._steps.append(start - self._last[0])
        if rows % _ANCHORED == 0:
            self._anchors.append(start)
        self._last = start, length
        if self._numbers is None and number != rows + 1:
            self._numbers = array("I", range(1, rows + 1))
        if self._numbers is not None:
            self._numbers.append(number)

    def __len__(self) -> int:
        return len(self._steps) + bool(self._anchors)

    @property
    def numbers(self) -> Sequence[int]:
        """The line of each row, counted from 1."""
        return range(1, len(self) + 1) if self._numbers is None else self._numbers

    def find(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[n] where rows start, and [n] the bytes from there to the next row."""
        import numpy as np

        steps = np.frombuffer(self._steps, dtype=np.uint32)
        anchors = np.frombuffer(self._anchors, dtype=np.uint64)
        block, within = np.divmod(rows, _ANCHORED)
        ways = np.arange(_ANCHORED - 1)
        starts = anchors[block].astype(np.int64)
        lengths = np.full(len(rows), self._last[1], dtype=np.int64)
        if len(steps):
            near = steps.take(block[:, None] * _ANCHORED + ways, mode="clip")
            starts += (near * (ways < within[:, None])).sum(axis=1, dtype=np.int64)
            inner = rows < len(steps)
            lengths[inner] = steps[rows[inner]]
        return starts, lengths


class StoredRows(Sequence[Mapping[str, Any]]):
    """JSON objects, one a line of a file that was read once and found sound.

    Args:
        path: the file.
        stamp: what the file was when it was read.
        places: of the rows.
        columns: all that occur.
        encoding: one in which a line can be decoded by itself.
        decoder: of a line.
        exact: whether only `decoder` may be used, because numbers are too large for orjson.
    """

    def __init__(
        self,
        path: Path,
        stamp: os.stat_result,
        places: RowPlaces,
        columns: tuple[str, ...],
        encoding: str,
        decoder: json.JSONDecoder,
        exact: bool = False,
    ) -> None:
        import orjson

        self.path = path
        self.columns = columns
        self.numbers = places.numbers
        self._stamp = _identity(stamp)
        self._places = places
        self._encoding = encoding
        self._decoder = decoder
        self._quick = None if exact or encoding != "utf-8" else orjson.loads
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | list[Mapping[str, Any]]:
        if isinstance(index, slice):
            return list(self.read(range(*index.indices(len(self)))))
        return next(self.read([range(len(self))[index]]))

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return self.read(range(len(self)))

    def read(self, indices: Sequence[int] | NDArray[Any]) -> Iterator[Mapping[str, Any]]:
        """The rows at `indices`, in that order; neighbours are read together.

        Raises:
            DataError: the file is no longer what it was.
        """
        import numpy as np

        for first in range(0, len(indices), _BATCH):
            chosen = np.asarray(indices[first : first + _BATCH], dtype=np.int64)
            starts, lengths = self._places.find(chosen)
            low, high = int(starts.min()), int((starts + lengths).max())
            self._require_unchanged()
            if high - low <= _WASTE * int(lengths.sum()):
                block = os.pread(self._file, high - low, low)
                pieces = (
                    block[start - low : start - low + length]
                    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
                )
            else:
                pieces = (
                    os.pread(self._file, length, start)
                    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
                )
            yield from map(self._row, pieces)

    def _row(self, piece: bytes) -> Mapping[str, Any]:
        """The row in a piece of the file, behind which there may be blank lines."""
        if self._quick is not None:
            try:
                row: Mapping[str, Any] = self._quick(piece)
                return row
            except ValueError:  # not a number, half a character, or a blank of another kind
                pass
        content: Mapping[str, Any] = self._decoder.decode(piece.decode(self._encoding).strip())
        return content

    def _require_unchanged(self) -> None:
        if _identity(os.fstat(self._file)) != self._stamp:
            raise DataError(
                f"{self.path} was changed while it was being read. Run this again when nothing "
                "writes to it."
            )


def _identity(stamp: os.stat_result) -> tuple[int, int, int]:
    return stamp.st_ino, stamp.st_size, stamp.st_mtime_ns


def _order_of(chosen: NDArray[np.uint32] | None, rows: int) -> NDArray[Any]:
    import numpy as np

    return np.arange(rows) if chosen is None else np.argsort(chosen, kind="stable")


class StoredRecords(LazyRecords):
    """Records made from stored rows, each when it is asked for."""

    def __init__(self, rows: StoredRows, make: Make, chosen: NDArray[np.uint32] | None = None):
        self._rows = rows
        self._make = make
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self._rows if self._chosen is None else self._chosen)

    def read(self, indices: Sequence[int] | NDArray[Any]) -> Iterator[Record]:
        """The records at `indices`, in that order."""
        import numpy as np

        for first in range(0, len(indices), _BATCH):
            part = np.asarray(indices[first : first + _BATCH], dtype=np.int64)
            if self._chosen is not None:
                part = self._chosen[part].astype(np.int64)
            numbers = map(self._rows.numbers.__getitem__, part.tolist())
            yield from map(self._make, self._rows.read(part), numbers)

    def file_order(self) -> NDArray[Any]:
        """Positions of all records in the order in which they are quick to read."""
        return _order_of(self._chosen, len(self))

    def select(self, indices: Sequence[int] | NDArray[Any]) -> StoredRecords:
        """A view of the records at `indices`, in that order: 4 bytes each."""
        import numpy as np

        chosen = np.asarray(indices, dtype=np.uint32)
        if self._chosen is not None:
            chosen = self._chosen[chosen]
        return StoredRecords(self._rows, self._make, chosen)


class JoinedRecords(LazyRecords):
    """Records of several sequences, one behind the other."""

    def __init__(
        self, pieces: Sequence[Sequence[Record]], chosen: NDArray[np.uint32] | None = None
    ) -> None:
        self._pieces = pieces
        self._starts = [0, *accumulate(map(len, pieces))]
        self._chosen = chosen

    def __len__(self) -> int:
        return self._starts[-1] if self._chosen is None else len(self._chosen)

    def read(self, indices: Sequence[int] | NDArray[Any]) -> Iterator[Record]:
        """The records at `indices`, in that order."""
        import numpy as np

        for first in range(0, len(indices), _BATCH):
            part = np.asarray(indices[first : first + _BATCH], dtype=np.int64)
            if self._chosen is not None:
                part = self._chosen[part].astype(np.int64)
            owners = np.searchsorted(self._starts, part, side="right") - 1
            borders = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(part)]
            for start, end in pairwise(borders):
                piece = bisect_right(self._starts, int(part[start])) - 1
                local = part[start:end] - self._starts[piece]
                records = self._pieces[piece]
                if isinstance(records, LazyRecords):
                    yield from records.read(local)
                else:
                    yield from (records[i] for i in local.tolist())

    def file_order(self) -> NDArray[Any]:
        """Positions of all records in the order in which they are quick to read."""
        return _order_of(self._chosen, len(self))

    def select(self, indices: Sequence[int] | NDArray[Any]) -> JoinedRecords:
        """A view of the records at `indices`, in that order: 4 bytes each."""
        import numpy as np

        chosen = np.asarray(indices, dtype=np.uint32)
        if self._chosen is not None:
            chosen = self._chosen[chosen]
        return JoinedRecords(self._pieces, chosen)
