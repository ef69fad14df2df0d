"""Any source of rows becomes a data set: files, folders, names, addresses, queries, docstrings.

A source that is not there is an error, never a warning. This module knows how a source is named
and which part of it is wanted.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tunewright.config.data_keys import WeightedSource
from tunewright.config.source_name import is_address, is_web_address, shown, split_limit
from tunewright.data import catalogue, hub, python_docs, sql, web
from tunewright.data.collector import collector_paused
from tunewright.data.column_names import ROLES
from tunewright.data.convert import to_records
from tunewright.data.detect import Detection, detect, parse_task
from tunewright.data.draw import Mixing, draw, join, training_rows, weigh
from tunewright.data.files import read_file
from tunewright.data.folders import PARTS, Parts, is_prefix, read_path
from tunewright.data.records import Dataset, LazyRecords, Record, Splits, Task
from tunewright.data.row_store import JoinedRecords
from tunewright.data.split import split
from tunewright.data.table import Table
from tunewright.data.task_prompts import described, mix_names
from tunewright.errors import DataError

Source = str | Path | WeightedSource | Mapping[str, Any]
Sources = Source | Sequence[Source]

_EMPTY = "A source is an empty string; a file, folder or name is needed."


def load(
    source: Sources,
    *,
    task: Task | str = "auto",
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Read every row of one source, or of several, as one data set.

    Args:
        source: a file (JSONL, JSON, CSV, TSV, Parquet, CoNLL, plain text), a folder, the path of
            an export, a catalogue name, `python-docs:MODULE,...`, an http(s) address of a file,
            `SQLALCHEMY_URL::TABLE` or `SQLALCHEMY_URL::SELECT ...`, a hub id (`org/name`,
            `org/name:config`), any of these with `#500` behind it for 500 of its rows, or a list
            of these, in which one may be {"source": ..., "weight": 2}; see `tunewright.data.draw`.
            Of a folder with train, validation and test parts, all parts are read.
        task: `auto` detects it from the columns.
        columns: role to column, such as {"text": "tweet", "label": "mood"}. The rest is detected.
        seed: of the choice of rows, where only some are drawn.

    Raises:
        DataError: a source is missing, damaged, or does not fit the task.
    """
    return dataset(gather(source, seed).all(), name_of(source), task, columns)


