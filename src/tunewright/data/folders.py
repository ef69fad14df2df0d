"""A folder, a prefix or a metadata file becomes tables by part: train, validation, test.

This module knows how people and tools name the parts of a data set on disk. It does not know
what the rows mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunewright.artifacts import MANIFEST, Artifact, read_json
from tunewright.data.files import READERS, read_documents, read_file
from tunewright.data.parquet import arrow_rows
from tunewright.data.table import Table
from tunewright.errors import DataError

PARTS = ("train", "validation", "test")
METADATA_SUFFIX = "_metadata.json"
_SYNONYMS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "eval": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_PART = re.compile(
    rf"(?:(?P<prefix>.+)[_.-])?(?P<part>{'|'.join(_SYNONYMS)})(?:-\d+-of-\d+)?", re.IGNORECASE
)
_DOCUMENTS = (".txt", ".md")


@dataclass(slots=True)
class Parts:
    """Tables of one source.

    Attributes:
        tables: by part; rows that belong to no part are under `train`.
        exact: the source says itself what its parts are, so no share is cut from train.
        named: the tables carry the names of parts.
    """

    tables: dict[str, list[Table]] = field(default_factory=dict)
    exact: bool = False
    named: bool = False

    def add(self, part: str, table: Table) -> None:
        """Put one more table under a part."""
        self.tables.setdefault(part, []).append(table)

    def all(self) -> list[Table]:
        """Every table, train first."""
        return [table for part in PARTS for table in self.tables.get(part, ())]


def read_path(path: Path) -> Parts:
    """Read an existing file or folder, or the files of an exported prefix.

    Raises:
        DataError: there is nothing readable.
    """
    if is_prefix(path) and (not path.is_dir() or path.name in _exported_files(path).values()):
        return _read_exported(path)
    if path.is_dir():
        return _read_folder(path)
    if path.name.endswith(METADATA_SUFFIX) and path.is_file():
        return _read_exported(path.with_name(path.name.removesuffix(METADATA_SUFFIX)))
    parts = Parts()
    parts.add("train", read_file(path))
    return parts


def is_prefix(path: Path) -> bool:
    """True when `PATH_metadata.json` is there: `path` is what an export was called."""
    return path.with_name(path.name + METADATA_SUFFIX).is_file()


def _read_exported(prefix: Path) -> Parts:
    """The files that an export listed in its metadata."""
    metadata_path = prefix.with_name(prefix.name + METADATA_SUFFIX)
    files = _exported_files(prefix)
    if not files:
        raise DataError(
            f"{metadata_path} does not say which files belong to it, so Tunewright did not export "
            "it. Give the data files themselves."
        )
    task = str(read_json(metadata_path).get("task") or "")
    parts = Parts(exact=True, named=True)
    for part, name in files.items():
        path = prefix.with_name(Path(name).name)
        if path.is_dir():
            saved = _read_saved_dataset(path)
            for table in saved.tables.get(part, ()):
                parts.add(part, replace(table, task=task))
            continue
        if not path.is_file():
            raise DataError(f"{metadata_path} lists {path.name}, which is not there.")
        parts.add(part, replace(read_file(path), task=task))
    return parts


def _exported_files(prefix: Path) -> dict[str, str]:
    """File name by part, as the metadata of an export lists them; empty where it does not."""
    metadata = read_json(prefix.with_name(prefix.name + METADATA_SUFFIX))
    files = metadata.get("files") if isinstance(metadata, dict) else None
    if not isinstance(files, dict) or not files.keys() <= set(PARTS):
        return {}
    return {part: str(name) for part, name in files.items()}


def _read_folder(folder: Path) -> Parts:
    if (folder / MANIFEST).is_file():
        return _read_artifact(folder)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _read_saved_dataset(folder)
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "_")))
    found = _named_parts(folder, entries)
    if found:
        return found
    files = [p for p in entries if p.is_file() and _is_data(p)]
    documents = [p for p in files if p.suffix.lower() in _DOCUMENTS and not _is_readme(p)]
    tables = [p for p in files if p.suffix.lower() not in _DOCUMENTS]
    if documents and tables:
        raise DataError(
            f"{folder} holds text files ({_listed(documents)}) and tables ({_listed(tables)}), so "
            "it is not clear which are the data. Give the files themselves, as a list."
        )
    parts = Parts()
    for path in tables:
        parts.add("train", read_file(path))
    if documents:
        parts.add("train", read_documents(documents, str(folder)))
    if not parts.tables:
        nested = folder / "data"
        if nested.is_dir():
            return _read_folder(nested)
        there = _listed(entries) or "nothing"
        raise DataError(
            f"{folder} holds no data file. It holds: {there}. Data files end in "
            f"{', '.join(READERS)}; a folder may also hold train, validation and test parts, or a "
            "saved `datasets` folder."
        )
    return parts


def _read_artifact(folder: Path) -> Parts:
    artifact = Artifact.open(folder, "data")
    if artifact.status != "done":
        raise DataError(
            f"{folder} was not written to its end (status {artifact.status!r}). Make it again."
        )
    parts = Parts(exact=True, named=True)
    for part in PARTS:
        path = folder / f"{part}.jsonl"
        if path.is_file():
            parts.add(part, replace(read_file(path), task=str(artifact.config.get("task", ""))))
    return parts


def _named_parts(folder: Path, entries: list[Path]) -> Parts | None:
    """Files or folders named train, validation and test; with a common prefix if any."""
    by_prefix: dict[str, dict[str, list[Path]]] = {}
    for path in entries:
        readable = path.is_dir() or _is_data(path)
        match = _PART.fullmatch(path.stem if path.is_file() else path.name)
        if readable and match:
            part = _SYNONYMS[match["part"].lower()]
            by_prefix.setdefault(match["prefix"] or "", {}).setdefault(part, []).append(path)
    chosen = by_prefix.pop("", None)
    if chosen is None:
        complete = {prefix: found for prefix, found in by_prefix.items() if "train" in found}
        if len(complete) > 1:
            raise DataError(
                f"{folder} holds several data sets: {', '.join(map(repr, sorted(complete)))}. Say "
                f"which, for example {folder / sorted(complete)[0]}."
            )
        chosen = next(iter(complete.values()), None)
    if chosen is None:
        return None
    parts = Parts(named=True)
    for part, paths in chosen.items():
        for table in _part_tables(folder, part, paths):
            parts.add(part, table)
    return parts


def _part_tables(folder: Path, part: str, paths: list[Path]) -> Iterable[Table]:
    shards = all("-of-" in path.stem for path in paths)
    if len(paths) > 1 and not shards:
        raise DataError(
            f"{folder} has more than one {part} part: {_listed(paths)}. Keep one, or give the "
            "files themselves."
        )
    for path in paths:
        if path.is_dir():
            yield from _read_folder(path).all()
        else:
            yield read_file(path)


def _read_saved_dataset(folder: Path) -> Parts:
    """A folder that `datasets` saved."""
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
        by_part = dict(saved) if isinstance(saved, datasets.DatasetDict) else {"": saved}
        return saved_parts(by_part, str(folder), "Rename it and save again.")
    except (FileNotFoundError, ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(
            f"{folder} is not a whole saved `datasets` folder: {error}. Save it again with "
            "save_to_disk."
        ) from error


def saved_parts(by_part: Mapping[str, Any], source: str, advice: str = "") -> Parts:
    """Tables of `datasets.Dataset` objects by the names of their parts; class numbers keep names.

    Args:
        by_part: the empty name stands for rows that belong to no part.
        source: where they came from.
        advice: what to do about a part whose name is not known.

    Raises:
        DataError: the name of a part is not known.
    """
    import datasets

    parts = Parts(named=bool(by_part.keys() - {""}))
    for name, dataset in by_part.items():
        known = _SYNONYMS.get(name.lower(), "" if name else "train")
        if not known:
            raise DataError(
                f"{source} has a part {name!r}; known are {', '.join(PARTS)}. {advice}".rstrip()
            )
        classes = {
            column: list(inner.names)
            for column, feature in dataset.features.items()
            if isinstance(inner := getattr(feature, "feature", feature), datasets.ClassLabel)
        }
        rows = arrow_rows(dataset.with_format("arrow")[:]) if len(dataset) else []
        parts.add(known, Table(f"{source} ({name})" if name else source, rows, classes=classes))
    return parts


def _is_data(path: Path) -> bool:
    return path.suffix.lower() in READERS and not path.name.endswith(METADATA_SUFFIX)


def _is_readme(path: Path) -> bool:
    return path.stem.lower() in ("readme", "license", "licence", "changelog", "notice")


def _listed(paths: list[Path]) -> str:
    names = [path.name for path in paths]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
