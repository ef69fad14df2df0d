"""Any source of rows becomes a data set: files, folders, catalogue names, docstrings.

A source that is not there is an error, never a warning. This module knows how a source is named
and which part of it is wanted.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunewright.data import catalogue, python_docs
from tunewright.data.column_names import ROLES
from tunewright.data.convert import to_records
from tunewright.data.detect import detect, parse_task
from tunewright.data.files import read_file
from tunewright.data.folders import PARTS, Parts, is_prefix, read_path
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.data.split import split
from tunewright.data.table import Table
from tunewright.errors import DataError

Source = str | Path
Sources = Source | Sequence[Source]


def load(
    source: Sources,
    *,
    task: Task | str = "auto",
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Read every row of one source, or of several, as one data set.

    Args:
        source: a file (JSONL, JSON, CSV, TSV, Parquet, plain text), a folder, the path of an
            export, a catalogue name, `python-docs:MODULE,...`, or a list of these. Of a folder
            with train, validation and test parts, all parts are read.
        task: `auto` detects it from the columns.
        columns: role to column, such as {"text": "tweet", "label": "mood"}. The rest is detected.

    Raises:
        DataError: a source is missing, damaged, or does not fit the task.
    """
    return _dataset(_gather(source).all(), _name(source), task, columns)


def load_splits(
    train: Sources,
    validation: float | Sources = 0.1,
    test: float | Sources | None = None,
    *,
    task: Task | str = "auto",
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Splits:
    """Read the rows to train on, and the rows held out.

    A share is cut from the training rows, and only where the source has no such part of its own.
    A folder or export that Tunewright wrote keeps exactly the parts it was written with.

    Args:
        train: as `source` of `load`.
        validation: a share of the rows in [0, 1), or a source. Of a source with parts, its own
            validation part is taken.
        test: the same for the final score; None is 0.
        task: `auto` detects it from the training rows; the other parts must fit it.
        columns: role to column, for every part.
        seed: of the split.

    Raises:
        DataError: a source is missing, damaged, or does not fit the task; a share is impossible.
    """
    parts = _gather(train)
    shares = {}
    for part, given in (("validation", validation), ("test", test)):
        if given is None or isinstance(given, int | float):
            own = parts.exact or parts.tables.get(part)
            shares[part] = 0.0 if own else float(given or 0.0)
        else:
            wanted = _gather(given)
            parts.tables[part] = wanted.tables.get(part) or wanted.all()
    found: dict[str, Dataset] = {}
    for part in PARTS:
        tables = parts.tables.get(part, [])
        if tables:
            agreed = next(iter(found.values())).task if found else task
            found[part] = _dataset(tables, _part_name(tables, train, part), agreed, columns)
    common = next(iter(found.values())).task
    for part in PARTS:
        found.setdefault(part, Dataset(common, (), f"{_name(train)} ({part})"))
    if not any(shares.values()):
        return Splits(found["train"], found["validation"], found["test"])
    cut = split(found["train"], shares.get("validation", 0.0), shares.get("test", 0.0), seed=seed)
    return Splits(
        cut.train,
        found["validation"] if len(found["validation"]) else cut.validation,
        found["test"] if len(found["test"]) else cut.test,
    )


def _gather(source: Sources) -> Parts:
    """The tables of all sources, by part."""
    if isinstance(source, str | Path):
        return _read(source)
    if not source:
        raise DataError("The list of sources is empty; at least one source is needed.")
    read = [_read(one) for one in source]
    together = Parts(exact=all(p.exact for p in read), named=any(p.named for p in read))
    for parts in read:
        for part, tables in parts.tables.items():
            for table in tables:
                together.add(part, table)
    return together


def _read(source: Source) -> Parts:
    path = Path(source).expanduser()
    name = str(source).strip()
    if not name:
        raise DataError("A source is an empty string; a file, folder or name is needed.")
    if name.startswith(python_docs.PREFIX):
        parts = Parts()
        parts.add("train", python_docs.read(name))
        return parts
    if path.exists() or is_prefix(path):
        return read_path(path)
    if name in catalogue.CATALOGUE:
        parts = Parts()
        parts.add("train", read_file(catalogue.fetch(name)))
        return parts
    raise DataError(_not_there(name, path))


def _not_there(name: str, path: Path) -> str:
    """What exists near a source that does not."""
    folder = path.parent
    message = f"There is no file or folder {name!r}"
    if not folder.is_dir():
        existing = next((p for p in folder.parents if p.is_dir()), Path())
        message += f": the folder {folder} is not there either ({existing} is)."
    else:
        there = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        close = difflib.get_close_matches(path.name, there, n=3, cutoff=0.5)
        place = "here" if folder == Path() else f"in {folder}"
        if close:
            message += f". Near in name, {place}: {', '.join(map(repr, close))}."
        else:
            shown = ", ".join(map(repr, there[:8])) or "nothing"
            more = f" and {len(there) - 8} more" if len(there) > 8 else ""
            message += f"; {place} there is {shown}{more}."
    if "://" in name:
        return message + " Addresses are not read yet: download the file first."
    names = difflib.get_close_matches(name, catalogue.CATALOGUE, n=1, cutoff=0.5)
    hint = f" Did you mean {names[0]!r}?" if names else ""
    known = ", ".join(catalogue.CATALOGUE)
    return (
        f"{message}{hint} Named sources: {known}, and {python_docs.PREFIX}MODULE,... for "
        "question-answer pairs from docstrings."
    )


def _dataset(
    tables: list[Table], name: str, task: Task | str, columns: Mapping[str, str] | None
) -> Dataset:
    records: list[Record] = []
    tasks: dict[Task, str] = {}
    for table in tables:
        wanted, mapping = task, columns
        if table.task:  # written by Tunewright: the columns are the record's own
            wanted = table.task if str(task) == "auto" else task
            if not columns and str(wanted) == table.task:
                mapping = {role: role for role in ROLES if role in table.columns}
        found = detect(table, task=wanted, columns=mapping)
        tasks.setdefault(found.task, table.source)
        records += to_records(table, found)
    if len(tasks) > 1:
        listed = "; ".join(f"{source} is for {t.value}" for t, source in tasks.items())
        raise DataError(
            f"The sources are for different tasks: {listed}. Give sources of one task, or set the "
            "task that all of them fit."
        )
    return Dataset(next(iter(tasks), _fallback(task)), tuple(records), name)


def _fallback(task: Task | str) -> Task:
    return Task.TEXT if str(task) == "auto" else parse_task(task)


def _part_name(tables: list[Table], train: Sources, part: str) -> str:
    return tables[0].source if len(tables) == 1 else f"{_name(train)} ({part})"


def _name(source: Sources) -> str:
    if isinstance(source, str | Path):
        return str(source)
    return ", ".join(map(str, source))
