"""Tasks and columns are found without registering a data set."""

from __future__ import annotations

import pytest

from tunewright.config.task import Task
from tunewright.data.convert import to_records
from tunewright.data.detect import detect
from tunewright.data.records import Message
from tunewright.data.table import Table
from tunewright.errors import DataError


def table(*rows, **more) -> Table:
    return Table("rows.jsonl", list(rows), **more)


def records(*rows, task="auto", columns=None, **more):
    found = table(*rows, **more)
    return to_records(found, detect(found, task=task, columns=columns))


CASES = [
    ({"text": "a", "label": "x"}, Task.CLASSIFICATION, {"text": "text", "label": "label"}),
    ({"tweet": "a", "mood": "x"}, Task.CLASSIFICATION, {"text": "tweet", "label": "mood"}),
    ({"Sentence": "a", "Class": 3}, Task.CLASSIFICATION, {"text": "Sentence", "label": "Class"}),
    ({"content": "a", "intent": "x"}, Task.CLASSIFICATION, {"text": "content", "label": "intent"}),
    ({"id": 1, "text": "a", "rating": -1.5, "label": "x"}, Task.CLASSIFICATION,
     {"text": "text", "label": "label"}),
    ({"text": "a", "rating": 2.5}, Task.REGRESSION, {"text": "text", "label": "rating"}),
    ({"review": "a", "score": "0.25"}, Task.REGRESSION, {"text": "review", "label": "score"}),
    ({"text": "a", "label": 0.3}, Task.REGRESSION, {"text": "text", "label": "label"}),
    ({"text": "a", "stars": 4}, Task.CLASSIFICATION, {"text": "text", "label": "stars"}),
    ({"text": "a", "labels": ["x", "y"]}, Task.MULTILABEL, {"text": "text", "labels": "labels"}),
    ({"text": "a", "labels": '["x"]'}, Task.MULTILABEL, {"text": "text", "labels": "labels"}),
    ({"text": "a", "labels": 1}, Task.CLASSIFICATION, {"text": "text", "label": "labels"}),
    ({"sentence1": "a", "sentence2": "b", "score": 2.5}, Task.REGRESSION,
     {"text": "sentence1", "text_pair": "sentence2", "label": "score"}),
    ({"premise": "a", "hypothesis": "b", "label": 0}, Task.CLASSIFICATION,
     {"text": "premise", "text_pair": "hypothesis", "label": "label"}),
    ({"question1": "a", "question2": "b", "label": "x"}, Task.CLASSIFICATION,
     {"text": "question1", "text_pair": "question2", "label": "label"}),
    ({"text": "a", "text_pair": "b", "label": "x"}, Task.CLASSIFICATION,
     {"text": "text", "text_pair": "text_pair", "label": "label"}),
    ({"prompt": "a", "completion": "b"}, Task.INSTRUCTION,
     {"prompt": "prompt", "completion": "completion"}),
    ({"prompt": "a", "response": "b"}, Task.INSTRUCTION,
     {"prompt": "prompt", "completion": "response"}),
    ({"instruction": "a", "input": "", "output": "b"}, Task.INSTRUCTION,
     {"prompt": "instruction", "input": "input", "completion": "output"}),
    ({"instruction": "a", "context": "c", "response": "b", "category": "x"}, Task.INSTRUCTION,
     {"prompt": "instruction", "input": "context", "completion": "response"}),
    ({"question": "a", "answer": "b"}, Task.INSTRUCTION,
     {"prompt": "question", "completion": "answer"}),
    ({"document": "a", "summary": "b"}, Task.INSTRUCTION,
     {"prompt": "document", "completion": "summary"}),
    ({"messages": [{"role": "user", "content": "a"}]}, Task.INSTRUCTION, {"messages": "messages"}),
    ({"conversations": [{"from": "human", "value": "a"}], "system": "s"}, Task.INSTRUCTION,
     {"system": "system", "messages": "conversations"}),
    ({"text": "a"}, Task.TEXT, {"text": "text"}),
    ({"words": "a"}, Task.TEXT, {"text": "words"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "task", "columns"), CASES)
def test_task_and_columns_are_detected(row, task, columns):
    found = detect(table(row, row))
    assert (found.task, found.columns) == (task, columns)


def test_columns_of_0_and_1_are_labels():
    rows = [
        {"id": str(i + 7), "comment_text": f"words {i}", "toxic": i % 2, "insult": "0", "ok": True}
        for i in range(6)
    ]
    found = detect(table(*rows))
    assert found.task is Task.MULTILABEL and found.flags == ("toxic", "insult", "ok")
    assert found.columns == {"text": "comment_text", "labels": "toxic, insult, ok"}
    assert "task=text ignores them" in found.reason
    assert detect(table(*rows), task="text").columns == {"text": "comment_text"}
    made = records(*rows)
    assert [record.label for record in made[:2]] == [("ok",), ("toxic", "ok")]
    assert made[0].meta == {"id": "7"}
    # By hand, some of them, beside a column that would be the label.
    rows = [row | {"label": "x"} for row in rows]
    assert detect(table(*rows)).columns["label"] == "label"
    columns = {"labels": "toxic,ok"}
    assert detect(table(*rows), columns=columns).flags == ("toxic", "ok")
    assert [r.label for r in records(*rows, columns=columns)[:2]] == [("ok",), ("toxic", "ok")]
    with pytest.raises(DataError, match="row 2: column 'toxic' has 3 where 0 or 1 is expected"):
        records(rows[0], rows[1] | {"toxic": 3}, columns=columns)
    # One such column is a label, and a number that is missing somewhere is none.
    assert detect(table(*({"text": "a", "spam": 1}, {"text": "b", "spam": 0}))).task is Task.TEXT
    said = {"url": "x.org", "author": "me", "day": "1 May", "is_code": 0, "is_long": 1}
    assert detect(table({"text": "a"} | said, {"text": "b"} | said)).task is Task.TEXT
    gaps = [{"text": "a", "u": 1, "v": None}, {"text": "b", "u": 0, "v": 1}]
    assert detect(table(*gaps)).task is Task.TEXT


def test_labels_in_one_text_are_split_where_they_come_in_several_sets():
    sets = ["good|travel", "good", "bad|travel", "bad", "travel"]
    rows = [{"comment": f"words {i}", "tags": tags} for i, tags in enumerate(sets)]
    found = detect(table(*rows))
    assert found.task is Task.MULTILABEL and "split at '|'" in found.reason
    assert records(*rows)[0].label == ("good", "travel")
    # A comma in the name of a class does not make it two.
    names = [{"text": "a", "label": "Health, food"}, {"text": "b", "label": "Sport"}]
    assert detect(table(*names)).task is Task.CLASSIFICATION


def test_numbers_with_a_comma_are_refused():
    rows = [{"text": "a", "score": "0,83"}, {"text": "b", "score": "1,5"}]
    with pytest.raises(DataError, match=r"'score' has numbers with a comma, such as '0,83'.*0\.83"):
        detect(table(*rows))
    with pytest.raises(DataError, match="numbers with a comma"):
        detect(table(*({"text": row["text"], "label": row["score"]} for row in rows)))


def test_values_inside_objects_are_columns_too():
    rows = [{"translation": {"en": f"{i} apples", "fr": f"{i} pommes"}} for i in range(3)]
    with pytest.raises(DataError, match=r"in them 'translation.en', 'translation.fr'\. Say which"):
        detect(table(*rows))
    columns = {"prompt": "translation.en", "completion": "translation.fr"}
    made = records(*rows, columns=columns)
    assert made[1].messages[0].content == "1 apples" and made[1].messages[1].content == "1 pommes"
    with pytest.raises(DataError, match=r"no column 'translation\.de'"):
        detect(table(*rows), columns=columns | {"completion": "translation.de"})


def test_unnamed_columns_are_told_apart_by_their_values():
    rows = [
        {"v1": "ham" if i % 2 else "spam", "v2": f"a sentence with number {i} in it"}
        for i in range(8)
    ]
    found = detect(table(*rows))
    assert found.columns == {"text": "v2", "label": "v1"}
    assert "guessed" in found.reason


def test_a_mapping_names_the_columns_and_the_rest_is_detected():
    row = {"body": "a", "topic": "b", "kind": "x"}
    found = detect(table(row), columns={"label": "kind"})
    assert found.columns == {"text": "body", "label": "kind"}
    found = detect(table(row), columns={"text": "topic", "label": "kind"})
    assert found.columns == {"text": "topic", "label": "kind"}
    found = detect(table(row), columns={"question": "body", "answer": "topic"})
    assert found.task is Task.INSTRUCTION


def test_an_explicit_task_overrides_detection():
    row = {"text": "a", "label": "x", "rating": 1.5}
    assert detect(table(row), task="regression").columns == {"text": "text", "label": "rating"}
    assert detect(table(row), task="text").columns == {"text": "text"}
    with pytest.raises(DataError, match=r"does not fit task 'instruction'.*'text', 'label'"):
        detect(table(row), task="instruction")
    with pytest.raises(DataError, match="Did you mean 'regression'"):
        detect(table(row), task="regresion")


def test_a_wrong_column_lists_those_found_and_the_nearest():
    row = {"tweet": "a", "mood": "x"}
    with pytest.raises(DataError, match=r"no column 'twet' for text.*'tweet'\?.*'tweet', 'mood'"):
        detect(table(row), columns={"text": "twet"})
    with pytest.raises(DataError, match=r"Unknown role 'labl'.*'label'"):
        detect(table(row), columns={"labl": "mood"})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"prompt": "a", "completion": "b", "label": True},
    ],
)
def test_shapes_that_cannot_be_trained_on_yet_are_refused(row):
    with pytest.raises(DataError, match="cannot train on yet"):
        detect(table(row))


