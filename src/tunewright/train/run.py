"""A run from checked recipe to finished model: start, resume.

Both own the run's folder and leave it in a state that its manifest describes, however they end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.artifacts import (
    Artifact,
    atomic_write,
    hash_files,
    locked,
    require_space,
    sha256_file,
    write_json,
)
from tunewright.config.load import dump_recipe, load_recipe
from tunewright.config.recipe import Recipe
from tunewright.data.export import write_dataset
from tunewright.data.sources import load_splits
from tunewright.errors import ArtifactError, Interrupted
from tunewright.models.adapter_folder import WEIGHTS, hash_weights
from tunewright.models.load import pick_device
from tunewright.models.memory import peak_memory, reset_peak_memory
from tunewright.train.build import build_job
from tunewright.train.checkpoint import LoopState, checkpoint_folder, load_state, newest_whole
from tunewright.train.journal import JOURNAL, Journal, Silence, read_journal
from tunewright.train.looking_back import look_back
from tunewright.train.loop import Job, Observer, run_loop, save, steps_of
from tunewright.train.prepare import Prepared, prepare
from tunewright.train.retake import UpdateFailed, go_back
from tunewright.train.rollback import restore
from tunewright.train.token_cache import TOKENS, Progress, remove_tokens
from tunewright.train.trackers import tracked
from tunewright.train.watch import Diagnosis, note

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


def start(
    prepared: Prepared, observer: Observer, notes: Mapping[str, Any] | None = None
) -> RunResult:
    """Create the run's folder and train to the end.

    Args:
        prepared: from `prepare`.
        observer: told of progress.
        notes: JSON files to keep in the folder, by name.

    Raises:
        ArtifactError: the folder holds another run; nothing is changed.
        Interrupted: stopped on request; `resume` goes on.
    """
    recipe = prepared.recipe
    folder = Path(recipe.output_dir)
    processes = processes_of(recipe)
    with _held(folder, processes, prepared):
        if processes.is_main_process:
            artifact = Artifact.create(
                folder, "run", recipe.model_dump(mode="json"), {}, recipe.seed
            )
            write_dataset(prepared.splits, folder / DATA)
            atomic_write(folder / RECIPE, dump_recipe(recipe))
            for name, content in (notes or {}).items():
                write_json(folder / name, content)
            artifact.parents = hash_files(folder / DATA) | hash_weights(prepared.facts.folder)
            if prepared.started is not None:
                weights = prepared.started.folder / WEIGHTS
                artifact.parents[f"adapter/{WEIGHTS}"] = sha256_file(weights)
            artifact.results["reasons"] = prepared.reasons
            artifact.write()
        processes.wait_for_everyone()
        return _train(prepared, Artifact.open(folder, "run"), None, observer)


def processes_of(recipe: Recipe) -> PartialState:
    """This process's place among those that train together; alone when none launched it."""
    from accelerate import PartialState

    return PartialState(cpu=pick_device(recipe.device).type == "cpu")


@contextmanager
def _held(folder: Path, processes: PartialState, prepared: Prepared | None) -> Iterator[None]:
    """Hold the run's folder for the group; `prepared` is given for a new run."""
    if not processes.is_main_process:
        yield
        return
    if prepared is not None:
        _refuse_other_content(folder)
        require_space(folder, _space_needed(prepared), "The run")
    with locked(folder):
        yield


