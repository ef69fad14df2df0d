"""Going back to weights and optimizer of an earlier step, from disk.

The step to go back to follows from the recipe and the losses alone, never from when a run was
stopped, so a run that was killed goes back to the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunewright.train.checkpoint import checkpoint_folder, damage, load_optimizer

if TYPE_CHECKING:
    from tunewright.train.loop import Job


def restore(job: Job, checkpoint: Path) -> None:
    """Read weights and optimizer of a checkpoint into the model and its optimizer, in place."""
    job.load_weights(checkpoint)
    job.optimizer.load_state_tensors(load_optimizer(checkpoint))


def roll_back(job: Job, good_step: int) -> int:
    """Go back to the checkpoint of `good_step`, or to the start where it is gone or damaged.

    The start has no checkpoint of its own: it follows from the recipe and is made again.

    Returns:
        The step whose weights are in the model now.
    """
    target = checkpoint_folder(job.folder, good_step)
    lost = good_step == 0 or damage(target) is not None
    step = 0 if lost else good_step
    # Nobody writes before everybody has looked.
    job.accelerator.wait_for_everyone()
    if lost:
        target = checkpoint_folder(job.folder, 0)
        if job.accelerator.is_main_process:
            job.save_start()
    job.accelerator.wait_for_everyone()
    restore(job, target)
    return step
