"""The training loop.

One step is: seed, take the step's rows, run them in passes, sum the gradients, look at the
numbers, update, write a line. Everything a step does follows from the recipe and the step's
number, so a run that was killed and resumed is bit for bit the run that was not.

This module knows accelerate, the optimizer, checkpoints and the journal. It does not know where
the rows came from or what becomes of the model.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.collate import epoch_order, steps_in_epoch
from tunewright.data.example import Example
from tunewright.data.token_store import lengths_of
from tunewright.errors import Interrupted, TrainingError, in_shell
from tunewright.metrics import get_metric
from tunewright.train.checkpoint import (
    LoopState,
    checkpoint_folder,
    damage,
    prune_checkpoints,
    save_checkpoint,
)
from tunewright.train.generated_scores import GeneratedScores
from tunewright.train.journal import Journal, Silence
from tunewright.train.optim import MasterAdamW
from tunewright.train.passes import any_process, step_gradients
from tunewright.train.rates import Unfreezing
from tunewright.train.reactions import Reactions
from tunewright.train.retake import in_memory
from tunewright.train.schedule import rate_factor
from tunewright.train.score_passes import in_smaller_passes
from tunewright.train.validate import validation_scores
from tunewright.train.watch import Diagnosis, note

if TYPE_CHECKING:
    from accelerate import Accelerator
    from numpy.typing import NDArray

    from tunewright.models.embed_texts import EmbeddingForward
    from tunewright.models.find_answers import SpanForward
    from tunewright.models.forward import Forward

STOP_FILE = "stop-requested"
"""A file of this name in a run's folder makes the run stop after its step, and save."""


class Observer(Protocol):
    """Who is told of progress. The journal has the same lines for good."""

    def training_started(self, state: LoopState, total_steps: int) -> None:
        """The loop begins, at `state.step` of `total_steps`."""

    def line_written(self, line: dict[str, Any]) -> None:
        """A step or an event; the same values as the journal's line."""


@dataclass(slots=True)
class Job:
    """All that the loop needs.

    Attributes:
        recipe: resolved: no setting is left to choose.
        folder: of the run.
        task, labels: what is learned.
        forward: the model in its forward pass, on its device.
        optimizer: over the trainable weights.
        train, validation: rendered rows; validation may be empty.
        pad_id: token to pad with.
        save_model: writes what training goes on from into a folder.
        load_weights: reads them back from a checkpoint's folder.
        save_start: writes the checkpoint of step 0.
        accelerator: places tensors and reduces gradients.
        metric: that decides which score is best.
        data_seconds, step_seconds: spent making batches, and in steps as a whole, since the start
            of this process.
        lengths, trained: tokens of each training row, and those of them that count.
        unfreezing: which layers have joined in a step, where they join one by one.
        save_finished: writes the finished model.
        generation: which answers are written and scored with the validation rows.
        mixed: the source of each validation row, where tasks are mixed.
        at_start: what was found while all this was made.
    """

    recipe: Recipe
    folder: Path
    task: Task
    labels: Sequence[str]
    forward: Forward | EmbeddingForward | SpanForward
    optimizer: MasterAdamW
    train: Sequence[Example]
    validation: Sequence[Example]
    pad_id: int
    save_model: Callable[[Path], None]
    load_weights: Callable[[Path], None]
    save_start: Callable[[], None]
    save_finished: Callable[[Path], None]
    accelerator: Accelerator
    metric: str = "loss"
    data_seconds: float = 0.0
    step_seconds: float = 0.0
    unfreezing: Unfreezing | None = None
    generation: GeneratedScores | None = None
    mixed: Sequence[str] = ()
    at_start: Sequence[Diagnosis] = ()
    lengths: NDArray[np.uint32] = field(init=False)
    trained: NDArray[np.uint32] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths, self.trained = lengths_of(self.train)

    @property
    def global_batch(self) -> int:
        """Rows of one optimizer step over all devices."""
        recipe = self.recipe
        assert recipe.per_device_train_batch_size is not None
        processes = int(self.accelerator.num_processes)
        return recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * processes


