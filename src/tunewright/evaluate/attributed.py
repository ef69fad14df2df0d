"""Which words moved a prediction: attributions of tokens, added up by word, for some rows.

This module knows rows, answers and how words are shown. It does not know how a token is attributed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.data.records import Record
from tunewright.errors import ConfigError
from tunewright.evaluate.answers import Answers, Progress, Work, row_counter
from tunewright.evaluate.previous import listed
from tunewright.evaluate.worst_errors import worst_places
from tunewright.models.attribution import (
    TOLERANCE,
    Attribution,
    Score,
    attribute,
    log_odds,
    single_output,
)
from tunewright.models.forward import LabelForward
from tunewright.models.load import Finished

METHOD = "integrated gradients"
_TASKS = (Task.CLASSIFICATION, Task.MULTILABEL, Task.REGRESSION)


def require_attributable(task: Task) -> None:
    """Refuse rows whose predictions cannot be attributed to words.

    Raises:
        ConfigError: the task is not one of labels or numbers.
    """
    if task not in _TASKS:
        raise ConfigError(
            f"--attribute says which words moved a label or a number; task {task.value!r} has "
            f"neither. It is there for {', '.join(t.value for t in _TASKS)}."
        )


def attribute_rows(
    finished: Finished,
    work: Work,
    answers: Answers,
    worst: int,
    rows: Sequence[int] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Say for some rows which words moved the prediction, and by how much.

    Args:
        finished: the model.
        work: the rows.
        answers: of the model.
        worst: so many of the worst errors, the worst first.
        rows: rows by their number, as `errors` names them, besides.
        progress: told how far the work is.

    Returns:
        `method`, `baseline`, `unit` of a score, `tolerance`, `complete` (rows whose scores account
        for the whole change), `notes`, and `rows`: each with `row`, `expected`, `predicted`, `of`
        (the label whose log-odds are attributed, None for a number), `output` and
        `baseline_output`, `gap` (sum of the scores less the change), `complete`, `steps`, and
        `words` of its texts: `text`, `part` (1 for the second text of a pair), `start`, `end` and
        `score`.

    Raises:
        ConfigError: a row is not among those that are scored.
    """
    task = work.dataset.task
    require_attributable(task)
    places = worst_places(work.records, answers, task)[:worst]
    numbers = {record.row: i for i, record in enumerate(work.records)}
    if unknown := [row for row in rows if row not in numbers]:
        raise ConfigError(
            f"--attribute-row {unknown[0]}: there is no such row among the {len(numbers):,} that "
            f"are scored, {min(numbers)} to {max(numbers)}."
        )
    places = list(dict.fromkeys([*places, *(numbers[row] for row in rows)]))
    forward = LabelForward(finished.model, finished.model.config.problem_type or "")
    step = row_counter(progress, "Attributing to words", len(places))
    found = []
    for place in places:
        of, score = _attributed(work.records[place], answers, place, task)
        made = attribute(
            forward,
            work.examples[place],
            score,
            pad_id=int(finished.tokenizer.pad_token_id),
            special_ids=finished.tokenizer.all_special_ids,
        )
        found.append(_row(finished, work, answers, place, of, made))
        if step is not None:
            step(1)
    complete = sum(row["complete"] for row in found)
    notes = []
    if complete < len(found):
        notes.append(
            f"{len(found) - complete} rows have scores that miss the change of the prediction by "
            f"more than {100 * TOLERANCE:g} % of their sizes; take those as rough."
        )
    return {
        "method": METHOD,
        "baseline": "padding in place of every token of the text",
        "unit": "the predicted number" if task is Task.REGRESSION else "log-odds, nats",
        "tolerance": TOLERANCE,
        "complete": complete,
        "notes": notes,
        "rows": found,
    }


def _attributed(
    record: Record, answers: Answers, place: int, task: Task
) -> tuple[str | None, Score]:
    """What is attributed: a number, the predicted label, or the label decided most wrongly."""
    if task is Task.REGRESSION:
        return None, single_output(0)
    classes = [str(name) for name in answers.classes]
    if task is Task.CLASSIFICATION:
        label = str(answers.predictions[place])
        return label, log_odds(classes.index(label))
    expected = set(record.label) if isinstance(record.label, tuple) else set()
    probabilities = np.asarray(answers.probabilities)[place]
    wrong = np.array(
        [(p > 0.5) != (name in expected) for name, p in zip(classes, probabilities, strict=True)]
    )
    # Of a row that is right, the label that the model is surest of.
    worth = np.where(wrong, np.abs(probabilities - 0.5), -1) if wrong.any() else probabilities
    index = int(np.argmax(worth))
    return classes[index], single_output(index)


def _row(
    finished: Finished, work: Work, answers: Answers, place: int, of: str | None, made: Attribution
) -> dict[str, Any]:
    record = work.records[place]
    return {
        "row": record.row,
        "expected": listed(record.label),
        "predicted": listed(answers.predictions[place]),
        "of": of,
        "output": made.output,
        "baseline_output": made.baseline,
        "gap": made.gap,
        "complete": made.complete,
        "steps": made.steps,
        "words": _words(finished.tokenizer, record, work.examples[place].input_ids, made.scores),
    }


def _words(
    tokenizer: Any, record: Record, ids: Sequence[int], scores: Sequence[float]
) -> list[dict[str, Any]]:
    """Scores of tokens added up by word, where words are what stands between blanks.

    A word that the model did not see, because the row was cut, has no score (None).
    """
    second = record.text_pair
    texts = (record.text,) if second is None else (record.text, second)
    encoded = tokenizer(*texts, return_offsets_mapping=True, verbose=False)
    words: list[dict[str, Any]] = [
        {"text": m[0], "part": part, "start": m.start(), "end": m.end(), "score": None}
        for part, text in enumerate(texts)
        for m in re.finditer(r"\S+", text)
    ]
    places = zip(
        encoded["offset_mapping"], encoded.sequence_ids(0), encoded["input_ids"], ids, scores,
        strict=False,
    )  # fmt: skip
    for (start, end), part, token, seen, score in places:
        if part is None or token != seen:  # special, or where the row was cut
            continue
        # A token may begin with the blank before its word.
        start += len(texts[part][start:end]) - len(texts[part][start:end].lstrip())
        for word in words:
            if word["part"] == part and word["start"] <= start < word["end"]:
                word["score"] = (word["score"] or 0.0) + score
    return words
