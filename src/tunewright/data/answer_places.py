"""Answers that stand in a text: what rows say of them, and where they really are.

This module knows texts and cells of tables. It does not know tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNPLACED = -1
"""Place of an answer whose row does not say where it stands."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and the character of the context at which its row says that it begins."""

    text: str
    start: int = UNPLACED


def placed(answer: Answer, context: str) -> int | None:
    """The character at which an answer begins, or None where the context does not have it.

    Where it is not at the place that its row gives, the nearest place counts; where no place is
    given, the first.
    """
    if not answer.text:
        return None
    if answer.start >= 0 and context.startswith(answer.text, answer.start):
        return answer.start
    places, at = [], context.find(answer.text)
    while at >= 0:
        places.append(at)
        at = context.find(answer.text, at + 1)
    return min(places, key=lambda place: abs(place - max(0, answer.start))) if places else None


def first_placed(answers: Sequence[Answer], context: str) -> tuple[int, int] | None:
    """First character, and one past the last, of the first answer that the context has."""
    for answer in answers:
        at = placed(answer, context)
        if at is not None:
            return at, at + len(answer.text)
    return None


def as_answers(value: Any) -> Mapping[str, Any] | list[Any] | None:
    """The cell as `{"text": [...], "answer_start": [...]}` or a list, where it is one.

    It may be the JSON text of one, because CSV has only text.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return None
    if isinstance(value, Mapping):
        return value if "text" in value else None
    return list(value) if isinstance(value, list | tuple) else None


def read_answers(value: Any, start: Any = None) -> tuple[Answer, ...]:
    """The answers of a row; none where the context has no answer.

    Args:
        value: a text, a list of texts, `{"text": ..., "answer_start": ...}` as in SQuAD, or a list
            of such.
        start: place of each text, where a column of its own has it.

    Raises:
        ValueError: it is none of these, or texts and places differ in number.
    """
    whole = as_answers(value)
    if isinstance(whole, Mapping):
        texts, starts = _listed(whole["text"]), _listed(whole.get("answer_start"))
    elif whole is not None and any(isinstance(item, Mapping) for item in whole):
        return tuple(answer for item in whole for answer in read_answers(item))
    else:
        texts, starts = (_listed(value) if whole is None else whole), _listed(start)
    texts = [text for text in texts if not (text is None or text == "")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"an answer is {next(t for t in texts if not isinstance(t, str))!r}")
    starts = [place for place in starts if place is not None and place != ""][: len(texts) or None]
    if texts and starts and len(starts) != len(texts):
        raise ValueError(f"it has {len(texts)} answers and {len(starts)} places")
    found = []
    for i, text in enumerate(texts):
        place = int(float(starts[i])) if starts else UNPLACED
        if stripped := text.strip():
            found.append(Answer(stripped, place + text.index(stripped) if place >= 0 else UNPLACED))
    return tuple(found)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) and value.lstrip().startswith("["):
        parsed = as_answers(value)
        return parsed if isinstance(parsed, list) else [value]
    return list(value) if isinstance(value, list | tuple) else [value]
