"""The numbers of a run, sent to trackers while it goes on.

A resumed run goes on in the same run of a tracker, and no step is there twice: TensorBoard is told
to forget what came after the checkpoint, and to MLflow, which forgets nothing, only those steps are
sent that it does not have. The trackers are accelerate's. This module does not know what the
numbers mean.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tunewright.artifacts import read_json, write_json
from tunewright.config.load import dump_recipe
from tunewright.config.recipe import Recipe
from tunewright.config.watching import Tracker
from tunewright.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from tunewright.train.checkpoint import LoopState
    from tunewright.train.loop import Observer

IDS = "trackers.json"
"""In the run's folder: by tracker, the id of the run that a resume goes on in."""
_PROJECT = "tunewright"
_STEP = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "epoch")


def require_installed(recipe: Recipe) -> None:
    """Refuse a recipe whose trackers are not there.

    Raises:
        ConfigError: names them, and the command that installs them.
    """
    missing = [t.value for t in recipe.report_to if importlib.util.find_spec(t.value) is None]
    if missing:
        raise ConfigError(
            f"report_to names {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'}"
            " not installed. Install with: pip install 'tunewright[trackers]', or remove it."
        )


class _Open(Protocol):
    """A tracker that takes numbers."""

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        """Take numbers of a step; `kind` is `train` or `eval`."""

    def close(self) -> None:
        """Write what is left."""


class _TensorBoard:
    """Event files in the run's folder.

    Args:
        recipe: written as a text at the first step.
        folder: of the run.
        step: that the run begins at; later steps of an earlier process are forgotten.
    """

    def __init__(self, recipe: Recipe, folder: Path, step: int) -> None:
        from accelerate.tracking import TensorBoardTracker

        begun = (folder / "tensorboard").is_dir()
        again = {"purge_step": step + 1} if begun else {}
        self._tracker = TensorBoardTracker("tensorboard", folder, **again)
        self._tracker.start()
        if not begun:
            self._tracker.log({"recipe": f"```yaml\n{dump_recipe(recipe)}```"}, step=0)

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        self._tracker.log(_named(kind, values), step=step)

    def close(self) -> None:
        self._tracker.finish()


class _MLflow:
    """A run of MLflow, in the experiment that MLFLOW_EXPERIMENT_NAME names.

    Args:
        recipe: its keys become parameters.
        folder: of the run; keeps the id of MLflow's run.
        step: unused: what MLflow has already follows from MLflow.

    Raises:
        ConfigError: MLflow refuses to start.
    """

    def __init__(self, recipe: Recipe, folder: Path, step: int) -> None:
        from accelerate.tracking import MLflowTracker
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        ids = read_json(folder / IDS) if (folder / IDS).is_file() else {}
        known = ids.get(Tracker.MLFLOW.value)
        self._refused: type[Exception] = MlflowException
        self._tracker = MLflowTracker(_PROJECT, run_id=known, run_name=folder.resolve().name)
        self._sent = {"train": 0, "eval": 0}
        try:
            self._tracker.start()
            run = self._tracker.tracker.info.run_id
            if known is None:
                write_json(folder / IDS, ids | {Tracker.MLFLOW.value: run})
                self._tracker.store_init_configuration(_flat(recipe.model_dump(mode="json")))
            for kind in self._sent:
                history = MlflowClient().get_metric_history(run, f"{kind}/loss")
                self._sent[kind] = max((entry.step for entry in history), default=0)
        except MlflowException as error:
            self._tracker.finish()
            raise ConfigError(
                f"MLflow cannot take this run: {error}. Check MLFLOW_TRACKING_URI, or remove "
                "mlflow from report_to."
            ) from error

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        if step <= self._sent[kind]:
            return
        try:
            self._tracker.log(_named(kind, values), step=step)
        except self._refused as error:
            raise TrainingError(
                f"MLflow did not take step {step}: {error}. Checkpoints are kept; when MLflow can "
                "be reached, `tunewright resume` goes on."
            ) from error
        self._sent[kind] = step

    def close(self) -> None:
        self._tracker.finish()


_OPEN: dict[Tracker, Callable[[Recipe, Path, int], _Open]] = {
    Tracker.TENSORBOARD: _TensorBoard,
    Tracker.MLFLOW: _MLflow,
}


class _Tracked:
    """An observer that tells trackers too.

    Args:
        observer: told first.
        trackers: get the numbers of steps and scores.
    """

    def __init__(self, observer: Observer, trackers: list[_Open]) -> None:
        self._observer, self._trackers = observer, trackers

    def training_started(self, state: LoopState, total_steps: int) -> None:
        self._observer.training_started(state, total_steps)

    def line_written(self, line: dict[str, Any]) -> None:
        self._observer.line_written(line)
        if line["event"] == "step":
            kind, values = "train", {name: line[name] for name in _STEP}
        elif line["event"] == "evaluation":
            kind, values = "eval", line["metrics"]
        else:
            return
        for tracker in self._trackers:
            tracker.log(kind, values, line["step"])


@contextmanager
def tracked(observer: Observer, recipe: Recipe, folder: Path, step: int) -> Iterator[Observer]:
    """While it lasts, what the observer is told goes to the recipe's trackers too.

    Args:
        observer: of the run. Call this in the main process only.
        recipe: resolved.
        folder: of the run.
        step: that the run begins at.

    Raises:
        ConfigError: a tracker refuses to start.
    """
    opened: list[_Open] = []
    try:
        for tracker in recipe.report_to:
            opened.append(_OPEN[tracker](recipe, folder, step))
        yield _Tracked(observer, opened) if opened else observer
    finally:
        for one in opened:
            one.close()


def _named(kind: str, values: Mapping[str, float]) -> dict[str, float]:
    """Names as the trackers' own users have them: `train/loss`, `eval/loss`."""
    return {f"{kind}/{name}": float(value) for name, value in values.items()}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Keys of a recipe with dots, without those that are not set."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{before}{key}.")
        elif value not in (None, "", [], {}):
            flat[before + key] = value if isinstance(value, int | float) else str(value)
    return flat
