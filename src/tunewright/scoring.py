"""The stage after training: rows are chosen, and models are scored on them, compared and judged.

It knows runs by their folders. It does not know how they are trained, or reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunewright.artifacts import MANIFEST, Artifact
from tunewright.config.load import load_recipe
from tunewright.config.task import Task
from tunewright.data.records import Dataset, Splits
from tunewright.data.sources import load, load_splits
from tunewright.errors import ConfigError, DataError, TunewrightError
from tunewright.evaluate.answers import Progress
from tunewright.evaluate.benchmark_tasks import load_benchmarks, require_asked
from tunewright.evaluate.endpoint import Endpoint
from tunewright.evaluate.judge import ask_judge
from tunewright.evaluate.leakage import leaked_rows, said_of_leakage
from tunewright.evaluate.paired_models import add_paired_tests
from tunewright.evaluate.people import Answered, make_answers
from tunewright.evaluate.probe_rows import load_probes
from tunewright.evaluate.run import Evaluation, check_metrics, evaluate
from tunewright.evaluate.seeds import add_seed_groups
from tunewright.models.catalogue import require_possible
from tunewright.train.folder import DATA, RECIPE


def run_data(folder: Path) -> Splits | None:
    """The records that a run was trained on, or None when `folder` is no run."""
    if not (folder / DATA).is_dir():
        return None
    recipe = load_recipe(folder / RECIPE)
    return load_splits(str(folder / DATA), 0.0, 0.0, task=recipe.task or "auto")


def evaluate_model(
    model: str,
    source: str | Sequence[str] | Dataset | None = None,
    *,
    task: str = "auto",
    columns: Mapping[str, str] | None = None,
    num_samples: int | None = None,
    train_source: str | None = None,
    output_dir: Path | None = None,
    progress: Progress | None = None,
    forgetting: bool = False,
    probe_pairs: str | None = None,
    probe_text: str | None = None,
    benchmarks: Sequence[str] | None = None,
    benchmark_data: str | None = None,
    benchmark_tasks: str | None = None,
    **options: Any,
) -> Evaluation:
    """Score a model; see `tunewright.evaluate.run.evaluate` for the options.

    Args:
        model: what to score.
        source: rows with references. Default: the test rows of the run, or its validation rows
            where it has no test rows.
        task: of the rows; `auto` takes it from the run or detects it.
        columns: role to column.
        num_samples: score only the first so many rows.
        train_source: the rows the model was tuned on, where the folder does not say.
        output_dir: where to write the results.
        progress: told how far the work is.
        forgetting: also measure what tuning cost, by probes before and after.
        probe_pairs, probe_text: files of your own for the probes; each asks for them.
        benchmarks: public benchmarks by lm-eval's names, asked of the model and its base.
        benchmark_data, benchmark_tasks: folders of their questions, and of tasks of your own.

    Raises:
        ConfigError: a benchmark is unknown, or cannot be asked.
        DataError: no rows were given and the model's folder has none; or a benchmark has none.
    """
    if forgetting or probe_pairs or probe_text:
        options["probes"] = load_probes(probe_pairs, probe_text)
    trained_on = run_data(Path(model).expanduser())
    dataset = _choose_rows(model, source, trained_on, task, columns)
    if num_samples is not None and num_samples < len(dataset):
        dataset = dataset.select(range(num_samples))
    check_metrics(options.get("metrics") or (), dataset.task)
    if benchmarks:
        require_asked(dataset.task)
        options["benchmarks"] = load_benchmarks(benchmarks, benchmark_data, benchmark_tasks)
    elif benchmark_data or benchmark_tasks:
        option = "--benchmark-data" if benchmark_data else "--benchmark-tasks"
        raise ConfigError(f"{option} is for public benchmarks; name one: --benchmark NAME.")
    if train_source is not None:
        train_rows: Dataset | None = load(train_source, task=dataset.task, columns=columns)
    else:
        train_rows = trained_on.train if trained_on is not None else None
    notes = []
    if source is None and trained_on is not None and not len(trained_on.test):
        notes.append(
            "The run held out no test rows, so these are its validation rows; where they chose the "
            "weights, the scores are a little too good."
        )
    if source is not None and train_rows is not None and train_rows.task is dataset.task:
        notes += said_of_leakage(leaked_rows(train_rows, dataset), len(dataset))
    return evaluate(
        model,
        dataset,
        train=train_rows,
        notes=notes,
        output_dir=output_dir,
        progress=progress,
        **options,
    )


def human_answers(
    model: str,
    other: str | None,
    folder: Path,
    source: str | Dataset | None = None,
    *,
    task: str = "auto",
    columns: Mapping[str, str] | None = None,
    num_samples: int | None = None,
    **options: Any,
) -> list[Answered]:
    """What two models answer, for people to judge; see `tunewright.evaluate.people.make_answers`.

    Args:
        model: what to judge.
        other: what it is compared with. Default: what it was tuned from.
        folder: where answers and votes are kept.
        source, task, columns: of the prompts, as in `evaluate_model`.
        num_samples: the first so many rows. Default: 50.
    """
    rows = rows_to_score(model, source, task=task, columns=columns)
    rows = rows.select(range(min(len(rows), num_samples or 50)))
    return make_answers(model, other, rows, folder, **options)


def judge_answers(
    model: str,
    other: str | None,
    folder: Path,
    endpoint: Endpoint,
    source: str | Dataset | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Let a model judge what two models answer; see `tunewright.evaluate.judge.ask_judge`.

    Args:
        model: what to judge.
        other: what it is compared with. Default: what it was tuned from.
        folder: where answers and votes are kept.
        endpoint: the judge.
        source: of the prompts, as in `evaluate_model`.
        progress: told how far the work is.
        options: as in `human_answers`.
    """
    rows = human_answers(model, other, folder, source, progress=progress, **options)
    return ask_judge(endpoint, rows, folder, progress)


