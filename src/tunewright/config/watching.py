"""Recipe keys of how a run is watched, and what it may do about what it sees."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tunewright.config.base import Strict


class Tracker(StrEnum):
    """Where numbers of a run are sent while it goes on."""

    TENSORBOARD = "tensorboard"
    """Event files in `tensorboard/` of the run's folder."""
    MLFLOW = "mlflow"
    """A run of MLflow, where MLFLOW_TRACKING_URI says or MLflow keeps its own."""
    WANDB = "wandb"
    """A run of Weights & Biases, or files for it with WANDB_MODE=offline."""
    TRACKIO = "trackio"
    """A run of trackio, on this machine unless TRACKIO_SPACE_ID says otherwise."""


def _listed(value: Any) -> Any:
    """One name is a list of one; `none` is how the ecosystem writes an empty list."""
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list):
        return named
    words = [word.lower() if isinstance(word, str) else word for word in named]
    return [] if words == ["none"] else list(dict.fromkeys(words))


class WatchingKeys(Strict):
    """Part of `Recipe`."""

    reactions: Literal["act", "propose"] = "act"
    """What a run does about spikes, divergence and short memory: `act`, or only `propose` what a
    person could do."""
    report_to: Annotated[list[Tracker], BeforeValidator(_listed)] = Field(default_factory=list)
    """Trackers that get the numbers of every step and score: `tensorboard`, `mlflow`,
    `wandb`, `trackio`."""
