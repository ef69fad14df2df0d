"""Scores of each task of a mix, with their intervals.

This module knows which source a row is from. It does not know how rows are answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunewright.config.task import Task
from tunewright.data.task_prompts import mixed_names, rows_by_name
from tunewright.evaluate.answers import Answers, Work


def scores_by_task(
    work: Work, names: Sequence[str], answers: Answers
) -> dict[str, dict[str, dict[str, Any]]]:
    """Every metric of the rows of each source, by the source's name; empty where none is mixed.

    Args:
        work: the scored rows.
        names: of metrics.
        answers: of the model.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    if work.dataset.task is not Task.INSTRUCTION:
        return found
    for name, rows in rows_by_name(mixed_names(work.records)).items():
        part = replace(work, examples=[work.examples[i] for i in rows])
        said = replace(
            answers,
            losses=answers.losses[rows],
            tokens=answers.tokens[rows],
            texts=[answers.texts[i] for i in rows] if answers.texts else (),
            similarities=None,
        )
        found[name] = part.estimates(names, said)
    return found
