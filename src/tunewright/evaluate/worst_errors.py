"""The rows a model gets most wrong, each with the training rows that are most like it.

This module knows records and answers. It does not know how the answers came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.evaluate.answers import Answers
from tunewright.evaluate.previous import listed

WORST = 10
"""Errors shown."""
NEAREST = 2
"""Training rows shown with each."""
_LIKE = 0.1
"""Cosine from which a training row is like a row at all."""
_MOST_TRAINING_ROWS = 50_000
"""Training rows that are looked at, from the first on: some seconds of reading words."""
_SHOWN = 300
"""Characters of a training row that are kept."""


def worst_errors(
    records: Sequence[Record], answers: Answers, task: Task, train: Dataset | None = None
) -> list[dict[str, Any]]:
    """The ten worst rows, the worst first.

    Args:
        records: [n] the scored rows.
        answers: [n] of the model.
        task: wrong labels are ordered by how sure the model was, numbers by their distance, texts
            by their loss a token.
        train: the rows the model was tuned on. Where it is known, each error gets `nearest`: up to
            two training rows by TF-IDF cosine of their words, with `row`, `text`, `label` (or
            `answer`) and `similarity`.
    """
    worst = worst_places(records, answers, task)[:WORST]
    if task.is_generative:
        mean = _mean_losses(answers)
        found = [_generative_error(records[i], float(mean[i]), answers, i) for i in worst]
    elif task is Task.REGRESSION:
        gaps = _distances(records, answers)
        found = [
            _error(records[i], answers.predictions[i]) | {"distance": float(gaps[i])} for i in worst
        ]
    else:
        confidence = np.asarray(answers.probabilities).max(axis=1)
        found = [
            _error(records[i], answers.predictions[i]) | {"confidence": float(confidence[i])}
            for i in worst
        ]
    if train is not None and len(train) and worst:
        near = nearest_rows([asked(records[i]) for i in worst], train)
        for error, rows in zip(found, near, strict=True):
            error["nearest"] = rows
    return found


def worst_places(records: Sequence[Record], answers: Answers, task: Task) -> list[int]:
    """Places of the rows, the worst first; of labels those of the wrong rows alone."""
    if task.is_generative:
        return list(np.argsort(-_mean_losses(answers), kind="stable").tolist())
    if task is Task.REGRESSION:
        return list(np.argsort(-_distances(records, answers), kind="stable").tolist())
    confidence = np.asarray(answers.probabilities).max(axis=1)
    wrong = [
        i for i, r in enumerate(records) if _as_set(r.label) != _as_set(answers.predictions[i])
    ]
    return sorted(wrong, key=lambda i: -confidence[i])


def _mean_losses(answers: Answers) -> Any:
    return answers.losses / np.maximum(1, answers.tokens)


def _distances(records: Sequence[Record], answers: Answers) -> Any:
    expected = np.asarray([float(str(r.label)) for r in records])
    return np.abs(np.asarray(answers.predictions) - expected)


def nearest_rows(texts: Sequence[str], train: Dataset) -> list[list[dict[str, Any]]]:
    """For each text the training rows that are most like it, the nearest first; maybe none.

    Words are lower-cased and weighted by TF-IDF; of more than 50,000 training rows the first are
    looked at.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = train.records[:_MOST_TRAINING_ROWS]
    words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
    try:
        known = words.fit_transform(asked(record) for record in rows)
    except ValueError:  # scikit-learn's word for texts without a word
        return [[] for _ in texts]
    likeness = (words.transform(texts) @ known.T).toarray()
    found = []
    for line in likeness:
        best = np.argsort(-line, kind="stable")[:NEAREST]
        found.append([_training_row(rows[i], float(line[i])) for i in best if line[i] >= _LIKE])
    return found


def asked(record: Record) -> str:
    """What a model is given of a row: the text, or the conversation but for its last answer."""
    if record.messages:
        return "\n".join(message.content for message in record.messages[:-1])
    return record.plain_text


def _training_row(record: Record, likeness: float) -> dict[str, Any]:
    said: dict[str, Any] = {"row": record.row, "text": asked(record)[:_SHOWN]}
    if record.messages:
        said["answer"] = record.messages[-1].content[:_SHOWN]
    elif record.label is not None:
        said["label"] = listed(record.label)
    return said | {"similarity": round(likeness, 3)}


def _as_set(label: Any) -> set[str]:
    return set(label) if isinstance(label, tuple) else {str(label)}


def _error(record: Record, predicted: Any) -> dict[str, Any]:
    return {
        "row": record.row,
        "text": record.plain_text,
        "expected": listed(record.label),
        "predicted": listed(predicted),
    }


def _generative_error(record: Record, loss: float, answers: Answers, i: int) -> dict[str, Any]:
    return {
        "row": record.row,
        "prompt": asked(record) if record.messages else "",
        "expected": record.messages[-1].content if record.messages else record.text[:500],
        "predicted": answers.texts[i] if answers.texts else None,
        "loss": loss,
    }
