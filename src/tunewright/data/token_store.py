"""Rows as token ids, packed into bytes that stay in memory or on disk.

A row is read when it is asked for; of all rows only their lengths are held, 12 bytes each. Files
are read, not mapped: pages of a mapped file count as memory of the process. What is packed follows
from the fields of `Example`. This module does not know what they mean.
"""

from __future__ import annotations

import os
import struct
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np

from tunewright.data.example import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
"""Of the bytes that are written here; another number is never read."""

HELD = ("others", "window")
"""Fields that are more than numbers; rows that have them are `HeldRows`."""
FIELDS = tuple(field.name for field in fields(Example) if field.name not in HELD)
"""Of a row, in the order in which they are packed."""
assert FIELDS[:2] == ("input_ids", "row")  # `TokenStore.piece` reads these where they are
_NONE, _INT, _FLOAT, _BITS, _FLOATS = range(5)
_LISTS: dict[int, np.dtype[Any]] = {
    kind: np.dtype(name) for kind, name in enumerate(("<u1", "<u2", "<i4", "<i8"), start=5)
}
"""Whole numbers are kept in the smallest of these that holds them all."""
_COUNT = struct.Struct("<I")
_NUMBERS = {_INT: struct.Struct("<q"), _FLOAT: struct.Struct("<d")}
_ENTRY = np.dtype(
    [("end", "<u8"), ("target", "<f8"), ("ids", "<u4"), ("target_ids", "<u4"), ("trained", "<u4")]
)
"""Of each row: where its bytes end, its target where that is one number, and its lengths."""
ENTRY_BYTES = _ENTRY.itemsize
_END = struct.Struct("<Q")
_FIRST, _SECOND = struct.Struct("<BI"), struct.Struct("<q")
_ENTRIES = 1 << 16
"""Read at once."""


class TokenRows(Sequence[Example]):
    """Rows that a model is trained on, with what is known of all of them at once.

    Attributes:
        lengths: [n] tokens of each row, as `len(example)`.
        trained: [n] `example.trained_tokens` of each row.
    """

    lengths: NDArray[np.uint32]
    trained: NDArray[np.uint32]

    @abstractmethod
    def row(self, index: int) -> Example:
        """One row; `index` is not negative."""

    @abstractmethod
    def targets(self) -> NDArray[np.float64]:
        """[n] `example.target` of each row, or [n x c] where it is a list."""

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        places = range(len(self))[index]
        return self.row(places) if isinstance(places, int) else [self.row(i) for i in places]

    def __iter__(self) -> Iterator[Example]:
        return map(self.row, range(len(self)))


class HeldRows(TokenRows):
    """Rows with more in them than numbers, as they are.

    Args:
        examples: of any length.
    """

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples
        self.lengths, self.trained = lengths_of(examples)

    @property
    def longest(self) -> NDArray[np.uint32]:
        """[n] `example.longest` of each row."""
        return np.array([example.longest for example in self.examples], dtype=np.uint32)

    def row(self, index: int) -> Example:
        """One row; `index` is not negative."""
        return self.examples[index]

    def targets(self) -> NDArray[np.float64]:
        """[n] `example.target` of each row, or [n x c] where it is a list."""
        return targets_of(self.examples)


