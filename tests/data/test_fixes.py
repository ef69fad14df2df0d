"""A cleaned copy loses nothing: what is not in it is beside it, with its reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tunewright.checking import fix
from tunewright.cli.app import run
from tunewright.data.audit import audit
from tunewright.data.fix_options import ASKED, MASKING, SAFE
from tunewright.data.fixes import REMOVED, write_fixed
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.data.sources import load_splits
from tunewright.errors import ArtifactError, DataError

WORDS = ["river", "castle", "engine", "violin", "harbour"]
WORDS += ["pepper", "lantern", "meadow", "copper", "winter"]


def text(i: int) -> str:
    return " ".join(WORDS[(i * k + k) % 10] + chr(97 + (i * k) % 26) * 2 for k in range(1, 9))


def broken() -> Splits:
    train = [Record(text(i), label="ab"[i % 2], row=i + 1, meta={"id": i}) for i in range(40)]
    train += [
        Record(" ", label="a", row=41),
        Record(text(3).upper(), label="b", row=42),
        Record("bell\x07 and cafÃ©s at the harbour", label="a", row=43),
        Record("write to jo@example.org about the lantern", label="b", row=44),
    ]
    test = [
        Record(text(5), label="b", row=1),
        Record(text(7) + "!!", label="b", row=2),
        Record("a row that is only in the test part", label="a", row=3),
    ]
    kind = Task.CLASSIFICATION
    return Splits(Dataset(kind, tuple(train)), Dataset(kind, ()), Dataset(kind, tuple(test)))


def ids(splits: Splits) -> set[str]:
    return {finding.id for finding in audit(splits).findings}


def test_the_copy_has_none_of_what_was_fixed_and_loses_no_row(tmp_path: Path) -> None:
    data = broken()
    assert {"empty.text", "duplicate.exact", "leakage.exact", "leakage.near"} <= ids(data)
    fixed = write_fixed(data, tmp_path / "out", mask=True)
    assert fixed.removed == {
        "empty.text": 1, "duplicate.exact": 1, "leakage.exact": 1, "leakage.near": 1
    }  # fmt: skip
    assert fixed.changed == {"encoding.damage": 1, "encoding.control": 1, "personal.data": 1}
    assert fixed.rows == {"train": 42, "validation": 0, "test": 1}
    again = load_splits(str(tmp_path / "out"), 0.0, 0.0)
    assert again.task is Task.CLASSIFICATION
    assert not ids(again) & {*SAFE, *MASKING}
    removed = [json.loads(line) for line in (tmp_path / "out" / REMOVED).read_text().splitlines()]
    kept = Counter(r.text for _, part in again.items() for r in part)
    gone = Counter(row["before"]["text"] for row in removed if "after" not in row)
    first = {}
    for row in removed:  # a row may be changed twice: its first form is what it was
        if "after" in row:
            after = row["after"]["text"]
            first[after] = first.pop(row["before"]["text"], row["before"]["text"])
    put_back = Counter(first.get(said, said) for said in kept.elements())
    was = Counter(r.text for _, part in data.items() for r in part)
    assert put_back + gone == was
    assert {(row["finding"], row["part"], row["row"]) for row in removed if "after" not in row} == {
        ("empty.text", "train", 41),
        ("duplicate.exact", "train", 42),
        ("leakage.exact", "test", 1),
        ("leakage.near", "test", 2),
    }


def test_columns_that_the_task_does_not_use_are_kept(tmp_path: Path) -> None:
    write_fixed(broken(), tmp_path / "out")
    rows = [
        json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()
    ]
    assert rows[4]["id"] == 4


def test_personal_data_stays_unless_it_is_to_be_masked(tmp_path: Path) -> None:
    fixed = write_fixed(broken(), tmp_path / "out")
    assert "personal.data" not in fixed.changed
    assert "jo@example.org" in (tmp_path / "out" / "train.jsonl").read_text()


def test_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    write_fixed(broken(), tmp_path / "one", mask=True)
    again = load_splits(str(tmp_path / "one"), 0.0, 0.0)
    second = write_fixed(again, tmp_path / "two", mask=True)
    assert (second.removed, second.changed) == ({}, {})
    one, two = (tmp_path / name / "train.jsonl" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "two" / REMOVED).read_text() == ""


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="there already"):
        write_fixed(broken(), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    with pytest.raises(ArtifactError, match="there already"):
        write_fixed(broken(), tmp_path / "out" / "mine.txt")


def test_a_copy_within_its_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="its own copy"):
        fix(str(tmp_path), broken(), tmp_path / "cleaned")
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_which_nothing_is_left_is_not_written(tmp_path: Path) -> None:
    empty = Dataset(Task.CLASSIFICATION, (Record(" ", label="a"), Record("", label="b")))
    none = Dataset(Task.CLASSIFICATION, ())
    with pytest.raises(DataError, match="None of the 2 training rows"):
        write_fixed(Splits(empty, none, none), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ASKED)
def test_every_fix_that_can_be_asked_for_can_be_named(
    name: str, write_rows: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is done to rows that have something to fix, and nothing of it is found afterwards."""
    good = [
        {
            "text": f"Film {i} in the cinema {'ABCDEFGH'[i % 8] * 3} was worth it",
            "label": "ab"[i % 2],
        }
        for i in range(24)
    ]
    faulty = {
        "content.hostile": {"text": "you are an idiot", "label": "a"},
        "content.words": {"text": "a castle in the woods of spain", "label": "a"},
        "duplicate.near": good[0] | {"text": good[0]["text"] + "!!"},
        "markup.html": {"text": "a <b>bold</b> tale &amp; a long song", "label": "b"},
        "normalize.unicode": {"text": "a cafe\u0301 by the river bank", "label": "b"},
        "normalize.spacing": {"text": "a  garden   with many flowers", "label": "b"},
        "normalize.case": {"text": "A garden with MANY flowers", "label": "b"},
        "label.contradictory": good[1] | {"label": "a"},
        "label.variants": {"text": "a garden by the river bank", "label": "B"},
    }
    path = write_rows("rows.jsonl", [*good, *([faulty[name]] if name in faulty else [])])
    words = tmp_path / "words.txt"
    words.write_text("castle\n", encoding="utf-8")
    call = ["check", str(path), "--fix", str(tmp_path / "out"), "--also", name, "--json"]
    call += ["--words", str(words)] if name == "content.words" else []
    if name == "content.toxic":  # tests/models/test_toxic_rows.py has a classifier
        assert run(call) == 2
        return
    assert run(call) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert name not in found["fixed"]["left"]
    touched = found["fixed"]["removed"] | found["fixed"]["changed"]
    assert (name in touched) == (name in faulty)


def test_fixes_that_are_not_known_or_miss_something_are_refused(
    write_rows: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_rows("rows.jsonl", [{"text": "one text", "label": "a"}]))
    for words, said in (
        (["--fix", str(tmp_path / "o"), "--also", "duplicate.nere"], "duplicate.near"),
        (["--also", "duplicate.near"], "--fix OUT"),
        (["--fix", str(tmp_path / "o"), "--also", "content.words"], "--words"),
    ):
        assert run(["check", path, *words]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
