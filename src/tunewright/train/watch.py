"""Named diagnoses of a run, each with its evidence and what is done or proposed.

This module sees numbers. It does not know how the loop makes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tunewright.train.stability import Spike

MAX_SKIPPED_IN_A_ROW = 5
"""Steps without a finite loss or gradient after which training stops."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a run, in plain words.

    Attributes:
        name: stable identifier.
        message: the evidence.
        action: what was done, or what to do.
        evidence: the numbers behind the message, by name.
    """

    name: str
    message: str
    action: str
    evidence: dict[str, Any] = field(default_factory=dict)


def note(tell: Callable[..., None], diagnosis: Diagnosis) -> None:
    """Write a diagnosis as an event."""
    tell("diagnosis", **asdict(diagnosis))


def non_finite(step: int, loss: float, grad_norm: float) -> Diagnosis | None:
    """A loss or gradient that is NaN or infinite: the step must not be taken."""
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return None
    what = "loss" if not math.isfinite(loss) else "gradient norm"
    value = loss if what == "loss" else grad_norm
    return Diagnosis(
        "non_finite",
        f"In step {step} the {what} is {value}.",
        "The step was skipped; weights and optimizer are as before.",
        {"loss": loss, "grad_norm": grad_norm},
    )


def spiked(step: int, spike: Spike, *, skipped: bool) -> Diagnosis:
    """A step far outside of what the steps before it were."""
    return Diagnosis(
        "spike",
        f"In step {step} the loss is {spike.loss:.3f} and the gradient norm {spike.grad_norm:.3g}; "
        f"in the steps before, their medians are {spike.usual_loss:.3f} and "
        f"{spike.usual_grad_norm:.3g}.",
        "The step was skipped; weights and optimizer are as before. Look at its rows."
        if skipped
        else "Look at the rows of this step; reactions: act would skip it.",
        asdict(spike),
    )


def diverged(message: str, action: str, evidence: dict[str, Any]) -> Diagnosis:
    """The loss rose and stayed there, or there were no finite losses any more."""
    return Diagnosis("divergence", message, action, evidence)


def overfitting(train: Sequence[float], validation: Sequence[float]) -> Diagnosis | None:
    """Validation loss rose in the last two scores while training loss fell."""
    if len(validation) < 3 or len(train) < 3:
        return None
    rising = validation[-1] > validation[-2] > validation[-3]
    falling = train[-1] < train[-2] < train[-3]
    if not (rising and falling):
        return None
    return Diagnosis(
        "overfitting",
        f"Validation loss rose from {validation[-3]:.3f} to {validation[-1]:.3f} while training "
        f"loss fell from {train[-3]:.3f} to {train[-1]:.3f}.",
        "The checkpoint of the best score stays in the run's folder; fewer epochs, more data or a "
        "lower rate would help.",
    )


def at_chance(last_loss: float, chance_loss: float) -> Diagnosis | None:
    """The training loss ends where guessing from label frequencies would be.

    Args:
        last_loss: mean of the last tenth of the steps, in nats.
        chance_loss: entropy of the labels in nats.
    """
    if last_loss < 0.98 * chance_loss:
        return None
    return Diagnosis(
        "at_chance",
        f"The training loss ended at {last_loss:.3f}; guessing by label frequency gives "
        f"{chance_loss:.3f}.",
        "The model learned nothing: check that labels belong to their texts, raise the learning "
        "rate, or train longer.",
    )