def steps_of(recipe: Recipe, rows: int, global_batch: int) -> tuple[int, int]:
    """Steps of one epoch and of the whole run."""
    per_epoch = steps_in_epoch(rows, global_batch)
    if recipe.max_steps > 0:
        return per_epoch, recipe.max_steps
    assert recipe.num_train_epochs is not None
    return per_epoch, max(1, math.ceil(recipe.num_train_epochs * per_epoch))


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed PyTorch's generators for one step of one process."""
    import torch

    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def run_loop(
    job: Job, state: LoopState, journal: Journal | Silence, observer: Observer
) -> LoopState:
    """Train from `state` to the end and leave the best or last weights in the model.

    Raises:
        Interrupted: a signal or the stop file asked for it; a checkpoint was saved.
        UpdateFailed: memory ran out in an update; weights may be half changed (`go_back`).
        TrainingError: losses stayed without a finite value, diverged too often, memory is too
            short for one row, or the best weights are damaged.
    """
    recipe = job.recipe
    assert recipe.learning_rate is not None
    per_epoch, total = steps_of(recipe, len(job.train), job.global_batch)
    warmup = (
        recipe.warmup_steps
        if recipe.warmup_steps is not None
        else math.ceil(recipe.warmup_ratio * total)
    )
    lengths = job.lengths
    job.forward.train()
    observer.training_started(state, total)
    began = time.monotonic() - state.seconds
    checkpointed = state.step
    epoch_done, order = -1, epoch_order([], 1, 0, 0)

    def tell(event: str, **values: Any) -> None:
        journal.write(event, state.step, **values)
        observer.line_written({"event": event, "step": state.step, **values})

    tell("start", total_steps=total)
    for found in job.at_start if state.step == 0 else ():
        note(tell, found)
    reactions = Reactions(job, state, tell)
    with stop_requests(job.folder) as stop_requested:
        while state.step < total and not out_of_patience(recipe, state):
            epoch, position = divmod(state.step, per_epoch)
            if epoch != epoch_done:
                epoch_done = epoch
                order = epoch_order(lengths, job.global_batch, recipe.seed, epoch)
            rows = order[position]
            step_began = time.monotonic()
            seed = partial(seed_step, recipe.seed, state.step, job.accelerator.process_index)
            factor = state.rate_scale * rate_factor(
                recipe.lr_scheduler_type, state.step, total, warmup, recipe.decay_ratio
            )
            joined = job.unfreezing.apply(state.step) if job.unfreezing else None
            halvings = state.halvings
            loss, short = step_gradients(job, rows, state, seed)
            reactions.add(short)
            grad_norm = in_memory(job, rows, job.optimizer.gather_gradients)
            targets = int(job.trained[rows].sum())
            if reactions.may_take(loss, grad_norm, targets):
                job.optimizer.set_rate_factor(factor)
                update = partial(job.optimizer.step, grad_norm, recipe.max_grad_norm)
                in_memory(job, rows, update)
                state.losses.append(loss)
            job.optimizer.zero_grad()
            state.step += 1
            tokens = int(lengths[rows].sum())
            state.tokens += tokens
            state.seconds = time.monotonic() - began
            step_seconds = time.monotonic() - step_began
            job.step_seconds += step_seconds
            if joined:
                tell("unfrozen", **joined)
            tell(
                "step",
                epoch=round(state.step / per_epoch, 4),
                loss=loss,
                learning_rate=recipe.learning_rate * factor,
                grad_norm=grad_norm,
                tokens=tokens,
                tokens_per_second=round(tokens / max(1e-9, step_seconds), 1),
            )
            reactions.after_step()
            last = state.step == total
            if due(recipe.evaluation_strategy, recipe.eval_steps, state.step, per_epoch, last):
                score(job, state, tell)
                reactions.after_score()
            scheduled = due(recipe.save_strategy, recipe.save_steps, state.step, per_epoch, False)
            if scheduled:
                reactions.saved()
            shrunk = state.halvings > halvings and recipe.save_strategy != "no"
            # A memory that ran out is no part of the recipe: from here on a checkpoint knows it.
            needed = recipe.load_best_model_at_end and (last or state.best_step == state.step)
            if scheduled or shrunk or needed:
                state.journal_lines = journal.lines
                save(job, state)
                checkpointed = state.step
                tell("checkpoint", path=checkpoint_folder(job.folder, state.step).name)
            if not last and any_process(job.accelerator, stop_requested()):
                path = checkpoint_folder(job.folder, state.step)
                if checkpointed != state.step:
                    state.journal_lines = journal.lines
                    save(job, state)
                tell("interrupted", path=path.name)
                raise Interrupted(
                    f"Stopped after step {state.step} of {total}; everything up to it is saved. "
                    f"Go on with: tunewright resume {in_shell(job.folder)}"
                )
    if out_of_patience(recipe, state):
        tell("early_stopping", best_step=state.best_step, best_score=state.best_score)
    if recipe.load_best_model_at_end and state.best_step not in (None, state.step):
        assert state.best_step is not None
        load_best(job, state.best_step)
        tell("best_loaded", best_step=state.best_step, best_score=state.best_score)
    elif job.optimizer.average:
        job.optimizer.average.keep()
    else:
        job.optimizer.settle()
    return state


