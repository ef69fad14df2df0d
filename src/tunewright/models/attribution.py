"""How far each token of a text moved what a head says: integrated gradients of its embedding.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (arXiv 1703.01365). The path
leads from padding in place of every token of the text to the text itself; special tokens stay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tunewright.data.collate import collate
from tunewright.data.example import Example
from tunewright.models.forward import LabelForward, TagForward, whole_model

TOLERANCE = 0.01
"""Largest gap of a sum of attributions, as a share of the sum of their sizes."""
_STEPS = (16, 32, 64, 128, 256, 512)
"""Points on the path; the next number is tried where the sum is not reached."""
_AT_ONCE = 16
"""Points in one pass."""

Score = Callable[[Tensor], Tensor]
"""Outputs of the head ([B x classes], or [B x T x tags]) become one number a row."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each token of one row adds to a score.

    Attributes:
        scores: one number a token, 0 for special tokens.
        output: the score of the row.
        baseline: the score of the row with padding in place of its text.
        gap: sum of `scores` less `output - baseline`; 0 for a sum over endlessly many points.
        steps: points on the path.
    """

    scores: list[float]
    output: float
    baseline: float
    gap: float
    steps: int

    @property
    def complete(self) -> bool:
        """Whether the scores account for the whole change, up to `TOLERANCE`."""
        return abs(self.gap) <= TOLERANCE * sum(map(abs, self.scores)) + 1e-6


def log_odds(label: int) -> Score:
    """The log-odds of one class against all others, in nats, for outputs of a softmax."""

    def score(logits: Tensor) -> Tensor:
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
        return logits[:, label] - others.logsumexp(dim=1)

    return score


def at_word(position: int, score: Score) -> Score:
    """A score of the tag at one position, for outputs of a head that tags tokens."""
    return lambda logits: score(logits[:, position])


def single_output(index: int) -> Score:
    """One output as it is: a number, or the log-odds of one label among several."""
    return lambda logits: logits[:, index]


def attribute(
    forward: LabelForward | TagForward,
    example: Example,
    score: Score,
    *,
    pad_id: int,
    special_ids: Sequence[int],
) -> Attribution:
    """Attribute what a head says of one row to the row's tokens.

    Points on the path are doubled, from 16 to 512, until the sum is right (`Attribution.complete`).

    Args:
        forward: the model in its forward pass; left in the mode it was in.
        example: the row, of t tokens.
        score: what is attributed.
        pad_id: token that the path starts from.
        special_ids: tokens that stay as they are on the whole path.
    """
    from captum.attr import IntegratedGradients

    device = next(forward.parameters()).device
    batch = {name: value.to(device) for name, value in collate([example], pad_id).items()}
    ids = batch["input_ids"]
    special = torch.isin(ids, torch.tensor(list(special_ids), device=device))
    blank = torch.where(special, ids, torch.full_like(ids, pad_id))
    layer = whole_model(forward.model).get_input_embeddings()
    training = forward.model.training
    forward.eval()

    def scored(embedded_BTD: Tensor) -> Tensor:
        rows = len(embedded_BTD)
        repeated = {name: value.expand(rows, *value.shape[1:]) for name, value in batch.items()}
        with _embedded_as(layer, embedded_BTD):
            return score(forward.logits(repeated))

    with torch.no_grad():
        text, padding = layer(ids), layer(blank)
        output, baseline = (float(scored(embedded)) for embedded in (text, padding))
    found = Attribution([0.0] * len(example.input_ids), output, baseline, output - baseline, 0)
    for steps in _STEPS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about inputs that are made to need gradients
            parts = IntegratedGradients(scored).attribute(
                text,
                baselines=padding,
                n_steps=steps,
                method="gausslegendre",
                internal_batch_size=_AT_ONCE,
            )
        token_scores = parts[0].double().sum(dim=1).masked_fill(special[0], 0.0).tolist()
        gap = sum(token_scores) - (output - baseline)
        found = Attribution(token_scores, output, baseline, gap, steps)
        if found.complete:
            break
    forward.model.train(training)
    return found


@contextmanager
def _embedded_as(layer: torch.nn.Module, embedded: Tensor) -> Iterator[None]:
    """Let a model see these embeddings in place of those of its tokens."""

    def replaced(module: Any, given: Any, output: Tensor) -> Tensor:
        return embedded.to(output.dtype)

    hook = layer.register_forward_hook(replaced)
    try:
        yield
    finally:
        hook.remove()
