"""Steps taken again where memory ran out in an update.

A pass that fails has changed nothing, but an update may have changed some weights and not others.
So the run goes back to its last checkpoint, or to its start, as `resume` would, and takes the steps
since then again, with the same rows at the same rates. This module does not know what an update
is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from tunewright.errors import TrainingError
from tunewright.train.checkpoint import checkpoint_folder, load_state, newest_whole
from tunewright.train.passes import any_process, free_memory, memory_error, shrink
from tunewright.train.rollback import restore

if TYPE_CHECKING:
    from tunewright.train.checkpoint import LoopState
    from tunewright.train.loop import Job
    from tunewright.train.watch import Diagnosis

Result = TypeVar("Result")


class UpdateFailed(Exception):  # noqa: N818 - the run goes on
    """Memory ran out while weights were updated, in whichever process.

    Args:
        rows: of the step.
        error: what was said, or None where it was another process.
    """

    def __init__(self, rows: Sequence[int], error: str | None) -> None:
        super().__init__(error or "in another process")
        self.rows, self.error = rows, error


def in_memory(job: Job, rows: Sequence[int], work: Callable[[], Result]) -> Result:
    """Do a part of an update.

    Args:
        job: what is trained.
        rows: of the step.
        work: the part.

    Raises:
        UpdateFailed: memory ran out in it, in whichever process.
    """
    result, said = None, None
    try:
        result = work()
    except (MemoryError, RuntimeError) as error:
        said = memory_error(error)
        if said is None:
            raise
    if any_process(job.accelerator, said is not None):
        raise UpdateFailed(rows, said)
    return result  # type: ignore[return-value]  # it is there where nothing was said


def go_back(job: Job, state: LoopState, failed: UpdateFailed) -> tuple[LoopState, Diagnosis]:
    """Go back to the newest whole checkpoint, or to the start, and make later passes smaller.

    Args:
        job: what is trained; weights and optimizer become those of the checkpoint.
        state: of the loop when it failed.
        failed: from `in_memory`.

    Returns:
        The state of the loop to go on from, and what was done.

    Raises:
        TrainingError: passes cannot be smaller, the recipe only proposes, or there is no checkpoint
            and too little memory to make the start again.
    """
    free_memory(job)
    step = state.step
    found = shrink(job, state, failed.rows, failed.error, "the update of step")
    job.accelerator.wait_for_everyone()
    best = bool(job.recipe.load_best_model_at_end)
    checkpoint = newest_whole(job.folder, lambda path, wrong: None, with_best=best)
    if checkpoint is None:
        checkpoint = checkpoint_folder(job.folder, 0)
        job.accelerator.wait_for_everyone()  # nobody writes before everybody has looked
        if job.accelerator.is_main_process:
            _save_start(job, failed)
        job.accelerator.wait_for_everyone()
    halvings = state.halvings
    state = load_state(checkpoint)
    state.halvings = halvings
    restore(job, checkpoint)
    again = step + 1 - state.step
    where = f"step {state.step}" if state.step else "the start"
    action = (
        f"Weights and optimizer are again those of {where}, and {again} "
        f"{'step is' if again == 1 else 'steps are'} taken again, with at most "
        f"{found.evidence['rows_a_pass_now']} rows a pass; each update stays that of the whole "
        "batch."
    )
    evidence = found.evidence | {"back_to_step": state.step}
    return state, replace(found, action=action, evidence=evidence)


def _save_start(job: Job, failed: UpdateFailed) -> None:
    """Write the checkpoint of step 0, which takes memory for a second model."""
    try:
        job.save_start()
    except (MemoryError, RuntimeError) as error:
        if memory_error(error) is None:
            raise
        raise TrainingError(
            f"Memory ran out in an update before the first checkpoint ({failed}). Take an optim "
            "that keeps less (adafactor, adamw_8bit), method: lora, or a smaller base."
        ) from error
