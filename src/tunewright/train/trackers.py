"""The numbers of a run, sent to trackers while it goes on.

A resumed run goes on in the same run of a tracker, and no step is there twice: TensorBoard is told
to forget what came after the checkpoint, and to the others, which forget nothing, only those steps
are sent that they do not have. MLflow says which these are; for W&B and trackio a file in the run's
folder does. The trackers are accelerate's. This module does not know what the numbers mean.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
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
        extra = Tracker.TRACKIO.value if missing == [Tracker.TRACKIO] else "trackers"
        raise ConfigError(
            f"report_to names {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'}"
            f" not installed. Install with: pip install 'tunewright[{extra}]', or remove it."
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

        known = _known_id(folder, Tracker.MLFLOW)
        self._refused: type[Exception] = MlflowException
        self._tracker = MLflowTracker(_PROJECT, run_id=known, run_name=folder.resolve().name)
        self._sent = {"train": 0, "eval": 0}
        try:
            self._tracker.start()
            run = self._tracker.tracker.info.run_id
            if known is None:
                _keep_id(folder, Tracker.MLFLOW, run)
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


class _WandB:
    """A run of Weights & Biases, in the project that WANDB_PROJECT names.

    Only numbers, the recipe's keys and the run's name are sent: no code, no output of the program,
    no command line and nothing of the machine.

    Args:
        recipe: its keys become the configuration.
        folder: of the run; keeps the id of the run of W&B, and below `wandb/` what it writes.
        step: unused: what was sent is kept in the folder.

    Raises:
        ConfigError: W&B refuses to start, or has no key for its server.
    """

    def __init__(self, recipe: Recipe, folder: Path, step: int) -> None:
        import wandb
        from accelerate.tracking import WandBTracker

        known = _known_id(folder, Tracker.WANDB)
        here = {} if "WANDB_DIR" in os.environ else {"dir": str(folder)}
        self._tracker = WandBTracker(
            os.environ.get("WANDB_PROJECT", _PROJECT),
            id=known or uuid.uuid4().hex[:8],
            name=os.environ.get("WANDB_NAME", folder.resolve().name),
            resume="allow",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
            **here,
        )
        try:
            offline = os.environ.get("WANDB_MODE", "online") != "online"
            if not (offline or wandb.login(prompt=False, verify=False)):
                raise ConfigError(
                    "report_to names wandb, and W&B has no key of yours. Run `wandb login`, set "
                    "WANDB_MODE=offline to keep the numbers on this machine, or remove wandb."
                )
            self._tracker.start()
        except wandb.errors.Error as error:
            raise ConfigError(
                f"W&B cannot take this run: {error}. Check the network and `wandb login`, set "
                "WANDB_MODE=offline, or remove wandb from report_to."
            ) from error
        if known is None:
            _keep_id(folder, Tracker.WANDB, str(self._tracker.tracker.id))
        self._tracker.store_init_configuration(_flat(recipe.model_dump(mode="json")))
        self._sent = _Sent(folder, Tracker.WANDB)

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        if self._sent.is_new(kind, step):
            self._tracker.log(_named(kind, values), step=step)

    def close(self) -> None:
        self._tracker.finish()


class _Trackio:
    """A run of trackio, in the project that TRACKIO_PROJECT names.

    Args:
        recipe: its keys become the configuration.
        folder: of the run; keeps the name of trackio's run.
        step: unused: what was sent is kept in the folder.
    """

    def __init__(self, recipe: Recipe, folder: Path, step: int) -> None:
        from accelerate.tracking import TrackioTracker

        known = _known_id(folder, Tracker.TRACKIO)
        # Runs are found again by name, and folders of one name are many.
        name = known or f"{folder.resolve().name}-{uuid.uuid4().hex[:6]}"
        self._tracker = TrackioTracker(
            os.environ.get("TRACKIO_PROJECT", _PROJECT),
            name=name,
            resume="must" if known else "never",
            config=_flat(recipe.model_dump(mode="json")),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        with redirect_stdout(io.StringIO()):  # it greets where our own output stands
            self._tracker.start()
        if known is None:
            _keep_id(folder, Tracker.TRACKIO, name)
        self._sent = _Sent(folder, Tracker.TRACKIO)

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        if self._sent.is_new(kind, step):
            self._tracker.log(_named(kind, values), step=step)

    def close(self) -> None:
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()  # accelerate's leaves it to be finished again when the process ends


class _Sent:
    """Which steps a tracker was given, kept for trackers that do not say it.

    Args:
        folder: of the run.
        tracker: whose steps these are.
    """

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        self._path = folder / f".{tracker.value}-sent.json"
        self._steps = read_json(self._path) if self._path.is_file() else {"train": 0, "eval": 0}

    def is_new(self, kind: str, step: int) -> bool:
        """Whether a step was not given before; from now on it was.

        It is noted first: a process that is killed then leaves a step out, and none twice.
        """
        if step <= self._steps[kind]:
            return False
        self._steps[kind] = step
        # Every step comes here, so the disk is not waited for as `atomic_write` does.
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text(json.dumps(self._steps), encoding="utf-8")
        scratch.replace(self._path)
        return True


def _known_id(folder: Path, tracker: Tracker) -> str | None:
    """The id of the tracker's run that an earlier process began."""
    ids = read_json(folder / IDS) if (folder / IDS).is_file() else {}
    found: str | None = ids.get(tracker.value)
    return found


def _keep_id(folder: Path, tracker: Tracker, run: str) -> None:
    ids = read_json(folder / IDS) if (folder / IDS).is_file() else {}
    write_json(folder / IDS, ids | {tracker.value: run})


_OPEN: dict[Tracker, Callable[[Recipe, Path, int], _Open]] = {
    Tracker.TENSORBOARD: _TensorBoard,
    Tracker.MLFLOW: _MLflow,
    Tracker.WANDB: _WandB,
    Tracker.TRACKIO: _Trackio,
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
