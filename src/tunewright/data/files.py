"""One data file becomes a table: JSONL, JSON, CSV, TSV, Parquet, CoNLL, plain text.

Every format here is data only: nothing that a file says is ever run. A file that cannot be read
whole is an error that names the place; no row is dropped. This module knows formats. It does
not know what the columns mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunewright.data.conll import ENDINGS as CONLL_ENDINGS
from tunewright.data.conll import looks_like_conll, read_conll
from tunewright.data.delimited import read_delimited, spooled_delimited
from tunewright.data.encoding import read_text
from tunewright.data.json_lines import (
    RepeatedKey,
    loads,
    rows_of_text,
    shown_around,
    stored_rows,
)
from tunewright.data.parquet import read_parquet, spooled_parquet
from tunewright.data.squad import SquadFault, is_squad, squad_rows
from tunewright.data.table import Table
from tunewright.errors import DataError

_WRAPPERS = ("data", "rows", "examples", "records")
IN_MEMORY = 200_000_000
"""Bytes up to which a file of JSON lines or CSV, or of Parquet once it is unpacked, is held in
memory."""
_JSON_LINES = (".jsonl", ".ndjson")
_PASSAGE = 4000
"""Characters of a plain text file that make one row, cut between paragraphs."""


def read_file(path: Path, in_memory: int | None = None) -> Table:
    """Read one file; its format follows from its ending, or else from its first bytes.

    Args:
        path: the file.
        in_memory: bytes from which the rows of JSON lines stay on disk, and those of CSV and of
            Parquet, as it says their size is unpacked, go there. Default: `IN_MEMORY`.

    Raises:
        DataError: the file is empty, damaged, or of an unknown format.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path} is empty (0 bytes); a data file with at least one row is needed.")
    limit = IN_MEMORY if in_memory is None else in_memory
    table = None
    if path.suffix.lower() in _JSON_LINES:
        table = stored_rows(path) if size > limit else None
    elif _reader(path) is read_parquet:
        table = spooled_parquet(path, limit)
    elif _reader(path) is read_delimited and size > limit:
        table = spooled_delimited(path)
    if table is None:
        table = _reader(path)(path)
    if not len(table):
        raise DataError(f"{path} holds no rows; at least one is needed.")
    return table


def read_documents(paths: Sequence[Path], source: str) -> Table:
    """Read plain text files, one row a file, with its name in the column `file`."""
    rows = [{"text": read_text(path), "file": path.name} for path in paths]
    return Table(source, rows)


def _reader(path: Path) -> Callable[[Path], Table]:
    suffix = path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    with path.open("rb") as handle:
        head = handle.read(64)
    if head.startswith(b"PAR1"):
        return read_parquet
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return read_json
    raise DataError(
        f"{path} has the unknown ending {suffix!r}. Known: {', '.join(READERS)}. Rename or "
        "convert the file."
    )


def read_json(path: Path) -> Table:
    """Read JSON or JSON lines, told apart by content.

    JSON may be a list of objects, an object with such a list under `data` (or `rows`,
    `examples`, `records`), an object of equally long columns, or one object, which is one row. The
    articles of SQuAD become one row a question.
    """
    text = read_text(path)
    start = text.lstrip()[:1]
    if not start:
        raise DataError(f"{path} holds only blank space; rows are needed.")
    if start == "[" or path.suffix.lower() == ".json":
        lines = text.split("\n")
        try:
            return _json_table(path, loads(text))
        except json.JSONDecodeError as error:
            broken = error
        except RepeatedKey as error:
            raise DataError(f"{path}: {error} Keep one of the two.") from error
        several = start == "{" and sum(line.lstrip().startswith("{") for line in lines[:3]) > 1
        if not (several and broken.msg == "Extra data"):
            raise DataError(
                f"{path} is not whole JSON: line {broken.lineno}, column {broken.colno}: "
                f"{broken.msg}, at {shown_around(lines[broken.lineno - 1], broken.colno - 1)!r}. "
                "Repair that place, or write one object a line and call the file .jsonl."
            ) from broken
    return rows_of_text(path, text)


def _json_table(path: Path, content: Any) -> Table:
    rows = _json_rows(content)
    wrong = next((i for i, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise DataError(
            f"{path}: item {wrong + 1} of the list is not an object in braces but "
            f"{shown_around(json.dumps(rows[wrong]))!r}. Each row must be an object with columns."
        )
    if is_squad(rows):
        try:
            rows = list(squad_rows(rows))
        except SquadFault as fault:
            raise DataError(f"{path} looks like SQuAD, but {fault}. Correct that place.") from fault
    return Table(str(path), rows)


def _json_rows(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        return [content]
    for name in _WRAPPERS:
        if isinstance(content.get(name), list):
            return list(content[name])
    columns = list(content.values())
    if len(columns) > 1 and all(isinstance(column, list) for column in columns):
        plain = not any(isinstance(cell, dict) for column in columns for cell in column)
        if plain and len({len(column) for column in columns}) == 1:
            return [dict(zip(content, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return [content] if content else []


def read_plain_text(path: Path) -> Table:
    """Read a text file as passages of whole paragraphs, about 4,000 characters each.

    Joined, the passages are the file, but for blank space between them. A file with one token and
    its tag a line is read as CoNLL.
    """
    text = read_text(path)
    if looks_like_conll(text):
        return read_conll(path)
    rows = []
    numbers = []
    for number, passage in _passages(text):
        rows.append({"text": passage})
        numbers.append(number)
    return Table(str(path), rows, numbers)


def _passages(text: str) -> Iterator[tuple[int, str]]:
    """Pieces of the text and the line each starts at; cut at blank lines, else at line ends."""
    separator = "\n\n" if "\n\n" in text else "\n"
    piece: list[str] = []
    size = 0
    line = start = 1
    for part in text.split(separator):
        if piece and size + len(part) > _PASSAGE:
            if passage := separator.join(piece).strip("\n"):
                yield start, passage
            piece, size, start = [], 0, line
        piece.append(part)
        size += len(part) + len(separator)
        line += part.count("\n") + len(separator)
    if passage := separator.join(piece).strip("\n"):
        yield start, passage


READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".tab": read_delimited,
    ".parquet": read_parquet,
    ".txt": read_plain_text,
    ".md": read_plain_text,
    **dict.fromkeys(CONLL_ENDINGS, read_conll),
}
"""By file ending."""
