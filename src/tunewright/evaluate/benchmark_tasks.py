"""Public benchmarks by name: tasks as lm-eval defines them, with the questions they ask.

This module knows names, definitions and what may be asked. It does not know models.
"""

from __future__ import annotations

import importlib.util
import logging
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import yaml

from tunewright.config.source_name import split_limit
from tunewright.config.task import Task
from tunewright.data.export import no_progress_bars
from tunewright.errors import ConfigError, DataError, did_you_mean
from tunewright.evaluate.benchmark_rows import Rows, find_rows, overridden
from tunewright.models.load import quiet_loading

SEED = 1234
"""lm-eval's own, of the solved questions before a question too."""
INSTALL = "pip install 'lm-eval==0.4.13'"
_TASK = re.compile(r"^task:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_GROUP = re.compile(r"^group:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_TAGS = re.compile(
    r"^tag:[ \t]*(?:([^\s#]+)|\r?\n((?:[ \t]*-[ \t]*\S+[ \t]*\r?\n?)+))", re.MULTILINE
)
_UNSAFE = re.compile(r"^unsafe_code:[ \t]*true", re.MULTILINE)
_RUNS_CODE = "Benchmark {!r} runs code that a model wrote; it is not asked."
_NO_FILTER = "none"
# What a score is made of is known for these alone: a number a question, or a loss and its size.
_AGGREGATIONS = ("mean", "perplexity", "weighted_perplexity", "bits_per_byte")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that can be asked.

    Attributes:
        name: as it was asked for.
        tasks: lm-eval's tasks by name; several where the name is of a group or a tag.
        score: what is tested: the first of lm-eval's scores that has a value for each question, and
            the filter that answers go through before it.
        limit: the first so many questions of each task; None for all.
        source: the data set, and the split whose questions are asked.
    """

    name: str
    tasks: dict[str, Any]
    score: tuple[str, str]
    limit: int | None
    source: str


def require_asked(task: Task) -> None:
    """Refuse models that write no text.

    Raises:
        ConfigError: the task is one of labels, numbers or vectors.
    """
    if not task.is_generative:
        raise ConfigError(
            f"--benchmark asks models that write text; task {task.value!r} answers with something "
            "else. Leave it out, or evaluate a model of task 'instruction' or 'text'."
        )


def load_benchmarks(
    names: Sequence[str], data: str | None = None, definitions: str | None = None
) -> list[Benchmark]:
    """Find benchmarks and read their questions.

    Args:
        names: tasks, groups or tags of lm-eval; `NAME#200` asks the first 200 questions.
        data: a folder with `NAME.jsonl` or `NAME/SPLIT.jsonl` for tasks whose rows are there
            (`benchmark_rows`). Others are read as lm-eval does: from the cache of `datasets`, or
            the hub.
        definitions: a folder with definitions of tasks of your own (YAML files of lm-eval), which
            come before those of lm-eval. Functions that they name are run.

    Raises:
        ConfigError: lm-eval is not installed; a benchmark is unknown, or cannot be asked.
        DataError: the questions of a benchmark are not there, or not what it reads.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(f"--benchmark asks through lm-eval, which is not installed: {INSTALL}")
    folders = [_folder(path, option) for path, option in (
        (data, "--benchmark-data"), (definitions, "--benchmark-tasks"),
    )]  # fmt: skip
    asked = dict(map(split_limit, names))
    if any(limit == 0 for limit in asked.values()):
        raise ConfigError("NAME#0 asks no question; NAME#200 asks the first 200.")
    with running_lm_eval():
        known = _Definitions(folders[1])
        known.require(list(asked))
        return [_benchmark(known, name, limit, folders[0]) for name, limit in asked.items()]


def _folder(path: str | None, option: str) -> Path | None:
    if path is None:
        return None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: there is no such folder.")
    return folder.resolve()


class _Names(NamedTuple):
    """Tasks with their files, and groups and tags."""

    tasks: dict[str, Path]
    collections: frozenset[str]


def _names_in(root: Path) -> _Names:
    tasks: dict[str, Path] = {}
    collections: set[str] = set()
    for path in sorted(root.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for one, listed in _TAGS.findall(text):
            collections |= {one} if one else set(re.findall(r"-[ \t]*(\S+)", listed))
        if group := _GROUP.search(text):
            collections.add(group[1])
        elif task := _TASK.search(text):
            tasks.setdefault(task[1], path)
    return _Names(tasks, frozenset(collections))


@cache
def _shipped() -> _Names:
    import lm_eval

    return _names_in(Path(lm_eval.__file__).parent / "tasks")


class _Definitions:
    """Names of tasks, groups and tags, found in the text of the definitions.

    lm-eval's own index parses 14,000 YAML files, which takes ten seconds and more; it is made only
    for groups and tags, whose tasks are in many files.
    """

    def __init__(self, own: Path | None) -> None:
        self.own = own
        shipped = _shipped()
        owned = _names_in(own) if own is not None else _Names({}, frozenset())
        # A definition of the user comes before one of lm-eval.
        self.tasks = shipped.tasks | owned.tasks
        self.collections = shipped.collections | owned.collections

    def require(self, names: Sequence[str]) -> None:
        """Refuse unknown names, all at once."""
        known = self.tasks.keys() | self.collections
        faults = [
            f"Unknown benchmark {name!r}.{did_you_mean(name, known)} lm-eval knows "
            f"{len(known):,}; `lm-eval ls tasks` lists them."
            for name in names
            if name not in known
        ]
        if faults:
            raise ConfigError(faults)

    def text(self, name: str) -> str:
        """The definition of a task as it is written."""
        return self.tasks[name].read_text(encoding="utf-8", errors="replace")

    def load(self, name: str, rows: Rows | None) -> dict[str, Any]:
        """The tasks of a name, with their questions."""
        from lm_eval.tasks import TaskManager

        if name not in self.tasks:
            manager = TaskManager(include_path=None if self.own is None else [str(self.own)])
            return dict(manager.load([name])["tasks"])
        manager = TaskManager(include_defaults=False)
        if rows is None:
            return dict(manager.load([str(self.tasks[name])])["tasks"])
        with TemporaryDirectory() as folder:
            path = Path(folder) / "task.yaml"
            made = overridden(rows, name, self.tasks[name], Path(folder) / "cache")
            path.write_text(yaml.safe_dump(made, allow_unicode=True), encoding="utf-8")
            return dict(manager.load([str(path)])["tasks"])


def _benchmark(known: _Definitions, name: str, limit: int | None, folder: Path | None) -> Benchmark:
    from datasets.exceptions import DatasetsError
    from jinja2 import TemplateError

    rows = None
    if name in known.tasks and _UNSAFE.search(known.text(name)):
        raise ConfigError(_RUNS_CODE.format(name))
    if folder is not None and name in known.tasks:
        rows = find_rows(folder, name, known.tasks[name])
    try:
        tasks = known.load(name, rows)
    except ImportError as error:
        raise ConfigError(f"Benchmark {name!r} needs a package: {error}.") from error
    except (OSError, RuntimeError, ValueError, DatasetsError) as error:
        raise DataError(_not_there(known, name, rows, folder, error)) from error
    except (AttributeError, LookupError, TypeError, TemplateError) as error:
        # What the templates and functions of a task meet in rows that they were not made for.
        raise DataError(_not_read(name, rows, error)) from error
    for task in tasks.values():
        if getattr(task, "UNSAFE_CODE", False):
            raise ConfigError(_RUNS_CODE.format(name))
        if getattr(task, "MULTIMODAL", False):
            raise ConfigError(f"Benchmark {name!r} shows pictures or sound; it is not asked.")
        # As `simple_evaluate` has it: no examples are shown where a task does not say how many.
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    scores = {_first_score(name, task) for task in tasks.values()}
    if len(scores) != 1:
        unlike = ", ".join(sorted(shown_score(score) for score in scores))
        raise ConfigError(
            f"The tasks of {name!r} are measured by unlike scores ({unlike}); ask for its tasks by "
            f"name: {', '.join(list(tasks)[:5])}, ..."
        )
    source = rows.shown if rows is not None else _source(tasks)
    return Benchmark(name, tasks, scores.pop(), limit, source)


def supported_aggregation(task: Any, measure: str) -> str | None:
    """How lm-eval makes a score of its values for single questions; None for another way."""
    from lm_eval.api import metrics

    made = task.aggregation().get(measure)
    return next((name for name in _AGGREGATIONS if made is getattr(metrics, name)), None)


def shown_score(score: tuple[str, str]) -> str:
    """A score and its filter, as people read them."""
    return score[0] if score[1] == _NO_FILTER else f"{score[0]}, {score[1]}"


def _first_score(name: str, task: Any) -> tuple[str, str]:
    filters = getattr(task.config, "filter_list", None) or [{"name": _NO_FILTER}]
    for measure in task.aggregation():
        if supported_aggregation(task, measure) is not None:
            return str(measure), str(filters[0]["name"])
    raise ConfigError(
        f"Benchmark {name!r} is scored by {', '.join(task.aggregation())} of all answers together, "
        "which have no value for a question; intervals and tests need one."
    )


def _source(tasks: dict[str, Any]) -> str:
    first = next(iter(tasks.values()))
    path, name = getattr(first, "DATASET_PATH", None), getattr(first, "DATASET_NAME", None)
    said = f"{path} ({name})" if name and len(tasks) == 1 else str(path or "the task's own")
    config = first.config
    return f"{said}, {getattr(config, 'test_split', None) or config.validation_split}"


def _not_read(name: str, rows: Rows | None, error: Exception) -> str:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if rows is None:
        return f"Benchmark {name!r} cannot read its own questions ({reason})."
    return (
        f"Benchmark {name!r} cannot read {rows.shown}, whose columns are "
        f"{', '.join(rows.columns)} ({reason}). It reads rows as in {rows.hub}, or rows that are "
        "laid out: query, choices and gold, or context and continuation."
    )


def _not_there(
    known: _Definitions, name: str, rows: Rows | None, folder: Path | None, error: Exception
) -> str:
    if rows is not None:
        return _not_read(name, rows, error)
    wanted = "its data set"
    if name in known.tasks:
        found = re.search(r"^dataset_path:[ \t]*(\S+)", known.text(name), re.MULTILINE)
        wanted = f"its data set {found[1]}" if found else wanted
    looked = f" and in {folder}" if folder is not None else ""
    reason = " ".join(str(error).split()).rstrip(".")
    return (
        f"The questions of benchmark {name!r} are not there. Looked for {wanted} in the cache of "
        f"datasets and on the hub{looked}: {reason}. Either let lm-eval fetch it once with the "
        f"hub in reach, or give a folder with {name}.jsonl (or {name}/test.jsonl, one file a "
        "split) whose rows have its columns: --benchmark-data FOLDER."
    )


@contextmanager
def running_lm_eval() -> Iterator[None]:
    """lm-eval at work: seeded as by `simple_evaluate`, with its warnings and bars off the screen.

    What was drawn before goes on as it would have. No setting switches off the bars.
    """
    import torch
    from lm_eval.api import model, task
    from lm_eval.models import huggingface
    from tqdm import tqdm

    loggers = [logging.getLogger(name) for name in ("lm_eval", "lm_eval.api.task")]
    levels = [logger.level for logger in loggers]
    modules: tuple[Any, ...] = (model, task, huggingface)
    drawn = random.getstate(), np.random.get_state()

    def no_bar(*args: Any, **options: Any) -> Any:
        return tqdm(*args, **options | {"disable": True})

    for logger in loggers:
        logger.setLevel(logging.ERROR)
    for module in modules:
        module.tqdm = no_bar
    try:
        with no_progress_bars(), quiet_loading(), torch.random.fork_rng():
            random.seed(0)
            np.random.seed(SEED)
            torch.manual_seed(SEED)
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        for module in modules:
            module.tqdm = tqdm
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
