"""Labels are evened out in the training rows, by rows or by weights, and nothing else changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from tunewright.config.task import Task
from tunewright.data.balance import (
    balanced,
    class_weights,
    label_weights,
    require_fit,
    said_of_balance,
    said_of_skew,
)
from tunewright.data.records import Dataset, Record
from tunewright.errors import ConfigError


def dataset(counts: dict[str, int], task: Task = Task.CLASSIFICATION) -> Dataset:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return Dataset(
        task, tuple(Record(text=f"t{i}", label=x, row=i + 1) for i, x in enumerate(labels))
    )


def test_oversampling_gives_every_label_as_many_rows_each_as_often_as_the_next():
    data = dataset({"a": 70, "b": 20, "c": 7})
    found = balanced(data, "oversample", seed=3)
    assert Counter(r.label for r in found) == {"a": 70, "b": 70, "c": 70}
    assert found.records[: len(data)] == data.records
    times = Counter(record.row for record in found)
    for label, often in (("a", {1}), ("b", {3, 4}), ("c", {10})):
        assert {times[r.row] for r in data if r.label == label} == often


def test_undersampling_keeps_the_rarest_label_whole_and_the_order():
    data = dataset({"a": 70, "b": 20, "c": 7})
    found = balanced(data, "undersample", seed=3)
    assert Counter(r.label for r in found) == {"a": 7, "b": 7, "c": 7}
    numbers = [record.row for record in found]
    assert numbers == sorted(set(numbers))
    assert {r.row for r in found if r.label == "c"} == {r.row for r in data if r.label == "c"}


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
def test_the_seed_decides_which_rows_are_drawn(balance):
    data = dataset({"a": 70, "b": 20})
    assert balanced(data, balance, 1) == balanced(data, balance, 1)
    assert balanced(data, balance, 1) != balanced(data, balance, 2)


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_rows_stay_where_none_are_drawn(balance):
    data = dataset({"a": 3, "b": 1})
    assert balanced(data, balance) is data


def test_weights_are_inverse_to_frequency_and_one_on_average():
    targets = [0] * 6 + [1] * 3 + [2]
    # n / (k n_c) = 10 / (3 * 6), 10 / (3 * 3), 10 / (3 * 1)
    found = class_weights(targets, 3)
    assert found == pytest.approx([5 / 9, 10 / 9, 10 / 3])
    assert np.mean([found[t] for t in targets]) == pytest.approx(1.0)
    assert found == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(3), y=targets).tolist()
    )


def test_a_class_without_training_rows_changes_no_weight():
    assert class_weights([0, 0, 0, 2], 3) == pytest.approx([4 / 6, 1.0, 2.0])


def test_weights_of_labels_are_one_on_average_for_each_label():
    targets = [[1.0, 0.0, 1.0]] * 3 + [[0.0, 0.0, 1.0]] * 1
    absent, present = label_weights(targets)
    # first label: 3 of 4 rows; 4 / (2 * 1) where absent, 4 / (2 * 3) where present
    assert (absent[0], present[0]) == pytest.approx((2.0, 2 / 3))
    assert (absent[1], present[2]) == (1.0, 1.0)
    weights = np.where(np.array(targets) > 0, present, absent)
    assert weights.mean(axis=0) == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("balance", ["oversample", "undersample", "weights"])
def test_tasks_without_labels_are_refused(balance):
    for task in (Task.REGRESSION, Task.INSTRUCTION, Task.TEXT):
        with pytest.raises(ConfigError, match="no class labels"):
            require_fit(balance, task)
        require_fit("none", task)


def test_rows_with_several_labels_take_weights_only():
    require_fit("weights", Task.MULTILABEL)
    for balance in ("oversample", "undersample"):
        with pytest.raises(ConfigError, match=r"Use data\.balance: weights"):
            require_fit(balance, Task.MULTILABEL)


def test_rows_before_and_after_are_told():
    data = dataset({"a": 70, "b": 20})
    said = said_of_balance(data, balanced(data, "oversample"))
    assert said == "90 training rows became 140: a 70 to 70, b 20 to 70"


def test_skew_is_told_from_three_to_one_on():
    assert said_of_skew(dataset({"a": 299, "b": 100})) == ""
    assert said_of_skew(dataset({"a": 300, "b": 100})).startswith("a has 3.0 times the rows of b")
    assert said_of_skew(dataset({"a": 300})) == ""
