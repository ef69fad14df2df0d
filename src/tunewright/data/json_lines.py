"""JSON lines: one object a line, read whole or left on disk; a broken line is named by its number.

A file is either text in memory (`rows_of_text`) or is read once in blocks and stays where it is
(`stored_rows`). Both find the same rows and say the same of damage. This module does not know what
the columns mean.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunewright.data.encoding import damaged, is_damaged_utf8, is_wide, line_blocks, zero_byte
from tunewright.data.row_store import RowPlaces, StoredRows
from tunewright.data.table import Table
from tunewright.errors import DataError

_SHOWN_FAULTS = 3
_LINE_END = re.compile(rb"\r\n|\r|\n")


class RepeatedKey(Exception):  # noqa: N818 - always turned into a DataError
    """An object has a key twice; reading on would lose one of the values."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKey(f"the key {twice!r} is there twice.")
    return row


def _constant(name: str) -> None:
    """NaN is how some tools write a missing value; an infinite one is no data."""
    if name != "NaN":
        raise json.JSONDecodeError(f"{name} is not a number that JSON can hold", name, 0)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_SOUND = json.JSONDecoder(parse_constant=_constant)
"""For lines that `_DECODER` has accepted: twice as fast."""
_WHOLE = 2.0**63
"""From here on a number without a fraction may have been a whole one."""


class _Quick:
    """Reads most lines many times as fast as `_DECODER`, and leaves to it what it is not sure of.

    orjson takes the last of two equal keys, and makes a fraction of a whole number above 64 bits.
    A key ends with a quotation mark before a colon or a blank, so a line without more of these
    than there are keys has no key twice; where texts hold some, the careful decoder has a look.
    """

    def __init__(self) -> None:
        import orjson

        self._loads = orjson.loads
        self.large_numbers = False
        """Whether a whole number was found that only `_DECODER` reads."""

    def row(self, line: bytes) -> dict[str, Any] | None:
        """The row in a line of UTF-8, or None where it takes a closer look."""
        try:
            row = self._loads(line)
        except ValueError:
            return None
        if type(row) is not dict:
            return None
        ends = line.count(b'":') + line.count(b'" ') + line.count(b'"\t')
        return row if self._keys(row) == ends else None

    def _keys(self, value: dict[str, Any] | list[Any]) -> int:
        """Keys of an object and of all within it; -1 or less where a number is too large."""
        inner: Any = value
        found = 0
        if type(value) is dict:
            found, inner = len(value), value.values()
        for item in inner:
            kind = type(item)
            if kind is dict or kind is list:
                found += self._keys(item)
            elif kind is float and abs(item) >= _WHOLE:
                self.large_numbers = True
                return -(1 << 40)
        return found


