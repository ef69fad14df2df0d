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
    """The rows with a wrong entity, the worst first (`worst_entity_places`)."""
    found = []
    for i in worst_entity_places(records, answers):
        missed, invented = _wrong(records[i], answers, i)
        error = {
            "row": records[i].row,
            "text": records[i].text,
            "missed": [_short(records[i], span) for span in missed],
            "invented": [_short(records[i], span) for span in invented],
            "confidence": _sureness(answers, i, missed, invented),
        }
        found.append(error)
    return found


def worst_entity_places(records: Sequence[Record], answers: Answers) -> list[int]:
    """Places of the rows with a wrong entity: by how many, then by how sure the model was.

    An entity counts as missed or as invented unless its words and its type are both right; one with
    only a wrong border or type counts as both.
    """
    found: list[tuple[int, float, int]] = []
    for i, record in enumerate(records):
        missed, invented = _wrong(record, answers, i)
        if missed or invented:
            count = len(missed) + len(invented)
            found.append((count, _sureness(answers, i, missed, invented), i))
    found.sort(key=lambda row: (-row[0], -row[1]))
    return [i for _, _, i in found]


def telling_word(record: Record, answers: Answers, i: int, seen: Sequence[bool]) -> int:
    """The word of a row whose tag says most: a wrong one, else one of an entity, else any.

    Among those the one that the model is surest of; of words that it saw.

    Args:
        record: the row.
        answers: of the model.
        i: place of the row.
        seen: of each word, whether the model saw it.
    """
    predicted, sure = answers.predictions[i], answers.sureness[i]
    wrong = [p != tag for p, tag in zip(predicted, record.class_names, strict=True)]
    inside = [tag != OUTSIDE for tag in predicted]
    for chosen in (wrong, inside, [True] * len(predicted)):
        words = [word for word, is_one in enumerate(chosen) if is_one and seen[word]]
        if words:
            return max(words, key=lambda word: sure[word])
    return 0


def _wrong(record: Record, answers: Answers, i: int) -> tuple[list[Span], list[Span]]:
    """The entities of a row that were missed, and those that were invented."""
    there, said = spans(record.class_names), spans(answers.predictions[i])
    missed = [span for span in there if span not in set(said)]
    return missed, [span for span in said if span not in set(there)]


def _sureness(answers: Answers, i: int, missed: Sequence[Span], invented: Sequence[Span]) -> float:
    places = [word for _, start, end in (*missed, *invented) for word in range(start, end)]
    return sum(answers.sureness[i][word] for word in places) / len(places)


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
