"""Parquet files: read whole, or unpacked once into the cache as JSON lines, and left there.

This module does not know what the columns mean.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunewright.data.spool import line_of, spooled
from tunewright.data.table import Table
from tunewright.errors import DataError

_ROWS_AT_ONCE = 1024


def read_parquet(path: Path) -> Table:
    """Read a Parquet file, with the class names that `datasets` keeps in it."""
    import pyarrow.parquet

    with _whole(path), path.open("rb") as handle:
        table = pyarrow.parquet.read_table(handle)
        found = arrow_rows(table)
    return Table(str(path), found, classes=_parquet_classes(table.schema.metadata or {}))


def spooled_parquet(path: Path, in_memory: int, cache: Path | None = None) -> Table | None:
    """The rows of a large Parquet file, unpacked into the cache at the first use; see `spooled`.

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
        table = spooled(path, lambda: _lines(path, file), lambda: facts.num_rows, cache)
    return replace(table, classes=classes)


def _lines(path: Path, file: Any) -> Iterator[str]:
    import pyarrow

    with _whole(path):
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield from map(line_of, arrow_rows(pyarrow.Table.from_batches([batch])))


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
