"""What a run does about what it sees of itself, step by step.

Decides whether a step is taken, when to go back to an earlier state at a lower rate, and when to
give up. What it decides follows from the recipe, the steps and what checkpoints keep of them, so
that a resumed run decides the same. Numbers are judged in `stability.py` and `watch.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tunewright.config.task import Task
from tunewright.errors import TrainingError
from tunewright.train.checkpoint import LoopState
from tunewright.train.dead_gradients import LOOKS, DeadGradients
from tunewright.train.rollback import roll_back
from tunewright.train.watch import (
    MAX_SKIPPED_IN_A_ROW,
    Diagnosis,
    dead_gradients,
    diverged,
    non_finite,
    note,
    overfitting,
    plateau,
    slow_data,
    spiked,
)

if TYPE_CHECKING:
    from tunewright.train.loop import Job

MAX_ROLLBACKS = 3
"""After so many the run is given up."""
RATE_CUT = 0.25
"""What the rate is multiplied with at each: three cuts give 1/64."""
_TIMED = 20
"""Steps between looks at where the time goes."""


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
        self._dead = DeadGradients(job.optimizer.names)

    def may_take(self, loss: float, grad_norm: float, targets: int) -> bool:
        """Whether the weights should be updated by a step.

        Args:
            loss: of the step, in nats.
            grad_norm: before clipping.
            targets: rows or tokens that the loss is the mean of.
        """
        state = self.state
        self._look_at_gradients()
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

    def add(self, diagnoses: Sequence[Diagnosis]) -> None:
        """Take up what another part of the step has found."""
        self._found += diagnoses

    def after_step(self) -> None:
        """Tell what the step has shown, and go back where the run has diverged.

        Raises:
            TrainingError: no finite step in a row of five with nothing to go back to, or one
                divergence too many.
        """
        state = self.state
        if state.step % _TIMED == 0:
            self._once(slow_data(self.job.data_seconds, self.job.step_seconds))
        self._tell_found()
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
            lower = f"Lower learning_rate to {rate * RATE_CUT:.2g}."
            self._once(diverged(what, lower, evidence))
            self._tell_found()
            return
        if state.rollbacks >= MAX_ROLLBACKS:
            raise TrainingError(
                f"{what} This is the {state.rollbacks + 1}th time that training diverged, now with "
                f"learning_rate {rate * state.rate_scale:.2g}. Start again with a lower one than "
                "that, a longer warmup (warmup_ratio), or other data. Checkpoints are kept."
            )
        self._go_back(what, rate, evidence)

    def after_score(self) -> None:
        """Tell what the losses of all scores show together."""
        losses = self.state.train_losses, self.state.validation_losses
        if found := overfitting(*losses):
            note(self.tell, found)
        self._once(plateau(*losses))
        self._tell_found()

    def saved(self) -> None:
        """A checkpoint of the schedule is about to be written: is it one to go back to?"""
        if self.state.stability.calm:
            self.state.good_step = self.state.step
            self.state.good_lowest = self.state.stability.lowest

    def _tell_found(self) -> None:
        for diagnosis in self._found:
            note(self.tell, diagnosis)
        self._found.clear()

    def _once(self, diagnosis: Diagnosis | None) -> None:
        """Take up a diagnosis unless the run has told it before."""
        if diagnosis is not None and diagnosis.name not in self.state.said:
            self.state.said.append(diagnosis.name)
            self._found.append(diagnosis)

    def _look_at_gradients(self) -> None:
        optimizer = self.job.optimizer
        gradients = optimizer.gradients()
        if names := self._dead.look(self.state.step, optimizer.parameters, gradients):
            self._once(dead_gradients(names, len(optimizer.names), LOOKS))

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