def lengths_of(examples: Sequence[Example]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """[n] tokens of each row, and [n] those that count in the loss."""
    if isinstance(examples, TokenRows):
        return examples.lengths, examples.trained
    lengths = np.array([len(example) for example in examples], dtype=np.uint32)
    return lengths, np.array([e.trained_tokens for e in examples], dtype=np.uint32)


def targets_of(examples: Sequence[Example]) -> NDArray[np.float64]:
    """[n] `example.target` of each row, or [n x c] where it is a list; NaN where there is none."""
    if isinstance(examples, TokenRows):
        return examples.targets()
    return np.array([example.target for example in examples], dtype=np.float64)


def pack(example: Example) -> bytes:
    """A row as bytes: the kind of each field, and behind it what the field holds."""
    assert all(getattr(example, name) is None for name in HELD)
    pieces: list[bytes] = []
    for name in FIELDS:
        value = getattr(example, name)
        if value is None:
            pieces.append(bytes([_NONE]))
        elif isinstance(value, list):
            pieces += _packed_list(value)
        else:
            kind = _FLOAT if isinstance(value, float) else _INT
            pieces += bytes([kind]), _NUMBERS[kind].pack(value)
    return b"".join(pieces)


def _packed_list(value: list[Any]) -> tuple[bytes, bytes, bytes]:
    count = _COUNT.pack(len(value))
    if value and isinstance(value[0], bool):
        return bytes([_BITS]), count, np.packbits(value).tobytes()
    if value and isinstance(value[0], float):
        return bytes([_FLOATS]), count, np.asarray(value, "<f8").tobytes()
    numbers = np.asarray(value, dtype=np.int64)
    low, high = (int(numbers.min()), int(numbers.max())) if value else (0, 0)
    if low < 0 or high >= 1 << 16:
        kind = 7 if low >= -(1 << 31) and high < 1 << 31 else 8
    else:
        kind = 5 if high < 1 << 8 else 6
    return bytes([kind]), count, numbers.astype(_LISTS[kind]).tobytes()


def unpack(packed: bytes) -> Example:
    """The row that `pack` was given."""
    values: list[Any] = []
    at = 0
    while at < len(packed):
        kind = packed[at]
        at += 1
        if kind == _NONE:
            values.append(None)
        elif kind in _NUMBERS:
            values.append(_NUMBERS[kind].unpack_from(packed, at)[0])
            at += 8
        else:
            (count,) = _COUNT.unpack_from(packed, at)
            at += 4
            if kind == _BITS:
                size = -(-count // 8)
                bits = np.unpackbits(np.frombuffer(packed, np.uint8, size, at), count=count)
                values.append(bits.view(np.bool_).tolist())
            else:
                dtype = _LISTS.get(kind, np.dtype("<f8"))
                size = count * dtype.itemsize
                values.append(np.frombuffer(packed, dtype, count, at).tolist())
            at += size
    return Example(**dict(zip(FIELDS, values, strict=True)))


class Sink(Protocol):
    """Takes bytes one behind the other, as a file does."""

    def write(self, content: bytes, /) -> object:
        """Write behind what is there."""


class TokenWriter:
    """Packs rows, one behind the other.

    Args:
        rows: takes the rows.
        entries: takes where each row is, and its lengths.
    """

    def __init__(self, rows: Sink, entries: Sink) -> None:
        self._rows = rows
        self._entries = entries
        self._end = 0

    def add(self, examples: Sequence[Example]) -> None:
        """Write rows behind those that are there."""
        made = np.zeros(len(examples), dtype=_ENTRY)
        packed = [pack(example) for example in examples]
        made["end"] = self._end + np.cumsum([len(piece) for piece in packed], dtype=np.uint64)
        made["target"] = [
            example.target if isinstance(example.target, int | float) else np.nan
            for example in examples
        ]
        made["ids"] = [len(example.input_ids) for example in examples]
        made["target_ids"] = [len(example.target_ids or ()) for example in examples]
        made["trained"] = [example.trained_tokens for example in examples]
        self._rows.write(b"".join(packed))
        self._entries.write(made.tobytes())
        self._end += sum(map(len, packed))


class Bytes(Protocol):
    """Bytes somewhere, of which pieces can be read."""

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on; fewer at the end."""


class HeldBytes:
    """Bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on."""
        return self._content[start : start + size]


class StoredBytes:
    """Bytes of a file, which is open until this is gone, even where the file is deleted."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on."""
        pieces: list[bytes] = []
        while size and (piece := os.pread(self._file, size, start)):
            pieces.append(piece)
            start, size = start + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class TokenStore(TokenRows):
    """Rows of any length, as a `TokenWriter` wrote them.

    Args:
        rows, entries: what it wrote.

    Attributes:
        ids: [n] tokens of `input_ids`.
        target_ids: [n] tokens of `target_ids`, or None where no row has any.
    """

    def __init__(self, rows: Bytes, entries: Bytes) -> None:
        self._rows = rows
        self._entries = entries
        ids, target_ids, trained = array("I"), array("I"), array("I")
        for block in self._blocks():
            for column, name in ((ids, "ids"), (target_ids, "target_ids"), (trained, "trained")):
                column.frombytes(block[name].tobytes())
        self.ids, self.trained = (np.frombuffer(c, dtype=np.uint32) for c in (ids, trained))
        targets = np.frombuffer(target_ids, dtype=np.uint32)
        self.target_ids = targets if targets.any() else None
        self.lengths = self.ids if self.target_ids is None else self.ids + self.target_ids

    @property
    def longest(self) -> NDArray[np.uint32]:
        """[n] `example.longest` of each row."""
        if self.target_ids is None:
            return self.ids
        return np.maximum(self.ids, self.target_ids)

    def row(self, index: int) -> Example:
        """One row; `index` is not negative."""
        start, end = self._place(index)
        return unpack(self._rows.read(start, end - start))

    def piece(self, index: int, start: int, end: int) -> tuple[list[int], int]:
        """The tokens of a row from `start` up to `end`, and `example.row`; others are not read."""
        at = self._place(index)[0]
        kind, count = _FIRST.unpack(self._rows.read(at, _FIRST.size))
        at, dtype = at + _FIRST.size, _LISTS[kind]
        size = max(0, min(end, count) - start) * dtype.itemsize
        ids = np.frombuffer(self._rows.read(at + start * dtype.itemsize, size), dtype).tolist()
        (row,) = _SECOND.unpack(self._rows.read(at + count * dtype.itemsize + 1, _SECOND.size))
        return ids, row

    def _place(self, index: int) -> tuple[int, int]:
        """Where the bytes of a row begin and end."""
        first = max(0, index - 1)
        found = self._entries.read(first * ENTRY_BYTES, (index + 1 - first) * ENTRY_BYTES)
        (end,) = _END.unpack_from(found, len(found) - ENTRY_BYTES)
        return _END.unpack_from(found)[0] if index else 0, end

    def targets(self) -> NDArray[np.float64]:
        """[n] `example.target` of each row, or [n x c] where it is a list."""
        if len(self) and isinstance(self.row(0).target, list):
            return np.array([example.target for example in self], dtype=np.float64)
        found = array("d")
        for block in self._blocks():
            found.frombytes(block["target"].tobytes())
        return np.frombuffer(found, dtype=np.float64)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        size = _ENTRIES * ENTRY_BYTES
        at = 0
        while content := self._entries.read(at, size):
            yield np.frombuffer(content, dtype=_ENTRY)
            at += len(content)
