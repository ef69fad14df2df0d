"""The stages and their order: check, train, evaluate, report.

The one place that knows all stages; it knows the details of none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunewright.artifacts import MANIFEST, Artifact, write_json
from tunewright.checking import audit_prepared as audit_prepared
from tunewright.checking import check as check
from tunewright.checking import require_sound
from tunewright.config.load import load_recipe
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.records import Dataset, Splits
from tunewright.data.sources import load, load_splits
from tunewright.errors import ArtifactError, ConfigError, DataError, TunewrightError
from tunewright.evaluate.answers import Progress
from tunewright.evaluate.benchmark_tasks import load_benchmarks, require_asked
from tunewright.evaluate.endpoint import Endpoint
from tunewright.evaluate.judge import ask_judge
from tunewright.evaluate.leakage import leaked_rows, said_of_leakage
from tunewright.evaluate.paired_models import add_paired_tests
from tunewright.evaluate.people import Answered, make_answers
from tunewright.evaluate.probe_rows import load_probes
from tunewright.evaluate.report import ReportPaths, Section, write_report
from tunewright.evaluate.run import EVALUATION, Evaluation, check_metrics, evaluate
from tunewright.evaluate.seeds import add_seed_groups
from tunewright.proposing import propose_recipe as propose_recipe
from tunewright.proposing import suggest_model as suggest_model
from tunewright.train.folder import DATA, RECIPE, RunResult, finished_result, is_begun
from tunewright.train.journal import read_journal
from tunewright.train.loop import Observer
from tunewright.train.prepare import Prepared
from tunewright.train.prepare import prepare as prepare_run
from tunewright.train.resizing import differing_keys
from tunewright.train.run import resume as resume_run
from tunewright.train.run import start as start_run
from tunewright.train.run import stopped_before_rows

AUDIT = "audit.json"


class Silent:
    """An observer and a progress function that say nothing."""

    def training_started(self, state: Any, total_steps: int) -> None:
        """Say nothing."""

    def line_written(self, line: dict[str, Any]) -> None:
        """Say nothing."""


def prepare(
    recipe: Recipe, splits: Splits | None = None, progress: Progress | None = None
) -> Prepared:
    """Check everything a run needs; see `tunewright.train.prepare`."""
    return prepare_run(recipe, splits, progress=progress)


def train(
    prepared: Prepared,
    observer: Observer | None = None,
    found: dict[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> RunResult:
    """Train what `prepare` checked, and keep the audit of its data beside the model.

    Args:
        prepared: from `prepare`.
        observer: told of progress.
        found: from `audit_prepared`. Default: it is made now.
        notes: more JSON files to keep in the folder, by name; written before training starts.

    Raises:
        DataError: the audit found an error that `data.allow` does not accept.
    """
    if found is None:
        found = audit_prepared(prepared)
    require_sound(found, prepared.recipe.data.allow)
    return start_run(prepared, observer or Silent(), {AUDIT: found, **(notes or {})})


def find_rate(
    prepared: Prepared, progress: Progress | None = None, steps: int | None = None
) -> dict[str, Any]:
    """Test which learning rate fits, and write `rates.json` and `rates.png` beside the run.

    Args:
        prepared: from `prepare`. Its run is neither begun nor changed.
        progress: told how far the test is.
        steps: of the test. Default: 100.

    Returns:
        `RateTest` as a mapping, and `folder`: where the files are.
    """
    from tunewright.evaluate.figure_style import to_png
    from tunewright.evaluate.rate_chart import rate_chart
    from tunewright.train import rate_finder

    found = rate_finder.find_rate(
        prepared, progress or (lambda *_: None), steps or rate_finder.STEPS
    ).to_dict()
    output = Path(prepared.recipe.output_dir)
    folder = output.with_name(f"{output.name}-rates")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "rates.json", found)
    to_png(rate_chart(found), folder / "rates.png")
    return found | {"folder": str(folder)}


def resume(
    folder: str | Path,
    observer: Observer | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
    changes: Sequence[str] = (),
) -> RunResult:
    """Finish a run that was stopped; a finished one is returned as it is.

    Args:
        folder: of the run.
        observer: told of progress.
        checkpoint: to go on from. Default: the newest whole one.
        progress: that of `prepare`.
        changes: `key=value` for sizes that change nothing in the training, such as
            `per_device_train_batch_size=2`; see `tunewright.train.resizing`.
    """
    if (prepared := stopped_before_rows(Path(folder), changes)) is not None:
        return train(prepared, observer)
    chosen = Path(checkpoint) if checkpoint else None
    return resume_run(Path(folder), observer or Silent(), chosen, progress, changes)


def train_or_resume(
    prepared: Prepared,
    observer: Observer | None = None,
    found: dict[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Train what `prepare` checked, or finish or reuse the run of the same recipe in its folder.

    The arguments are those of `train`, and `progress` that of `prepare`; a run that has begun keeps
    its audit and its notes.

    Raises:
        ArtifactError: the folder holds a run of another recipe.
    """
    folder = Path(prepared.recipe.output_dir)
    if not is_begun(folder):
        return train(prepared, observer, found, notes)
    artifact = Artifact.open(folder, "run")
    changed = differing_keys(artifact.config, prepared.recipe.model_dump(mode="json"))
    if changed:
        raise ArtifactError(
            f"{folder} holds a run with other settings (different: {', '.join(changed)}). Choose "
            "another output_dir."
        )
    return resume(folder, observer, progress=progress)


def require_held_out(prepared: Prepared) -> None:
    """Refuse a run that could not be evaluated afterwards.

    Raises:
        DataError: neither test nor validation rows are held out.
    """
    if not len(prepared.splits.test) and not len(prepared.splits.validation):
        raise DataError(
            "No rows are held out (data.test and data.validation are 0), so the finished model "
            "could not be scored. Hold some out, such as data.test=0.1, or use `tunewright train`, "
            "which only trains."
        )


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


def report_run(
    folder: Path, *, title: str = "", command: str = "", heading: str = ""
) -> ReportPaths:
    """Write the report of a finished and evaluated run into its folder."""
    section = make_section(folder, title or folder.name, command)
    return write_report(heading or f"Fine-tuning report: {folder.name}", [section], folder)


def evaluate_run(
    folder: Path, progress: Progress | None = None, metrics: Sequence[str] | None = None
) -> dict[str, Any]:
    """Evaluate a finished run on its own test rows; reuse an evaluation that is done."""
    finished_result(folder)
    target = folder / "evaluation"
    if (target / EVALUATION).is_file() and Artifact.open(target).status == "done":
        found = json.loads((target / EVALUATION).read_text(encoding="utf-8"))
        if metrics is None or set(metrics) <= set(found["metrics"]):
            return dict(found)
    evaluation = evaluate_model(str(folder), progress=progress, metrics=metrics, output_dir=target)
    return evaluation.to_dict()


def make_section(folder: Path, title: str, command: str = "") -> Section:
    """The report section of a finished and evaluated run."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    reasons = [f"{k}: {v}" for k, v in manifest["results"].get("reasons", {}).items()]
    return Section(
        title=title,
        data=json.loads((folder / AUDIT).read_text(encoding="utf-8")),
        journal=read_journal(folder),
        evaluation=json.loads((folder / "evaluation" / EVALUATION).read_text(encoding="utf-8")),
        run=manifest,
        reasons=reasons,
        command=command or f"tunewright run {folder / RECIPE}",
    )


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
