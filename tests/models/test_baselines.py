"""Baselines on small data with known answers, and on real data with known scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel

from tiny import WORDS
from tunewright.config.task import Task
from tunewright.data.records import Dataset, Label, Record
from tunewright.errors import DataError, ModelError
from tunewright.metrics import get_metric
from tunewright.models.baselines import (
    Baseline,
    _Encoder,
    embedding_logistic,
    embeddings,
    majority,
    tfidf_logistic,
)

TWEETS = Path(__file__).parents[3] / "shared" / "data" / "vader_tweets"


def dataset(task: Task, rows: list[tuple[str, Label]], pair: str | None = None) -> Dataset:
    records = (Record(text, pair, label, row=i) for i, (text, label) in enumerate(rows, start=1))
    return Dataset(task, tuple(records))


def reviews(task: Task, labels: tuple[Label, Label]) -> Dataset:
    """Twenty rows; the first label goes with kind words."""
    rows = []
    for subject in ("film", "book", "day", "the film", "a book"):
        rows += [(f"{word} {subject}", labels[0]) for word in ("good", "great")]
        rows += [(f"{word} {subject}", labels[1]) for word in ("bad", "awful")]
    return dataset(task, rows)


def test_majority_answers_the_most_frequent_class_with_the_shares() -> None:
    train = dataset(Task.CLASSIFICATION, [("x", "b"), ("x", "b"), ("x", "a"), ("x", "c")])
    test = dataset(Task.CLASSIFICATION, [("y", "a"), ("y", "b")])
    found = majority(train, test)
    assert found.name == "majority"
    assert found.predictions == ["b", "b"]
    assert found.classes == ["a", "b", "c"]
    assert found.probabilities is not None
    assert found.probabilities.tolist() == [[0.25, 0.5, 0.25]] * 2


def test_majority_breaks_ties_by_name() -> None:
    train = dataset(Task.CLASSIFICATION, [("x", "b"), ("x", "a")])
    assert majority(train, train).predictions == ["a", "a"]


def test_majority_of_label_sets_is_a_set_and_of_numbers_the_mean() -> None:
    sets = dataset(Task.MULTILABEL, [("x", ("b", "a")), ("x", ("a", "b")), ("x", ("c",))])
    found = majority(sets, sets)
    assert found.predictions == [("a", "b")] * 3
    assert found.probabilities is not None
    assert found.probabilities[0] == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    numbers = dataset(Task.REGRESSION, [("x", 1.0), ("x", 2), ("x", 6.0)])
    found = majority(numbers, numbers)
    assert found.predictions == [3.0] * 3
    assert found.probabilities is None


def on_embeddings(train: Dataset, test: Dataset, encoder: Path) -> Baseline:
    return embedding_logistic(train, test, embeddings(train, test, encoder))


def check_classifier(found: Baseline, test: Dataset) -> None:
    assert found.predictions == [record.label for record in test]
    assert found.probabilities is not None
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(len(test)))
    best = [found.classes[i] for i in found.probabilities.argmax(axis=1)]
    assert best == found.predictions
    assert found.seconds > 0


def test_linear_models_learn_words(tiny_encoder: Path) -> None:
    train = reviews(Task.CLASSIFICATION, ("good", "bad"))
    test = dataset(Task.CLASSIFICATION, [("great day", "good"), ("awful day", "bad")])
    check_classifier(tfidf_logistic(train, test), test)
    check_classifier(on_embeddings(train, test, tiny_encoder), test)


def test_linear_models_learn_label_sets(tiny_encoder: Path) -> None:
    train = reviews(Task.MULTILABEL, (("kind", "short"), ("short",)))
    train = Dataset(train.task, (*train.records, Record("nice nice nice nice", None, ())))
    test = dataset(Task.MULTILABEL, [("great day", ("kind", "short")), ("awful day", ("short",))])
    for found in (tfidf_logistic(train, test), on_embeddings(train, test, tiny_encoder)):
        assert found.predictions == [("kind", "short"), ("short",)]
        assert found.classes == ["kind", "short"]
        assert found.probabilities is not None
        assert found.probabilities.shape == (2, 2)


def test_a_label_that_every_row_has_is_always_predicted() -> None:
    train = dataset(Task.MULTILABEL, [("good film", ("all", "kind")), ("bad film", ("all",))] * 5)
    found = tfidf_logistic(train, train)
    assert found.predictions == [("all", "kind"), ("all",)] * 5


def test_linear_models_learn_numbers(tiny_encoder: Path) -> None:
    train = reviews(Task.REGRESSION, (5.0, 1.0))
    truth = [record.label for record in train]
    for found in (tfidf_logistic(train, train), on_embeddings(train, train, tiny_encoder)):
        assert get_metric("pearson").compute(truth, found.predictions) > 0.6
        assert found.probabilities is None
        assert found.classes == []


def test_the_two_texts_of_a_pair_are_told_apart(tiny_encoder: Path) -> None:
    words = ["good", "bad", "nice", "poor", "film", "book", "day"]
    first = [(f"{a}", f"{b}") for a in words for b in words if a != b]
    records = [Record(a, b, "yes" if words.index(a) < words.index(b) else "no") for a, b in first]
    train = Dataset(Task.CLASSIFICATION, tuple(records))
    turned = Dataset(
        Task.CLASSIFICATION,
        tuple(Record(r.text_pair or "", r.text, r.label) for r in records),
    )
    for make in (tfidf_logistic, lambda a, b: on_embeddings(a, b, tiny_encoder)):
        same, other = make(train, train).predictions, make(train, turned).predictions
        labels = [record.label for record in train]
        assert get_metric("accuracy").compute(labels, same) > 0.9
        assert get_metric("accuracy").compute(labels, other) < 0.1


def test_shared_words_of_a_pair_are_seen() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(6)]
    rows = []
    for _ in range(200):
        a, b = rng.choice(words, 2)
        rows.append(Record(str(a), str(b), "same" if a == b else "other"))
    part = Dataset(Task.CLASSIFICATION, tuple(rows))
    found = tfidf_logistic(part.select(range(150)), part.select(range(150, 200)))
    assert found.predictions == [record.label for record in rows[150:]]


def test_embeddings_are_unit_means_whatever_the_batch(tiny_encoder: Path) -> None:
    texts = ["good film", "the a the a the a book", "x", "", "bad " * 80]
    records = [Record(text) for text in texts]
    one, many = (
        _Encoder(tiny_encoder, size, 256, "cpu").features(records, False) for size in (1, 8)
    )
    assert one == pytest.approx(many, abs=1e-5)
    assert np.linalg.norm(one, axis=1) == pytest.approx(np.ones(5))
    model = BertModel.from_pretrained(tiny_encoder).eval()
    ids = torch.tensor([[2, 4, 4 + WORDS.index("film"), 3]])  # [CLS] good film [SEP]
    with torch.inference_mode():
        mean = model(input_ids=ids).last_hidden_state.mean(dim=1)[0]
    assert one[0] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    pairs = _Encoder(tiny_encoder, 2, 256, "cpu").features([Record("good", "bad")], True)
    u, v = pairs[0, :32], pairs[0, 32:64]
    assert pairs[0, 64:96] == pytest.approx(np.abs(u - v))
    assert pairs[0, 96:] == pytest.approx(u * v)


def test_test_labels_are_never_read() -> None:
    train = reviews(Task.CLASSIFICATION, ("good", "bad"))
    blank = Dataset(Task.CLASSIFICATION, tuple(Record(r.text) for r in train))
    assert tfidf_logistic(train, blank).predictions == tfidf_logistic(train, train).predictions


def test_one_class_is_answered_always() -> None:
    train = dataset(Task.CLASSIFICATION, [("good film", "a"), ("bad film", "a")])
    found = tfidf_logistic(train, train)
    assert found.predictions == ["a", "a"]
    assert found.probabilities is not None
    assert found.probabilities.tolist() == [[1.0], [1.0]]


def test_data_that_does_not_fit_is_refused(tmp_path: Path, tiny_encoder: Path) -> None:
    good = reviews(Task.CLASSIFICATION, ("good", "bad"))
    with pytest.raises(DataError, match="no test row"):
        majority(good, Dataset(Task.CLASSIFICATION, ()))
    with pytest.raises(DataError, match="must be of one task"):
        majority(good, Dataset(Task.REGRESSION, good.records))
    with pytest.raises(DataError, match="compare with the base model"):
        majority(Dataset(Task.TEXT, good.records), Dataset(Task.TEXT, good.records))
    with pytest.raises(DataError, match=r"row 2: the label is None"):
        majority(dataset(Task.CLASSIFICATION, [("x", "a"), ("x", None)]), good)  # type: ignore[list-item]
    with pytest.raises(DataError, match="no word of two letters"):
        tfidf_logistic(dataset(Task.CLASSIFICATION, [("!", "a"), ("?", "b")]), good)
    with pytest.raises(ModelError):
        on_embeddings(good, good, tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="cuda"):
            embeddings(good, good, tiny_encoder, device="cuda")


@pytest.mark.skipif(not TWEETS.is_dir(), reason="the measuring data is not here")
def test_tfidf_on_real_tweets_is_a_fair_opponent() -> None:
    parts = []
    for name in ("train", "test"):
        lines = (TWEETS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [(row["text"], row["label"]) for row in map(json.loads, lines)]
        parts.append(dataset(Task.CLASSIFICATION, rows))
    found = tfidf_logistic(*parts)
    truth = [record.label for record in parts[1]]
    # A plain one scores 0.588; settings found by cross-validation on train must not do worse.
    assert 0.588 <= get_metric("macro_f1").compute(truth, found.predictions) < 0.64
