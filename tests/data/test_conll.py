"""CoNLL files in the layouts that are in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunewright.config.task import Task
from tunewright.data.conll import looks_like_conll, read_conll
from tunewright.data.files import read_file
from tunewright.data.sources import load
from tunewright.errors import DataError


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


SHARED_TASK = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
-DOCSTART- -X- -X- O

Rome NNP B-NP B-LOC
"""


def test_four_columns_with_documents(tmp_path):
    table = read_file(put(tmp_path / "train.conll", SHARED_TASK))
    assert table.rows == [
        {
            "tokens": ["EU", "rejects"],
            "column_2": ["NNP", "VBZ"],
            "column_3": ["B-NP", "B-VP"],
            "tags": ["B-ORG", "O"],
            "document": 1,
        },
        {
            "tokens": ["Peter"],
            "column_2": ["NNP"],
            "column_3": ["B-NP"],
            "tags": ["B-PER"],
            "document": 1,
        },
        {
            "tokens": ["Rome"],
            "column_2": ["NNP"],
            "column_3": ["B-NP"],
            "tags": ["B-LOC"],
            "document": 2,
        },
    ]
    assert list(table.numbers) == [3, 6, 9]


def test_tabs_keep_spaces_inside_a_token(tmp_path):
    table = read_file(put(tmp_path / "a.iob2", "New York\tB-LOC\r\nis\tO\r\n\r\n\r\nbig\tO"))
    assert table.rows == [
        {"tokens": ["New York", "is"], "tags": ["B-LOC", "O"]},
        {"tokens": ["big"], "tags": ["O"]},
    ]


def test_a_text_file_of_tagged_tokens_is_recognised(tmp_path):
    table = read_file(put(tmp_path / "train.txt", SHARED_TASK))
    assert [row["tags"] for row in table.rows] == [["B-ORG", "O"], ["B-PER"], ["B-LOC"]]
    poem = put(tmp_path / "poem.txt", "O Captain my O\nour fearful trip\n\nthe ship O\n")
    assert [record.text for record in load(poem)] == [
        "O Captain my O\nour fearful trip\n\nthe ship O"
    ]
    assert load(poem).task is Task.TEXT


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("EU B-ORG\nin O\n", True),
        ("EU X B-ORG\nin Y O\n", True),
        ("EU B-ORG\nin X O\n", False),
        ("EU\nin\n", False),
        ("he said\nso what\n", False),
        ("EU B-ORG\n", False),
        ("", False),
    ],
)
def test_what_looks_like_conll(text, yes):
    assert looks_like_conll(text) is yes


def test_conll_u_has_names_for_its_columns(tmp_path):
    text = (
        "# text = vámonos al mar\n"
        "1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
        "1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_\n"
        "2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\n"
        "2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n"
        "3\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_\n"
    )
    (row,) = read_file(put(tmp_path / "a.conllu", text)).rows
    assert (row["tokens"], row["tags"]) == (["vamos", "nos", "mar"], ["VERB", "PRON", "NOUN"])
    assert row["deprel"] == ["root", "obj", "obl"]


def test_a_hash_is_a_token_like_any_other(tmp_path):
    table = read_conll(put(tmp_path / "a.conll", "# O\n1 B-NUM\n"))
    assert table.rows == [{"tokens": ["#", "1"], "tags": ["O", "B-NUM"]}]


def test_ragged_lines_are_errors_with_their_places(tmp_path):
    with pytest.raises(DataError, match=r"line 2 has 1 column, not 2; line 4 has 3 columns, not 2"):
        read_file(put(tmp_path / "a.conll", "EU B-ORG\nrejects\n\na b O\n"))
    with pytest.raises(DataError, match=r"line 1 has 1 column, not 2"):
        read_file(put(tmp_path / "b.conll", "EU\nrejects\n"))
    with pytest.raises(DataError, match="holds no rows"):
        read_file(put(tmp_path / "c.conll", "\n\n"))


def test_a_conll_file_is_read_as_tagged_words(tmp_path):
    found = load(put(tmp_path / "a.conll", "EU I-ORG\nin O\n"))
    (record,) = found
    assert (found.task, record.words, record.label) == (
        "token_classification",
        ("EU", "in"),
        ("B-ORG", "O"),
    )


def test_parts_of_speech_are_refused_with_the_tags_that_are_known(tmp_path):
    with pytest.raises(DataError, match=r"row 1: word 1 has the tag 'VERB'.*O, B-TYPE, I-TYPE"):
        load(put(tmp_path / "a.conll", "vamos VERB\nmar NOUN\n"))
