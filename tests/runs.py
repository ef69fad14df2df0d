"""What tests of runs share: training a recipe, and stopping on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunewright import pipeline
from tunewright.config.recipe import Recipe
from tunewright.train.loop import STOP_FILE


class StopAfter:
    """Asks a run to stop after a step, as another process would."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def training_started(self, state: Any, total_steps: int) -> None:
        pass

    def line_written(self, line: dict[str, Any]) -> None:
        if line["event"] == "step" and line["step"] == self.step:
            (self.folder / STOP_FILE).touch()


def train(made: Recipe, observer: Any = None) -> Any:
    return pipeline.train(pipeline.prepare(made), observer)


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    """A recipe for a tiny base on a CPU, in batches of eight."""
    defaults: dict[str, Any] = {
        "model": str(base),
        "data": {"train": str(rows), "validation": 0.2},
        "output_dir": str(output),
        "per_device_train_batch_size": 8,
        "device": "cpu",
    }
    return Recipe.check(defaults | values)
