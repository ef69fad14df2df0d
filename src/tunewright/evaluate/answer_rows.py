"""What an evaluation says of each question: the answer that was found, and those that are right.

This module knows records and answers. It does not know models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunewright.data.example import Rendered
from tunewright.data.records import Record
from tunewright.evaluate.answers import Answers
from tunewright.evaluate.wording import plural
from tunewright.metrics.answers import row_f1

_SHOWN = 400
"""Characters of a text that are shown with an error."""


def right_answers(record: Record) -> list[str]:
    """The texts of the right answers; none where there is none."""
    return list(dict.fromkeys(answer.text for answer in record.answers or ()))


def answer_line(record: Record, answers: Answers, i: int) -> dict[str, Any]:
    """A row of `predictions.jsonl`: question, right answers, the answer found, and where it is."""
    assert answers.spans is not None
    return {
        "question": record.text,
        "expected": right_answers(record),
        "predicted": answers.predictions[i],
        "start": answers.spans.starts[i],
        "probability": round(answers.spans.sureness[i], 6),
    }


def answer_errors(records: Sequence[Record], answers: Answers) -> list[dict[str, Any]]:
    """The rows with the least of a right answer, the surest first; the right ones are left out."""
    assert answers.spans is not None
    found: list[tuple[float, float, dict[str, Any]]] = []
    for i, record in enumerate(records):
        said, sure = answers.predictions[i], answers.spans.sureness[i]
        f1 = row_f1(right_answers(record), said)
        if f1 < 1:
            error = {
                "row": record.row,
                "question": record.text,
                "text": _around(record, said, answers.spans.starts[i]),
                "expected": right_answers(record) or ["(no answer)"],
                "predicted": said or "(no answer)",
                "f1": f1,
                "confidence": sure,
            }
            found.append((f1, -sure, error))
    found.sort(key=lambda row: row[:2])
    return [error for _, _, error in found]


def said_of_windows(rendered: Rendered) -> list[str]:
    """Notes on rows whose answer no window shows."""
    notes = []
    if rendered.cut:
        notes.append(
            f"{plural(rendered.cut, 'row')} with an answer too long for any window: it could not "
            "be found whole."
        )
    if rendered.dropped:
        notes.append(
            f"{plural(rendered.dropped, 'row')} not scored: the answer is not in the text."
        )
    return notes


def _around(record: Record, said: str, start: int) -> str:
    """The part of the text around the answer that was found, or else its beginning."""
    context = record.text_pair or ""
    if start < 0:
        return context[:_SHOWN]
    first = max(0, start - (_SHOWN - len(said)) // 2)
    return context[first : first + _SHOWN]
