"""The same rows asked in other words: what stands before an answer changes, the answer does not.

This module knows records and tokens. It does not know models, nor who finds the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.records import Dataset, Record
from tunewright.data.render import Renderer
from tunewright.evaluate.answers import Work


def reworded(work: Work, records: Sequence[Record], longest: int) -> tuple[Work, list[int]]:
    """The rows of an evaluation with other records in their places.

    Args:
        work: the rows as they are.
        records: one for each record of `work.dataset`, with the same answers or labels.
        longest: tokens that the model can read. A row that would be longer stays as it is.

    Returns:
        The rows as the model then sees them, one example for each of `work.examples`, in which the
        same tokens of an answer count; and the rows that stayed because they would be too long.
    """
    kept, stayed = list(records), []
    examples: list[Example] = []
    by_row = rows_of(work)
    if work.dataset.task is Task.INSTRUCTION and work.renderer.pairs is None:
        for row, ours in by_row.items():
            made = answers_behind(work.renderer, records[row], ours)
            if max(map(len, made)) > longest:
                stayed.append(row)
                kept[row], made = work.dataset.records[row], ours
            examples += [replace(one, row=row) for one in made]
    else:
        dataset = Dataset(work.dataset.task, tuple(records), work.dataset.name)
        wanted = set(by_row)
        rendered = work.renderer.render(dataset, "cut").examples
        examples = [example for example in rendered if example.row in wanted]
    dataset = Dataset(work.dataset.task, tuple(kept), work.dataset.name)
    return replace(work, dataset=dataset, examples=examples), stayed


def rows_of(work: Work) -> dict[int, list[Example]]:
    """The examples of each row, in their order."""
    found: dict[int, list[Example]] = {}
    for example in work.examples:
        found.setdefault(example.row, []).append(example)
    return found


def answers_behind(
    renderer: Renderer, record: Record, ours: Sequence[Example], added: int = 0
) -> list[Example]:
    """Examples of a record in which the same tokens of each answer count as in those given.

    Args:
        renderer: of the layout.
        record: with other words before its answers.
        ours: examples of the record as it was.
        added: turns that the record has before its own.
    """
    made = renderer.tokenise(Dataset(Task.INSTRUCTION, (record,)))
    if len(made) != len(ours):  # an answer of ours that is beyond its length was left out
        by_answer = {e.answer: e for e in made}
        made = [by_answer[None if e.answer is None else e.answer + added] for e in ours]
    return [_cut_like(one, example) for one, example in zip(made, ours, strict=True)]


def _cut_like(example: Example, ours: Example) -> Example:
    """Without what is behind the last token that counts in our example."""
    mask: Any = example.loss_mask
    counted = np.flatnonzero(mask)
    end = int(counted[min(ours.trained_tokens, len(counted)) - 1]) + 1
    return replace(example, input_ids=example.input_ids[:end], loss_mask=mask[:end])
