"""Rows of a large file, written once into the cache as JSON lines, where each has its place.

A row of a Parquet or a CSV file cannot be found without reading those before it. This module does
not know formats: it is given the lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tunewright.artifacts import (
    MANIFEST,
    atomic_write,
    locked,
    read_json,
    require_space,
    write_json,
)
from tunewright.data.json_lines import stored_rows
from tunewright.data.table import Table
from tunewright.download import cache_folder

SPOOL = "rows.jsonl"
_FORMAT = 2
"""Of the file that is written; another number is made anew."""
_SAMPLE = 1024


def spooled(
    path: Path,
    lines: Callable[[], Iterator[str]],
    rows: Callable[[], int],
    cache: Path | None = None,
) -> Table:
    """The rows of a file from the cache, where they are written at the first use.

    They stay there, and are taken again while the file has its size and its time of change. When
    it has others, they are written anew in the same place.

    Args:
        path: the file.
        lines: makes its rows as JSON lines, with blank lines where the numbers of lines go on.
        rows: how many there are; asked when the first lines were made.
        cache: folder for the rows. Default: `tunewright.download.cache_folder()`.

    Raises:
        DataError: the file is damaged, or a number in it is not finite.
        SpaceError: the disk has no room for the rows.
    """
    folder = (cache or cache_folder()) / "rows" / _short_hash(path)
    stat = path.stat()
    made_of = {
        "format": _FORMAT,
        "file": str(path.resolve()),
        "bytes": stat.st_size,
        "changed": stat.st_mtime_ns,
    }
    with locked(folder, wait=True):
        if not _is_made_of(folder, made_of):
            (folder / MANIFEST).unlink(missing_ok=True)
            (folder / SPOOL).unlink(missing_ok=True)
            first = list(islice(lines(), _SAMPLE))
            bytes_each = sum(len(line.encode()) for line in first) / max(1, len(first))
            needed = int(1.1 * bytes_each * rows()) + 1_000_000
            require_space(folder, needed, f"Unpacking {path}, once,")
            atomic_write(folder / SPOOL, lines())
            write_json(folder / MANIFEST, made_of)
    table = stored_rows(folder / SPOOL, str(path))
    assert table is not None
    return table


def line_of(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:20]


def _is_made_of(folder: Path, made_of: Mapping[str, Any]) -> bool:
    if not (folder / MANIFEST).is_file() or not (folder / SPOOL).is_file():
        return False
    return bool(read_json(folder / MANIFEST) == made_of)
