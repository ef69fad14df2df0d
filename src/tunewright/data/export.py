"""Write data sets: a data artifact folder, and the files that users take elsewhere.

Every layout written here is read back by `tunewright.data.sources`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from tunewright.artifacts import Artifact, atomic_write, write_json
from tunewright.data.folders import METADATA_SUFFIX, PARTS
from tunewright.data.records import Dataset, LazyRecords, Splits
from tunewright.data.scatter import in_order
from tunewright.errors import DataError, unknown_name

if TYPE_CHECKING:
    import datasets
    import pyarrow
    from numpy.typing import NDArray

    Exportable: TypeAlias = (
        Splits
        | Dataset
        | datasets.Dataset
        | datasets.DatasetDict
        | Mapping[str, Sequence[Mapping[str, Any]]]
    )

Row = Mapping[str, Any]
Writer: TypeAlias = "Callable[[Sequence[Row], Path], str | Path]"
"""Takes the rows of one part and a path without ending, writes a file there with the ending that it
chooses, and returns the file."""


class DatasetFormat(StrEnum):
    """How `export_dataset` writes rows."""

    JSONL = "jsonl"
    """One JSON object a line."""
    CSV = "csv"
    """Comma-separated; lists and objects as JSON text."""
    PARQUET = "parquet"
    """Columns with types, compressed."""
    HUGGINGFACE = "huggingface"
    """A folder that `datasets.load_from_disk` reads."""
    CUSTOM = "custom"
    """Whatever a function of the user writes."""


def write_dataset(splits: Splits, folder: Path) -> Artifact:
    """Write the parts as a data artifact: `train.jsonl`, ... and a manifest.

    Parts without rows have no file. The files hold nothing but the rows, so equal data gives
    equal hashes.

    Args:
        splits: what to write.
        folder: made when missing; parts of an earlier data set in it are replaced.

    Returns:
        The finished artifact.

    Raises:
        SpaceError: the disk is full.
    """
    artifact = Artifact.create(folder, "data", {"task": splits.task.value, "format": "jsonl"})
    with artifact.recording():
        rows = {}
        for part, dataset in splits.items():
            path = folder / f"{part}.jsonl"
            if len(dataset):
                atomic_write(path, _texts(_RecordRows(dataset), _json_line, folder))
            else:
                path.unlink(missing_ok=True)
            rows[part] = len(dataset)
        artifact.finish("done", rows=rows, labels=splits.train.labels)
    return artifact


def export_dataset(
    dataset: Exportable,
    output_path: str | Path,
    format: DatasetFormat | str = DatasetFormat.JSONL,
    metadata: Mapping[str, Any] | None = None,
    writer: Writer | None = None,
) -> Path:
    """Write rows for use elsewhere, with a metadata file beside them.

    JSONL, CSV and Parquet go to `{output_path}_{part}.{ending}`, HUGGINGFACE to a folder
    `{output_path}`. Parts without rows have no file. Earlier files of the same name are replaced.
    JSONL and CSV are written row by row; PARQUET and HUGGINGFACE need the rows in memory. CUSTOM
    calls `writer` for each part, and puts its files in place when all are written.

    Args:
        dataset: splits, a data set, a `datasets.Dataset` or `DatasetDict`, or rows by part.
        output_path: first part of the file names; a folder part is made when missing.
        format: one of `DatasetFormat`, or its name.
        metadata: of the user, kept under `metadata`.
        writer: with CUSTOM, writes the rows of one part; see `Writer`.

    Returns:
        The metadata file, `{output_path}_metadata.json`.

    Raises:
        DataError: the format or a part's name is unknown, there is no row, or `writer` and CUSTOM
            are not given together or it returns no file.
        SpaceError: the disk is full.
    """
    chosen = _format(format)
    if (writer is None) == (chosen is DatasetFormat.CUSTOM):
        raise DataError(
            "The format 'custom' needs a writer: a function of the rows of a part and a path "
            "without ending, which writes a file and returns its path."
            if writer is None
            else f"A writer is given, but the format is {chosen.value!r}; use 'custom'."
        )
    prefix = Path(output_path)
    if not prefix.name:
        raise DataError(
            f"output_path is {str(output_path)!r}, which names no file. Give a name such as "
            "'prepared_dataset'; the part and the ending are added to it."
        )
    parts = {name: rows for name, rows in _rows_by_part(dataset).items() if len(rows)}
    if not parts:
        raise DataError("There is no row to export. Check the sources and the filters.")
    if writer is not None:
        files = _write_custom(prefix, parts, writer)
    else:
        files = _WRITERS[chosen](prefix, parts)
    described = {
        "format": chosen.value,
        "task": dataset.task.value if isinstance(dataset, Splits | Dataset) else None,
        "files": files,
        "rows": {name: len(rows) for name, rows in parts.items()},
        "columns": list(_columns(row for rows in parts.values() for row in _in_any_order(rows))),
        "metadata": dict(metadata or {}),
    }
    path = prefix.with_name(prefix.name + METADATA_SUFFIX)
    write_json(path, described)
    return path


def _format(format: DatasetFormat | str) -> DatasetFormat:
    try:
        return DatasetFormat(str(format).lower())
    except ValueError as error:
        known = [member.value for member in DatasetFormat]
        raise DataError(unknown_name("format", str(format), known)) from error


class _RecordRows(Sequence[Row]):
    """Records as rows, each made when it is asked for: they may be more than memory holds."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [record.to_row() for record in self._dataset.records[index]]
        return self._dataset.records[index].to_row()

    def __iter__(self) -> Iterator[Row]:
        return (record.to_row() for record in self._dataset)

    def out_of_order(self) -> tuple[NDArray[Any], Iterator[Row]] | None:
        """Positions, and the rows at them, in the order in which rows are quick to read; None where
        that is their own."""
        records = self._dataset.records
        if not isinstance(records, LazyRecords):
            return None
        order = records.file_order()
        if not (order[1:] < order[:-1]).any():
            return None
        return order, (record.to_row() for record in records.read(order))


