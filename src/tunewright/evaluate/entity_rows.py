"""What an evaluation says of each row of tagged words: its entities, and where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunewright.data.records import Record
from tunewright.data.tags import OUTSIDE, Span, spans
from tunewright.evaluate.answers import Answers
from tunewright.metrics import estimate
from tunewright.metrics.entities import per_type_scores


def entity_line(record: Record, answers: Answers, i: int) -> dict[str, Any]:
    """A row of `predictions.jsonl`: words, tags, the probability of each, and the entities."""
    predicted = answers.predictions[i]
    line: dict[str, Any] = {
        "tokens": list(record.words),
        "expected": list(record.class_names),
        "predicted": list(predicted),
        "expected_entities": [_entity(record, s) for s in spans(record.class_names)],
        "predicted_entities": [_entity(record, s) for s in spans(predicted)],
    }
    if answers.sureness:
        line["probabilities"] = [round(p, 6) for p in answers.sureness[i]]
    return line


def _entity(record: Record, span: Span) -> dict[str, Any]:
    """An entity; `end` is one past its last word."""
    kind, start, end = span
    return {"type": kind, "start": start, "end": end, "text": " ".join(record.words[start:end])}


def entity_errors(records: Sequence[Record], answers: Answers) -> list[dict[str, Any]]:
    """The rows with a wrong entity, worst first: by how many, then by how sure the model was.

    An entity counts as missed or as invented unless its words and its type are both right; one with
    only a wrong border or type counts as both.
    """
    found: list[tuple[int, float, dict[str, Any]]] = []
    for i, record in enumerate(records):
        there, said = spans(record.class_names), spans(answers.predictions[i])
        missed = [span for span in there if span not in set(said)]
        invented = [span for span in said if span not in set(there)]
        if not missed and not invented:
            continue
        places = [word for _, start, end in (*missed, *invented) for word in range(start, end)]
        sure = sum(answers.sureness[i][word] for word in places) / len(places)
        error = {
            "row": record.row,
            "text": record.text,
            "missed": [_short(record, span) for span in missed],
            "invented": [_short(record, span) for span in invented],
            "confidence": sure,
        }
        found.append((len(missed) + len(invented), sure, error))
    found.sort(key=lambda row: (-row[0], -row[1]))
    return [error for _, _, error in found]


def type_scores(records: Sequence[Record], answers: Answers) -> list[dict[str, Any]]:
    """As `metrics.entities.per_type_scores`, with the 95 % interval of each F1."""
    references, predictions = [r.class_names for r in records], list(answers.predictions)
    found = per_type_scores(references, predictions)
    for scores in found:
        kind = scores["label"]
        of_kind = (
            [[tag if tag[2:] == kind else OUTSIDE for tag in row] for row in rows]
            for rows in (references, predictions)
        )
        scores["f1"] = estimate("entity_f1", *of_kind).to_dict()
    return found


def _short(record: Record, span: Span) -> str:
    kind, start, end = span
    return f"{' '.join(record.words[start:end])} [{kind}]"


def said_of_unseen(answers: Answers) -> list[str]:
    """A note where words could not be tagged."""
    if not answers.unseen:
        return []
    words = "1 word" if answers.unseen == 1 else f"{answers.unseen:,} words"
    have = "is" if answers.unseen == 1 else "are"
    return [f"{words} beyond the model's length or without a token {have} scored as O."]
