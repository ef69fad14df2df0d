"""A run from checked recipe to finished model: start, resume.

Both own the run's folder and leave it in a state that its manifest describes, however they end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.data.export import write_dataset
from tunewright.data.render import Renderer
from tunewright.data.sources import load_splits
from tunewright.errors import ArtifactError, Interrupted
from tunewright.metrics import get_metric, metrics_for
from tunewright.models.adapters import apply_method
from tunewright.models.load import (
    limit_threads,
    load_base,
    pick_device,
    write_settings,
)
from tunewright.models.memory import peak_memory, reset_peak_memory
from tunewright.train.checkpoint import (
    LoopState,
    load_optimizer,
    load_state,
    newest_whole,
)
from tunewright.train.journal import JOURNAL, Journal, Silence, read_journal
from tunewright.train.loop import Job, Observer, note, run_loop, steps_of
from tunewright.train.optim import MasterAdamW, make_groups
from tunewright.train.prepare import Prepared, prepare
from tunewright.train.watch import at_chance

if TYPE_CHECKING:
    from accelerate import PartialState

RECIPE = "recipe.yaml"
DATA = "data"
HEADS = ("score", "classifier", "pooler", "pre_classifier", "classification_head")
"""Names that transformers gives to newly made heads."""


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


def resume(folder: Path, observer: Observer, checkpoint: Path | None = None) -> RunResult:
    """Go on from the newest whole checkpoint, or from the start where there is none.

    Args:
        folder: of a run.
        checkpoint: a checkpoint-N folder to go on from instead.

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


def hash_weights(folder: Path) -> dict[str, str]:
    """SHA-256 of a base's weight files, by name."""
    return {f"model/{p.name}": sha256_file(p) for p in sorted(folder.glob("*.safetensors"))}


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
    full = prepared.recipe.method is FineTuningMethod.FULL
    trained = prepared.facts.parameters if full else prepared.facts.parameters // 20
    checkpoint = (weights if full else 2 * trained) + 12 * trained
    kept = prepared.recipe.save_total_limit + 2
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
            job.load_weights(checkpoint)
            job.optimizer.load_state_tensors(load_optimizer(checkpoint))
        resuming = (folder / JOURNAL).exists()
        job.accelerator.wait_for_everyone()
        journal = Journal(folder, state.step if resuming else None) if main else Silence()
        if resuming:
            journal.write("resume", state.step, checkpoint=checkpoint.name if checkpoint else None)
        try:
            state = run_loop(job, state, journal, observer)
            _look_back(job, state, prepared, journal)
        except Interrupted as stopped:
            if main:
                artifact.finish("interrupted", error=str(stopped))
            raise
        finally:
            journal.close()
        results = _results(prepared, job, state)
        if main:
            _save_finished(job, folder)
            artifact.finish("done", **results)
        job.accelerator.wait_for_everyone()
    return RunResult(folder, results["metrics"], artifact.results)


def build_job(prepared: Prepared, folder: Path) -> Job:
    """Load the base, make it trainable, and put everything on its device."""
    import torch
    from accelerate import Accelerator

    from tunewright.models.forward import CausalForward, LabelForward

    recipe, task = prepared.recipe, prepared.task
    limit_threads()
    device = pick_device(recipe.device)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
    torch.manual_seed(recipe.seed)
    dtype = getattr(torch, recipe.dtype or "float32")
    model: Any = load_base(prepared.facts, task, prepared.labels, dtype)
    scale = 1.0
    if task is Task.REGRESSION:
        scale = _start_at_mean(model, [float(e.target) for e in prepared.train.examples])  # type: ignore[arg-type]
    model = apply_method(model, recipe, task)
    if recipe.gradient_checkpointing:
        model.config.use_cache = False
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if recipe.method is FineTuningMethod.LORA:
            model.enable_input_require_grads()
    model.to(accelerator.device)
    forward: CausalForward | LabelForward
    if task.is_generative:
        _set_stop_tokens(model, prepared)
        forward = CausalForward(model)
    else:
        forward = LabelForward(model, model.config.problem_type, recipe.label_smoothing, scale)
    assert recipe.learning_rate is not None
    groups = make_groups(
        model, recipe.learning_rate, recipe.weight_decay, recipe.head_learning_rate, HEADS
    )
    metric = recipe.metric_for_best_model or metrics_for(task)[0]
    return Job(
        recipe=recipe,
        folder=folder,
        task=task,
        labels=prepared.labels,
        forward=forward,
        optimizer=MasterAdamW(groups),
        train=prepared.train.examples,
        validation=prepared.validation.examples,
        pad_id=int(prepared.tokenizer.pad_token_id),
        save_model=lambda target: _save_model(model, prepared, target),
        load_weights=lambda source: _load_weights(model, source),
        accelerator=accelerator,
        metric=metric if metric == "loss" else get_metric(metric).name,
    )