@pytest.mark.parametrize(
    ("row", "columns", "roles"),
    [
        ({"tokens": ["a"], "tags": ["O"]}, None, {"tokens": "tokens", "tags": "tags"}),
        ({"words": ["a"], "ner_tags": ["O"]}, None, {"tokens": "words", "tags": "ner_tags"}),
        (
            {"w": '["a", "b"]', "t": '["O", "O"]', "id": "1"},  # as CSV has lists
            {"tokens": "w", "tags": "t"},
            {"tokens": "w", "tags": "t"},
        ),
        ({"text": "a b", "tokens": ["a", "b"], "tags": ["O", "O"]}, None, None),
    ],
)
def test_words_and_a_tag_for_each_are_tagged_words(row, columns, roles):
    found = detect(table(row), columns=columns)
    assert found.task == "token_classification"
    assert roles is None or found.columns == roles


def test_a_text_with_a_list_of_tags_stays_multilabel():
    assert detect(table({"text": "a b", "tags": ["x", "y"]})).task == "multilabel"


def test_unclear_columns_ask_for_a_mapping():
    with pytest.raises(DataError, match=r"not clear.*'en', 'de'.*columns="):
        detect(table({"en": "a", "de": "b"}))


def test_alpaca_rows_become_a_prompt_and_a_trained_answer():
    first, second = records(
        {"instruction": "Add.", "input": "1 and 2", "output": "3", "id": 7},
        {"instruction": "Greet.", "input": "", "output": "Hi"},
    )
    assert first.messages == (
        Message("user", "Add.\n\n1 and 2"),
        Message("assistant", "3", train=True),
    )
    assert first.meta == {"id": 7}
    assert second.messages[0].content == "Greet."


