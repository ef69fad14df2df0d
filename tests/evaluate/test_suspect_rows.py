"""Scored rows whose own label is probably wrong are shown and counted, and nothing is left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunewright.data.records import Record
from tunewright.evaluate.answers import Answers
from tunewright.evaluate.report_blocks import blocks
from tunewright.evaluate.suspect_rows import suspect_rows


def answered(n: int = 60) -> tuple[list[Record], Answers]:
    """Rows that the model is sure of and right about."""
    records = [Record(text=f"text {i}", label="ab"[i % 2], row=i + 1) for i in range(n)]
    probabilities = np.array([[0.97, 0.03] if i % 2 == 0 else [0.03, 0.97] for i in range(n)])
    return records, Answers(["ab"[i % 2] for i in range(n)], probabilities, ("a", "b"))


def test_planted_wrong_labels_are_found_the_most_suspect_first() -> None:
    records, answers = answered()
    records[6] = Record(text="text 6", label="b", row=7)
    records[9] = Record(text="text 9", label="a", row=10)
    answers.probabilities[9] = [0.01, 0.99]
    answers.probabilities[4] = [0.6, 0.4]  # unsure, and no suspect
    found: Any = suspect_rows(records, answers)
    assert found["count"] == 2 and found["share"] == 2 / 60
    assert [row["row"] for row in found["rows"]] == [10, 7]
    assert found["rows"][0] == {
        "row": 10, "text": "text 9", "label": "a", "guess": "b", "odds": 99.0,
    }  # fmt: skip
    block = next(b for b in blocks({"suspects": found}) if b.anchor == "suspects")
    assert "2 rows (3.3 %) of those scored may have a wrong label" in block.said[0]
    assert block.table is not None and block.table.rows[1][3] == "a"


def test_a_model_that_is_never_sure_doubts_no_label() -> None:
    records, answers = answered()
    answers.probabilities = np.full((60, 2), 0.5)
    found: Any = suspect_rows(records, answers)
    assert found["count"] == 0 and not blocks({"suspects": found})


def test_few_rows_or_one_class_say_nothing() -> None:
    assert suspect_rows(*answered(40)) is None
    records, answers = answered()
    answers.classes = ("a",)
    assert suspect_rows(records, answers) is None
