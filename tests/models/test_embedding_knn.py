"""Nearest training rows by frozen embeddings, on rows whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Label, Record
from tunewright.models.baselines import embedding_knn, embeddings


def rows(task: Task, labels: tuple[Label, Label]) -> Dataset:
    texts = [(f"{word} {thing}", labels[word in ("bad", "awful")])
             for thing in ("film", "book", "day", "the film") for word in ("good", "great", "bad", "awful")]  # fmt: skip  # noqa: E501
    return Dataset(task, tuple(Record(text=text, label=label) for text, label in texts))


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (Task.CLASSIFICATION, ("kind", "rude")),
        (Task.MULTILABEL, (("kind",), ("rude", "short"))),
        (Task.REGRESSION, (1.0, 5.0)),
    ],
)
def test_training_rows_answer_for_themselves(
    task: Task, labels: tuple[Label, Label], tiny_encoder: Path
) -> None:
    train = rows(task, labels)
    found = embedding_knn(train, train, embeddings(train, train, tiny_encoder))
    assert found.name == "embedding_knn"
    truth = [record.label for record in train]
    if task is Task.REGRESSION:
        assert np.corrcoef(np.asarray(found.predictions), np.asarray(truth))[0, 1] > 0.3
    else:
        assert np.mean([p == t for p, t in zip(found.predictions, truth, strict=True)]) > 0.7
        assert found.probabilities is not None and found.probabilities.shape[0] == len(train)


def test_one_training_row_answers_all(tiny_encoder: Path) -> None:
    train = Dataset(Task.CLASSIFICATION, (Record(text="good film", label="kind"),))
    test = rows(Task.CLASSIFICATION, ("kind", "rude"))
    features = embeddings(train, test, tiny_encoder)
    assert set(embedding_knn(train, test, features).predictions) == {"kind"}
