"""Mixing sources into one file, and saying what changed between two."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tunewright.cli.app import run
from tunewright.data.difference import difference
from tunewright.data.mix import interleave, write_mix
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.sources import load
from tunewright.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_rows) -> Path:
    for letter, count in (("a", 40), ("b", 10)):
        write_rows(
            f"{letter}.jsonl",
            [{"text": f"{letter} text {i}", "label": letter, "id": i} for i in range(count)],
        )
    (tmp_path / "parts").mkdir()
    write_rows("parts/train.jsonl", [{"tweet": f"p {i}", "mood": "p"} for i in range(6)])
    write_rows("parts/test.jsonl", [{"tweet": f"held {i}", "mood": "p"} for i in range(3)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def test_every_row_is_taken_without_weights(folder):
    made = write_mix(Path("m.jsonl"), ["a.jsonl", "b.jsonl"])
    rows = lines("m.jsonl")
    assert Counter(row["label"] for row in rows) == {"a": 40, "b": 10}
    assert [row["id"] for row in rows if row["label"] == "b"] == list(range(10))
    assert [(t.rows, t.available, t.weight) for t in made.taken] == [(40, 40, None), (10, 10, None)]
    assert (made.rows, made.task, load("m.jsonl").task) == (50, "classification", made.task)


def test_weights_draw_and_each_stretch_has_the_proportions(folder):
    made = write_mix(Path("m.jsonl"), ["a.jsonl", "b.jsonl"], [3, 1])
    assert [t.rows for t in made.taken] == [30, 10]
    labels = [row["label"] for row in lines("m.jsonl")]
    assert all(labels[i : i + 4].count("b") == 1 for i in range(0, 40, 4))


def test_interleaving_by_hand():
    sets = [[Record(text) for text in "abcd"], [Record(text) for text in "XY"]]
    assert "".join(r.text for r in interleave(sets)) == "aXbcYd"


def test_held_out_rows_never_go_into_a_mix(folder):
    made = write_mix(Path("m.jsonl"), ["parts"], columns={"text": "tweet", "label": "mood"})
    assert (made.rows, made.taken[0].left_out) == (6, 3)
    assert not any("held" in row["text"] for row in lines("m.jsonl"))


def test_a_mix_refuses_what_is_wrong_and_writes_nothing(folder):
    write_mix(Path("m.jsonl"), ["b.jsonl"])
    before = Path("m.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"m\.jsonl exists"):
        write_mix(Path("m.jsonl"), ["a.jsonl"])
    assert Path("m.jsonl").read_bytes() == before
    with pytest.raises(DataError, match="2 weights were given for 1 sources"):
        write_mix(Path("n.jsonl"), ["a.jsonl"], [1, 2])
    with pytest.raises(DataError, match="A weight is -1"):
        write_mix(Path("n.jsonl"), ["a.jsonl"], [-1])
    Path("asked.jsonl").write_text('{"prompt": "a", "completion": "b"}', encoding="utf-8")
    with pytest.raises(DataError, match="does not fit task"):
        write_mix(Path("n.jsonl"), ["a.jsonl", "asked.jsonl"])
    assert not Path("n.jsonl").exists()


def test_the_command_mixes_and_says_what_it_took(folder, capsys):
    words = ["a.jsonl#20", "b.jsonl", "--weight", "1", "--weight", "1", "--seed", "3"]
    assert run(["data", "mix", "m.jsonl", *words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == 20
    assert said["taken"][0] == {
        "source": "a.jsonl#20", "weight": 1.0, "rows": 10, "available": 20, "left_out": 0,
    }  # fmt: skip
    first = Path("m.jsonl").read_bytes()
    assert run(["data", "mix", "n.jsonl", *words]) == 0
    assert "20 rows for classification to n.jsonl" in capsys.readouterr().err
    assert Path("n.jsonl").read_bytes() == first, "the same seed draws the same rows"
    assert run(["data", "mix", "m.jsonl", "a.jsonl"]) == 2


def labelled(*rows: tuple[str, str], name: str = "x") -> Dataset:
    records = (Record(t, label=v, source=name, row=i) for i, (t, v) in enumerate(rows, start=1))
    return Dataset(Task.CLASSIFICATION, tuple(records), name)


def test_rows_added_removed_and_changed():
    found = difference(
        labelled(("One", "a"), ("two", "b"), ("three", "c"), name="old"),
        labelled(("four", "d"), ("one ", "a"), ("three", "b"), name="new"),
    )
    assert (found.before, found.after, found.same) == (3, 3, 1)
    assert [(c.text, c.before, c.after, c.after_place) for c in found.added] == [
        ("four", None, "d", "new, row 1")
    ]
    assert [(c.text, c.before, c.after, c.before_place) for c in found.removed] == [
        ("two", "b", None, "old, row 2")
    ]
    assert [(c.text, c.before, c.after) for c in found.changed] == [("three", "c", "b")]


def test_rows_that_are_there_twice_count_twice():
    found = difference(
        labelled(("x", "a"), ("x", "a"), ("x", "b")), labelled(("x", "a"), ("x", "c"))
    )
    assert found.same == 1
    assert [(c.before, c.after) for c in found.changed] == [("a", "c")]
    assert [c.before for c in found.removed] == ["b"]
    assert found.added == ()


def test_answers_stand_in_the_place_of_labels():
    def asked(answer: str) -> Dataset:
        turns = (Message("user", "1 + 1?"), Message("assistant", answer, train=True))
        return Dataset(Task.INSTRUCTION, (Record(messages=turns),))

    (change,) = difference(asked("3"), asked("2")).changed
    assert (change.text, change.before, change.after) == ("1 + 1?", "3", "2")
    assert difference(asked("Two"), asked("two ")).same == 1


def test_the_order_of_several_labels_does_not_count():
    one, two = (
        Dataset(Task.MULTILABEL, (Record("x", label=labels),))
        for labels in (("a", "b"), ("b", "a"))
    )
    assert difference(one, two).same == 1


def test_different_tasks_are_not_compared():
    with pytest.raises(DataError, match="old is for classification, new for text"):
        difference(labelled(name="old"), Dataset(Task.TEXT, (), "new"))


def test_the_command_compares(folder, write_rows, capsys):
    rows = lines("b.jsonl")
    rows[2]["label"] = "c"
    write_rows("c.jsonl", [*rows[:8], {"text": "fresh", "label": "b"}, {"text": "f", "label": "b"}])
    assert run(["data", "diff", "b.jsonl", "c.jsonl", "--examples", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {k: found[k] for k in ("before", "after", "same", "added", "removed", "changed")} == {
        "before": 10, "after": 10, "same": 7, "added": 2, "removed": 2, "changed": 1,
    }  # fmt: skip
    assert found["examples"]["changed"] == [
        {
            "text": "b text 2",
            "before": "b",
            "after": "c",
            "before_place": "b.jsonl, row 3",
            "after_place": "c.jsonl, row 3",
        }
    ]
    assert len(found["examples"]["added"]) == 1
    assert run(["data", "diff", "b.jsonl", "c.jsonl", "--examples", "1"]) == 0
    shown = capsys.readouterr().err
    assert "same 7, added 2, removed 2, changed 1" in shown
    assert "~ b text 2\n    b -> c" in shown
    assert "and 1 more added" in shown