def resume(
    folder: Path,
    observer: Observer,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Go on from the newest whole checkpoint, or from the start where there is none.

    Args:
        folder: of a run.
        checkpoint: a checkpoint-N folder to go on from instead.
        progress: told how many rows are tokenised, before training goes on.

    Raises:
        ArtifactError: the folder is no run, or another process is using it.
    """
    artifact = Artifact.open(folder, "run")
    if artifact.status == "done":
        return finished_result(folder)
    recipe = load_recipe(folder / RECIPE)
    processes = processes_of(recipe)
    with _held(folder, processes, None):
        splits = load_splits(str(folder / DATA), task=recipe.task or "auto")
        # The recipe is resolved and the rows were sampled when the run began.
        prepared = prepare(
            recipe.model_copy(
                update={"data": recipe.data.model_copy(update={"max_samples": None})}
            ),
            splits,
            tokens=folder / TOKENS,
            progress=progress,
        )
        prepared.recipe = recipe
        damaged: list[dict[str, str]] = []
        if checkpoint is None:
            checkpoint = newest_whole(
                folder,
                lambda path, wrong: damaged.append({"path": path.name, "damage": wrong}),
            )
        processes.wait_for_everyone()
        if processes.is_main_process:
            artifact.status, artifact.error = "running", None
            if damaged:
                artifact.results["damaged_checkpoints"] = damaged
            artifact.write()
        return _train(prepared, artifact, checkpoint, observer)


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
            f"go on with: tunewright resume {folder}"
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


def _train(
    prepared: Prepared, artifact: Artifact, checkpoint: Path | None, observer: Observer
) -> RunResult:
    folder = artifact.folder
    reset_peak_memory()
    main = processes_of(prepared.recipe).is_main_process
    with artifact.recording() if main else nullcontext():
        job = build_job(prepared, folder)
        state = LoopState()
        if checkpoint is not None:
            state = load_state(checkpoint)
            restore(job, checkpoint)
        try:
            state = _run(prepared, job, state, checkpoint, observer)
        except Interrupted as stopped:
            if main:
                artifact.finish("interrupted", error=str(stopped))
            raise
        results = _results(prepared, job, state)
        if main:
            _save_finished(job, folder)
            artifact.finish("done", **results)
            remove_tokens(folder)
        job.accelerator.wait_for_everyone()
    return RunResult(folder, results["metrics"], artifact.results)


def _run(
    prepared: Prepared, job: Job, state: LoopState, checkpoint: Path | None, observer: Observer
) -> LoopState:
    """Run the loop to its end with a journal, again from a checkpoint where an update failed."""
    folder, main = job.folder, job.accelerator.is_main_process
    found: Diagnosis | None = None
    while True:
        resuming = (folder / JOURNAL).exists()
        job.accelerator.wait_for_everyone()
        journal = Journal(folder, state.step if resuming else None) if main else Silence()
        if resuming:
            journal.write("resume", state.step, checkpoint=checkpoint.name if checkpoint else None)

        tell = partial(_tell, journal, observer, state)
        followed = tracked(observer, prepared.recipe, folder, state.step)
        try:
            if found is not None:
                note(tell, found)
                if state.step and prepared.recipe.save_strategy != "no":
                    save(job, state)  # a checkpoint knows of the smaller passes
            with followed if main else nullcontext(observer) as watching:
                run_loop(job, state, journal, watching)
            for diagnosis in look_back(job, state, prepared):
                note(tell, diagnosis)
            return state
        except UpdateFailed as failed:
            state, found = go_back(job, state, failed)
            checkpoint = checkpoint_folder(folder, state.step)
        finally:
            journal.close()


def _tell(
    journal: Journal | Silence, observer: Observer, state: LoopState, event: str, **values: Any
) -> None:
    journal.write(event, state.step, **values)
    observer.line_written({"event": event, "step": state.step, **values})


def _save_finished(job: Job, folder: Path) -> None:
    """Put the finished model at the top of the run's folder, file by whole file."""
    scratch = folder / ".finished.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    job.save_finished(scratch)
    for file in sorted(scratch.iterdir()):
        file.replace(folder / file.name)
    scratch.rmdir()


def _results(prepared: Prepared, job: Job, state: LoopState) -> dict[str, Any]:
    lines = read_journal(job.folder)
    scores = {line["step"]: line["metrics"] for line in lines if line["event"] == "evaluation"}
    kept = state.best_step if job.recipe.load_best_model_at_end else None
    metrics = scores.get(kept if kept is not None else state.step, {})
    parameters = list(job.forward.parameters())
    per_epoch, total = steps_of(job.recipe, len(job.train), job.global_batch)
    return {
        "metrics": metrics,
        "steps": state.step,
        "planned_steps": total,
        "epochs": round(state.step / per_epoch, 4),
        "best_step": kept,
        "tokens": state.tokens,
        "train_seconds": round(state.seconds, 2),
        "tokens_per_second": round(state.tokens / max(1e-9, state.seconds), 1),
        "peak_memory_bytes": peak_memory(job.accelerator.device.type),
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in job.optimizer.parameters),
        "train_rows": len(prepared.train.examples),
        "validation_rows": len(prepared.validation.examples),
        "rows_cut": prepared.train.cut + prepared.validation.cut,
        "rows_dropped": prepared.train.dropped + prepared.validation.dropped,
        "skipped_steps": state.skipped_steps,
        "rollbacks": state.rollbacks,
        "diagnoses": [
            {key: line.get(key) for key in ("step", "name", "message", "action", "evidence")}
            for line in lines
            if line["event"] == "diagnosis"
        ],
    } | _cost_of_answers(lines)


def _cost_of_answers(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds that answers for scores took, where any were written."""
    costs = [line["generated"]["seconds"] for line in lines if "generated" in line]
    return {"generation_seconds": round(sum(costs), 2)} if costs else {}
