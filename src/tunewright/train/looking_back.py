"""Diagnoses that need the whole run."""

from __future__ import annotations

import numpy as np

from tunewright.config.recipe import FineTuningMethod
from tunewright.config.task import Task
from tunewright.data.token_store import targets_of
from tunewright.train.checkpoint import LoopState
from tunewright.train.journal import read_journal
from tunewright.train.loop import Job
from tunewright.train.prepare import Prepared
from tunewright.train.watch import Diagnosis, at_chance, underfitting


def look_back(job: Job, state: LoopState, prepared: Prepared) -> list[Diagnosis]:
    """What the run as a whole shows, once it has ended."""
    found = [_at_chance(job, prepared)]
    stopped_early = state.stale_scores > 0
    if not stopped_early and state.rollbacks == 0:
        found.append(underfitting(state.validation_losses))
    return [diagnosis for diagnosis in found if diagnosis is not None]


def _at_chance(job: Job, prepared: Prepared) -> Diagnosis | None:
    chance = chance_loss(job, prepared)
    journal = read_journal(job.folder)
    odd = {line["step"] for line in journal if line.get("name") in ("spike", "non_finite")}
    losses = [
        line["loss"] for line in journal if line["event"] == "step" and line["step"] not in odd
    ]
    last = losses[-max(1, len(losses) // 10) :]
    if not last or chance is None:
        return None
    guess = "the mean" if prepared.task is Task.REGRESSION else "by label frequency"
    return at_chance(float(np.mean(last)), chance, guess)


def chance_loss(job: Job, prepared: Prepared) -> float | None:
    """Loss of guessing without looking at the row, or None where that is not known.

    The entropy of the class frequencies, the mean entropy of each label of `multilabel`, and 1 for
    numbers, whose errors are measured in their standard deviation. A focal loss weighs what is
    likely less, at chance too.
    """
    gamma = prepared.recipe.focal_gamma or 0.0
    if prepared.recipe.method is FineTuningMethod.SETFIT:  # the loss is of pairs
        return None
    if prepared.task.is_generative or prepared.task is Task.TOKEN_CLASSIFICATION:
        return None
    targets = targets_of(job.train)
    if prepared.task is Task.REGRESSION:
        return 1.0 if float(np.std(targets)) > 0 else None
    if prepared.task is Task.MULTILABEL and prepared.class_weights is None:
        on = targets.mean(axis=0)
        terms = [
            -((1 - p) ** gamma) * p * np.log(p)
            for share in (on, 1 - on)
            for p in [np.clip(share, 1e-12, 1.0)]
        ]
        return float(np.mean(terms[0] + terms[1]))
    if prepared.task is not Task.CLASSIFICATION:
        return None
    counts = np.bincount(targets.astype(np.int64)).astype(float)
    if prepared.class_weights is not None:
        counts *= np.asarray(prepared.class_weights)[: len(counts)]
    shares = counts[counts > 0] / counts.sum()
    return float(-((1 - shares) ** gamma * shares * np.log(shares)).sum())