def _start_at_mean(model: Any, targets: list[float]) -> float:
    """Let the new head predict the mean target at first; return the standard deviation."""
    import torch

    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1]
    if heads and heads[-1].bias is not None:
        with torch.no_grad():
            heads[-1].bias.fill_(float(np.mean(targets)))
    return float(np.std(targets)) or 1.0


def _set_stop_tokens(model: Any, prepared: Prepared) -> None:
    """Make the tokens that training ends answers with the ones that end generation."""
    assert prepared.recipe.max_length is not None
    renderer = Renderer(
        prepared.tokenizer, prepared.task, prepared.recipe.max_length, prepared.template
    )
    stops = renderer.stop_ids()
    model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]
    model.generation_config.pad_token_id = prepared.tokenizer.pad_token_id


def _save_model(model: Any, prepared: Prepared, target: Path) -> None:
    """Write weights, tokenizer and input settings in the plain transformers or PEFT layout."""
    from tunewright.models.load import quiet_loading

    with quiet_loading():
        model.save_pretrained(target)
        prepared.tokenizer.save_pretrained(target)
        if prepared.task.is_generative:
            model.generation_config.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    write_settings(target, prepared.settings, prepared.recipe.dtype or "float32")


def _load_weights(model: Any, source: Path) -> None:
    """Read the trained weights back from a checkpoint, in place."""
    from safetensors.torch import load_file

    if (source / "adapter_config.json").is_file():
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(source / "adapter_model.safetensors"))
        return
    tensors: dict[str, Any] = {}
    for file in sorted(source.glob("model*.safetensors")):
        tensors |= load_file(file)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        raise ArtifactError(
            f"{source} does not fit the model: missing {sorted(set(missing) - tied)[:3]}, "
            f"unexpected {unexpected[:3]}."
        )


def _save_finished(job: Job, folder: Path) -> None:
    """Put the finished model at the top of the run's folder, file by whole file."""
    scratch = folder / ".finished.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    job.save_model(scratch)
    for file in sorted(scratch.iterdir()):
        file.replace(folder / file.name)
    scratch.rmdir()


def _look_back(job: Job, state: LoopState, prepared: Prepared, journal: Journal | Silence) -> None:
    """Diagnoses that need the whole run."""
    if prepared.task is not Task.CLASSIFICATION:
        return
    losses = [line["loss"] for line in read_journal(job.folder) if line["event"] == "step"]
    targets = np.bincount([int(e.target) for e in job.train])  # type: ignore[arg-type]
    shares = targets[targets > 0] / targets.sum()
    chance = float(-(shares * np.log(shares)).sum())
    last = losses[-max(1, len(losses) // 10) :]
    found = at_chance(float(np.mean(last)), chance) if last else None
    if found is not None:
        note(job, lambda event, **values: journal.write(event, state.step, **values), found)


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
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "train_rows": len(prepared.train.examples),
        "validation_rows": len(prepared.validation.examples),
        "rows_cut": prepared.train.cut + prepared.validation.cut,
        "rows_dropped": prepared.train.dropped + prepared.validation.dropped,
        "skipped_steps": state.skipped_steps,
        "diagnoses": [
            {"name": d.name, "message": d.message, "action": d.action} for d in job.diagnoses
        ],
    }
