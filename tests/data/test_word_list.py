"""Words of a user's list are found as whole words, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunewright.cli.app import run
from tunewright.data.word_list import WordList, read_words
from tunewright.errors import DataError

LIST = "# insults\nidiot\n\nBlöder Hund\nson of a gun\nf**k\nidiot\n"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text(LIST, encoding="utf-8")
    return path


def test_a_list_has_a_word_a_line(words: Path) -> None:
    assert read_words(words) == ("idiot", "blöder hund", "son of a gun", "f**k")


def test_words_are_found_whole_in_any_case_and_spacing(words: Path) -> None:
    searched = WordList(read_words(words))
    assert searched.find("You IDIOT!") == {"idiot"}
    assert searched.find("idiot_proof, idiotic, idiots") == set()
    assert searched.find("Du blo\u0308der\n  HUND, you son  of a gun") == {
        "blöder hund",
        "son of a gun",
    }
    assert searched.find("blöder Hunde, person of a gun") == set()
    assert searched.find("what the F**K?") == {"f**k"}
    assert searched.find("") == set()


def test_check_reports_rows_with_words_of_the_list(
    words: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"the film number {i} was fine", "label": "ab"[i % 2]} for i in range(30)]
    rows[4]["text"] = "what an Idiot wrote this"
    rows[9]["text"] = "idiot, son of a gun"
    path = str(write_rows("rows.jsonl", rows))
    assert run(["check", path, "--words", str(words), "--json"]) == 0
    found = {f["id"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    finding = found["content.words"]
    assert (finding["severity"], finding["rows"]) == ("info", 2)
    assert "2 rows hold words of the list: 'idiot', 'son of a gun'." in finding["message"]
    assert "train row 5" in finding["examples"][0] and "train row 10" in finding["examples"][1]
    assert run(["check", path, "--json"]) == 0
    assert "content.words" not in capsys.readouterr().out
    assert run(["check", path, "--words", str(words), "--fix", str(words.parent / "out")]) == 0
    said = capsys.readouterr().err  # the finding and its fix, before and after: they are left
    assert said.count("2 rows hold words") == 2 and said.count("--also content.words") == 2


def test_a_list_that_is_missing_or_empty_is_an_error(tmp_path: Path, write_rows: Any) -> None:
    with pytest.raises(DataError, match="no file"):
        read_words(tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="no word in it"):
        read_words(empty)
    rows = str(write_rows("rows.jsonl", [{"text": "a", "label": "b"}]))
    assert run(["check", rows, "--words", str(empty)]) == 2
