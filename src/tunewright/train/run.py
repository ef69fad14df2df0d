"""A run from checked recipe to finished model: start, resume.

Both own the run's folder and leave it in a state that its manifest describes, however they end.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from tunewright.artifacts import (
    Artifact,
    atomic_write,
    sync,
    write_json,
)
from tunewright.config.load import dump_recipe, load_recipe
from tunewright.config.recipe import Recipe
from tunewright.data.export import write_dataset
from tunewright.data.sources import load_splits
from tunewright.errors import Interrupted
from tunewright.models.memory import peak_memory, reset_peak_memory
from tunewright.train.build import build_job
from tunewright.train.checkpoint import (
    LoopState,
    checkpoint_folder,
    load_state,
    newest_whole,
    prune_checkpoints,
    remove_later,
    require_whole,
)
from tunewright.train.folder import (
    DATA,
    RECIPE,
    RunResult,
    finished_result,
    global_batch,
    held,
    parents_of,
    processes_of,
    require_same,
    told_of_full_disk,
)
from tunewright.train.journal import JOURNAL, Journal, Silence, read_journal
from tunewright.train.looking_back import look_back
from tunewright.train.loop import Job, Observer, run_loop, save, steps_of
from tunewright.train.prepare import Prepared, prepare
from tunewright.train.resizing import PASS_KEYS, SCORE_KEYS, resized
from tunewright.train.retake import UpdateFailed, go_back
from tunewright.train.rollback import restore
from tunewright.train.token_cache import TOKENS, Progress, remove_tokens
from tunewright.train.trackers import tracked
from tunewright.train.watch import Diagnosis, note


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
    with held(folder, processes, prepared):
        if processes.is_main_process:
            results = {
                "reasons": prepared.reasons,
                "global_batch": global_batch(recipe, processes.num_processes),
            }
            artifact = Artifact.create(
                folder, "run", recipe.model_dump(mode="json"), {}, recipe.seed, results
            )
            write_dataset(prepared.splits, folder / DATA)
            atomic_write(folder / RECIPE, dump_recipe(recipe))
            for name, content in (notes or {}).items():
                write_json(folder / name, content)
            artifact.parents = parents_of(prepared, folder)
            artifact.write()
        processes.wait_for_everyone()
        return _train(prepared, Artifact.open(folder, "run"), None, observer)


def resume(
    folder: Path,
    observer: Observer,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    changes: Sequence[str] = (),
) -> RunResult:
    """Go on from the newest whole checkpoint, or from the start where there is none.

    Args:
        folder: of a run.
        checkpoint: a checkpoint-N folder to go on from instead; later ones are removed.
        progress: told how many rows are tokenised, before training goes on.
        changes: `key=value` for sizes that change nothing in the training (`resized`).

    Raises:
        ArtifactError: the folder is no run, another process is using it, its rows or its base are
            not those that it began with, or `checkpoint` is damaged.
        ConfigError: a change would change the training.
    """
    artifact = Artifact.open(folder, "run")
    if artifact.status == "done":
        return finished_result(folder)
    recipe = _resized(load_recipe(folder / RECIPE), artifact, changes)
    processes = processes_of(recipe)
    if checkpoint is not None:
        require_whole(checkpoint)
    with held(folder, processes, None):
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
        require_same(artifact, folder, prepared)
        damaged: list[dict[str, str]] = []
        if checkpoint is None:
            checkpoint = newest_whole(
                folder,
                lambda path, wrong: damaged.append({"path": path.name, "damage": wrong}),
                with_best=bool(recipe.load_best_model_at_end),
            )
        state = _state_to_go_on_from(checkpoint, changes)
        processes.wait_for_everyone()
        if processes.is_main_process:
            atomic_write(folder / RECIPE, dump_recipe(recipe))
            artifact.config = recipe.model_dump(mode="json")
            artifact.status, artifact.error = "running", None
            if damaged:
                artifact.results["damaged_checkpoints"] = damaged
            artifact.write()
            remove_later(folder, state.step)
            protected = [s for s in (state.step, state.best_step, state.good_step) if s is not None]
            prune_checkpoints(folder, recipe.save_total_limit, protected)
        return _train(prepared, artifact, checkpoint, observer, state, changes)


def _resized(recipe: Recipe, artifact: Artifact, changes: Sequence[str]) -> Recipe:
    """The run's recipe with other sizes, for the processes that train now."""
    processes = processes_of(recipe).num_processes
    rows = artifact.results.get("global_batch", global_batch(recipe, processes))
    return resized(recipe, changes, rows, processes)


