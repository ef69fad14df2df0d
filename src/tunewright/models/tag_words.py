"""A tag for each word of many rows, in batches sorted by length, without keeping logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tunewright.data.collate import collate, length_order
from tunewright.data.example import Example
from tunewright.data.tags import OUTSIDE, repaired
from tunewright.models.forward import TagForward


@dataclass(slots=True)
class TaggedWords:
    """What a model says of the words of n examples, in their order.

    Attributes:
        tags: [n] a BIO tag for each word. An `I-` that continues nothing is made to begin an
            entity; a word without a token (cut, or empty) has `O`.
        sureness: [n] of each word the probability of the tag that the model chose; 0 for a word
            without a token.
        loss: mean cross-entropy over the words that have a token, in nats.
        unseen: words without a token.
    """

    tags: list[tuple[str, ...]]
    sureness: list[list[float]]
    loss: float = 0.0
    unseen: int = 0


@torch.inference_mode()
def tag_words(
    forward: TagForward,
    examples: Sequence[Example],
    labels: Sequence[str],
    *,
    pad_id: int = 0,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> TaggedWords:
    """Tag every word of every example.

    Args:
        forward: the model in its forward pass; left in the mode it was in.
        examples: rendered rows of tagged words.
        labels: tags in output order.
        pad_id: token to pad with.
        batch_size: rows in one pass.
        progress: called with the number of rows done so far in each pass.
    """
    device = next(forward.parameters()).device
    training = forward.training
    forward.eval()
    found = TaggedWords([()] * len(examples), [[] for _ in examples])
    losses, counted = 0.0, 0
    for batch_rows in length_order([len(e) for e in examples], batch_size):
        chosen = [examples[i] for i in batch_rows]
        batch = {key: value.to(device) for key, value in collate(chosen, pad_id).items()}
        logs_BTC = forward.logits(batch).log_softmax(-1).cpu().numpy()
        for row, example, logs_TC in zip(batch_rows, chosen, logs_BTC, strict=True):
            starts = np.asarray(example.word_starts, dtype=np.int64)
            seen = starts >= 0
            logs_WC = logs_TC[starts[seen]]
            best_W = logs_WC.argmax(axis=1)
            tags = np.full(len(starts), OUTSIDE, dtype=object)
            tags[seen] = [labels[i] for i in best_W]
            sure = np.zeros(len(starts))
            sure[seen] = np.exp(logs_WC.max(axis=1)) if len(best_W) else 0.0
            found.tags[row], found.sureness[row] = repaired(tags), sure.tolist()
            found.unseen += int((~seen).sum())
            truth_W = np.asarray(example.word_tags, dtype=np.int64)[seen]
            known = truth_W >= 0
            losses -= float(logs_WC[known, truth_W[known]].sum(dtype=np.float64))
            counted += int(known.sum())
        if progress is not None:
            progress(len(batch_rows))
    forward.train(training)
    found.loss = losses / max(1, counted)
    return found
