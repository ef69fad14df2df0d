"""A labelling session writes each answer before the next, and goes on where it was."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.config.task import Task
from tunewright.data.labelling import SKIPPED, open_session, record_key, row_key
from tunewright.data.records import Dataset, Message, Record
from tunewright.data.sources import load
from tunewright.errors import ArtifactError, DataError

LABELS = ("neg", "pos")


def texts(*found: str) -> Dataset:
    records = (Record(text, row=i + 1, meta={"user": i}) for i, text in enumerate(found))
    return Dataset(Task.TEXT, tuple(records))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


DATA = texts("one film", "two films", "three films", "four films")


def test_each_answer_is_on_the_disk_before_the_next_row_is_asked(tmp_path):
    path = tmp_path / "new" / "labels.jsonl"
    with open_session(DATA, path, LABELS) as session:
        session.label("pos")
        assert lines(path) == [{"text": "one film", "label": "pos", "user": 0}]
        session.comment = "why?"
        session.label("neg")
        assert lines(path)[1] == {
            "text": "two films", "label": "neg", "comment": "why?", "user": 1
        }  # fmt: skip
        assert (session.labelled, session.total, len(session.waiting)) == (2, 4, 2)
        assert session.counts() == {"pos": 1, "neg": 1}


def test_what_has_a_label_is_not_asked_again(tmp_path):
    path = tmp_path / "labels.jsonl"
    with open_session(DATA, path, LABELS) as session:
        session.label("pos")
        session.label("neg")
    with open_session(DATA, path, LABELS) as session:
        assert session.labelled == 2
        assert session.current is not None and session.current.text == "three films"


def test_rows_put_off_come_last_now_and_later(tmp_path):
    path = tmp_path / "labels.jsonl"
    with open_session(DATA, path, LABELS) as session:
        session.skip()
        session.skip()
        assert [r.text for r in session.waiting] == [
            "three films", "four films", "one film", "two films"
        ]  # fmt: skip
    with open_session(DATA, path, LABELS) as session:
        assert [r.text for r in session.waiting][2:] == ["one film", "two films"]
        assert session.skipped == 2
        for label in ("pos", "neg", "pos"):
            session.label(label)
        assert session.skipped == 1
        session.label("neg")
        assert session.current is None and session.skipped == 0
    assert not path.with_name(path.name + SKIPPED).exists()


def test_undo_takes_back_labels_and_skips_in_turn(tmp_path):
    path = tmp_path / "labels.jsonl"
    with open_session(DATA, path, LABELS) as session:
        session.comment = "hm"
        session.label("pos")
        session.skip()
        session.label("neg")
        for expected, written in (("three films", 1), ("two films", 1), ("one film", 0)):
            assert session.undo()
            assert session.current is not None and session.current.text == expected
            assert len(lines(path)) == written
        assert session.comment == "hm"
        assert session.skipped == 0 and session.labelled == 0
        assert not session.undo()


def test_undo_reaches_into_earlier_sessions(tmp_path):
    path = tmp_path / "labels.jsonl"
    with open_session(DATA, path, LABELS) as session:
        session.label("pos")
    with open_session(DATA, path, LABELS) as session:
        assert session.undo()
        assert session.current is not None and session.current.text == "one film"
        session.label("neg")
    assert lines(path) == [{"text": "one film", "label": "neg", "user": 0}]


def test_labels_of_other_rows_in_the_file_are_kept(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"text": "another film", "label": "pos"}\n')
    with open_session(DATA, path, LABELS) as session:
        assert (session.labelled, session.total) == (0, 4)
        assert not session.undo()
        session.label("neg")
    assert [row["text"] for row in lines(path)] == ["another film", "one film"]


def test_copies_are_asked_once_and_empty_rows_never(tmp_path):
    data = texts("One  film", "one film", " ", "two films", "ONE FILM ")
    with open_session(data, tmp_path / "labels.jsonl", LABELS) as session:
        assert (session.total, session.copies, session.empty) == (2, 2, 1)
        session.label("pos")
        session.label("pos")
        assert session.current is None
    assert [row["text"] for row in lines(tmp_path / "labels.jsonl")] == ["One  film", "two films"]


def test_the_label_a_row_had_is_kept_beside_the_new_one(tmp_path):
    records = (Record("one film", label="pos"), Record("two films", label="pos"))
    data = Dataset(Task.CLASSIFICATION, records)
    with open_session(data, tmp_path / "labels.jsonl", LABELS) as session:
        session.label("neg")
        session.label("pos")
    assert lines(tmp_path / "labels.jsonl") == [
        {"text": "one film", "label": "neg", "label_before": "pos"},
        {"text": "two films", "label": "pos"},
    ]


def test_pairs_and_conversations_can_be_labelled_and_found_again(tmp_path):
    data = Dataset(
        Task.INSTRUCTION,
        (
            Record("a man runs", text_pair="a man moves"),
            Record(messages=(Message("user", "Hi?"), Message("assistant", "Hello.", train=True))),
        ),
    )
    path = tmp_path / "labels.jsonl"
    with open_session(data, path, LABELS) as session:
        session.label("pos")
        session.label("neg")
    first, second = lines(path)
    assert (first["text"], first["text_pair"]) == ("a man runs", "a man moves")
    assert second["text"] == "Hi?\nHello."
    assert [row_key(row) for row in (first, second)] == [record_key(r) for r in data]
    with open_session(data, path, LABELS) as session:
        assert session.current is None


def test_the_file_is_a_source_with_the_labels(tmp_path):
    path = tmp_path / "labels.jsonl"
    with open_session(DATA, path, LABELS) as session:
        for label in ("pos", "neg", "pos", "neg"):
            session.label(label)
    found = load(path)
    assert found.task is Task.CLASSIFICATION
    assert [(r.text, r.label) for r in found][:2] == [("one film", "pos"), ("two films", "neg")]


def test_a_last_line_cut_short_is_taken_off(tmp_path):
    path = tmp_path / "labels.jsonl"
    whole = '{"text": "one film", "label": "pos"}\n'
    for torn in ('{"text": "two fi', '{"text": "two films", "label"', "\x00\x00"):
        path.write_text(whole + torn)
        with open_session(DATA, path, LABELS) as session:
            assert session.current is not None and session.current.text == "two films"
        assert path.read_text() == whole
    path.write_text(whole + '{"text": "two films", "label": "neg"}')
    with open_session(DATA, path, LABELS) as session:
        assert session.labelled == 2
    assert path.read_text().endswith('"neg"}\n')


def test_a_file_that_is_something_else_is_refused_and_stays(tmp_path):
    path = tmp_path / "labels.jsonl"
    for content, said in (
        ("a,b\n1,2\n", "line 1 is not JSON"),
        ("[1, 2]\n", "line 1 has no text and label"),
        ("a text without an end", "line 1 is not JSON"),
        ("\x00\x00", "line 1 is not JSON"),
        ('{"text": "x", "label": "pos"}\nnotes of mine', "line 2 is not JSON"),
        ('{"prompt": "x", "completion": "y"}\n', "line 1 has no text and label"),
        ('{"text": "x", "label": "other"}\n', "'other', which is not among those to give"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=said), open_session(DATA, path, LABELS):
            raise AssertionError("the session began")
        assert path.read_text() == content
    with pytest.raises(ArtifactError, match="is a folder"), open_session(DATA, tmp_path, LABELS):
        raise AssertionError("the session began")


def test_two_sessions_cannot_write_one_file(tmp_path):
    path = tmp_path / "labels.jsonl"
    with open_session(DATA, path, LABELS) as session:
        session.label("pos")
        session.undo()  # the file is a new one after this
        session.label("pos")
        with pytest.raises(ArtifactError, match="in use by another session"):
            open_session(DATA, path, LABELS).__enter__()
    with open_session(DATA, path, LABELS) as session:
        assert session.labelled == 1


def test_nothing_is_left_behind_where_nothing_was_labelled(tmp_path):
    with open_session(DATA, tmp_path / "labels.jsonl", LABELS) as session:
        session.label("pos")
        session.undo()
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("psuk"), max_size=25), st.integers(0, 99))
def test_any_keys_and_any_kills_lose_no_row_and_double_none(tmp_path_factory, keys, seed):
    path = tmp_path_factory.mktemp("label") / "labels.jsonl"
    noise = random.Random(seed)
    manager = open_session(DATA, path, LABELS)
    session = manager.__enter__()
    for key in keys:
        if key == "k":  # killed: the lines so far, perhaps a piece of the next, and no goodbye
            manager.__exit__(None, None, None)
            if path.exists() and noise.random() < 0.5:
                path.write_text(path.read_text() + '{"text": "tw')
            manager = open_session(DATA, path, LABELS)
            session = manager.__enter__()
        elif key == "u":
            session.undo()
        elif session.current is not None:
            session.label("pos") if key == "p" else session.skip()
        asked = [record.text for record in session.waiting]
        written = [row["text"] for row in lines(path)]
        assert sorted(asked + written) == sorted(record.text for record in DATA)
        assert session.labelled == len(written)
    manager.__exit__(None, None, None)
