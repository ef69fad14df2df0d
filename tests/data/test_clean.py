"""Fixes change only what they are asked to, and hand back what they took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tunewright.config.task import Task
from tunewright.data.audit import audit
from tunewright.data.clean import clean, repair_encoding, strip_markup
from tunewright.data.fix_options import SAFE
from tunewright.data.records import Dataset, Message, Record, Splits
from tunewright.errors import DataError

GOOD = [
    Record(text="one text about rivers", label="a", row=1),
    Record(text="a second that praises castles", label="b", row=2),
    Record(text="engines are loud", label="a", row=3),
    Record(text="nobody plays violins here", label="b", row=4),
]


def splits(train, test=()) -> Splits:
    return Splits(
        Dataset(Task.CLASSIFICATION, tuple(train)),
        Dataset(Task.CLASSIFICATION, ()),
        Dataset(Task.CLASSIFICATION, tuple(test)),
    )


def test_clean_data_stays_as_it_is():
    data = splits(GOOD[:3], GOOD[3:])
    found = clean(data)
    assert found.splits == data
    assert found.changes == ()


def test_safe_fixes_leave_nothing_for_the_audit_to_find():
    train = [
        *GOOD,
        Record(text=" ", label="a"),
        Record(text=GOOD[0].text.upper(), label="a"),
        Record(text="bell\x07s and cafÃ©s", label="b"),
    ]
    test = [
        Record(text=GOOD[1].text, label="b"),
        Record(text="a text of its own", label="a"),
    ]
    data = splits(train, test)
    found = clean(data)
    assert [r.text for r in found.splits.train] == [*(r.text for r in GOOD), "bells and cafés"]
    assert [r.text for r in found.splits.test] == ["a text of its own"]
    reasons = [(c.finding, c.part) for c in found.changes]
    assert reasons == [
        ("encoding.damage", "train"),
        ("encoding.control", "train"),
        ("empty.text", "train"),
        ("duplicate.exact", "train"),
        ("leakage.exact", "test"),
    ]
    assert not {f.id for f in audit(found.splits).findings} & set(SAFE)
    removed = [c.before for c in found.changes if c.after is None]
    kept = len(found.splits.train) + len(found.splits.test)
    assert kept + len(removed) == len(train) + len(test)
    assert found.changes[-1].to_row()["before"]["text"] == GOOD[1].text


def test_rows_that_become_equal_by_repair_are_counted_once():
    data = splits([Record(text="naïve café here", label="a"),
                   Record(text="naÃ¯ve cafÃ© here", label="a"), *GOOD])  # fmt: skip
    assert len(clean(data).splits.train) == 5


def test_personal_data_is_masked_only_when_asked():
    record = Record(
        messages=(
            Message("user", "I am jo@example.org"),
            Message("assistant", "Hello, jo@example.org", train=True),
        )
    )
    data = Dataset(Task.INSTRUCTION, (record,))
    assert clean(data).splits.train.records == (record,)
    found = clean(data, ["personal.data"]).splits.train.records[0]
    assert [m.content for m in found.messages] == ["I am [EMAIL]", "Hello, [EMAIL]"]
    assert found.messages[1].train


def test_an_unknown_fix_is_an_error():
    with pytest.raises(DataError, match=r"Unknown fix 'duplicate\.exct'.*'duplicate\.exact'"):
        clean(splits(GOOD), ["duplicate.exct"])
    with pytest.raises(DataError, match="Unknown fix"):
        clean(splits(GOOD), ["quantity.small"])


@pytest.mark.parametrize(
    "text",
    [
        "café naïve",
        "\u201cquoted\u201d \u2013 it\u2019s 5 €",
        "日本語",
        "😀 ok",
        "Größe ½",
        "Привет",
    ],
)
def test_encoding_is_repaired_and_good_text_kept(text):
    assert repair_encoding(text) == text
    damaged = bytes(text, "utf-8").decode("latin-1")
    assert repair_encoding(damaged) in (text, damaged)
    if not any(c in text for c in "日😀П"):
        damaged = "".join(
            bytes([b]).decode("cp1252") if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(b)
            for b in text.encode()
        )
        assert repair_encoding("Ünder " + damaged) == "Ünder " + text


def test_markup_is_stripped():
    assert strip_markup("a &amp; b<br/>c <b>d</b> 1 < 2") == "a & b\nc d 1 < 2"
    assert strip_markup("x < y and y > z") == "x < y and y > z"


def test_rows_that_a_person_looked_at_are_taken_from_the_audit():
    rows = [
        Record(text=f"the {n} film of the year was quite good, said all", label="ab"[i % 2], row=i)
        for i, n in enumerate(("first", "second", "third", "fourth", "fifth", "sixth"))
    ]
    rows[2] = Record(text="caf\u00c3\u00a9? you are an idiot", label="a", row=2)
    data = splits([Record(text=" ", label="b"), *rows])
    found = audit(data).findings
    fixed = clean(data, (*SAFE, "content.hostile"), found)
    assert [r.text for r in fixed.splits.train] == [r.text for r in rows if "idiot" not in r.text]
    assert {c.finding for c in fixed.changes} == {
        "encoding.damage",
        "empty.text",
        "content.hostile",
    }
    unplaced = [replace(f, places=()) for f in found]
    with pytest.raises(DataError, match="some of the rows"):
        clean(data, ["content.hostile"], unplaced)
