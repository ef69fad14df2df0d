"""Wrong labels are ranked first, from words or from vectors, and never changed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tunewright.config.task import Task
from tunewright.data.audit import audit
from tunewright.data.label_errors import suspect_labels
from tunewright.data.records import Dataset, Record
from tunewright.data.sources import load
from tunewright.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"
TOPICS = {
    "food": "bread soup apple cheese salt dinner oven taste cook plate".split(),  # noqa: SIM905
    "sport": "goal team match coach score ball league player win race".split(),  # noqa: SIM905
    "money": "bank loan price tax cash credit market stock pay bill".split(),  # noqa: SIM905
}


def rows(count: int, wrong: int) -> tuple[list[str], list[str], set[int]]:
    noise = random.Random(5)
    names = sorted(TOPICS)
    labels = [names[i % 3] for i in range(count)]
    texts = [" ".join(noise.choices(TOPICS[label], k=6)) for label in labels]
    flipped = set(noise.sample(range(count), wrong))
    for row in flipped:
        labels[row] = names[(names.index(labels[row]) + 1) % 3]
    return texts, labels, flipped


def test_flipped_labels_come_first_with_the_right_suggestion():
    texts, labels, flipped = rows(300, 20)
    found = suspect_labels(texts, labels)
    assert len(set(found.ranking[:20]) & flipped) >= 19
    assert sorted(found.ranking) == list(range(300))
    for row in flipped & set(found.ranking[:20]):
        assert found.suggested[row] == sorted(TOPICS)[row % 3]
        assert found.margin[row] < 0
    assert set(found.flagged) <= flipped
    assert suspect_labels(texts, labels) == found


def test_vectors_may_be_given():
    noise = np.random.default_rng(0)
    labels = np.array(["a", "b"] * 100)
    vectors = noise.normal(size=(200, 8)) * 0.3 + np.where(labels == "a", 1.0, -1.0)[:, None]
    labels[:6] = ["b", "a", "b", "a", "b", "a"]
    found = suspect_labels([], labels.tolist(), vectors=vectors)
    assert set(found.ranking[:6]) == set(range(6))
    assert found.flagged and set(found.flagged) <= set(range(6))


def test_too_little_to_judge_is_an_error():
    with pytest.raises(DataError, match="at least 50 rows"):
        suspect_labels(["a"] * 10, ["x", "y"] * 5)
    with pytest.raises(DataError, match="1 labels"):
        suspect_labels(["a"] * 60, ["x"] * 60)
    with pytest.raises(DataError, match="no words in common"):
        suspect_labels([chr(0x4E00 + i) for i in range(60)], ["x", "y"] * 30)


def test_the_audit_shows_them_when_asked():
    texts, labels, flipped = rows(600, 12)
    records = tuple(Record(text=t, label=label) for t, label in zip(texts, labels, strict=True))
    data = Dataset(Task.CLASSIFICATION, records)
    assert "label.suspect" not in {f.id for f in audit(data).findings}
    finding = next(f for f in audit(data, wrong_labels=True).findings if f.id == "label.suspect")
    assert {row for _, row in finding.places} <= flipped
    assert "fits better" in finding.examples[0]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize("share", [0.05, 0.1])
def test_flipped_intents_are_found(share):
    data = load(SHARED / "banking77" / "train.jsonl")
    noise = random.Random(1)
    labels = [str(record.label) for record in data]
    flipped = noise.sample(range(len(labels)), int(share * len(labels)))
    for row in flipped:
        labels[row] = noise.choice([name for name in data.labels if name != labels[row]])
    found = suspect_labels([record.text for record in data], labels)
    assert len(set(found.ranking[: len(flipped)]) & set(flipped)) >= 0.7 * len(flipped)
