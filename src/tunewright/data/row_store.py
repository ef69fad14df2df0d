"""Rows that stay on disk: their places are kept, and each is read when it is asked for.

A row costs 16 bytes of memory, and 4 more in each selection. The file is not copied, so it must
not change while it is in use; that is noticed. This module does not know what rows mean.
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
_WASTE = 4
"""Rows that lie apart are read at one go while the bytes between are at most so many times them."""

Make = Callable[[Mapping[str, Any], int], Record]
"""Turns a row and its number into a record."""


class StoredRows(Sequence[Mapping[str, Any]]):
    """JSON objects, one a line of a file that was read once and found sound.

    Args:
        path: the file.
        stamp: what the file was when it was read.
        places: of each row: byte it starts at, bytes, number of its line.
        columns: all that occur.
        encoding: one in which a line can be decoded by itself.
        decoder: of a line.
    """

    def __init__(
        self,
        path: Path,
        stamp: os.stat_result,
        places: tuple[array[int], array[int], array[int]],
        columns: tuple[str, ...],
        encoding: str,
        decoder: json.JSONDecoder,
    ) -> None:
        import numpy as np

        self.path = path
        self.columns = columns
        self._stamp = _identity(stamp)
        self._starts, self._lengths, self.numbers = (
            np.frombuffer(place, dtype=place.typecode) for place in places
        )
        self._encoding = encoding
        self._decoder = decoder
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self._starts)

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
            starts, lengths = self._starts[chosen], self._lengths[chosen].astype(np.int64)
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
            for piece in pieces:
                yield self._decoder.decode(piece.decode(self._encoding))

    def _require_unchanged(self) -> None:
        if _identity(os.fstat(self._file)) != self._stamp:
            raise DataError(
                f"{self.path} was changed while it was being read. Run this again when nothing "
                "writes to it."
            )


def _identity(stamp: os.stat_result) -> tuple[int, int, int]:
    return stamp.st_ino, stamp.st_size, stamp.st_mtime_ns


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
            numbers = self._rows.numbers[part].tolist()
            for row, number in zip(self._rows.read(part), numbers, strict=True):
                yield self._make(row, number)

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

    def select(self, indices: Sequence[int] | NDArray[Any]) -> JoinedRecords:
        """A view of the records at `indices`, in that order: 4 bytes each."""
        import numpy as np

        chosen = np.asarray(indices, dtype=np.uint32)
        if self._chosen is not None:
            chosen = self._chosen[chosen]
        return JoinedRecords(self._pieces, chosen)