def _state_to_go_on_from(checkpoint: Path | None, changes: Sequence[str]) -> LoopState:
    """What a checkpoint says; sizes that are given now are not halved by what memory did before."""
    state = load_state(checkpoint) if checkpoint is not None else LoopState()
    keys = {word.partition("=")[0] for word in changes}
    if keys & set(PASS_KEYS):
        state.halvings = 0
    if keys & set(SCORE_KEYS):
        state.score_halvings = 0
    return state


def stopped_before_rows(folder: Path, changes: Sequence[str] = ()) -> Prepared | None:
    """A run prepared again from its sources, if it was stopped before it had a copy of its rows.

    Args:
        folder, changes: as in `resume`.

    Returns:
        None where the rows are there and `resume` can go on.
    """
    artifact = Artifact.open(folder, "run")
    if artifact.status == "done":
        return None
    recipe = Recipe.check(artifact.config)
    processes_of(recipe).wait_for_everyone()  # all have read it before one writes it again
    if artifact.parents:
        return None
    recipe = _resized(recipe, artifact, changes)
    prepared = prepare(recipe, tokens=folder / TOKENS)
    prepared.recipe = prepared.recipe.model_copy(update={"output_dir": str(folder)})
    prepared.reasons = artifact.results.get("reasons", {}) | prepared.reasons
    return prepared


def _train(
    prepared: Prepared,
    artifact: Artifact,
    checkpoint: Path | None,
    observer: Observer,
    state: LoopState | None = None,
    changes: Sequence[str] = (),
) -> RunResult:
    folder = artifact.folder
    reset_peak_memory()
    main = processes_of(prepared.recipe).is_main_process
    with artifact.recording() if main else nullcontext(), told_of_full_disk(folder):
        job = build_job(prepared, folder)
        state = state or LoopState()
        if checkpoint is not None:
            restore(job, checkpoint)
        try:
            state = _run(prepared, job, state, checkpoint, observer, changes)
        except Interrupted as stopped:
            if main:
                artifact.finish("interrupted", error=str(stopped))
            raise
        results = _results(prepared, job, state)
        if main:
            _save_finished(job, folder)
            remove_tokens(folder)
            artifact.finish("done", **results)
        job.accelerator.wait_for_everyone()
    return RunResult(folder, results["metrics"], artifact.results)


def _run(
    prepared: Prepared,
    job: Job,
    state: LoopState,
    checkpoint: Path | None,
    observer: Observer,
    changes: Sequence[str] = (),
) -> LoopState:
    """Run the loop to its end with a journal, again from a checkpoint where an update failed."""
    folder, main = job.folder, job.accelerator.is_main_process
    found: Diagnosis | None = None
    while True:
        resuming = (folder / JOURNAL).exists()
        job.accelerator.wait_for_everyone()
        known = state.step if resuming else None
        journal = Journal(folder, known, state.journal_lines) if main else Silence()
        if resuming:
            told = {"changes": list(changes)} if changes else {}
            name = checkpoint.name if checkpoint else None
            journal.write("resume", state.step, checkpoint=name, **told)

        tell = partial(_tell, journal, observer, state)
        followed = tracked(observer, prepared.recipe, folder, state.step)
        try:
            if found is not None:
                note(tell, found)
                if state.step and prepared.recipe.save_strategy != "no":
                    state.journal_lines = journal.lines
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
        sync(file)
        file.replace(folder / file.name)
    scratch.rmdir()
    sync(folder)


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
