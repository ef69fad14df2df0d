"""Checks of questions and the texts that answer them: answers that are not there, or not in place.

This module knows records. It does not know how answers are found.
"""

from __future__ import annotations

from collections.abc import Iterator

from tunewright.data.answer_places import UNPLACED, placed
from tunewright.data.finding import Finding, Places, row_findings
from tunewright.data.records import Splits, Task

_MOSTLY = 0.5
"""Share of training rows without an answer above which it is said."""


def check_answers(splits: Splits) -> Iterator[Finding]:
    """What is wrong with the answers of a data set; nothing for other tasks."""
    if splits.task is not Task.QUESTION_ANSWERING:
        return
    missing, elsewhere, several, empty = Places(), Places(), Places(), Places()
    for part, dataset in splits.items():
        for index, record in enumerate(dataset):
            context = record.text_pair or ""
            found = [placed(answer, context) for answer in record.answers or ()]
            if not record.answers and part == "train":
                empty.add(part, index)
            if None in found:
                missing.add(part, index)
            pairs = list(zip(record.answers or (), found, strict=True))
            if any(at not in (None, a.start) and a.start != UNPLACED for a, at in pairs):
                elsewhere.add(part, index)
            if any(a.start == UNPLACED and context.count(a.text) > 1 for a, _ in pairs):
                several.add(part, index)
    yield from row_findings(
        "answers.missing",
        "error",
        splits,
        missing,
        "{rows} {have} an answer that is not in the text, so that no model could point at it.",
        "Correct the answers, or take them out: a row may have no answer. Case and spacing count.",
    )
    yield from row_findings(
        "answers.misplaced",
        "warning",
        splits,
        elsewhere,
        "{rows} {have} an answer that is in the text, but not at the character that is given; the "
        "nearest place is taken.",
        "Count answer_start in characters from 0, not in bytes or words.",
    )
    yield from row_findings(
        "answers.ambiguous",
        "warning",
        splits,
        several,
        "{rows} {have} an answer that is in the text more than once, and do not say which is "
        "meant; the first is taken.",
        "Give answer_start, the character at which the answer begins.",
    )
    if len(empty) > _MOSTLY * max(1, len(splits.train)):
        yield from row_findings(
            "answers.none",
            "error" if len(empty) == len(splits.train) else "info",
            splits,
            empty,
            "{rows} of train {have} no answer.",
            "Nothing needs doing if the texts have none. If they were not annotated, leave them "
            "out: they teach the model to find nothing.",
        )
