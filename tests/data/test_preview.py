"""The first rows of a source, by role."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunewright.cli.app import run
from tunewright.data.preview import preview
from tunewright.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_rows) -> Path:
    write_rows(
        "posts.jsonl",
        [{"tweet": f"tweet {i}", "mood": "ab"[i % 2], "text": "no", "id": i} for i in range(9)],
    )
    write_rows("asked.jsonl", [{"instruction": "Add.", "input": "1 1", "output": "2"}] * 3)
    write_rows(
        "preferred.jsonl",
        [{"prompt": "Hi", "chosen": "Hello", "rejected": "No", "score": 3}] * 4,
    )
    write_rows("marked.jsonl", [{"prompt": "Hi", "completion": "Hello", "label": True}] * 4)
    write_rows("tagged.jsonl", [{"tokens": ["EU", "is"], "tags": ["B-ORG", "O"]}] * 4)
    (tmp_path / "parts").mkdir()
    write_rows("parts/train.jsonl", [{"text": "one", "labels": ["x", "y"]}])
    write_rows("parts/test.jsonl", [{"text": "two", "labels": ["x"]}] * 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def test_rows_are_shown_by_role_as_the_model_sees_them(folder):
    found = preview("posts.jsonl", 2, columns={"text": "tweet", "label": "mood"})
    assert found.columns == {"text": "tweet", "label": "mood"}
    assert (found.task, found.trainable) == ("classification", True)
    assert found.unused == ["text", "id"]
    assert found.parts == {"train": 9, "validation": 0, "test": 0}
    assert [(s.row, s.roles) for s in found.rows] == [
        (1, {"text": "tweet 0", "label": "a"}),
        (2, {"text": "tweet 1", "label": "b"}),
    ]
    assert preview("asked.jsonl", 1).rows[0].roles == {
        "messages": [["user", "Add.\n\n1 1"], ["assistant", "2"]]
    }


def test_rows_go_on_in_the_next_part(folder):
    found = preview("parts", 2)
    assert [(s.part, s.roles) for s in found.rows] == [
        ("train", {"text": "one", "labels": ["x", "y"]}),
        ("test", {"text": "two", "labels": ["x"]}),
    ]
    assert len(preview("posts.jsonl", 50, columns={"text": "tweet"}).rows) == 9


@pytest.mark.parametrize(
    ("name", "kind", "roles"),
    [
        ("preferred", "preference", {"prompt": "Hi", "chosen": "Hello", "rejected": "No"}),
        ("marked", "unpaired preference", {"prompt": "Hi", "completion": "Hello", "label": True}),
    ],
)
def test_rows_that_cannot_be_trained_on_are_shown_all_the_same(folder, name, kind, roles):
    found = preview(f"{name}.jsonl", 1)
    assert (found.task, found.trainable, found.rows[0].roles) == (kind, False, roles)
    assert "cannot train on yet" in found.note


def test_tagged_words_are_shown_with_their_tags(folder):
    found = preview("tagged.jsonl", 1)
    assert (found.task, found.trainable) == ("token_classification", True)
    assert found.rows[0].roles == {"tokens": ["EU", "is"], "tags": ["B-ORG", "O"]}


def test_a_mapping_makes_them_trainable(folder):
    found = preview("preferred.jsonl", 1, columns={"prompt": "prompt", "completion": "chosen"})
    assert (found.task, found.trainable) == ("instruction", True)


def test_a_source_that_fits_nothing_is_an_error(folder, write_rows):
    write_rows("odd.jsonl", [{"a": 1, "b": 2}])
    with pytest.raises(DataError, match="not clear what the rows"):
        preview("odd.jsonl")


def test_the_command_prints_json_for_a_machine(folder, capsys):
    assert run(["data", "head", "asked.jsonl", "-n", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 2
    assert found["rows"][0] == {
        "part": "train",
        "source": "asked.jsonl",
        "row": 1,
        "roles": {"messages": [["user", "Add.\n\n1 1"], ["assistant", "2"]]},
    }


def test_the_command_prints_words_for_a_person(folder, capsys):
    words = ["posts.jsonl#3", "--column", "text=tweet", "--column", "label=mood", "--rows", "1"]
    assert run(["data", "head", *words]) == 0
    shown = capsys.readouterr().err
    assert "posts.jsonl#3: 3 rows (train 3), task classification" in shown
    assert "text from 'tweet', label from 'mood'" in shown
    assert "not used: 'text', 'id'" in shown
    assert run(["data", "head", "tagged.jsonl", "-n", "1"]) == 0
    assert "EU[B-ORG] is\n" in capsys.readouterr().err
    assert run(["data", "head", "gone.jsonl"]) == 2
