"""An earlier model on the same rows, and what changed since: rows fixed, rows broken.

This module knows models that answer. It does not know training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.errors import ModelError
from tunewright.evaluate.answers import Answers, Work
from tunewright.metrics import get_metric
from tunewright.models.load import load_finished

PREVIOUS = "previous"
"""Its name among the baselines."""
_SHOWN = 10
"""Broken rows that are shown."""


def ask_previous(
    against: str, work: Work, names: Sequence[str], device: str
) -> tuple[Work, Answers]:
    """Let an earlier model answer the same rows, laid out as it was trained.

    Args:
        against: a finished run, a model or adapter folder, or a name.
        work: the rows.
        names: metrics.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Returns:
        The rows as that model sees them, and its answers.

    Raises:
        ModelError: it is not there, is of another task, or does not know a label of the rows.
    """
    finished = load_finished(against, work.dataset.task, device=device)
    settings = finished.settings
    unknown = sorted(set(work.dataset.labels) - set(settings.labels))
    if unknown and settings.labels:
        raise ModelError(
            f"{against} does not know the label {unknown[0]!r} of these rows, so it cannot be "
            f"compared on them. It knows {', '.join(map(repr, settings.labels[:10]))}."
        )
    renderer = settings.renderer(finished.tokenizer)
    rendered = renderer.render(work.dataset, "cut")
    theirs = replace(work, examples=rendered.examples, renderer=renderer)
    return theirs, theirs.answers(finished, names, "Scoring the previous version")


def paired(ours: tuple[Any, Any] | None, theirs: tuple[Any, Any] | None) -> bool:
    """Whether two models were asked the same, row by row, so that a paired test means something."""
    if ours is None or theirs is None or len(ours[0]) != len(theirs[0]):
        return False
    return np.array_equal(np.asarray(ours[0], object), np.asarray(theirs[0], object))


def changes(
    work: Work, answers: Answers, theirs: Work, before: Answers, names: Sequence[str]
) -> dict[str, Any] | None:
    """Which rows the earlier model had right and this one has wrong, and the other way round.

    Returns:
        `fixed`, `broken`, `both_right` and `both_wrong` rows in numbers, and `broken_rows`, up to
        ten of them. None where no row is right or wrong: numbers, losses, or other rows.
    """
    ours = right_rows(work, answers, names)
    earlier = right_rows(theirs, before, names)
    if ours is None or earlier is None or work.rows != theirs.rows:
        return None
    records = work.records
    broken = [i for i, (a, b) in enumerate(zip(ours, earlier, strict=True)) if b and not a]
    said, said_before = (list(said_answers(work, a)) for a in (answers, before))
    expected = expected_answers(work)
    return {
        "fixed": sum(a and not b for a, b in zip(ours, earlier, strict=True)),
        "broken": len(broken),
        "both_right": sum(a and b for a, b in zip(ours, earlier, strict=True)),
        "both_wrong": sum(not a and not b for a, b in zip(ours, earlier, strict=True)),
        "broken_rows": [
            {
                "row": records[i].row,
                "text": records[i].text if answers.pairs else records[i].plain_text,
                "expected": listed(expected[i]),
                "before": listed(said_before[i]),
                "now": listed(said[i]),
            }
            for i in broken[:_SHOWN]
        ],
    }


def said_of_changes(found: dict[str, Any]) -> str:
    """The counts in one sentence."""
    return (
        f"Since the previous version: {found['fixed']:,} rows fixed, {found['broken']:,} broken, "
        f"{found['both_wrong']:,} wrong in both, {found['both_right']:,} right in both."
    )


def right_rows(work: Work, answers: Answers, names: Sequence[str]) -> list[bool] | None:
    """Which rows are right by the task's own measure of a row; None where it has none."""
    metric = {Task.CLASSIFICATION: "accuracy", Task.MULTILABEL: "subset_accuracy"}.get(
        work.dataset.task
    )
    if metric is None:
        metric = next((n for n in names if get_metric(n).proportion), None)
    pair = None if metric is None else work.pair(metric, answers)
    if metric is None or pair is None:
        return None
    sufficient = get_metric(metric).sufficient(*pair)
    right_U = sufficient.score(np.eye(sufficient.units)) > 0.5
    return [bool(right_U[unit]) for unit in sufficient.unit]


def said_answers(work: Work, answers: Answers) -> Sequence[Any]:
    """What the model said of each row."""
    if answers.pairs is not None:
        return [work.records[i].text_pair for i in answers.pairs.nearest]
    return answers.texts if work.dataset.task.is_generative else answers.predictions


def expected_answers(work: Work) -> list[Any]:
    """What is right for each row."""
    if work.dataset.task.is_generative:
        return [r.messages[-1].content if r.messages else r.text for r in work.records]
    if work.dataset.task is Task.EMBEDDING:
        return [record.text_pair for record in work.records]
    if work.dataset.task is Task.QUESTION_ANSWERING:
        return [[answer.text for answer in record.answers or ()] for record in work.records]
    return [record.label for record in work.records]


def listed(value: Any) -> Any:
    """A set of labels as a list, anything else as it is."""
    return list(value) if isinstance(value, tuple) else value
