"""Parquet files: read whole, or unpacked once into the cache as JSON lines, and left there.

A row of a Parquet file cannot be read without unpacking thousands of others, so rows that are more
than memory holds are written where each has its place. This module does not know what the columns
mean.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
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
from tunewright.errors import DataError

_SPOOL = "rows.jsonl"
_FORMAT = 1
"""Of the file that is written; another number is made anew."""
_ROWS_AT_ONCE = 1024


def read_parquet(path: Path) -> Table:
    """Read a Parquet file, with the class names that `datasets` keeps in it."""
    import pyarrow.parquet

    with _whole(path), path.open("rb") as handle:
        table = pyarrow.parquet.read_table(handle)
        found = arrow_rows(table)
    return Table(str(path), found, classes=_parquet_classes(table.schema.metadata or {}))


def spooled_parquet(path: Path, in_memory: int, cache: Path | None = None) -> Table | None:
    """The rows of a large Parquet file, unpacked into the cache at the first use.

    They stay there, and are taken again while the file has its size and its time of change. When
    it has others, they are unpacked anew in the same place.

    Args:
        path: the file.
        in_memory: bytes of its columns, unpacked, up to which it is left to `read_parquet`.
        cache: folder for the rows. Default: `tunewright.download.cache_folder()`.

    Returns:
        None for a file that is not large, or has no rows.

    Raises:
        DataError: the file is damaged, or a number in it is not finite.
        SpaceError: the disk has no room for the rows.
    """
    import pyarrow.parquet

    with _whole(path):
        file = pyarrow.parquet.ParquetFile(path)
    with file:
        facts = file.metadata
        size = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if size <= in_memory or facts.num_rows == 0:
            return None
        classes = _parquet_classes(file.schema_arrow.metadata or {})
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
                (folder / _SPOOL).unlink(missing_ok=True)
                require_space(folder, _bytes_needed(path, file), f"Unpacking {path}, once,")
                atomic_write(folder / _SPOOL, _lines(path, file))
                write_json(folder / MANIFEST, made_of)
    table = stored_rows(folder / _SPOOL, str(path))
    assert table is not None
    return replace(table, classes=classes)


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:20]


def _is_made_of(folder: Path, made_of: Mapping[str, Any]) -> bool:
    if not (folder / MANIFEST).is_file() or not (folder / _SPOOL).is_file():
        return False
    return bool(read_json(folder / MANIFEST) == made_of)


def _bytes_needed(path: Path, file: Any) -> int:
    """Room for all rows as text, told from the first: in the file equal values share theirs."""
    first = next(_lines(path, file))
    rows = min(_ROWS_AT_ONCE, file.metadata.num_rows)
    return int(1.1 * len(first.encode()) / rows * file.metadata.num_rows) + 1_000_000


def _lines(path: Path, file: Any) -> Iterator[str]:
    import pyarrow

    with _whole(path):
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield "".join(map(_line, arrow_rows(pyarrow.Table.from_batches([batch]))))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Name the file where it turns out not to be a whole Parquet file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path} is not a whole Parquet file: {reason} Write or download it again."
        ) from error


def arrow_rows(table: Any) -> list[dict[str, Any]]:
    """Rows of an Arrow table; dates, decimals and bytes become text.

    Raises:
        ValueError: two columns have the same name.
    """
    names = table.column_names
    if len(set(names)) != len(names):
        raise ValueError(f"two columns have the same name: {', '.join(map(repr, names))}.")
    rows: list[dict[str, Any]] = table.to_pylist()
    plain = ("string", "large_string", "int", "float", "double", "bool", "uint", "null")
    odd = [f.name for f in table.schema if not str(f.type).startswith(plain)]
    for row in rows if odd else ():
        for name in odd:
            row[name] = json_like(row[name])
    return rows


def json_like(value: Any) -> Any:
    """The value as JSON could hold it: dates and decimals as text, bytes as hexadecimal digits."""
    if isinstance(value, dict):
        return {key: json_like(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_like(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    return value


def _parquet_classes(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    content = metadata.get(b"huggingface")
    if not content:
        return {}
    features = json.loads(content).get("info", {}).get("features", {})
    found = {}
    for name, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":  # one, or a list of them
            found[name] = list(inner["names"])
    return found
