"""Scores of short answers, by hand."""

from __future__ import annotations

import pytest

from tunewright.errors import DataError
from tunewright.metrics import estimate, get_metric
from tunewright.metrics.answers import normal_answer

RIGHT = [["The Eiffel Tower", "tower"], ["in 1889"], [], []]
SAID = ["eiffel tower!", "1889", "", "something"]


def test_answers_are_scored_as_in_squad() -> None:
    assert get_metric("answer_exact_match").compute(RIGHT, SAID) == 2 / 4
    # `1889` shares one of two words: precision 1, recall 1/2.
    assert get_metric("answer_f1").compute(RIGHT, SAID) == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)


def test_the_best_of_several_right_answers_counts() -> None:
    assert get_metric("answer_f1").compute([["a b c d", "d e"]], ["d e f"]) == pytest.approx(0.8)


def test_case_punctuation_and_articles_are_left_out() -> None:
    assert normal_answer(" The  U.S. and an  Apple") == "us and apple"
    assert get_metric("answer_f1").compute([["the"], ["x"]], ["a", "the"]) == 0.5


def test_answers_have_intervals() -> None:
    found = estimate("answer_exact_match", [["a b"]] * 40, ["a b"] * 30 + ["c"] * 10)
    assert found.value == 0.75 and 0.58 < found.low < 0.75 < found.high < 0.88


def test_one_text_is_no_list_of_right_answers() -> None:
    with pytest.raises(DataError, match="a list of right answers"):
        get_metric("answer_f1").compute(["Bonn"], ["Bonn"])