def load_splits(
    train: Sources,
    validation: float | Sources = 0.1,
    test: float | Sources | None = None,
    *,
    task: Task | str = "auto",
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    time_column: str | None = None,
    mixing: Mixing | None = None,
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
        seed: of the split, and of the choice of rows where only some are drawn.
        time_column: column with the time of each row; the newest rows are held out then.
        mixing: how many training rows of each source are taken, where it is not all.

    Raises:
        DataError: a source is missing, damaged, or does not fit the task; a share is impossible.
    """
    if not isinstance(train, str | Path):
        _refuse_for_all(_listed(train), task, columns)
    parts = gather(train, seed, mixing)
    shares = {}
    for part, given in (("validation", validation), ("test", test)):
        if given is None or isinstance(given, int | float):
            own = parts.exact or parts.tables.get(part)
            shares[part] = 0.0 if own else float(given or 0.0)
        else:
            wanted = gather(given, seed)
            parts.tables[part] = wanted.tables.get(part) or wanted.all()
    found: dict[str, Dataset] = {}
    for part in PARTS:
        tables = parts.tables.get(part, [])
        if tables:
            agreed = next(iter(found.values())).task if found else task
            found[part] = dataset(tables, _part_name(tables, train, part), agreed, columns)
    common = next(iter(found.values())).task
    for part in PARTS:
        found.setdefault(part, Dataset(common, (), f"{name_of(train)} ({part})"))
    if time_column is not None and not any(shares.values()):
        raise DataError(
            f"data.time_column is {time_column!r}, but no share of the training rows is held out, "
            "so it would have no effect: the parts are sources of their own, or 0. Remove it, or "
            "set data.validation or data.test to a share."
        )
    if not any(shares.values()):
        return Splits(found["train"], found["validation"], found["test"])
    cut = split(
        found["train"],
        shares.get("validation", 0.0),
        shares.get("test", 0.0),
        seed=seed,
        time_column=time_column,
    )
    return Splits(
        cut.train,
        found["validation"] if len(found["validation"]) else cut.validation,
        found["test"] if len(found["test"]) else cut.test,
    )


@collector_paused()
def gather(source: Sources, seed: int = 0, mixing: Mixing | None = None) -> Parts:
    """The tables of all sources, by part; those of a list that tells more of them in our columns.

    Raises:
        DataError: a source is missing or damaged.
    """
    if isinstance(source, str | Path):
        return _read(source, seed)
    weighted = _listed(source)
    read = [_read(one.source, seed) for one in weighted]
    is_described = any(one.is_described for one in weighted)
    if is_described:
        read = _described(read, weighted)
    names = [shown(one.source) for one in weighted]
    given = [source] if isinstance(source, WeightedSource | Mapping) else source
    as_mapping = any(isinstance(one, WeightedSource | Mapping) for one in given)
    has_weight = any(one.weight is not None for one in weighted)
    if mixing is not None:
        read = weigh(read, mixing.weights(training_rows(read)), names, seed)
    elif has_weight or (as_mapping and not is_described):
        weights = [1.0 if one.weight is None else one.weight for one in weighted]
        read = weigh(read, weights, names, seed)
    return join(read)


def _listed(source: Source | Sequence[Source]) -> list[WeightedSource]:
    listed = [source] if isinstance(source, str | Path | WeightedSource | Mapping) else source
    if not len(listed):
        raise DataError("The list of sources is empty; at least one source is needed.")
    return [_weighted(one) for one in listed]


def _described(read: Sequence[Parts], sources: Sequence[WeightedSource]) -> list[Parts]:
    """Each source read by what is said of it; its rows carry its name where one has a prompt."""
    marked = any(one.prompt or one.name for one in sources)
    names: Sequence[str | None] = mix_names(sources) if marked else [None] * len(sources)
    return [
        described(
            parts,
            one,
            name,
            partial(detected, task=one.task or "auto", columns=one.columns or None),
        )
        for parts, one, name in zip(read, sources, names, strict=True)
    ]


def _refuse_for_all(
    sources: Sequence[WeightedSource], task: Task | str, columns: Mapping[str, str] | None
) -> None:
    """Refuse what is said of all sources against what one of them says of itself."""
    prompted = next((one for one in sources if one.prompt), None)
    if prompted is not None and str(task) not in ("auto", Task.INSTRUCTION.value):
        raise DataError(
            f"The task is {str(task)!r}, but rows of {shown(prompted.source)} became instructions "
            "by a prompt. Set task: instruction, or leave it out."
        )
    if columns and any(one.is_described for one in sources):
        raise DataError(
            "data.columns is for all sources, and one of them is described by itself (prompt, "
            "name, task or columns). Give columns to the sources that need them, such as "
            "{source: ..., columns: {text: tweet}}."
        )


def _weighted(source: Source) -> WeightedSource:
    if isinstance(source, WeightedSource):
        return source
    if isinstance(source, Mapping):
        return WeightedSource.check(source, "a source")
    if not str(source).strip():
        raise DataError(_EMPTY)
    return WeightedSource(source=str(source))


def _read(source: str | Path, seed: int) -> Parts:
    name = str(source).strip()
    if not name:
        raise DataError(_EMPTY)
    if not is_address(name):
        path = Path(source).expanduser()
        if _exists(path):
            return read_path(path)
    base, limit = split_limit(name)
    if limit is not None:
        return draw(_read(base, seed), limit, seed, shown(base))
    if name.startswith(python_docs.PREFIX):
        return Parts({"train": [python_docs.read(name)]})
    if name in catalogue.CATALOGUE:
        return Parts({"train": [replace(read_file(catalogue.fetch(name)), source=name)]})
    if is_web_address(name):
        return Parts({"train": [web.read(name)]})
    if is_address(name):
        return Parts({"train": [sql.read(name)]})
    if hub.is_id(name) and not _near(path):  # a slip in a path is not asked for on the hub
        return hub.read(name, _not_there(name, path))
    raise DataError(_not_there(name, path))


def _exists(path: Path) -> bool:
    try:
        return path.exists() or is_prefix(path)
    except OSError:  # too long for a name
        return False


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def _near(path: Path) -> list[str]:
    """Names in the folder of a path that are near to its own."""
    there = _names(path.parent) if path.parent.is_dir() else []
    return difflib.get_close_matches(path.name, there, n=3, cutoff=0.5)


def _not_there(name: str, path: Path) -> str:
    """What exists near a source that does not."""
    folder = path.parent
    message = f"There is no file or folder {name!r}"
    if not folder.is_dir():
        existing = next((p for p in folder.parents if p.is_dir()), Path())
        message += f": the folder {folder} is not there either ({existing} is)."
    else:
        there = _names(folder)
        close = _near(path)
        place = "here" if folder == Path() else f"in {folder}"
        if close:
            message += f". Near in name, {place}: {', '.join(map(repr, close))}."
        else:
            shown = ", ".join(map(repr, there[:8])) or "nothing"
            more = f" and {len(there) - 8} more" if len(there) > 8 else ""
            message += f"; {place} there is {shown}{more}."
    base, cut, count = name.rpartition("#")
    if cut and _exists(Path(base).expanduser()):
        return (
            f"{message} {base!r} is there, but {count!r} behind the # is no number of rows; "
            f"{base}#500 draws 500."
        )
    names = difflib.get_close_matches(name, catalogue.CATALOGUE, n=1, cutoff=0.5)
    hint = f" Did you mean {names[0]!r}?" if names else ""
    known = ", ".join(catalogue.CATALOGUE)
    return (
        f"{message}{hint} Named sources: {known}, and {python_docs.PREFIX}MODULE,... for "
        "question-answer pairs from docstrings."
    )


@collector_paused()
def dataset(
    tables: Sequence[Table], name: str, task: Task | str, columns: Mapping[str, str] | None
) -> Dataset:
    """The records of tables, all for one task.

    Raises:
        DataError: a table does not fit the task, or they are for different ones.
    """
    pieces: list[Sequence[Record]] = []
    tasks: dict[Task, str] = {}
    for table in tables:
        found = detected(table, task, columns)
        tasks.setdefault(found.task, table.source)
        pieces.append(to_records(table, found))
    if len(tasks) > 1:
        listed = "; ".join(f"{source} is for {t.value}" for t, source in tasks.items())
        raise DataError(
            f"The sources are for different tasks: {listed}. Give sources of one task, set the "
            "task that all of them fit, or let a model that writes learn them all: give a prompt "
            "to each that has none, such as {source: ..., prompt: '{text} Is it {options}?'}."
        )
    return Dataset(next(iter(tasks), _fallback(task)), _joined(pieces), name)


def _joined(pieces: Sequence[Sequence[Record]]) -> Sequence[Record]:
    """All records: in memory, unless some of them are on disk."""
    if not any(isinstance(piece, LazyRecords) for piece in pieces):
        return tuple(record for piece in pieces for record in piece)
    return pieces[0] if len(pieces) == 1 else JoinedRecords(pieces)


def detected(table: Table, task: Task | str, columns: Mapping[str, str] | None) -> Detection:
    """What the columns of a table mean; one that Tunewright wrote says so itself.

    Raises:
        DataError: the table does not fit the task.
    """
    wanted, mapping = task, columns
    if table.task:  # written by Tunewright: the columns are the record's own
        wanted = table.task if str(task) == "auto" else task
        if not columns and str(wanted) == table.task:
            mapping = {role: role for role in ROLES if role in table.columns}
    return detect(table, task=wanted, columns=mapping)


def _fallback(task: Task | str) -> Task:
    return Task.TEXT if str(task) == "auto" else parse_task(task)


def _part_name(tables: list[Table], train: Sources, part: str) -> str:
    return tables[0].source if len(tables) == 1 else f"{name_of(train)} ({part})"


def name_of(source: Sources) -> str:
    """What a data set is called in messages; secrets in addresses do not show."""
    if isinstance(source, str | Path):
        return shown(str(source))
    if isinstance(source, WeightedSource | Mapping):
        one = _weighted(source)
        weight = "" if one.weight is None else f" (weight {one.weight:g})"
        return f"{shown(one.source)}{weight}"
    return ", ".join(map(name_of, source))