def out_of_patience(recipe: Recipe, state: LoopState) -> bool:
    """Whether there were too many scores without a new best. Follows from the state alone, so that
    a run that is resumed behind its last step takes no further one."""
    patience = recipe.early_stopping_patience
    return patience is not None and state.stale_scores >= patience


def load_best(job: Job, step: int) -> None:
    """Put the weights of the best score into the model.

    Raises:
        TrainingError: their checkpoint is damaged; nothing is changed.
    """
    best = checkpoint_folder(job.folder, step)
    if wrong := damage(best):
        raise TrainingError(
            f"The best weights, those of {best.name}, are damaged: {wrong}. An earlier checkpoint "
            f"leads to them again: tunewright resume {in_shell(job.folder)}"
        )
    job.load_weights(best)


def due(strategy: str | None, every: int | None, step: int, per_epoch: int, last: bool) -> bool:
    """Whether something with this strategy happens after `step`."""
    if strategy == "epoch":
        return last or step % per_epoch == 0
    if strategy == "steps":
        assert every is not None
        return last or step % every == 0
    return False


def score(job: Job, state: LoopState, tell: Callable[..., None]) -> None:
    """Score the validation rows and note the best step."""
    if not job.validation:
        return
    forward, written = job.forward, dict[str, Any]()
    with job.optimizer.averaged():
        scores = in_smaller_passes(
            job,
            state,
            tell,
            lambda size: validation_scores(
                forward, job.validation, job.task, job.labels, job.pad_id, size, job.mixed
            ),
        )
        if (answers := job.generation) is not None:
            found, written["generated"] = in_smaller_passes(
                job,
                state,
                tell,
                lambda size: answers.measure(forward.model, job.accelerator, size),
            )
            scores |= found
    value = scores[job.metric]
    higher = job.metric != "loss" and get_metric(job.metric).better == "higher"
    better = state.best_score is None or (
        value > state.best_score if higher else value < state.best_score
    )
    if better:
        state.best_score, state.best_step, state.stale_scores = value, state.step, 0
    else:
        state.stale_scores += 1
    state.validation_losses.append(scores["loss"])
    if state.losses:
        state.train_losses.append(float(np.mean(state.losses)))
        state.losses.clear()
    tell("evaluation", metrics=scores, best=better, **written)


def save(job: Job, state: LoopState) -> None:
    """Write a checkpoint and remove old ones; only the main process writes."""
    if job.accelerator.is_main_process:
        with job.optimizer.averaged():
            save_checkpoint(job.folder, state, job.optimizer.state_tensors(), job.save_model)
        protected = [step for step in (state.best_step, state.good_step) if step is not None]
        prune_checkpoints(job.folder, job.recipe.save_total_limit, protected)
    job.accelerator.wait_for_everyone()


@contextmanager
def stop_requests(folder: Path) -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C, SIGTERM and the stop file into a question asked after each step.

    A second Ctrl-C ends the process at once.
    """
    requested = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True

    def asked() -> bool:
        return requested or (folder / STOP_FILE).exists()

    (folder / STOP_FILE).unlink(missing_ok=True)
    previous: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                previous[number] = signal.signal(number, remember)
            except ValueError:  # not in the main thread: only the stop file works there
                break
        yield asked
    finally:
        for restored, handler in previous.items():
            signal.signal(restored, handler)
        (folder / STOP_FILE).unlink(missing_ok=True)
