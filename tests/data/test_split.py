"""Splits are stratified, grouped, stable, and never put copies on both sides."""

from __future__ import annotations

import random
from collections import Counter
from string import ascii_lowercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.config.task import Task
from tunewright.data.duplicates import normal_text
from tunewright.data.records import Dataset, Record
from tunewright.data.split import split
from tunewright.errors import DataError


def text(number: int) -> str:
    noise = random.Random(number)
    return " ".join("".join(noise.choices(ascii_lowercase, k=5)) for _ in range(8))


def dataset(labels, texts=None, groups=None, task=Task.CLASSIFICATION) -> Dataset:
    return Dataset(
        task,
        tuple(
            Record(
                text=texts[i] if texts else text(i),
                label=label,
                row=i + 1,
                meta={"group": groups[i]} if groups else {},
            )
            for i, label in enumerate(labels)
        ),
    )


def rows(part) -> list[int]:
    return [record.row for record in part]


def test_every_label_is_cut_in_the_same_shares():
    data = dataset(["a"] * 500 + ["b"] * 300 + ["c"] * 200)
    found = split(data, 0.1, 0.2)
    for part, share in ((found.train, 0.7), (found.validation, 0.1), (found.test, 0.2)):
        counts = Counter(r.label for r in part)
        for label, total in (("a", 500), ("b", 300), ("c", 200)):
            assert abs(counts[label] - share * total) <= 2
    assert sorted(rows(found.train) + rows(found.validation) + rows(found.test)) == list(
        range(1, 1001)
    )
    assert rows(found.train) == sorted(rows(found.train))


def test_the_seed_decides_and_nothing_else():
    data = dataset(["a", "b"] * 50)
    assert split(data, 0.1, 0.1, seed=1) == split(data, 0.1, 0.1, seed=1)
    assert rows(split(data, 0.1, 0.1, seed=1).test) != rows(split(data, 0.1, 0.1, seed=2).test)


def test_shares_of_zero_work():
    data = dataset(["a", "b"] * 20)
    assert [len(p) for _, p in split(data, 0.0, 0.0).items()] == [40, 0, 0]
    assert [len(p) for _, p in split(data, 0.25, 0.0).items()] == [30, 10, 0]
    assert [len(p) for _, p in split(data, 0.0, 0.25).items()] == [30, 0, 10]


@pytest.mark.parametrize(("validation", "test"), [(1.0, 0.0), (-0.1, 0.0), (0.5, 0.5), (0.0, 1.5)])
def test_impossible_shares_are_refused(validation, test):
    with pytest.raises(DataError, match=r"share|leave no row"):
        split(dataset(["a", "b"]), validation, test)


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0, 0, 0]), (1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1])]
)
def test_tiny_sets_fill_train_first(count, sizes):
    assert [len(p) for _, p in split(dataset(["a"] * count), 0.1, 0.1).items()] == sizes


def test_copies_stay_together():
    texts = [text(i) for i in range(40)]
    doubled = texts + [t.upper() + " " for t in texts]
    found = split(dataset(["a"] * 80, doubled), 0.25, 0.25)
    seen = [{normal_text(r.text) for r in part} for _, part in found.items()]
    assert all(not a & b for a, b in ((seen[0], seen[1]), (seen[0], seen[2]), (seen[1], seen[2])))
    assert [len(p) for _, p in found.items()] == [40, 20, 20]


def test_near_copies_stay_together():
    texts = [text(i) for i in range(60)]
    edited = [t.replace(" ", ", ", 1) + "!" for t in texts]
    found = split(dataset(["a"] * 120, texts + edited), 0.25, 0.25)
    for _, part in found.items():
        numbers = Counter((record.row - 1) % 60 for record in part)
        assert set(numbers.values()) <= {2}


def test_groups_stay_together():
    groups = [f"user {i // 4}" for i in range(200)]
    found = split(dataset(["a", "b"] * 100, groups=groups), 0.2, 0.2)
    seen = [{r.meta["group"] for r in part} for _, part in found.items()]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert all(abs(len(p) - n) <= 4 for (_, p), n in zip(found.items(), (120, 40, 40), strict=True))


def test_a_label_with_one_row_is_trained_on():
    data = dataset(["a"] * 50 + ["b"] * 50 + ["rare"])
    for seed in range(10):
        found = split(data, 0.3, 0.3, seed=seed)
        assert set(found.train.labels) == {"a", "b", "rare"}


def test_multilabel_rows_keep_every_label_in_train():
    noise = random.Random(0)
    labels = [tuple(sorted({noise.choice("abcdefgh"), noise.choice("abc")})) for _ in range(300)]
    found = split(dataset(labels, task=Task.MULTILABEL), 0.2, 0.2)
    counts = [Counter(x for r in part for x in r.label) for _, part in found.items()]
    for label in "abcdefgh":
        total = sum(c[label] for c in counts)
        assert 0.45 * total <= counts[0][label] <= 0.75 * total


def test_numbers_are_stratified_by_size():
    data = dataset([float(i % 100) for i in range(1000)], task=Task.REGRESSION)
    found = split(data, 0.1, 0.1)
    for part in (found.validation, found.test):
        assert abs(sum(r.label for r in part) / len(part) - 49.5) < 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=60),
    st.floats(0, 0.45),
    st.floats(0, 0.45),
    st.integers(0, 3),
)
def test_every_row_lands_in_one_part_and_copies_together(pairs, validation, test, seed):
    data = dataset([label for label, _ in pairs], [text(number) for _, number in pairs])
    found = split(data, validation, test, seed=seed)
    assert sorted(rows(found.train) + rows(found.validation) + rows(found.test)) == list(
        range(1, len(pairs) + 1)
    )
    assert len(found.train) > 0
    home = {}
    for name, part in found.items():
        for record in part:
            assert home.setdefault(record.text, name) == name
    assert set(found.train.labels) == set(data.labels)
    assert validation > 0 or len(found.validation) == 0
    assert test > 0 or len(found.test) == 0
