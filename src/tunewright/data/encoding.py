"""Bytes become text: the encoding is detected, damage is an error with its place."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tunewright.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MULTIBYTE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_SAMPLE = 1 << 16
_BLOCK = 1 << 22
"""Bytes read at once."""


def decode(content: bytes, source: str) -> str:
    """Decode a text file: UTF-8 (with or without a mark), UTF-16, UTF-32 or Windows-1252.

    A file that is UTF-8 but for a few bytes is damaged and not taken for Windows-1252, which
    would read it without complaint and spoil every accent.

    Args:
        content: the whole file.
        source: its name, for messages.

    Raises:
        DataError: the bytes are damaged or are not text; names the line.
    """
    encoding = detect_encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise damaged(source, encoding, error.start, line) from error
    if "\0" in text:
        raise zero_byte(source, text.count("\n", 0, text.index("\0")) + 1)
    return text


def damaged(source: str, encoding: str, place: int, line: int) -> DataError:
    """The error about a byte that does not fit the rest of a file."""
    return DataError(
        f"{source} is damaged or is not text: byte {place:,} (line {line:,}) does not "
        f"fit {encoding.upper()}, which the rest of the file looks like. Save it again as "
        "UTF-8, or repair that line."
    )


def zero_byte(source: str, line: int) -> DataError:
    """The error about a zero byte in a text file."""
    return DataError(
        f"{source} has a zero byte in line {line:,}, so it is damaged or is not a text file. "
        "Remove the zero bytes, or give the file in its own format (for example .parquet)."
    )


def is_wide(head: bytes) -> bool:
    """True where the first bytes of a file say that its characters take two bytes or more."""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), "")
    return marked not in ("", "utf-8-sig") or (not marked and bool(_utf16_without_mark(head)))


def detect_encoding(content: bytes) -> str:
    """The name of the encoding that fits best; see `decode`."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    unmarked = _utf16_without_mark(content[:_SAMPLE])
    if unmarked:
        return unmarked
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "utf-8" if mostly_utf8([content]) else "cp1252"
    return "utf-8"


def read_text(path: Path) -> str:
    """The text of a file, decoded by `decode`, with every line end as `\\n`."""
    text = decode(path.read_bytes(), str(path))
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def line_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Runs of whole lines, each with its place in the file."""
    with path.open("rb") as handle:
        start = 0
        if handle.read(3) == codecs.BOM_UTF8:
            start = 3
        handle.seek(start)
        pieces: list[bytes] = []
        while read := handle.read(_BLOCK):
            cut = read.rfind(b"\n") + 1
            if not cut:  # a line longer than a block
                pieces.append(read)
                continue
            block = b"".join((*pieces, read[:cut]))
            yield start, block
            start += len(block)
            pieces = [read[cut:]]
        if rest := b"".join(pieces):
            yield start, rest


def is_damaged_utf8(path: Path, head: bytes) -> bool:
    """Whether a file that is not whole UTF-8 was meant to be it.

    Args:
        path: the file.
        head: its first bytes.
    """
    return head.startswith(codecs.BOM_UTF8) or mostly_utf8(block for _, block in line_blocks(path))


def narrow_encoding(path: Path, head: bytes) -> str:
    """UTF-8 or Windows-1252, whichever a file is; it is read in blocks, and all of it.

    Args:
        path: a file that is not `is_wide`.
        head: its first bytes.

    Raises:
        DataError: as `decode`.
    """
    try:
        _require_sound(path, "utf-8")
    except DataError:
        if is_damaged_utf8(path, head):
            raise
        _require_sound(path, "cp1252")
        return "cp1252"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"


def _require_sound(path: Path, encoding: str) -> None:
    line = 1
    for start, block in line_blocks(path):
        try:
            block.decode(encoding)
        except UnicodeDecodeError as error:
            place = line + block.count(b"\n", 0, error.start)
            raise damaged(str(path), encoding, start + error.start, place) from error
        if b"\0" in block:
            raise zero_byte(str(path), line + block.count(b"\n", 0, block.index(b"\0")))
        line += block.count(b"\n")


def _utf16_without_mark(sample: bytes) -> str:
    """UTF-16 of mostly Latin text has a zero in nearly every other byte."""
    half = len(sample) // 2
    if half < 2:
        return ""
    if sample[1::2].count(0) > 0.6 * half and sample[0::2].count(0) < 0.1 * half:
        return "utf-16-le"
    if sample[0::2].count(0) > 0.6 * half and sample[1::2].count(0) < 0.1 * half:
        return "utf-16-be"
    return ""


def mostly_utf8(pieces: Iterable[bytes]) -> bool:
    """More bytes above ASCII belong to whole UTF-8 characters than not.

    Args:
        pieces: of a file, none of which ends within a character.
    """
    whole = above = 0
    for content in pieces:
        whole += sum(len(match) for match in _MULTIBYTE.findall(content))
        above += len(content) - len(content.translate(None, bytes(range(128, 256))))
    return whole > above - whole