def _out_of_order(rows: Sequence[Row]) -> tuple[NDArray[Any], Iterator[Row]] | None:
    return rows.out_of_order() if isinstance(rows, _RecordRows) else None


def _in_any_order(rows: Sequence[Row]) -> Iterable[Row]:
    found = _out_of_order(rows)
    return rows if found is None else found[1]


def _texts(rows: Sequence[Row], line: Callable[[Row], str], folder: Path) -> Iterator[str]:
    """Each row as text, in their order, which a file on disk is not read in.

    Args:
        rows: of one part.
        line: makes the text.
        folder: for what is put down on the way.
    """
    found = _out_of_order(rows)
    if found is None:
        return map(line, rows)
    places, read = found
    return in_order(map(line, read), places, folder)


def _rows_by_part(dataset: Exportable) -> dict[str, Sequence[Row]]:
    if isinstance(dataset, Splits):
        return {part: _RecordRows(rows) for part, rows in dataset.items()}
    if isinstance(dataset, Dataset):
        return {"train": _RecordRows(dataset)}
    by_part = dict(dataset) if isinstance(dataset, Mapping) else {"train": dataset}
    unknown = sorted(by_part.keys() - set(PARTS))
    if unknown:
        raise DataError(unknown_name("part", unknown[0], PARTS))
    return {part: _plain_rows(rows) for part, rows in by_part.items()}


def _plain_rows(rows: Any) -> list[Row]:
    """Rows as mappings; class numbers of a `datasets.Dataset` become their names."""
    features = getattr(rows, "features", None) or {}
    names = {c: f.names for c, f in features.items() if type(f).__name__ == "ClassLabel"}
    plain = rows.to_list() if hasattr(rows, "to_list") else [dict(row) for row in rows]
    for row in plain:
        for column, known in names.items():
            if row[column] is not None and row[column] >= 0:
                row[column] = known[row[column]]
    return list(plain)


def _columns(rows: Iterable[Row]) -> dict[str, None]:
    found: dict[str, None] = {}
    for row in rows:
        found.update(dict.fromkeys(row))
    return found


def _json_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _jsonl(rows: Sequence[Row], folder: Path) -> Iterator[str]:
    return _texts(rows, _json_line, folder)


def _csv(rows: Sequence[Row], folder: Path) -> Iterator[str]:
    """RFC 4180 text. Lists and objects are written as JSON."""
    columns = list(_columns(_in_any_order(rows)))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")

    def line(cells: Iterable[Any]) -> str:
        writer.writerow(cells)
        written = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return written

    yield line(columns)
    yield from _texts(rows, lambda row: line(_cell(row.get(c)) for c in columns), folder)


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


