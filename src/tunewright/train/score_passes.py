"""Scores taken again in smaller passes where memory ran out.

A score changes nothing, so each process tries again by itself. This module does not know what is
scored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tunewright.errors import TrainingError, in_shell
from tunewright.train.passes import free_memory, memory_error
from tunewright.train.watch import Diagnosis, note

if TYPE_CHECKING:
    from tunewright.train.checkpoint import LoopState
    from tunewright.train.loop import Job

Result = TypeVar("Result")


def in_smaller_passes(
    job: Job, state: LoopState, tell: Callable[..., None], score: Callable[[int], Result]
) -> Result:
    """Take a score, and again in passes of half the size where memory runs out.

    Args:
        job: what is scored.
        state: `score_halvings` is raised where memory runs out.
        tell: writes an event.
        score: takes the number of rows in a pass.

    Raises:
        TrainingError: memory is too short for a single row, or the recipe only proposes.
    """
    while True:
        size = job.recipe.per_device_eval_batch_size
        assert size is not None
        size = max(1, size >> state.score_halvings)
        try:
            return score(size)
        except (MemoryError, RuntimeError) as error:
            if (said := memory_error(error)) is None:
                raise
        free_memory(job)
        job.forward.train()  # as it was before the score began
        what = f"Memory ran out in the score after step {state.step} with {size} rows a pass"
        if size == 1 or job.recipe.reactions == "propose":
            advice = "Shorten rows (max_length), or take a smaller base"
            if size > 1:
                advice = (
                    "The scores stay the same with fewer: tunewright resume "
                    f"{in_shell(job.folder)} per_device_eval_batch_size={size // 2}"
                )
            raise TrainingError(f"{what} ({said}). {advice}. Checkpoints from before are kept.")
        state.score_halvings += 1
        note(
            tell,
            Diagnosis(
                "memory_short",
                f"{what} ({said}).",
                f"The score was taken again with {size // 2} rows a pass, and so are all from here "
                "on.",
                {"rows_a_pass": size, "rows_a_pass_now": size // 2},
            ),
        )
