"""The stages and their order: check, train, evaluate, report.

The one place that knows all stages; it knows the details of none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunewright.artifacts import Artifact, write_json
from tunewright.checking import audit_prepared as audit_prepared
from tunewright.checking import check as check
from tunewright.checking import require_sound
from tunewright.config.recipe import Recipe
from tunewright.data.records import Splits
from tunewright.errors import ArtifactError, DataError, in_shell
from tunewright.evaluate.answers import Progress
from tunewright.evaluate.report import ReportPaths, Section, write_report
from tunewright.evaluate.run import EVALUATION
from tunewright.proposing import propose_recipe as propose_recipe
from tunewright.proposing import suggest_model as suggest_model
from tunewright.scoring import compare_models as compare_models
from tunewright.scoring import evaluate_model as evaluate_model
from tunewright.scoring import human_answers as human_answers
from tunewright.scoring import judge_answers as judge_answers
from tunewright.scoring import rows_to_score as rows_to_score
from tunewright.scoring import run_data as run_data
from tunewright.train.folder import RECIPE, RunResult, finished_result, is_begun
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
        command=command or f"tunewright run {in_shell(folder / RECIPE)}",
    )