def _arrow(rows: Sequence[Row]) -> pyarrow.Table:
    """An Arrow table; a column whose values are of several types becomes JSON text."""
    import pyarrow

    columns = {}
    held = list(rows)
    for name in _columns(held):
        values = [row.get(name) for row in held]
        try:
            columns[name] = pyarrow.array(values, from_pandas=False)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            columns[name] = pyarrow.array(
                [
                    v if v is None or isinstance(v, str) else json.dumps(v, default=str)
                    for v in values
                ]
            )
    return pyarrow.table(columns)


def _write_texts(prefix: Path, parts: Mapping[str, Sequence[Row]], kind: str) -> dict[str, str]:
    write: Callable[[Sequence[Row], Path], Iterator[str]] = {"jsonl": _jsonl, "csv": _csv}[kind]
    return _write_files(prefix, {p: write(rows, prefix.parent) for p, rows in parts.items()}, kind)


def _write_parquet(prefix: Path, parts: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    import pyarrow.parquet

    contents = {}
    for part, rows in parts.items():
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(_arrow(rows), buffer)
        contents[part] = buffer.getvalue()
    return _write_files(prefix, contents, "parquet")


def _write_files(
    prefix: Path, contents: Mapping[str, Iterable[str] | bytes], ending: str
) -> dict[str, str]:
    """Write each part, and remove files of parts that this data set does not have."""
    files = {}
    for part in PARTS:
        path = prefix.with_name(f"{prefix.name}_{part}.{ending}")
        if part in contents:
            atomic_write(path, contents[part])
            files[part] = path.name
        else:
            path.unlink(missing_ok=True)
    return files


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()


def _write_saved(prefix: Path, parts: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """Save beside the target and rename: the old folder or the new one, never half."""
    import datasets

    if prefix.exists() and not (prefix / "dataset_dict.json").is_file():
        raise DataError(
            f"{prefix} is there already and is not a saved `datasets` folder. Choose another "
            "output_path."
        )
    prefix.parent.mkdir(parents=True, exist_ok=True)
    saved = datasets.DatasetDict({part: datasets.Dataset(_arrow(r)) for part, r in parts.items()})
    with tempfile.TemporaryDirectory(dir=prefix.parent, prefix=f".{prefix.name}-") as scratch:
        with no_progress_bars():
            saved.save_to_disk(str(Path(scratch) / "new"))
        if prefix.exists():
            prefix.rename(Path(scratch) / "old")
        (Path(scratch) / "new").rename(prefix)
        shutil.rmtree(Path(scratch) / "old", ignore_errors=True)
    return dict.fromkeys(parts, prefix.name)


def _write_custom(
    prefix: Path, parts: Mapping[str, Sequence[Row]], writer: Writer
) -> dict[str, str]:
    """Have each part written beside the target, then rename: all of the new files or none."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    files = {}
    with tempfile.TemporaryDirectory(dir=prefix.parent, prefix=f".{prefix.name}-") as scratch:
        for part, rows in parts.items():
            stem = Path(scratch) / f"{prefix.name}_{part}"
            written = writer(rows, stem)
            if not isinstance(written, str | Path) or not Path(written).is_file():
                raise DataError(
                    f"The writer returned {written!r} for the part {part!r}, which is no file. It "
                    "must write one and return its path, which begins with the path it was given."
                )
            path = Path(written).resolve()
            if path.parent != Path(scratch).resolve() or not path.name.startswith(stem.name):
                raise DataError(
                    f"The writer wrote {path}; it must only add an ending to the path it was "
                    f"given, such as {stem.name}.xml."
                )
            files[part] = path.name
        for name in files.values():
            (Path(scratch) / name).replace(prefix.with_name(name))
    return files


_WRITERS = {
    DatasetFormat.JSONL: lambda prefix, parts: _write_texts(prefix, parts, "jsonl"),
    DatasetFormat.CSV: lambda prefix, parts: _write_texts(prefix, parts, "csv"),
    DatasetFormat.PARQUET: _write_parquet,
    DatasetFormat.HUGGINGFACE: _write_saved,
}
