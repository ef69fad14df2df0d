"""Which words moved a prediction: attributions of tokens, added up by word, for some rows.

This module knows rows, answers and how words are shown. It does not know how a token is attributed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.data.records import Record
from tunewright.errors import ConfigError
from tunewright.evaluate.answers import Answers, Progress, Work, row_counter
from tunewright.evaluate.entity_rows import telling_word, worst_entity_places
from tunewright.evaluate.previous import listed
from tunewright.evaluate.worst_errors import worst_places
from tunewright.models.attribution import (
    TOLERANCE,
    Attribution,
    Score,
    at_word,
    attribute,
    log_odds,
    single_output,
)
from tunewright.models.forward import LabelForward, TagForward
from tunewright.models.load import Finished

METHOD = "integrated gradients"
_TASKS = (Task.CLASSIFICATION, Task.MULTILABEL, Task.REGRESSION, Task.TOKEN_CLASSIFICATION)
_TEXT = "a text is as many predictions as it has tokens"
_WHY_NOT = {
    Task.INSTRUCTION: _TEXT,
    Task.TEXT: _TEXT,
    Task.QUESTION_ANSWERING: "an answer is two places at once, the best over all parts of a text",
    Task.EMBEDDING: "a rank depends on all texts that are searched, not on the words of one",
}


def require_attributable(task: Task, word: int | None = None) -> None:
    """Refuse rows whose predictions cannot be attributed to words.

    Raises:
        ConfigError: the task is not one of labels, numbers or tags; or a word is chosen in rows
            that have no tags of words.
    """
    if task not in _TASKS:
        raise ConfigError(
            f"--attribute says which words moved a label, a number or a tag; task {task.value!r} "
            f"has none: {_WHY_NOT[task]}. It is there for "
            f"{', '.join(t.value for t in _TASKS)}."
        )
    if word is not None and task is not Task.TOKEN_CLASSIFICATION:
        raise ConfigError(
            f"--attribute-word chooses a word whose tag is explained; rows of task {task.value!r} "
            "have no tags. Leave it out."
        )


def attribute_rows(
    finished: Finished,
    work: Work,
    answers: Answers,
    worst: int,
    rows: Sequence[int] = (),
    word: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Say for some rows which words moved the prediction, and by how much.

    Args:
        finished: the model.
        work: the rows.
        answers: of the model.
        worst: so many of the worst errors, the worst first.
        rows: rows by their number, as `errors` names them, besides.
        word: of tagged words, the word of `rows` whose tag is explained, from 1. Default, and for
            the worst errors: the wrong one that the model is surest of (`telling_word`).
        progress: told how far the work is.

    Returns:
        `method`, `baseline`, `unit` of a score, `tolerance`, `complete` (rows whose scores account
        for the whole change), `notes`, and `rows`: each with `row`, `expected`, `predicted`, `of`
        (the label or tag whose log-odds are attributed, None for a number), `word` (of tags: which
        word, from 1), `output` and
        `baseline_output`, `gap` (sum of the scores less the change), `complete`, `steps`, and
        `words` of its texts: `text`, `part` (1 for the second text of a pair), `start`, `end` and
        `score`.

    Raises:
        ConfigError: a row is not among those that are scored, or has no such word.
    """
    task = work.dataset.task
    require_attributable(task, word)
    tags = task is Task.TOKEN_CLASSIFICATION
    if tags:
        places = worst_entity_places(work.records, answers)[:worst]
    else:
        places = worst_places(work.records, answers, task)[:worst]
    numbers = {record.row: i for i, record in enumerate(work.records)}
    if unknown := [row for row in rows if row not in numbers]:
        raise ConfigError(
            f"--attribute-row {unknown[0]}: there is no such row among the {len(numbers):,} that "
            f"are scored, {min(numbers)} to {max(numbers)}."
        )
    places = list(dict.fromkeys([*places, *(numbers[row] for row in rows)]))
    chosen = {numbers[row]: word for row in rows} if word is not None else {}
    words = {place: _word(work, answers, place, chosen.get(place)) for place in places if tags}
    forward: LabelForward | TagForward = (
        TagForward(finished.model)
        if tags
        else LabelForward(finished.model, finished.model.config.problem_type or "")
    )
    step = row_counter(progress, "Attributing to words", len(places))
    found = []
    of: str | None
    for place in places:
        if tags:
            of = str(answers.predictions[place][words[place]])
            label = finished.settings.labels.index(of)
            starts = work.examples[place].word_starts or []
            score = at_word(starts[words[place]], log_odds(label))
        else:
            of, score = _attributed(work.records[place], answers, place, task)
        made = attribute(
            forward,
            work.examples[place],
            score,
            pad_id=int(finished.tokenizer.pad_token_id),
            special_ids=finished.tokenizer.all_special_ids,
        )
        found.append(_row(finished, work, answers, place, of, made, words.get(place)))
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


def _word(work: Work, answers: Answers, place: int, chosen: int | None) -> int:
    """The place of the word of a tagged row whose tag is explained."""
    record = work.records[place]
    seen = [start >= 0 for start in work.examples[place].word_starts or []]
    if chosen is None:
        return telling_word(record, answers, place, seen)
    if not 1 <= chosen <= len(seen) or not seen[chosen - 1]:
        raise ConfigError(
            f"--attribute-word {chosen}: row {record.row} has {len(seen)} words, of which the "
            f"model sees {sum(seen)}; choose one of them, from 1."
        )
    return chosen - 1


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
    finished: Finished,
    work: Work,
    answers: Answers,
    place: int,
    of: str | None,
    made: Attribution,
    word: int | None,
) -> dict[str, Any]:
    record = work.records[place]
    expected, predicted = record.label, answers.predictions[place]
    if word is not None:
        expected, predicted = record.class_names[word], predicted[word]
    return {
        "row": record.row,
        "expected": listed(expected),
        "predicted": listed(predicted),
        "of": of,
        "word": None if word is None else word + 1,
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
    """Scores of tokens added up by word, where words are what stands between blanks, or tagged.

    A word that the model did not see, because the row was cut, has no score (None).
    """
    texts = [record.text, *([] if record.text_pair is None else [record.text_pair])]
    words: list[dict[str, Any]]
    if record.words:
        texts = [" ".join(record.words)]
        begins = accumulate((len(word) + 1 for word in record.words[:-1]), initial=0)
        words = [
            {"text": word, "part": 0, "start": start, "end": start + len(word), "score": None}
            for word, start in zip(record.words, begins, strict=True)
        ]
    else:
        words = [
            {"text": m[0], "part": part, "start": m.start(), "end": m.end(), "score": None}
            for part, text in enumerate(texts)
            for m in re.finditer(r"\S+", text)
        ]
    encoded = tokenizer(*texts, return_offsets_mapping=True, verbose=False)
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
