"""Questions of a public benchmark from a folder of the user's, in the place of the hub's.

This module knows files and lm-eval's definitions of tasks. It does not know models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunewright.errors import DataError

_FORMATS = {".jsonl": "json", ".parquet": "parquet"}
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
_CHOICES = frozenset({"query", "choices", "gold"})
_CONTINUATION = frozenset({"context", "continuation"})


@dataclass(frozen=True, slots=True)
class Rows:
    """The files of one task.

    Attributes:
        files: by split.
        split: whose questions are asked.
        columns: of those.
        config: of the task as lm-eval defines it, in which functions are not resolved.
    """

    files: dict[str, Path]
    split: str
    columns: list[str]
    config: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The file that is asked, for people."""
        return str(self.files[self.split])

    @property
    def hub(self) -> str:
        """The data set whose columns the task reads."""
        name = self.config.get("dataset_name")
        return f"{self.config.get('dataset_path')}{f' ({name})' if name else ''}"


def find_rows(folder: Path, name: str, definition: Path) -> Rows | None:
    """The files of a task below a folder: `NAME.jsonl`, or `NAME/SPLIT.jsonl`; or Parquet.

    Args:
        folder: given by the user.
        name: of the task.
        definition: its YAML file.

    Returns:
        None where the folder has none.

    Raises:
        DataError: the split that is asked, or the one that examples are shown from, is missing.
    """
    from lm_eval.tasks import TaskManager

    alone = [folder / f"{name}{ending}" for ending in _FORMATS]
    single = next((path for path in alone if path.is_file()), None)
    inside = sorted(p for p in (folder / name).glob("*") if p.suffix in _FORMATS)
    if single is None and not inside:
        return None
    known = TaskManager(include_defaults=False, include_path=[str(definition.parent)])
    config = known.task_index[name].cfg or {}
    asked = [config[key] for key in ("test_split", "validation_split") if config.get(key)]
    if single is not None:
        split, files = (asked or ["test"])[0], {}
        files[split] = single
    else:
        files = {path.stem: path for path in inside}
        found = [split for split in asked if split in files]
        if not found:
            raise DataError(
                f"{folder / name} has {', '.join(p.name for p in inside)}; benchmark {name!r} asks "
                f"the split {' or '.join(asked) or 'test'}, so a file {(asked or ['test'])[0]}"
                ".jsonl is needed."
            )
        split = found[0]
    if len({path.suffix for path in files.values()}) > 1:
        raise DataError(f"{folder / name} has JSONL and Parquet files; give all in one format.")
    _require_examples(name, config, files, folder)
    return Rows(files, split, _columns(files[split]), config)


def _require_examples(
    name: str, config: Mapping[str, Any], files: Mapping[str, Path], folder: Path
) -> None:
    """Refuse files without the rows that are shown before each question."""
    shots, own = config.get("num_fewshot") or 0, config.get("fewshot_config") or {}
    if not shots or own.get("samples"):
        return
    wanted = [config.get("fewshot_split"), own.get("split"), config.get("training_split")]
    split = next(filter(None, wanted), None)
    if split is not None and split not in files:
        raise DataError(
            f"Benchmark {name!r} shows {shots} solved questions of the split {split!r} before each "
            f"one, so {folder / name} needs a file {split}.jsonl beside the one that is asked."
        )


def _columns(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_schema

        return list(read_schema(path).names)
    with path.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.strip()), "")
    try:
        row = json.loads(first)
    except ValueError as error:
        raise DataError(f"{path}: the first line is no JSON ({error}).") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}: a line must be one JSON object; the first is {first[:60]!r}.")
    return list(row)


def overridden(rows: Rows, name: str, definition: Path, cache: Path) -> dict[str, Any]:
    """The definition of a task as lm-eval reads it, with these files in the place of its data set.

    Rows in the columns of the hub's data set are read as the task says. Rows that are laid out
    already, as LLM Foundry writes them, are taken as they stand: `query`, `choices` and `gold` (the
    index of the right one) for tasks of several choices, `context` and `continuation` for tasks of
    one. The words that the task puts behind a question are put behind a `query`.

    Args:
        rows: the files.
        name: of the task.
        definition: its YAML file.
        cache: an empty folder for what `datasets` writes while it reads.
    """
    files = {split: str(path) for split, path in rows.files.items()}
    made: dict[str, Any] = {
        "include": str(definition),
        "task": name,
        "custom_dataset": None,
        "dataset_path": _FORMATS[rows.files[rows.split].suffix],
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(cache), "keep_in_memory": True},
    }
    config, columns = rows.config, set(rows.columns)
    for key in _SPLITS:
        made[key] = config.get(key) if config.get(key) in files else None
    if rows.split not in (made["test_split"], made["validation_split"]):
        made["test_split"] = rows.split
    if (config.get("fewshot_config") or {}).get("split", rows.split) not in files:
        made["fewshot_config"] = None  # it is needed for no example: `find_rows` has looked
    kind = config.get("output_type")
    if config.get("process_results") is not None:
        return made
    if kind == "multiple_choice" and columns >= _CHOICES:
        behind = _behind_question(str(config.get("doc_to_text", "")))
        again = f".removesuffix({behind.strip()!r}).rstrip()" if behind.strip() else ""
        made |= {
            "process_docs": None,
            "doc_to_text": "{{query.rstrip()" + again + "}}" + behind,
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "should_decontaminate": False,
        }
    elif kind == "loglikelihood" and columns >= _CONTINUATION:
        made |= {
            "process_docs": None,
            "doc_to_text": "context",
            "doc_to_target": "{{' ' + continuation}}",
            "should_decontaminate": False,
        }
    return made


def _behind_question(template: str) -> str:
    """What a template puts behind its last variable: `\\nAnswer:`."""
    parts = re.split(r"\}\}|%\}", template)
    return parts[-1] if len(parts) > 1 else ""
