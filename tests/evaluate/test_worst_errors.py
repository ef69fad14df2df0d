"""The worst errors come with the training rows that are most like them."""

from __future__ import annotations

import numpy as np

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Message, Record
from tunewright.evaluate.answers import Answers
from tunewright.evaluate.worst_errors import nearest_rows, worst_errors

TRAIN = Dataset(
    Task.CLASSIFICATION,
    (
        Record(text="the soup was cold", label="bad", row=1),
        Record(text="a warm and lovely soup", label="good", row=2),
        Record(text="nothing to do with it", label="good", row=3),
    ),
)


def test_the_nearest_training_row_comes_first_with_its_label() -> None:
    (near,) = nearest_rows(["Cold, the soup!"], TRAIN)
    assert [row["row"] for row in near] == [1, 2]
    assert near[0]["label"] == "bad" and near[0]["text"] == "the soup was cold"
    assert 1 >= near[0]["similarity"] > near[1]["similarity"] >= 0.1


def test_a_row_like_no_training_row_has_none_near() -> None:
    assert nearest_rows(["zebra"], TRAIN) == [[]]
    assert nearest_rows(["zebra"], Dataset(Task.CLASSIFICATION, (Record(text="!"),))) == [[]]


def test_wrong_labels_are_ordered_by_how_sure_the_model_was() -> None:
    records = [Record(text=t, label="bad", row=i) for i, t in enumerate(["soup", "cold", "warm"])]
    answers = Answers(
        ["good", "bad", "good"], np.array([[0.4, 0.6], [0.9, 0.1], [0.1, 0.9]]), ("bad", "good")
    )
    found = worst_errors(records, answers, Task.CLASSIFICATION, TRAIN)
    assert [error["row"] for error in found] == [2, 0]
    assert [row["row"] for row in found[0]["nearest"]] == [2]
    assert all("nearest" not in e for e in worst_errors(records, answers, Task.CLASSIFICATION))


def test_training_conversations_show_their_answer() -> None:
    turns = (Message("user", "how warm is soup"), Message("assistant", "very", True))
    near = nearest_rows(["how warm"], Dataset(Task.INSTRUCTION, (Record(messages=turns, row=7),)))
    assert near[0][0] | {"similarity": 0} == {
        "row": 7, "text": "how warm is soup", "answer": "very", "similarity": 0,
    }  # fmt: skip
