"""The folder of a run: who holds it, what may be in it, what must not have changed.

This module knows the recipe and the rows. It does not know how a run is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.artifacts import (
    Artifact,
    hash_files,
    is_full_disk,
    locked,
    remove_unfinished,
    require_space,
    sha256_file,
)
from tunewright.config.recipe import Recipe
from tunewright.errors import ArtifactError, SpaceError, in_shell
from tunewright.models.adapter_folder import WEIGHTS, hash_weights
from tunewright.models.device import pick_device
from tunewright.train.journal import JOURNAL
from tunewright.train.prepare import Prepared

if TYPE_CHECKING:
    from accelerate import PartialState

RECIPE = "recipe.yaml"
DATA = "data"


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: with the model at its top.
        metrics: the validation scores of the weights that were kept; empty without validation.
        results: steps, tokens, seconds, tokens per second, peak memory and the like.
    """

    folder: Path
    metrics: dict[str, float]
    results: dict[str, Any]


def global_batch(recipe: Recipe, processes: int) -> int:
    """Rows of one step over all processes."""
    assert recipe.per_device_train_batch_size is not None
    return recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * processes


def processes_of(recipe: Recipe) -> PartialState:
    """This process's place among those that train together; alone when none launched it."""
    from accelerate import PartialState

    return PartialState(cpu=pick_device(recipe.device).type == "cpu")


@contextmanager
def held(folder: Path, processes: PartialState, prepared: Prepared | None) -> Iterator[None]:
    """Hold the run's folder for the group; `prepared` is given for a new run."""
    if not processes.is_main_process:
        yield
        return
    if prepared is not None:
        _refuse_other_content(folder)
        require_space(folder, _space_needed(prepared), "The run")
    with locked(folder):
        for place in (folder, folder / DATA):
            remove_unfinished(place)
        yield


def _refuse_other_content(folder: Path) -> None:
    if not folder.exists():
        return
    if folder.is_file():
        raise ArtifactError(f"output_dir {folder} is a file; a folder is needed.")
    content = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if "manifest.json" in content and not is_begun(folder):
        return  # stopped before its first step: nothing would be lost
    if "manifest.json" in content:
        status = Artifact.open(folder).status
        advice = (
            f"go on with: tunewright resume {in_shell(folder)}"
            if status in ("running", "interrupted", "failed")
            else "use it as it is"
        )
        raise ArtifactError(
            f"{folder} already holds a run ({status}). Choose another output_dir, or {advice}."
        )
    if RECIPE in content or any(name.startswith("checkpoint-") for name in content):
        raise ArtifactError(
            f"{folder} holds files of a run but no manifest. Choose another output_dir."
        )


def _space_needed(prepared: Prepared) -> int:
    """Bytes for the finished model and the checkpoints that are kept at the same time."""
    weights = prepared.facts.weight_bytes
    assert prepared.recipe.method is not None
    full = prepared.recipe.method.trains_base
    trained = prepared.facts.parameters if full else prepared.facts.parameters // 20
    checkpoint = (weights if full else 2 * trained) + 12 * trained
    kept = prepared.recipe.save_total_limit + 3  # the best, the one to go back to, a new one
    copies = kept if prepared.recipe.save_strategy != "no" else 1
    return (weights if full else 2 * trained) + copies * checkpoint + 50_000_000


def finished_result(folder: Path) -> RunResult:
    """The result of a run that is done.

    Raises:
        ArtifactError: it is not done; says how to finish it.
    """
    artifact = Artifact.open(folder, "run")
    if artifact.status != "done":
        raise ArtifactError(
            f"The run in {folder} is {artifact.status}, not done. Finish it with: tunewright "
            f"resume {folder}"
        )
    return RunResult(folder, artifact.results.get("metrics", {}), artifact.results)


def is_begun(folder: Path) -> bool:
    """Whether a run was ever trained in `folder`: it can be resumed, and must not be replaced."""
    return (folder / "manifest.json").is_file() and (folder / JOURNAL).is_file()


def parents_of(prepared: Prepared, folder: Path) -> dict[str, str]:
    """SHA-256 of all that a run is made from: its rows, its base, the adapter that it goes on from.

    Args:
        prepared: the run.
        folder: where its rows are.
    """
    found = hash_files(folder / DATA) | hash_weights(prepared.facts.folder)
    if prepared.started is not None:
        found[f"adapter/{WEIGHTS}"] = sha256_file(prepared.started.folder / WEIGHTS)
    return found


def require_same(artifact: Artifact, folder: Path, prepared: Prepared) -> None:
    """Refuse to go on with other rows or another base than the run began with."""
    found = parents_of(prepared, folder)
    changed = sorted(name for name in artifact.parents if found.get(name) != artifact.parents[name])
    if changed:
        raise ArtifactError(
            f"The run in {folder} cannot go on: {', '.join(changed)} changed since it began "
            f"(rows are in {folder / DATA}, the base is {prepared.facts.folder}). Put back what "
            "was there, or begin a run in another output_dir."
        )


@contextmanager
def told_of_full_disk(folder: Path) -> Iterator[None]:
    """Say of a disk that is full what is kept and how to go on, whichever library found out."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, SpaceError) or is_full_disk(error)):
            raise
        said = str(error) if isinstance(error, SpaceError) else f"The disk is full: {error}."
        raise SpaceError(
            f"{said} The last checkpoint is kept. When there is room, go on with: tunewright "
            f"resume {folder}"
        ) from error