def test_every_assistant_turn_trains_unless_it_says_not():
    (record,) = records(
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "train": False},
                {"role": "user", "content": "c"},
                {"role": "assistant", "content": "d", "weight": 0},
                {"role": "assistant", "content": "e", "weight": None},
                {"role": "assistant", "content": [{"type": "text", "text": "f"}]},
            ]
        }
    )
    assert [(m.role, m.content) for m in record.messages if m.train] == [
        ("assistant", "e"),
        ("assistant", "f"),
    ]
    assert record.messages[0] == Message("system", "s")


def test_sharegpt_roles_and_system_column():
    (record,) = records(
        {
            "system": "Be kind.",
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "gpt", "value": "b"},
            ],
        }
    )
    assert [m.role for m in record.messages] == ["system", "user", "assistant"]


def test_prompt_and_completion_may_be_turns():
    (record,) = records(
        {
            "prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "completion": [{"role": "assistant", "content": "c"}],
        }
    )
    assert [m.train for m in record.messages] == [False, False, True]


def test_labels_become_strings():
    rows = records(
        {"text": "a", "label": 0},
        {"text": "b", "label": 1.0},
        {"text": "c", "label": " x "},
        {"text": "d", "label": True},
    )
    assert [r.label for r in rows] == ["0", "1", "x", "true"]
    named = records({"text": "a", "label": 1}, classes={"label": ["no", "yes"]})
    assert named[0].label == "yes"


def test_multilabel_texts_and_repeats():
    rows = records({"text": "a", "labels": "x|y"}, {"text": "b", "labels": "z"}, task="multilabel")
    assert [r.label for r in rows] == [("x", "y"), ("z",)]
    assert records({"text": "a", "labels": ["x", "x", 2]})[0].label == ("x", "2")
    assert records({"text": "a", "labels": ["x"]}, {"text": "b", "labels": []})[1].label == ()


