"""Scores of ranks, by hand, and ranks of vectors."""

from __future__ import annotations

import numpy as np
import pytest

from tunewright.data.example import Example
from tunewright.data.pair_texts import pair_texts
from tunewright.data.records import Record
from tunewright.errors import DataError
from tunewright.metrics import compare, estimate, get_metric
from tunewright.models.rank_pairs import rank_pairs, tfidf_pairs

CANDIDATES = [20, 20, 20, 20]
RANKS = [1, 2, 10, 11]


def test_ranks_are_scored_as_by_hand() -> None:
    def score(name: str) -> float:
        return get_metric(name).compute(CANDIDATES, RANKS)

    assert score("recall_at_1") == 1 / 4
    assert score("recall_at_10") == 3 / 4
    assert score("mrr_at_10") == pytest.approx((1 + 1 / 2 + 1 / 10 + 0) / 4)


def test_ranks_have_intervals_and_paired_tests() -> None:
    found = estimate("recall_at_1", [9] * 40, [1] * 30 + [5] * 10)
    assert found.value == 0.75 and 0.58 < found.low < 0.75 < found.high < 0.88
    better = compare("mrr_at_10", [9] * 40, [1] * 40, [2] * 30 + [1] * 10)
    assert better.difference == pytest.approx(30 * 0.5 / 40) and better.p < 0.01


@pytest.mark.parametrize("rank", [0, 1.5, 21])
def test_a_rank_outside_of_the_candidates_is_refused(rank: float) -> None:
    with pytest.raises(DataError, match=r"Row 1 has rank .* among 20 candidates"):
        get_metric("mrr_at_10").compute([20], [rank])


def example(first: int, second: int) -> Example:
    return Example([first], 0, others=[[second]])


def test_other_positives_of_an_anchor_are_left_out_and_ties_count_against_it() -> None:
    # Texts: 1 and 2 are anchors; 1 belongs to 3 and 4, 2 to 5 and, in the last row, to 3.
    rows = pair_texts([example(1, 3), example(1, 4), example(2, 5), example(2, 3)])
    assert rows.texts == [[1], [3], [4], [2], [5]]
    vectors = np.array([[1.0, 0], [0.6, 0.8], [0.8, 0.6], [0, 1], [0.6, 0.8]])
    found = rank_pairs(vectors, rows)
    # For 1, text 3 is looked for without 4, and is as near as 5; 4 is looked for without 3.
    assert found.candidates.tolist() == [2, 2, 2, 2]
    assert found.ranks.tolist() == [2, 1, 1, 1]
    assert found.nearest.tolist() == [2, 1, 2, 3]
    assert found.cosines == pytest.approx([0.6, 0.8, 0.8, 0.8])


def test_words_in_common_find_a_text_and_none_find_nothing() -> None:
    def ranks(*pairs: tuple[str, str]) -> list[int]:
        return [int(rank) for rank in tfidf_pairs([Record(a, b) for a, b in pairs]).ranks]

    assert ranks(("red car", "the car is red"), ("blue house", "a house in blue")) == [1, 1]
    assert ranks(("one", "two"), ("three", "four")) == [2, 2]
    assert ranks(("!", "?"), (".", ",")) == [2, 2]
