"""Columns with two texts: pairs that belong together, questions and the texts that answer them.

This module knows names and shapes of columns. `detect.py` decides when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tunewright.config.task import Task
from tunewright.data import column_names as names
from tunewright.data.answer_places import as_answers
from tunewright.errors import DataError

if TYPE_CHECKING:
    from tunewright.data.detect import Detection
    from tunewright.data.detect import _Search as Search


def named_pairs(search: Search) -> Detection | None:
    """Pairs of texts whose names say that they belong together."""
    return _embedding(search, names.POSITIVES)


def asked_pairs(search: Search) -> Detection | None:
    """Any pairs of texts; a number beside them says how alike they are.

    Raises:
        DataError: a column beside them has classes, so that not all pairs belong together.
    """
    found = _embedding(search, (*names.POSITIVES, *names.PAIRS))
    column = search.named("label", names.LABEL)
    if found and column and column not in found.columns.values() and "label" not in search.fixed:
        if "text_pair" in search.fixed:
            return found
        raise DataError(
            f"{search.table.source} has pairs of texts and a column {column!r} of classes, so that "
            "not all pairs belong together. Keep the rows that do and take that column out, give a "
            "number that says how alike two texts are (columns={label: COLUMN}), or map the texts "
            "to take all pairs (columns={text: COLUMN, text_pair: COLUMN})."
        )
    return found


def _embedding(search: Search, pairs: Sequence[tuple[str, str]]) -> Detection | None:
    for first, second in pairs:
        text = search.named("text", (first,))
        pair = search.named("text_pair", (second,), (text,))
        if not (text and pair and search.is_text(text) and search.is_text(pair)):
            continue
        negative = search.named("negative", names.NEGATIVE, (text, pair))
        roles = {"text": text, "text_pair": pair, "negative": negative}
        score = search.fixed.get("label")
        if negative is None and score is None:
            found = (search.named("label", (name,), (text, pair)) for name in names.NUMBER)
            score = next((c for c in found if c and search.is_numeric(c)), None)
        return search.found(Task.EMBEDDING, roles | {"label": score})
    return None


def pointed_at(search: Search) -> Detection | None:
    """Questions, texts, and answers that say where in the text they stand."""
    found = answered(search)
    if found is None or "answer_start" in found.columns:
        return found
    cells = [as_answers(value) for value in search.values(found.columns["answers"])]
    placed = [
        isinstance(part, Mapping) and "answer_start" in part
        for cell in cells
        for part in (cell if isinstance(cell, list) else [cell])
    ]
    return found if placed and all(placed) else None


def answered(search: Search) -> Detection | None:
    """Questions, texts, and answers in them."""
    text = search.fixed.get("prompt") or search.named("text", names.QUESTIONS)
    context = search.fixed.get("input") or search.named("text_pair", names.CONTEXTS, (text,))
    answers = search.named("answers", names.ANSWERS, (text, context))
    if not (text and context and answers and search.is_text(text) and search.is_text(context)):
        return None
    start = search.named("answer_start", names.STARTS, (text, context, answers))
    roles = {"text": text, "text_pair": context, "answers": answers, "answer_start": start}
    return search.found(Task.QUESTION_ANSWERING, roles)
