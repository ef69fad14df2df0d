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
_WORSE_THAN_CHANCE = 1.5
"""Times the loss of guessing that no failure to learn explains, but too high a rate does."""


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


def random_prefix(reason: str, tokens: int) -> Diagnosis:
    """A prefix that could not start as real tokens."""
    return Diagnosis(
        "random_prefix",
        f"The prefix does not start as the first tokens of the rows: {reason}.",
        "It started at random, which takes more steps. Take fewer num_virtual_tokens than the rows "
        "have tokens, or method: lora.",
        {"num_virtual_tokens": tokens, "reason": reason},
    )


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
        {"validation": list(validation[-3:]), "train": list(train[-3:])},
    )


def plateau(train: Sequence[float], validation: Sequence[float]) -> Diagnosis | None:
    """For three scores neither loss came 1 % below the lowest before them."""
    if len(validation) < 5 or len(train) < 5:
        return None
    lowest = [min(losses[:-3]) for losses in (train, validation)]
    if any(
        min(losses[-3:]) < 0.99 * low
        for losses, low in zip((train, validation), lowest, strict=True)
    ):
        return None
    return Diagnosis(
        "plateau",
        f"In the last three scores the training loss did not fall below {lowest[0]:.3f}, nor the "
        f"validation loss below {lowest[1]:.3f}.",
        "More steps of this kind bring nothing: stop (early_stopping_patience), or change the "
        "rate, the method or the data.",
        {"train": list(train[-4:]), "validation": list(validation[-4:])},
    )


def underfitting(validation: Sequence[float]) -> Diagnosis | None:
    """At the end of a run: the validation loss still fell by a tenth or more since the last score.

    Args:
        validation: losses by score; the last is that of the last step.
    """
    if len(validation) < 2 or not 0 < validation[-1] <= 0.9 * min(validation[:-1]):
        return None
    return Diagnosis(
        "underfitting",
        f"The run ended while the validation loss still fell: from {validation[-2]:.3f} to "
        f"{validation[-1]:.3f} between the last two scores.",
        "Train longer (num_train_epochs), or at a higher learning_rate.",
        {"validation": list(validation[-3:])},
    )


def dead_gradients(names: Sequence[str], tensors: int, looks: int) -> Diagnosis:
    """Trained tensors whose gradient was exactly zero, or missing, whenever it was looked at.

    Args:
        names: of those tensors.
        tensors: trained in all.
        looks: steps that were looked at.
    """
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Diagnosis(
        "dead_gradients",
        f"{len(names)} of {tensors} trained tensors had a gradient of exactly zero in each of "
        f"{looks} steps: {listed}.",
        "They learn nothing. Look for weights that are zero, units that never fire, or layers "
        "that the loss does not reach.",
        {"tensors": list(names), "trained_tensors": tensors, "steps_looked_at": looks},
    )


def slow_data(data_seconds: float, step_seconds: float) -> Diagnosis | None:
    """More than 30 % of the time, and at least a second, went into making batches."""
    share = data_seconds / max(1e-9, step_seconds)
    if data_seconds < 1.0 or share < 0.3:
        return None
    return Diagnosis(
        "slow_data",
        f"{share:.0%} of the time of the steps ({data_seconds:.1f} s of {step_seconds:.1f} s) went "
        "into reading rows and making batches.",
        "The model waits for data. Put the rows on a faster disk, or give the process more cores.",
        {"data_seconds": data_seconds, "step_seconds": step_seconds, "share": share},
    )


def at_chance(
    last_loss: float, chance_loss: float, guess: str = "by label frequency"
) -> Diagnosis | None:
    """The training loss ends where guessing without looking at the row would be.

    Args:
        last_loss: mean of the last tenth of the steps, in nats (or in variances of the numbers).
        chance_loss: of guessing: the entropy of the labels in nats, or 1 for numbers.
        guess: what is guessed.
    """
    if last_loss < 0.98 * chance_loss:
        return None
    worse = last_loss > _WORSE_THAN_CHANCE * chance_loss
    advice = "lower the learning rate" if worse else "raise the learning rate, or train longer"
    return Diagnosis(
        "at_chance",
        f"The training loss ended at {last_loss:.3f}; guessing {guess} gives {chance_loss:.3f}.",
        f"The model learned nothing: check that labels belong to their texts, {advice}.",
        {"last_loss": last_loss, "chance_loss": chance_loss},
    )
