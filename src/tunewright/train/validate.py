"""Scores on the validation rows during training: the loss and the task's own metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.pair_texts import is_scored
from tunewright.data.records import Dataset
from tunewright.data.task_prompts import rows_by_name
from tunewright.metrics import get_metric, metrics_for
from tunewright.models.embed_texts import EmbeddingForward
from tunewright.models.find_answers import SpanForward, find_answers
from tunewright.models.forward import Forward, LabelForward, TagForward
from tunewright.models.predict import predict
from tunewright.models.rank_pairs import answer_pairs, pair_metrics
from tunewright.models.setfit import SetFitForward
from tunewright.models.tag_words import tag_words


def metrics_of(dataset: Dataset) -> list[str]:
    """As `metrics_in_training`, of rows of this kind: pairs with a score have other metrics."""
    if dataset.task is Task.EMBEDDING:
        return pair_metrics(is_scored(dataset.records, dataset.name))
    return metrics_in_training(dataset.task)


def metrics_in_training(task: Task) -> list[str]:
    """The task's metrics that are measured on the validation rows; those of labels, not of
    probabilities, which the loss already speaks for."""
    return [name for name in metrics_for(task) if get_metric(name).needs != "probabilities"]


def validation_scores(
    forward: Forward | EmbeddingForward | SpanForward,
    examples: Sequence[Example],
    task: Task,
    labels: Sequence[str],
    pad_id: int,
    batch_size: int,
    names: Sequence[str] = (),
) -> dict[str, float]:
    """Score the validation rows.

    Args:
        names: [n] the source of each row of a mix of tasks, whose losses are told apart.

    Returns:
        The task's metrics by name, `loss_NAME` of each source, and `loss` in nats: a token for
        generative tasks, a word for tags, a window for questions, a row for the others (mean
        squared error for regression).
    """
    if isinstance(forward, SetFitForward):
        forward.fit_head()
        forward = LabelForward(forward.model, "single_label_classification")
    if isinstance(forward, EmbeddingForward):
        return _pair_scores(forward, examples, pad_id, batch_size)
    if isinstance(forward, SpanForward):
        return _answer_scores(forward, examples, pad_id, batch_size)
    if isinstance(forward, TagForward):
        return _tag_scores(forward, examples, labels, pad_id, batch_size)
    found = predict(forward, examples, task, labels=labels, pad_id=pad_id, batch_size=batch_size)
    if found.losses is not None and found.tokens is not None:
        losses, tokens = found.losses, found.tokens
        loss = float(losses.sum() / max(1, tokens.sum()))
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))} | {
            f"loss_{name}": float(losses[rows].sum() / max(1, tokens[rows].sum()))
            for name, rows in rows_by_name(names).items()
        }
    targets = [example.target for example in examples]
    if found.values is not None:
        references = np.asarray(targets, dtype=float)
        scores = {"loss": float(np.mean((found.values - references) ** 2))}
        return scores | {
            name: get_metric(name).compute(references, found.values) for name in metrics_for(task)
        }
    assert found.probabilities is not None
    chosen = np.clip(found.probabilities, 1e-12, 1 - 1e-12)
    references_labels: list[object]
    if task is Task.MULTILABEL:
        truth = np.asarray(targets, dtype=float)
        loss = float(-np.mean(truth * np.log(chosen) + (1 - truth) * np.log(1 - chosen)))
        references_labels = [
            tuple(name for name, on in zip(labels, row, strict=True) if on) for row in truth
        ]
    else:
        ids = np.asarray(targets, dtype=int)
        loss = float(-np.log(chosen[np.arange(len(ids)), ids]).mean())
        references_labels = [labels[i] for i in ids]
    return {"loss": loss} | {
        name: get_metric(name).compute(references_labels, found.labels)
        for name in metrics_in_training(task)
    }


def _pair_scores(
    forward: EmbeddingForward, examples: Sequence[Example], pad_id: int, size: int
) -> dict[str, float]:
    found, loss = answer_pairs(forward, examples, pad_id=pad_id, batch_size=size)
    targets = [example.target for example in examples]
    scored = targets[0] is not None
    pair = (targets, found.cosines) if scored else (found.candidates, found.ranks)
    return {"loss": loss} | {name: get_metric(name).compute(*pair) for name in pair_metrics(scored)}


def _answer_scores(
    forward: SpanForward, examples: Sequence[Example], pad_id: int, size: int
) -> dict[str, float]:
    found = find_answers(forward, examples, pad_id=pad_id, batch_size=size)
    right = {e.row: e.window.record.answers or () for e in examples if e.window is not None}
    references = [[answer.text for answer in right[row]] for row in found.rows]
    return {"loss": found.loss} | {
        name: get_metric(name).compute(references, found.texts)
        for name in metrics_in_training(Task.QUESTION_ANSWERING)
    }


def _tag_scores(
    forward: TagForward, examples: Sequence[Example], labels: Sequence[str], pad_id: int, size: int
) -> dict[str, float]:
    found = tag_words(forward, examples, labels, pad_id=pad_id, batch_size=size)
    references = [[labels[tag] for tag in example.word_tags or ()] for example in examples]
    return {"loss": found.loss} | {
        name: get_metric(name).compute(references, found.tags)
        for name in metrics_in_training(Task.TOKEN_CLASSIFICATION)
    }
