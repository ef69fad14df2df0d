"""The base asked in words, before any tuning: without examples, and with training rows shown.

This module knows records and models that write. It does not know how scores are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.few_shot import NearestRows, prompt_messages, prompt_text
from tunewright.data.records import Dataset, Message, Record
from tunewright.data.render import Renderer
from tunewright.errors import ConfigError
from tunewright.evaluate.answers import Answers, Work, row_counter
from tunewright.evaluate.reworded import answers_behind, rows_of
from tunewright.models.catalogue import model_folder
from tunewright.models.forward import CausalForward
from tunewright.models.inspect import inspect_model
from tunewright.models.load import Finished
from tunewright.models.predict import predict

ZERO_SHOT, FEW_SHOT = "base_zero_shot", "base_few_shot"
"""Their names among the baselines. Of models that write, `base` is the one without examples."""
MOST_LABELS = 20
"""More labels are not asked: each row costs as many passes as there are labels."""
_LONGEST = 2048
"""Longest prompt with its examples, in tokens; the examples least like the row are left out."""
_AT_ONCE = 8
"""Prompts in one pass, where rows of labels alone would be in passes of 64."""


def check_few_shot(
    few_shot: int, task: Task, base: str, labels: Sequence[str], train: Dataset | None
) -> None:
    """Refuse examples that cannot be shown.

    Raises:
        ConfigError: says why, and what can be done.
    """
    if few_shot < 0:
        raise ConfigError(f"few_shot is {few_shot}; a number of examples from 0 on.")
    if few_shot == 0:
        return
    if task not in (Task.INSTRUCTION, Task.CLASSIFICATION):
        raise ConfigError(
            f"--few-shot asks the base in words; rows of task {task.value!r} are not answered in "
            "words. It is there for instructions and for labels, one a row."
        )
    if not base or inspect_model(model_folder(base)).kind != "decoder":
        raise ConfigError(
            f"--few-shot needs a base that goes on from examples, a decoder; the base here is "
            f"{base or 'not known'!r}. Leave it out."
        )
    if train is None:
        raise ConfigError(
            "--few-shot shows rows the model was tuned on, and these are not known: --train-data "
            "FILE."
        )
    if len(labels) > MOST_LABELS:
        raise ConfigError(
            f"--few-shot asks about one label after the other, and there are {len(labels)}; "
            f"{MOST_LABELS} at most."
        )


def asks_labels(task: Task, base: str, labels: Sequence[str]) -> bool:
    """Whether the base can be asked for the labels in words: a decoder, and not too many labels."""
    return (
        task is Task.CLASSIFICATION
        and bool(base)
        and 2 <= len(labels) <= MOST_LABELS
        and inspect_model(model_folder(base)).kind == "decoder"
    )


def label_answers(
    work: Work, base: Finished, labels: Sequence[str], near: NearestRows | None = None
) -> Answers:
    """What the base takes for the likeliest label of each row, asked in words.

    Each label is scored by the likelihood of all its tokens and the end of the answer behind it,
    and the scores of the labels are brought to the sum 1.

    Args:
        work: the rows.
        base: loaded for `Task.INSTRUCTION`.
        labels: in the order of the columns of the result.
        near: which training rows are shown. Default: none.
    """
    renderer = _renderer(base)
    examples: list[Example] = []
    for record in work.records:
        shown = [] if near is None else near.near(record)
        query = _within(renderer, record.plain_text, renderer.max_length // 2)
        for first in range(len(shown) + 1):
            asked = _labelled(renderer, labels, shown[first:], query)
            made = renderer.tokenise(Dataset(Task.INSTRUCTION, asked))
            if max(e.longest for e in made) <= renderer.max_length:
                break
        examples += made
    what = f"Asking the base, {near.k} examples" if near is not None else "Asking the base"
    found = predict(
        CausalForward(base.model),
        examples,
        Task.INSTRUCTION,
        pad_id=int(base.tokenizer.pad_token_id),
        batch_size=min(work.batch_size, _AT_ONCE),
        progress=row_counter(work.progress, what, len(examples)),
    )
    assert found.losses is not None
    scores = -found.losses.reshape(len(work.records), len(labels))
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    return Answers([labels[i] for i in likely.argmax(axis=1)], likely, labels)


def _renderer(base: Finished) -> Renderer:
    longest = min(_LONGEST, base.facts.max_length)
    return Renderer(base.tokenizer, Task.INSTRUCTION, longest, base.settings.template)


def _within(renderer: Renderer, text: str, limit: int) -> str:
    """The text, or its beginning where it is longer than so many tokens."""
    ids = renderer.literal_ids(text)
    return text if len(ids) <= limit else str(renderer.tokenizer.decode(ids[:limit]))


def _labelled(
    renderer: Renderer, labels: Sequence[str], shown: Sequence[Record], query: str
) -> tuple[Record, ...]:
    """The same question with each label as its answer."""
    turns = prompt_messages(Task.CLASSIFICATION, labels, shown, query)
    if renderer.chat is None:
        turns = [{"role": "user", "content": prompt_text(turns, Task.CLASSIFICATION)}]
    said = tuple(Message(turn["role"], turn["content"]) for turn in turns)
    return tuple(Record(messages=(*said, Message("assistant", name, True))) for name in labels)


def shown_work(work: Work, base: Finished, near: NearestRows) -> Work:
    """The same rows, each behind the training rows most like it; the same answer tokens count.

    Args:
        work: rows of instructions.
        base: loaded for `Task.INSTRUCTION`.
        near: which training rows are shown.
    """
    tuned = work.renderer
    longest = max(tuned.max_length, min(_LONGEST, base.facts.max_length))
    renderer = Renderer(
        base.tokenizer, Task.INSTRUCTION, longest, tuned.template, system=tuned.system
    )
    records: list[Record] = list(work.dataset.records)
    examples: list[Example] = []
    for row, ours in rows_of(work).items():
        shown = near.near(records[row])
        for first in range(len(shown) + 1):
            record, added = _behind(records[row], shown[first:])
            made = answers_behind(renderer, record, ours, added)
            if max(map(len, made)) <= longest:
                break
        records[row] = record
        examples += [replace(one, row=row) for one in made]
    dataset = Dataset(work.dataset.task, tuple(records), work.dataset.name)
    return replace(work, dataset=dataset, examples=examples, renderer=renderer)


def _behind(record: Record, shown: Sequence[Record]) -> tuple[Record, int]:
    """A conversation with the turns of others before its own, behind its system message."""
    turns = [
        replace(message, train=False)
        for other in shown
        for message in other.messages
        if message.role != "system"
    ]
    own = record.messages
    start = next((i for i, m in enumerate(own) if m.role != "system"), len(own))
    return replace(record, messages=(*own[:start], *turns, *own[start:])), len(turns)
