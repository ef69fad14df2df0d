"""Rows in another language are found among the rest, and nothing is said where it is unsure."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.data.audit import audit
from tunewright.data.language import _NO_WORDS, languages_of
from tunewright.data.records import Dataset, Record, Task

ENGLISH = [
    "The museum opens at nine in the morning and closes before dinner.",
    "I could not find the keys that my sister left on the table yesterday.",
    "They were talking about the weather while we waited for the train.",
    "Nobody knows why the old bridge was closed for such a long time.",
    "She has been working at the hospital since she finished her studies.",
]
GERMAN = "Gestern haben wir nach der Arbeit noch lange auf den nächsten Zug gewartet."
SPANISH = "Mi hermana dejó las llaves encima de la mesa antes de salir de casa."
CHINESE = "昨天下班以后我们等了很久才等到下一班火车"


def findings(texts: list[str]) -> dict:
    records = tuple(Record(text, label="ab"[i % 2], row=i + 1) for i, text in enumerate(texts))
    found = audit(Dataset(Task.CLASSIFICATION, records))
    return {"languages": found.languages} | {f.id: f for f in found.findings}


def test_languages_are_told_where_they_are_sure():
    assert languages_of([GERMAN, SPANISH, CHINESE, ENGLISH[0]]) == ["de", "es", "zh", "en"]
    assert (
        languages_of(["ok", "lol :)", "12345 67890", "@anna #mood http://a.example/x", ""])
        == [None] * 5
    )


def test_a_few_rows_of_another_language_are_a_warning_with_their_places():
    texts = [f"{text} Number {i}." for i in range(20) for text in ENGLISH]
    found = findings([*texts, GERMAN, SPANISH])
    finding = found["language.mixed"]
    assert (finding.severity, finding.rows) == ("warning", 2)
    assert finding.places == (("train", 100), ("train", 101))
    assert "(de)" in finding.examples[0] and "'en'" in finding.message
    assert found["languages"] == {"en": 100, "de": 1, "es": 1}
    assert "language.mixed" not in findings(texts)


def test_many_rows_of_another_language_may_be_meant():
    texts = [f"{text} {i}" for i in range(10) for text in (*ENGLISH[:3], GERMAN)]
    finding = findings(texts)["language.mixed"]
    assert (finding.severity, finding.rows) == ("info", 10)


def test_rows_that_are_no_language_are_not_called_foreign():
    texts = [f"x{i} = y{i} + {i * 7}; z[{i}] -= q" for i in range(60)]
    assert "language.mixed" not in findings([*texts, GERMAN])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"ab1_9 @#:/é一٣.-", "http://"])).map("".join))
def test_the_quick_pattern_takes_out_what_the_plain_one_does(text: str) -> None:
    plain = re.compile(r"https?://\S+|[@#]\w+|[^\W\d_]*\d\w*")
    assert _NO_WORDS.sub(" ", text) == plain.sub(" ", text)