def rows_to_score(
    model: str,
    source: str | Sequence[str] | Dataset | None = None,
    *,
    task: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """The rows that a model is scored on.

    Args:
        model: a run's folder tells the task, and the rows where `source` is None.
        source: rows with references. Of a folder with parts, the test rows are taken.
        task: of the rows; `auto` takes it from the run or detects it.
        columns: role to column.

    Raises:
        DataError: there are no rows.
    """
    return _choose_rows(model, source, run_data(Path(model).expanduser()), task, columns)


def _choose_rows(
    model: str,
    source: str | Sequence[str] | Dataset | None,
    trained_on: Splits | None,
    task: str,
    columns: Mapping[str, str] | None,
) -> Dataset:
    if isinstance(source, Dataset):
        return source
    if source is not None:
        wanted: Task | str = task
        if task == "auto" and trained_on is not None:
            wanted = trained_on.task
        if isinstance(source, str):
            parts = load_splits(source, 0.0, 0.0, task=wanted, columns=columns)
            return next(p for p in (parts.test, parts.validation, parts.train) if len(p))
        return load(source, task=wanted, columns=columns)
    if trained_on is None:
        require_possible(model)
        raise DataError(
            f"{model} does not say what it was trained on, so the rows to score must be given: "
            "--data FILE."
        )
    rows = trained_on.test if len(trained_on.test) else trained_on.validation
    if not len(rows):
        raise DataError(
            f"The run in {model} held no rows out (data.test and data.validation are 0). Give "
            "rows to score: --data FILE."
        )
    return rows


def compare_models(
    models: Sequence[str],
    source: str | Sequence[str] | Dataset,
    *,
    task: str = "auto",
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Score several models on the same rows. One that fails is an entry with its error.

    Every pair is tested on the first metric (`evaluate.paired_models`). Runs that differ in their
    seed alone are also told together (`evaluate.seeds`).

    Raises:
        UserError: the rows or the metrics are wrong, so that no model could be scored.
    """
    first_run = next((m for m in models if run_data(Path(m).expanduser())), models[0])
    source = rows_to_score(first_run, source, task=task, columns=columns)
    check_metrics(options.get("metrics") or (), source.task)
    results: list[Evaluation | dict[str, Any]] = []
    for model in models:
        try:
            found = evaluate_model(
                model, source, progress=progress, with_baselines=False, **options
            )
            results.append(found)
        except TunewrightError as error:
            results.append({"model": model, "error": str(error)})
    add_paired_tests([found for found in results if isinstance(found, Evaluation)])
    told = [found.to_dict() if isinstance(found, Evaluation) else found for found in results]
    add_seed_groups(told, [_settings(model) for model in models])
    return told


def _settings(model: str) -> dict[str, Any] | None:
    """The resolved recipe of a run; None for a model that is no run."""
    folder = Path(model).expanduser()
    is_run = all((folder / name).is_file() for name in (RECIPE, MANIFEST))
    return Artifact.open(folder, "run").config if is_run else None
