"""Normalising makes ways of writing the same one, and keeps what means something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunewright.config.task import Task
from tunewright.data.answer_places import Answer
from tunewright.data.clean import clean
from tunewright.data.normalize import one_case, one_spacing, one_unicode_form
from tunewright.data.records import Dataset, Record


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  two   words \t here ", "two words here"),
        ("a\u00a0b\u2009c", "a b c"),
        ("one \r\n\r\n\r\n\r\ntwo", "one\n\ntwo"),
        ("def f(x):\n    return  x\n\treturn\ty", "def f(x):\n    return x\n\treturn y"),
        ("", ""),
    ],
)
def test_spacing(before: str, after: str) -> None:
    assert one_spacing(before) == after


def test_unicode_and_case() -> None:
    assert one_unicode_form("cafe\u0301 co\u00adop\u200b \ufeffx") == "caf\u00e9 coop x"
    joined = "\U0001f468\u200d\U0001f469"  # a family, held together by a joiner
    assert one_unicode_form(joined) == joined
    assert one_case("STRASSE \u00c4") == "strasse \u00e4"


@given(st.text(alphabet=st.sampled_from("aB \t\n\r\u00a0\u200b\u0301e."), max_size=40))
def test_a_second_time_changes_nothing(text: str) -> None:
    for rewrite in (one_spacing, one_unicode_form, one_case):
        assert rewrite(rewrite(text)) == rewrite(text)
    assert one_spacing(text).split() == text.split()  # no word is lost or joined


def test_answers_are_where_they_are_after_spacing() -> None:
    context = "  The castle   opens  at   nine  in summer."
    record = Record(
        text="when?", text_pair=context, answers=(Answer("nine  in summer", context.index("nine")),)
    )
    data = Dataset(Task.QUESTION_ANSWERING, (record,))
    after = clean(data, ["normalize.spacing"]).splits.train.records[0]
    answer = (after.answers or ())[0]
    assert after.text_pair == "The castle opens at nine in summer."
    assert after.text_pair[answer.start :].startswith(answer.text) and answer.text != ""
