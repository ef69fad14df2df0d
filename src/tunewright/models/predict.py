"""Predictions of a model for many rows, in batches sorted by length, without keeping logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunewright.config.task import Task
from tunewright.data.collate import collate, length_order
from tunewright.data.example import Example
from tunewright.models.forward import CausalForward, LabelForward

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[int], None]


@dataclass(slots=True)
class Predictions:
    """What a model says of n examples, in their order.

    Attributes:
        labels: class names, tuples of names for multilabel. Empty for other tasks.
        probabilities: [n x classes] in float64, or None.
        values: numbers for regression.
        losses: [n] summed negative log-likelihood in nats, for generative tasks.
        tokens: [n] tokens that `losses` are of.
    """

    labels: list[Any] = field(default_factory=list)
    probabilities: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None
    losses: NDArray[np.float64] | None = None
    tokens: NDArray[np.int64] | None = None


@torch.inference_mode()
def predict(
    forward: CausalForward | LabelForward,
    examples: Sequence[Example],
    task: Task,
    *,
    labels: Sequence[str] = (),
    pad_id: int = 0,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Predictions:
    """Predict every example.

    Args:
        forward: the model in its forward pass; left in the mode it was in.
        examples: rendered rows.
        task: decides what is predicted.
        labels: class names in output order.
        pad_id: token to pad with.
        batch_size: rows in one pass.
        progress: called with the number of rows done so far in each pass.
    """
    device = next(forward.parameters()).device
    training = forward.training
    forward.eval()
    n = len(examples)
    losses, tokens = np.zeros(n), np.zeros(n, dtype=np.int64)
    outputs: NDArray[np.float64] | None = None
    for batch_rows in length_order([len(e) for e in examples], batch_size):
        batch = {
            key: value.to(device)
            for key, value in collate([examples[i] for i in batch_rows], pad_id).items()
        }
        if isinstance(forward, CausalForward):
            sums, counts = forward.row_losses(batch)
            losses[batch_rows] = sums.cpu().numpy()
            tokens[batch_rows] = counts.cpu().numpy()
        else:
            logits = forward.logits(batch).double().cpu().numpy()
            if outputs is None:
                outputs = np.zeros((n, logits.shape[1]))
            outputs[batch_rows] = logits
        if progress is not None:
            progress(len(batch_rows))
    forward.train(training)
    if isinstance(forward, CausalForward):
        return Predictions(losses=losses, tokens=tokens)
    if outputs is None:
        outputs = np.zeros((0, max(1, len(labels))))
    return from_logits(outputs, task, labels)


def from_logits(logits: NDArray[np.float64], task: Task, labels: Sequence[str]) -> Predictions:
    """Turn head outputs [n x classes] into predictions. Multilabel takes classes above 0.5."""
    from scipy.special import expit, softmax

    if task is Task.REGRESSION:
        return Predictions(values=logits[:, 0])
    if task is Task.MULTILABEL:
        probabilities = expit(logits)
        chosen = [
            tuple(label for label, p in zip(labels, row, strict=True) if p > 0.5)
            for row in probabilities
        ]
        return Predictions(labels=chosen, probabilities=probabilities)
    probabilities = softmax(logits, axis=1)
    return Predictions(
        labels=[labels[i] for i in probabilities.argmax(axis=1)], probabilities=probabilities
    )