def test_the_first_of_several_references_is_learned_and_all_are_kept():
    (record,) = records({"document": "d", "summary": ["one", "two"]})
    assert record.messages[-1].content == "one"
    assert record.meta["references"] == ["one", "two"]


def test_unused_columns_with_reserved_names_survive():
    rows = records({"instruction": "a", "output": "b", "text": "a b"})
    assert rows[0].meta == {"text_column": "a b"}
    assert records({"text": "a", "label": "x", "rating": 2.5}, task="regression")[0].meta == {
        "label_column": "x"
    }


def test_halves_of_characters_are_joined_or_replaced():
    rows = records({"text": "\ud83d\ude00 ok"}, {"text": "broken \ud83d"})
    assert [r.text for r in rows] == ["\U0001f600 ok", "broken \ufffd"]


BAD = [
    ([{"text": "a", "label": "x"}, {"text": "b", "label": None}], "row 2: column 'label' has no"),
    ([{"text": {"a": 1}, "label": "x"}, {"text": "a", "label": "x"}, {"text": "b", "label": "x"}],
     "row 1: column 'text' has an object"),
    ([{"text": "a", "rating": 1.5}, {"text": "b", "rating": 2.5}, {"text": "c", "rating": None}],
     "row 3: column 'rating' has None"),
    ([{"messages": [{"role": "user", "content": "a"}]}], "no assistant turn"),
    ([{"messages": [{"role": "usr", "content": "a"}, {"role": "assistant", "content": "b"}]}],
     "unknown role 'usr'"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "message"), BAD)
def test_rows_that_do_not_fit_are_named(rows, message):
    with pytest.raises(DataError, match=message):
        records(*rows)


def test_many_bad_rows_are_counted_once():
    rows = [{"text": "a", "label": "x"}] * 3 + [{"text": "a", "label": ""}] * 5
    with pytest.raises(DataError, match=r"5 rows do not fit.*row 4:.*and 2 more"):
        records(*rows)


@pytest.mark.parametrize(
    ("question", "reasoning", "answer"),
    [
        ("instruction", "reasoning", "answer"),
        ("question", "rationale", "answer"),
        ("question", "cot", "answer"),
        ("prompt", "chain_of_thought", "completion"),
        ("problem", "solution", "answer"),
    ],
)
def test_reasoning_goes_before_the_answer(question, reasoning, answer):
    found = table({question: "2 + 2 * 2?", reasoning: "First 2 * 2 = 4.\n", answer: 6})
    detection = detect(found)
    assert detection.task is Task.INSTRUCTION
    assert detection.columns == {"prompt": question, "reasoning": reasoning, "completion": answer}
    (record,) = to_records(found, detection)
    assert [(m.role, m.content, m.train) for m in record.messages] == [
        ("user", "2 + 2 * 2?", False),
        ("assistant", "First 2 * 2 = 4.\n\nAnswer: 6", True),
    ]
    assert record.meta == {}


def test_reasoning_is_mapped_by_role_and_a_row_may_lack_it():
    rows = [{"q": "a?", "why": "Because.", "a": "b"}, {"q": "c?", "why": None, "a": "d"}]
    mapping = {"prompt": "q", "reasoning": "why", "completion": "a"}
    found = table(*rows)
    records = to_records(found, detect(found, columns=mapping))
    assert [r.messages[-1].content for r in records] == ["Because.\n\nAnswer: b", "Answer: d"]


def test_a_solution_without_another_answer_is_the_answer():
    assert detect(table({"problem": "1 + 1?", "solution": "2"})).columns == {
        "prompt": "problem",
        "completion": "solution",
    }


def test_reasoning_before_turns():
    turns = [{"role": "user", "content": "1 + 1?"}]
    found = table({"prompt": turns, "reasoning": "Count.", "completion": "2"})
    (record,) = to_records(found, detect(found))
    assert record.messages[-1].content == "Count.\n\nAnswer: 2"
    found = table(
        {
            "prompt": turns,
            "reasoning": "Count.",
            "completion": [{"role": "assistant", "content": "2"}],
        }
    )
    with pytest.raises(DataError, match=r"reasoning \(column 'reasoning'\) goes before an answer"):
        to_records(found, detect(found))
