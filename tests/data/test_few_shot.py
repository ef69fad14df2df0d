"""Examples for a prompt: even, different, or near the query; never a row that is held out."""

from __future__ import annotations

from collections import Counter

import pytest

from tunewright.config.task import Task
from tunewright.data.few_shot import few_shot
from tunewright.data.records import Dataset, Message, Record, Splits
from tunewright.errors import DataError

TOPICS = {
    "food": ["pizza with cheese", "soup with bread", "bread with cheese", "pizza with olives"],
    "sport": ["tennis on grass", "football on grass"],
    "music": ["piano and violin"],
}


def topics(copies: int = 1) -> Dataset:
    records = [
        Record(text, label=label, row=0)
        for label, found in TOPICS.items()
        for text in found
        for _ in range(copies)
    ]
    return Dataset(Task.CLASSIFICATION, tuple(records), "topics.csv")


def labels(found) -> Counter:
    return Counter(record.label for record in found.records)


def test_labels_take_turns_until_one_runs_out():
    assert labels(few_shot(topics(), 3)) == {"food": 1, "sport": 1, "music": 1}
    assert labels(few_shot(topics(), 5)) == {"food": 2, "sport": 2, "music": 1}
    assert labels(few_shot(topics(), 2)) == {"food": 1, "sport": 1}
    assert labels(few_shot(topics(), 99)) == {"food": 4, "sport": 2, "music": 1}


def test_within_a_label_the_rows_that_differ_most_are_taken():
    for seed in range(8):
        food = [r.text for r in few_shot(topics(), 4, seed=seed).records if r.label == "food"]
        # The two rows of a pair share no word but "with".
        assert set(food) in (
            {"pizza with cheese", "soup with bread"},
            {"bread with cheese", "pizza with olives"},
            {"soup with bread", "pizza with olives"},
        )


def test_diverse_rows_cover_what_there_is():
    for seed in range(8):
        found = few_shot(topics(), 3, strategy="diverse", seed=seed)
        assert labels(found) == {"food": 1, "sport": 1, "music": 1}


def test_near_rows_stand_last_and_do_not_repeat_each_other():
    data = Dataset(
        Task.CLASSIFICATION,
        tuple(
            Record(text, label="ab"[i % 2])
            for i, text in enumerate(
                (
                    "rain in the mountains today",
                    "the parcel came late again",
                    "the parcel came late again !",
                    "my parcel was broken",
                    "sun on the coast",
                )
            )
        ),
    )
    found = few_shot(data, 2, query="the parcel came late again and was broken")
    assert found.strategy == "nearest"
    assert [r.text for r in found.records] == ["my parcel was broken", "the parcel came late again"]


def test_a_row_that_is_the_query_is_not_shown():
    found = few_shot(topics(), 7, query="PIZZA with  cheese")
    assert "pizza with cheese" not in [r.text for r in found.records]
    assert len(found.records) == 6


def test_copies_are_shown_once():
    found = few_shot(topics(copies=3), 20)
    assert len({r.text for r in found.records}) == len(found.records) == 7


def test_the_seed_decides():
    data = topics()
    assert few_shot(data, 5, seed=1) == few_shot(data, 5, seed=1)
    assert len({tuple(few_shot(data, 5, seed=s).rows) for s in range(6)}) > 1


def test_rows_that_are_held_out_are_never_shown():
    data = topics()
    splits = Splits(data.select([0, 4]), data.select([1, 5]), data.select([2, 3, 6]))
    for options in ({}, {"strategy": "diverse"}, {"query": "soup with bread and cheese"}):
        found = few_shot(splits, 9, **options)
        assert {r.text for r in found.records} == {"pizza with cheese", "tennis on grass"}


def test_the_prompt_of_labels_says_what_to_do_and_ends_with_the_query():
    found = few_shot(topics().select([0, 4]), 2, query="soup with olives")
    assert found.prompt == (
        "Answer with the label of the text, one of: food, sport.\n\n"
        "Text: tennis on grass\nLabel: sport\n\n"
        "Text: pizza with cheese\nLabel: food\n\n"
        "Text: soup with olives\nLabel:"
    )
    assert [m["role"] for m in found.messages] == [
        "system", "user", "assistant", "user", "assistant", "user"
    ]  # fmt: skip
    assert few_shot(topics().select([0]), 1).prompt.endswith("Label: food")


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [
        (Task.MULTILABEL, ("x", "y"), "Label: x, y"),
        (Task.MULTILABEL, (), "Label: none"),
        (Task.REGRESSION, 2.5, "Number: 2.5"),
    ],
)
def test_other_labels_are_written_as_text(task, label, said):
    data = Dataset(task, (Record("a text", label=label), Record("more", label=label)))
    assert said in few_shot(data, 1).prompt


def test_conversations_become_turns():
    messages = (
        Message("system", "Be brief."),
        Message("user", "What is rain?"),
        Message("assistant", "Water.", train=True),
    )
    data = Dataset(Task.INSTRUCTION, (Record(messages=messages),))
    found = few_shot(data, 3, query="What is snow?")
    assert (
        found.prompt
        == "Question: What is rain?\nAnswer: Water.\n\nQuestion: What is snow?\nAnswer:"
    )
    assert found.messages[-1] == {"role": "user", "content": "What is snow?"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "at least 1"),
        ({"strategy": "nearst", "query": "x"}, "Did you mean 'nearest'"),
        ({"strategy": "nearest"}, "needs a query"),
    ],
)
def test_impossible_wishes_are_refused(options, said):
    with pytest.raises(DataError, match=said):
        few_shot(topics(), **options)


def test_data_without_what_is_needed_is_refused():
    with pytest.raises(DataError, match="no answers to show"):
        few_shot(Dataset(Task.TEXT, (Record("a text"),)))
    with pytest.raises(DataError, match="no training row"):
        few_shot(topics().select([]))
    with pytest.raises(DataError, match="one class label a row"):
        few_shot(Dataset(Task.REGRESSION, (Record("a", label=1.0),)), strategy="balanced")
