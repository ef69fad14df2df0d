"""Splits are stratified, grouped, stable, and never put copies on both sides."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from string import ascii_lowercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.config.task import Task
from tunewright.data.duplicates import normal_text
from tunewright.data.records import Dataset, Message, Record
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


# Rows with several labels


def skewed_labels(n: int, seed: int) -> list[tuple[str, ...]]:
    """Labels of unlike frequency that go together in pairs; some rows have none."""
    noise = random.Random(seed)
    found = []
    for _ in range(n):
        row = {label for label, share in zip("abcdef", (40, 25, 12, 6, 3, 2), strict=True)
               if noise.random() < share / 100}  # fmt: skip
        if "d" in row:
            row.add("a")
        found.append(tuple(sorted(row)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_label_of_several_is_cut_in_the_same_shares(seed):
    labels = skewed_labels(1200, seed)
    found = split(dataset(labels, task=Task.MULTILABEL), 0.15, 0.15, seed=seed)
    sizes = [len(part) for _, part in found.items()]
    assert all(abs(n - w) <= 6 for n, w in zip(sizes, (840, 180, 180), strict=True))
    for label in "abcdef":
        counts = [sum(label in r.label for r in part) for _, part in found.items()]
        for count, share in zip(counts, (0.7, 0.15, 0.15), strict=True):
            assert abs(count - share * sum(counts)) <= 2


def test_tags_of_tokens_are_cut_in_the_same_shares():
    noise = random.Random(0)
    kinds = ("PER", "LOC", "ORG", "MISC")
    labels = []
    for _ in range(600):
        kind = noise.choices(kinds, (50, 30, 15, 5))[0]
        labels.append(("O", f"B-{kind}", f"I-{kind}", "O", "O"))
    found = split(dataset(labels, task=Task.MULTILABEL), 0.2, 0.0)
    for kind in kinds:
        counts = [sum(f"B-{kind}" in r.label for r in part) for _, part in found.items()]
        assert abs(counts[1] - 0.2 * sum(counts)) <= 1.5


# By time


def timed(times, **options) -> Dataset:
    plain = dataset(["a", "b"] * (len(times) // 2) + ["a"] * (len(times) % 2), **options)
    return Dataset(
        plain.task,
        tuple(
            Record(r.text, label=r.label, row=r.row, meta={**r.meta, "when": t})
            for r, t in zip(plain, times, strict=True)
        ),
    )


def test_the_newest_rows_are_held_out():
    days = list(range(100))
    random.Random(0).shuffle(days)
    found = split(timed(days), 0.1, 0.2, time_column="when")
    when = [{r.meta["when"] for r in part} for _, part in found.items()]
    assert when == [set(range(70)), set(range(70, 80)), set(range(80, 100))]
    assert rows(found.train) == sorted(rows(found.train))
    assert found == split(timed(days), 0.1, 0.2, seed=7, time_column="when")


def test_dates_are_ordered_as_dates():
    found = split(timed(["2024-02-01", "2024-10-01", "2024/9/1", "2023-12-31"]), 0.0, 0.25,
                  time_column="when")  # fmt: skip
    assert rows(found.test) == [2]


def test_rows_of_the_same_time_stay_together():
    # 10 rows of each of ten days; 15 of 100 rows cannot be cut, 10 and 20 are as near
    found = split(timed([i // 10 for i in range(100)]), 0.0, 0.17, time_column="when")
    assert {r.meta["when"] for r in found.test} == {8, 9}
    found = split(timed([i // 10 for i in range(100)]), 0.0, 0.13, time_column="when")
    assert {r.meta["when"] for r in found.test} == {9}


def test_a_group_goes_by_its_newest_row():
    groups = [f"user {i % 20}" for i in range(100)]
    found = split(timed(list(range(100)), groups=groups), 0.0, 0.2, time_column="when")
    assert {r.meta["group"] for r in found.test} == {f"user {i}" for i in range(16, 20)}
    newest = min(max(r.meta["when"] for r in found.test if r.meta["group"] == g)
                 for g in {r.meta["group"] for r in found.test})  # fmt: skip
    assert all(r.meta["when"] < newest for r in found.train)


def test_every_part_gets_a_time_where_there_are_enough():
    found = split(timed([1] * 50 + [2] + [3]), 0.3, 0.3, time_column="when")
    assert [len(p) for _, p in found.items()] == [50, 1, 1]
    found = split(timed([1] + [2] + [3] * 50), 0.3, 0.3, time_column="when")
    assert [len(p) for _, p in found.items()] == [1, 1, 50]


def test_times_that_cannot_be_told_apart_are_refused():
    with pytest.raises(DataError, match=r"'when' .* has 1 different times .* 2 parts"):
        split(timed([5] * 20), 0.2, 0.0, time_column="when")
    with pytest.raises(DataError, match=r"2 different times .* 3 parts"):
        split(timed([5, 6] * 10), 0.2, 0.2, time_column="when")


# What holds however rows are cut

MODES = ("classification", "multilabel", "regression", "instruction", "time")


def any_dataset(mode: str, pairs: list[tuple[int, int]], noise: random.Random) -> Dataset:
    """Rows of a mode; equal numbers give copies, near copies and shared groups."""
    records = []
    for row, (number, edit) in enumerate(pairs, 1):
        words = text(number)
        if edit == 1:
            words = words.upper()
        elif edit == 2:
            words = words.replace(" ", ", ", 1) + "!"
        meta = {"when": noise.randrange(8) if mode == "time" else 0}
        if number % 5 == 0:
            meta["group"] = f"group {number % 10}"
        label = {
            "classification": "abc"[number % 3],
            "multilabel": tuple(x for i, x in enumerate("abc") if number >> i & 1),
            "regression": float(number),
            "instruction": None,
            "time": "abc"[number % 3],
        }[mode]
        if mode == "instruction":
            messages = (Message("user", words), Message("assistant", "yes", train=True))
            records.append(Record(messages=messages, row=row, meta=meta))
        else:
            records.append(Record(words, label=label, row=row, meta=meta))
    task = Task.CLASSIFICATION if mode == "time" else Task(mode)
    return Dataset(task, tuple(records))


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.05, 0.2, 0.4]),
    st.sampled_from([0.0, 0.05, 0.2, 0.4]),
    st.integers(0, 3),
)
def test_parts_are_a_partition_and_what_belongs_together_stays(mode, pairs, validation, test, seed):
    # More than ten near copies of a row are not kept together in so small a set.
    seen: Counter[int] = Counter()
    pairs = [p for p in pairs if (seen.update([p[0]]) or seen[p[0]]) <= 10]
    data = any_dataset(mode, pairs, random.Random(seed))
    column = "when" if mode == "time" else None

    def cut():
        return split(data, validation, test, seed=seed, time_column=column)

    try:
        found = cut()
    except DataError as error:
        assert mode == "time" and "different times" in str(error)
        return
    assert found == cut()
    parts = [rows(part) for _, part in found.items()]
    assert sorted(row for part in parts for row in part) == list(range(1, len(pairs) + 1))
    assert parts[0] and all(part == sorted(part) for part in parts)
    assert (validation > 0 or not parts[1]) and (test > 0 or not parts[2])
    home: dict[object, str] = {}
    together: Counter[object] = Counter()
    for name, part in found.items():
        for record in part:
            key = home_key(record, pairs)
            together[key] += 1
            assert home.setdefault(key, name) == name
    if mode != "time":
        largest = max(together.values())
        labels = len(data.labels)
        for part, share in zip(parts[1:], (validation, test), strict=True):
            assert len(part) <= share * len(pairs) + largest
            if labels < 2:
                assert len(part) >= share * len(pairs) - 2 * largest
        if data.labels:
            assert found.train.labels == data.labels
    else:
        newest = {
            key: max(r.meta["when"] for r in data if home_key(r, pairs) == key) for key in together
        }
        border = {name: {newest[home_key(r, pairs)] for r in part} for name, part in found.items()}
        order = [border[name] for name in ("train", "validation", "test") if border[name]]
        assert all(max(a) < min(b) for a, b in pairwise(order))


def home_key(record: Record, pairs: list[tuple[int, int]]) -> object:
    return record.meta.get("group") or pairs[record.row - 1][0]


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
