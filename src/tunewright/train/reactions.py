"""What a run does about what it sees of itself, step by step.

Decides whether a step is taken, when to go back to an earlier state at a lower rate, and when to
give up. What it decides follows from the recipe, the steps and what checkpoints keep of them, so
that a resumed run decides the same. Numbers are judged in `stability.py` and `watch.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunewright.config.task import Task
from tunewright.errors import TrainingError
from tunewright.train.checkpoint import LoopState
from tunewright.train.rollback import roll_back
from tunewright.train.watch import (
    MAX_SKIPPED_IN_A_ROW,
    Diagnosis,
    diverged,
    non_finite,
    note,
    spiked,
)

if TYPE_CHECKING:
    from tunewright.train.loop import Job

MAX_ROLLBACKS = 3
"""After so many the run is given up."""
RATE_CUT = 0.25
"""What the rate is multiplied with at each: three cuts give 1/64."""


class Reactions:
    """The reactions of one run.

    Args:
        job: what is trained.
        state: of the loop; what is remembered of the steps is kept in it.
        tell: writes an event.
    """

    def __init__(self, job: Job, state: LoopState, tell: Callable[..., None]) -> None:
        self.job, self.state, self.tell = job, state, tell
        self.acts = job.recipe.reactions == "act"
        self._found: list[Diagnosis] = []

    def may_take(self, loss: float, grad_norm: float, targets: int) -> bool:
        """Whether the weights should be updated by a step.

        Args:
            loss: of the step, in nats.
            grad_norm: before clipping.
            targets: rows or tokens that the loss is the mean of.
        """
        state = self.state
        if found := non_finite(state.step + 1, loss, grad_norm):
            self._found.append(found)
            state.skipped_in_a_row += 1
            state.skipped_steps += 1
            return False
        state.skipped_in_a_row = 0
        # Squared errors of honest outliers look like spikes.
        asked = 0 if self.job.task is Task.REGRESSION else targets
        spike = state.stability.spike(loss, grad_norm, asked)
        taken = spike is None or not self.acts
        if spike is not None:
            self._found.append(spiked(state.step + 1, spike, skipped=not taken))
        if not taken:
            state.skipped_steps += 1
        state.stability.add(loss, grad_norm, taken=taken)
        return taken

    def add(self, diagnosis: Diagnosis | None) -> None:
        """Take up what another part of the step has found."""
        if diagnosis is not None:
            self._found.append(diagnosis)

    def after_step(self) -> None:
        """Tell what the step has shown, and go back where the run has diverged.

        Raises:
            TrainingError: no finite step in a row of five with nothing to go back to, or one
                divergence too many.
        """
        for diagnosis in self._found:
            note(self.tell, diagnosis)
        self._found.clear()
        state = self.state
        stuck = state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW
        if stuck and not (self.acts and state.stability.recent):
            raise TrainingError(self._no_finite_step())
        found = state.stability.divergence()
        if found is None and not stuck:
            return
        evidence: dict[str, Any] = {}
        if stuck:
            what = f"{state.skipped_in_a_row} steps in a row had no finite loss or gradient."
            evidence["steps_without_finite_values"] = state.skipped_in_a_row
        else:
            assert found is not None
            what = (
                f"The median loss of the last 16 steps is {found.recent:.3f}. The run began at "
                f"{found.start:.3f} and had come down to {found.lowest:.3f}."
            )
            evidence |= {"recent": found.recent, "start": found.start, "lowest": found.lowest}
        rate = self.job.recipe.learning_rate or 0.0
        if not self.acts:
            if "divergence" not in state.said:
                state.said.append("divergence")
                lower = rate * RATE_CUT
                note(self.tell, diverged(what, f"Lower learning_rate to {lower:.2g}.", evidence))
            return
        if state.rollbacks >= MAX_ROLLBACKS:
            raise TrainingError(
                f"{what} This is the {state.rollbacks + 1}th time that training diverged, now with "
                f"learning_rate {rate * state.rate_scale:.2g}. Start again with a lower one than "
                "that, a longer warmup (warmup_ratio), or other data. Checkpoints are kept."
            )
        self._go_back(what, rate, evidence)

    def saved(self) -> None:
        """A checkpoint of the schedule is about to be written: is it one to go back to?"""
        if self.state.stability.calm:
            self.state.good_step = self.state.step
            self.state.good_lowest = self.state.stability.lowest

    def _go_back(self, what: str, rate: float, evidence: dict[str, Any]) -> None:
        state = self.state
        step = roll_back(self.job, state.good_step)
        if step != state.good_step:
            state.good_step, state.good_lowest = step, None
        state.rollbacks += 1
        state.rate_scale *= RATE_CUT
        state.skipped_in_a_row = 0
        state.stability.after_rollback(state.good_lowest)
        state.losses.clear()
        lower = rate * state.rate_scale
        evidence |= {"back_to_step": step, "at_step": state.step, "learning_rate": lower}
        where = f"of step {step}" if step else "of the start"
        action = (
            f"Weights and optimizer are again those {where}; the batches of the "
            f"{state.step - step} steps since then are left out, and the peak rate is "
            f"{lower:.2g} from here on."
        )
        note(self.tell, diverged(what, action, evidence))

    def _no_finite_step(self) -> str:
        return (
            f"{self.state.skipped_in_a_row} steps in a row had no finite loss or gradient, the "
            f"last one step {self.state.step}. Lower learning_rate "
            f"({self.job.recipe.learning_rate}), use dtype: float32, or look at these rows. "
            "Checkpoints from before are kept."
        )