def loads(text: str) -> Any:
    """The value that a JSON text stands for.

    Raises:
        json.JSONDecodeError: it is not JSON, or nested too deeply.
        RepeatedKey: an object has a key twice.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text[:80], 0) from error
    except ValueError as error:  # also integers of thousands of digits
        if isinstance(error, json.JSONDecodeError):
            raise
        raise json.JSONDecodeError(str(error).split(";")[0], text[:80], 0) from error


def shown_around(text: str, around: int = 0) -> str:
    """A piece of a line, with the place in it."""
    start = max(0, min(around - 20, len(text) - 60))
    piece = text[start : start + 60]
    return ("..." if start else "") + piece + ("..." if start + 60 < len(text) else "")


class _Faults:
    """Broken lines: all are counted, the first are told."""

    def __init__(self) -> None:
        self.count = 0
        self.told: list[str] = []

    def add(self, fault: str) -> None:
        self.count += 1
        if len(self.told) < _SHOWN_FAULTS:
            self.told.append(fault)

    def require_none(self, path: Path | str) -> None:
        if self.count:
            lines = "1 broken line" if self.count == 1 else f"{self.count:,} broken lines"
            rest = self.count - len(self.told)
            more = f"; and {rest:,} more" if rest else ""
            raise DataError(
                f"{path} has {lines}: {'; '.join(self.told)}{more}. Each line must be one "
                "whole JSON object. Repair or delete the broken ones."
            )


def _parsed(number: int, line: str, faults: _Faults) -> dict[str, Any] | None:
    """The row in a line that is not blank; None where it is broken."""
    try:
        row = loads(line)
    except json.JSONDecodeError as error:
        faults.add(
            f"line {number}: {error.msg} at column {error.colno}: "
            f"{shown_around(line, error.colno - 1)!r}"
        )
        return None
    except RepeatedKey as error:
        faults.add(f"line {number}: {error}")
        return None
    if not isinstance(row, dict):
        faults.add(f"line {number}: {shown_around(line)!r} is not an object in braces")
        return None
    return row


def rows_of_text(path: Path, text: str) -> Table:
    """The rows of a file whose text was read.

    Raises:
        DataError: lines are broken: how many, and the first three.
    """
    rows: list[Mapping[str, Any]] = []
    numbers = []
    faults = _Faults()
    quick = _Quick()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        row = quick.row(line.encode("utf-8", "surrogatepass")) or _parsed(number, line, faults)
        if row is not None:
            rows.append(row)
            numbers.append(number)
    faults.require_none(path)
    return Table(str(path), rows, numbers)


def stored_rows(path: Path, source: str = "") -> Table | None:
    """The rows of a file that stays on disk: some 4 bytes a row are kept of it.

    Args:
        path: the file.
        source: what it was made of, for messages. Default: the file.

    Returns:
        None for what only `rows_of_text` reads: UTF-16 and UTF-32, one JSON list, blank files.

    Raises:
        DataError: as `rows_of_text`, and for text that cannot be decoded.
    """
    with path.open("rb") as handle:
        head = handle.read(1 << 16)
    if is_wide(head) or head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] in (b"", b"["):
        return None
    try:
        return _scan(path, "utf-8", source or str(path))
    except UnicodeDecodeError as error:
        if is_damaged_utf8(path, head):
            raise damaged(str(path), "utf-8", error.start, error.end) from error
    try:
        return _scan(path, "cp1252", source or str(path))
    except UnicodeDecodeError as error:
        raise damaged(str(path), "cp1252", error.start, error.end) from error


def _lines(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines of a block with the place of each in it."""
    if b"\r" not in block:
        at = 0
        for line in block.split(b"\n"):
            yield at, line
            at += len(line) + 1
        return
    at = 0
    for end in _LINE_END.finditer(block):
        yield at, block[at : end.start()]
        at = end.end()
    yield at, block[at:]


def _scan(path: Path, encoding: str, source: str) -> Table:
    """Read every row once, and keep where it is.

    Raises:
        UnicodeDecodeError: `start` is the place in the file, `end` the number of the line.
    """
    places = RowPlaces()
    columns: dict[str, None] = {}
    faults = _Faults()
    quick = _Quick()
    zero = 0
    number = 1
    with path.open("rb") as handle:
        stamp = os.fstat(handle.fileno())
    for start, block in line_blocks(path):
        first = number
        try:
            block.decode(encoding)
        except UnicodeDecodeError as error:
            line = first + block.count(b"\n", 0, error.start)
            error.start, error.end = start + error.start, line
            raise
        if not zero and b"\0" in block:
            zero = first + block.count(b"\n", 0, block.index(b"\0"))
        for number, (at, content) in enumerate(_lines(block), start=first):
            if not content:
                continue
            utf8 = content if encoding == "utf-8" else content.decode(encoding).encode("utf-8")
            row = quick.row(utf8)
            if row is None:
                text = content.decode(encoding)
                if text.isspace():
                    continue
                row = _parsed(number, text, faults)
                if row is None:
                    continue
            if not row.keys() <= columns.keys():
                columns.update(dict.fromkeys(row))
            places.add(start + at, len(content), number)
    if zero:
        raise zero_byte(source, zero)
    faults.require_none(source)
    rows = StoredRows(
        path, stamp, places, tuple(columns), encoding, _SOUND, exact=quick.large_numbers
    )
    return Table(source, rows, rows.numbers)
